"""The mapspace of FLAT's simulator: every mapping that it can write down, priced by this model.

A mapping there is a granularity, rows of a tile, a stationarity for QK and for AV, and the tensors
that stay in the shared buffer (`mapping.py`). There are some hundreds of them, so the best
one is found by looking at all.

Its published rows fix the tiles of rows to 1, 2 or 4 times the rows of the array, and never have
the granularities `all` and `batch`: in that space its choice is the fastest in every row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Literal

from flat_mapper.values import Ert, Platform, Workload
from studies.simulator.mapping import Granularity, SimulatorMapping, Stationarity
from studies.simulator.spill import Simulated, simulated

SCORES = ("QK", "A")  # between QK and AV; on chip: fused
OUTER = ("Q", "K", "V", "AV")  # cross DRAM in every mapping
STATIONARITIES: tuple[tuple[Stationarity, Stationarity], ...] = (
    ("output", "output"),
    ("output", "weight"),
    ("weight", "output"),
    ("weight", "weight"),
)
ROW_MULTIPLES = (1, 2, 4)  # of the array's rows; source: the tiles in flat_validation.csv

Priced = Mapping[SimulatorMapping, Simulated]
DataflowChoice = Literal["published", "any"]
StagingChoice = Literal["none", "any"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """A part of the mapspace."""

    fused: tuple[bool, ...] = (False, True)
    granularities: tuple[Granularity, ...] = ("head", "row")
    stationarities: tuple[tuple[Stationarity, Stationarity], ...] = STATIONARITIES
    staging: StagingChoice = "any"  # of Q, K, V and AV
    rows: DataflowChoice = "published"  # any: the array's rows times powers of two
    spills: bool = True  # false: only mappings that fit the buffer

    def mappings(self, length: int, array_rows: int) -> Iterator[SimulatorMapping]:
        """Every mapping of a sequence length; an unfused one streams the scores through DRAM."""
        bits = range(1 << len(OUTER) if self.staging == "any" else 1)
        stagings = [tuple(t for i, t in enumerate(OUTER) if n >> i & 1) for n in bits]
        for granularity in self.granularities:
            for rows in self._rows(granularity, length, array_rows):
                for fused, staged, (qk, av) in product(self.fused, stagings, self.stationarities):
                    if not fused and granularity in ("all", "batch"):
                        continue  # nothing is shared: the same as head
                    yield SimulatorMapping(
                        on_chip=(*staged, *(SCORES if fused else ())),
                        qk_stationarity=qk,
                        av_stationarity=av,
                        granularity=granularity,
                        rows=rows,
                    )

    def _rows(self, granularity: Granularity, length: int, array_rows: int) -> list[int]:
        if granularity != "row":
            return [length]
        multiples = [1 << i for i in range(length.bit_length())]
        if self.rows == "published":
            multiples = [m for m in multiples if m in ROW_MULTIPLES]
        return [m * array_rows for m in multiples if m * array_rows < length]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArraySpace:
    """The mappings of one attention on one platform.

    platform: of its methods, this space's with another buffer or another bandwidth.
    """

    workload: Workload
    platform: Platform
    ert: Ert

    def found(self, choices: Choices, platform: Platform | None = None) -> Priced:
        """Every mapping of some choices, priced."""
        return {mapping: self.priced(mapping, platform) for mapping in self.mappings(choices)}

    def mappings(self, choices: Choices) -> Iterator[SimulatorMapping]:
        """Every mapping of some choices."""
        array = self.platform.matrix.fanouts[0]
        return choices.mappings(self.workload.rank_sizes["P"], array.fanout_y)

    def priced(
        self, mapping: SimulatorMapping, platform: Platform | None = None, ert: Ert | None = None
    ) -> Simulated:
        """One mapping, with what this model says of it."""
        return simulated(self.workload, platform or self.platform, mapping, ert or self.ert)

    def fastest(self, everything: Priced, choices: Choices) -> Simulated:
        """The best of the mappings of some choices, among those that fit where nothing may spill.

        everything: they are among these.
        """
        found = (everything[mapping] for mapping in self.mappings(choices))
        allowed = (one for one in found if choices.spills or one.spilled == 0)
        return min(allowed, key=lambda one: one.cost)


def mapping_text(mapping: SimulatorMapping) -> str:
    """One line: `row 256, output/output-stationary, Q QK A on chip`."""
    rows = f" {mapping.rows}" if mapping.granularity == "row" else ""
    where = " ".join(mapping.on_chip) or "nothing"
    return f"{mapping.granularity}{rows}, {mapping.stationary}-stationary, {where} on chip"
