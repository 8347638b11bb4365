"""The mapspace of FLAT's simulator: every mapping that it can write down, priced by this model.

A mapping there is a granularity, rows of a tile, a stationarity for QK and for AV, and the tensors
that stay in the shared buffer (`mapping.py`). There are some hundreds of them, so the best
one is found by looking at all.

Its published rows fix the tiles of rows to 1, 2 or 4 times the rows of the array, and never have
the granularities `all` and `batch`: in that space its choice is the fastest in every row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
        for granularity in self.granularities:
            for rows in self._rows(granularity, length, array_rows):
                for fused, staged, (qk, av) in product(
                    self.fused, self._staged(), self.stationarities
                ):
                    if not fused and granularity in ("all", "batch"):
                        continue  # nothing is shared: the same as head
                    yield SimulatorMapping(
                        on_chip=(*staged, *(SCORES if fused else ())),
                        qk_stationarity=qk,
                        av_stationarity=av,
                        granularity=granularity,
                        rows=rows,
                    )

    def _staged(self) -> Iterator[tuple[str, ...]]:
        count = 1 << len(OUTER) if self.staging == "any" else 1
        for bits in range(count):
            yield tuple(t for i, t in enumerate(OUTER) if bits >> i & 1)

    def _rows(self, granularity: Granularity, length: int, array_rows: int) -> list[int]:
        if granularity != "row":
            return [length]
        multiples = [1 << i for i in range(length.bit_length())]
        if self.rows == "published":
            multiples = [m for m in multiples if m in ROW_MULTIPLES]
        return [m * array_rows for m in multiples if m * array_rows < length]


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedMapping:
    """A mapping of the simulator's, and what this model says of it."""

    mapping: SimulatorMapping
    result: Simulated

    @property
    def cost(self) -> tuple[int, float]:
        """The costs to compare by: cycles, then DRAM bytes."""
        return self.result.cycles, self.result.offchip_bytes

    @property
    def fused(self) -> bool:
        """True where the scores stay on chip."""
        return set(SCORES) <= set(self.mapping.on_chip)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArraySpace:
    """The mappings of one attention on one platform.

    platform: of its methods, this space's with another buffer or another bandwidth.
    """

    workload: Workload
    platform: Platform
    ert: Ert

    def found(
        self, choices: Choices, platform: Platform | None = None
    ) -> Iterator[SimulatedMapping]:
        """Every mapping of some choices, priced."""
        for mapping in self.mappings(choices, platform):
            yield self.priced(mapping, platform)

    def mappings(
        self, choices: Choices, platform: Platform | None = None
    ) -> Iterator[SimulatorMapping]:
        """Every mapping of some choices."""
        array = (platform or self.platform).matrix.fanouts[0]
        yield from choices.mappings(self.workload.rank_sizes["P"], array.fanout_y)

    def priced(
        self, mapping: SimulatorMapping, platform: Platform | None = None, ert: Ert | None = None
    ) -> SimulatedMapping:
        """One mapping, with what this model says of it."""
        result = simulated(self.workload, platform or self.platform, mapping, ert or self.ert)
        return SimulatedMapping(mapping=mapping, result=result)


def fastest(found: Iterable[SimulatedMapping], choices: Choices) -> SimulatedMapping:
    """The best of some mappings, among those that fit where nothing may spill."""
    allowed = (f for f in found if choices.spills or f.result.spilled == 0)
    return min(allowed, key=lambda f: f.cost)


def mapping_text(mapping: SimulatorMapping) -> str:
    """One line: `row 256, QK output AV output, Q QK A on chip`."""
    rows = f" {mapping.rows}" if mapping.granularity == "row" else ""
    where = " ".join(mapping.on_chip) or "nothing"
    stationary = f"{mapping.qk_stationarity}/{mapping.av_stationarity}"
    return f"{mapping.granularity}{rows}, {stationary}-stationary, {where} on chip"
