"""The mapspace of FLAT's simulator: every mapping that it can write down, priced by this model.

A mapping there is a granularity, rows of a tile, a stationarity for QK and for AV, and the tensors
that stay in the shared buffer (`mapping.py`). There are some hundreds of them, so the best
one is found by looking at all.

Its published rows fix the tiles of rows to 1, 2 or 4 times the rows of the array, and never have
the granularities `all` and `batch`: in that space its choice is the fastest in every row. Beside
each row stands the best mapping of that space (`published`), and of a wider one, with tiles of any
number of rows and the granularities of whole tensors and batch elements (`wide`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import product
from typing import Literal

from flat_mapper.values import Ert, Platform, Workload
from studies.simulator.mapping import Granularity, SimulatorMapping, Stationarity
from studies.simulator.rows import SimulatorRow, simulator_ert, simulator_platform
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


SPACES: Mapping[str, Choices] = {
    "published": Choices(),
    # It holds the other one.
    "wide": Choices(granularities=("all", "batch", "head", "row"), rows="any"),
}
# A mapping of the same cycles within this share is no other choice: the simulator has no cost for
# the start of a tile, which we charge at 3 or 4 cycles (`mapping.START_CYCLES`).
SAME = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """One row: the simulator's mapping, and the best ones of the two spaces."""

    row: SimulatorRow
    theirs: Simulated
    ours: Mapping[str, Simulated]  # by space

    def gain(self, space: str) -> float:
        """Their cycles over ours, minus 1."""
        return self.theirs.cycles / self.ours[space].cycles - 1

    def bytes_saved(self, space: str) -> float:
        """Share of their DRAM bytes that ours does not move."""
        return 1 - self.ours[space].offchip_bytes / self.theirs.offchip_bytes

    def why(self, space: str) -> str:
        """The best mapping's other choices; `same` where it is no faster and moves as much."""
        theirs, ours = self.theirs.mapping, self.ours[space].mapping
        if self.gain(space) <= SAME and abs(self.bytes_saved(space)) <= SAME:
            return "same"
        reasons = []
        own, other = set(ours.on_chip), set(theirs.on_chip)
        fused, was_fused = (own.issuperset(SCORES), other.issuperset(SCORES))
        if fused != was_fused:
            reasons.append("fused" if fused else "unfused")
        if _tile(ours) != _tile(theirs):
            reasons.append(f"{_tile(ours)} for {_tile(theirs)}")
        for verb, tensors in (("stages", own - other), ("streams", other - own)):
            if outer := [tensor for tensor in OUTER if tensor in tensors]:
                reasons.append(f"{verb} {' '.join(outer)}")
        if ours.stationary != theirs.stationary:
            reasons.append(f"{ours.stationary} for {theirs.stationary}")
        verdict = "as fast to 0.01%"
        if self.gain(space) > SAME:
            verdict = "faster"
        elif self.bytes_saved(space) > SAME:
            verdict = "as fast, fewer bytes"
        return f"{verdict}: {', '.join(reasons)}"

    def to_dict(self) -> dict[str, object]:
        """The names of `--search --json`."""
        found = {**self.row.place, "simulator": _found_dict(self.theirs)}
        for space, ours in self.ours.items():
            found[space] = _found_dict(ours) | {
                "cycles_gain": self.gain(space),
                "offchip_saving": self.bytes_saved(space),
                "why": self.why(space),
            }
        return found


def _tile(mapping: SimulatorMapping) -> str:
    return f"{mapping.rows} rows" if mapping.granularity == "row" else mapping.granularity


def _found_dict(found: Simulated) -> dict[str, object]:
    costs = ("cycles", "latency_s", "offchip_bytes", "spilled")
    return {
        **{name: getattr(found, name) for name in costs},
        "mapping": asdict(found.mapping),
        "text": mapping_text(found.mapping),
    }


def search_row(row: SimulatorRow) -> Searched:
    """One row, searched."""
    platform = simulator_platform(row.platform)
    space = ArraySpace(workload=row.workload, platform=platform, ert=simulator_ert(platform))
    everything = space.found(SPACES["wide"])
    best = {name: space.fastest(everything, choices) for name, choices in SPACES.items()}
    return Searched(row=row, theirs=space.priced(row.mapping), ours=best)
