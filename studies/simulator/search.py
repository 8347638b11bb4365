"""FLAT's simulator against an exhaustive search of its own mapspace, row by row.

Of every row, the simulator's mapping is priced beside the best mapping that this model finds: in
the space that the simulator's rows show (`published`), and in a wider one, with tiles of any
number of rows and the granularities of whole tensors and batch elements (`wide`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from studies.simulator.array import (
    ArraySpace,
    Choices,
    SimulatedMapping,
    fastest,
    mapping_text,
)
from studies.simulator.rows import (
    SimulatorRow,
    simulator_ert,
    simulator_platform,
)

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
    theirs: SimulatedMapping
    ours: Mapping[str, SimulatedMapping]  # by space

    def gain(self, space: str) -> float:
        """Their cycles over ours, minus 1."""
        return self.theirs.result.cycles / self.ours[space].result.cycles - 1

    def bytes_saved(self, space: str) -> float:
        """Share of their DRAM bytes that ours does not move."""
        return 1 - self.ours[space].result.offchip_bytes / self.theirs.result.offchip_bytes

    def why(self, space: str) -> str:
        """The best mapping's other choices; `same` where it is no faster and moves as much."""
        theirs, ours = self.theirs, self.ours[space]
        if self.gain(space) <= SAME and abs(self.bytes_saved(space)) <= SAME:
            return "same"
        reasons = []
        if ours.fused != theirs.fused:
            reasons.append("fused" if ours.fused else "unfused")
        if _tile(ours) != _tile(theirs):
            reasons.append(f"{_tile(ours)} for {_tile(theirs)}")
        if staged := _only_first(ours, theirs):
            reasons.append(f"stages {' '.join(staged)}")
        if streamed := _only_first(theirs, ours):
            reasons.append(f"streams {' '.join(streamed)}")
        own, other = _stationarity(ours), _stationarity(theirs)
        if own != other:
            reasons.append(f"{own} for {other}")
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


def _tile(found: SimulatedMapping) -> str:
    mapping = found.mapping
    return f"{mapping.rows} rows" if mapping.granularity == "row" else mapping.granularity


def _only_first(one: SimulatedMapping, other: SimulatedMapping) -> list[str]:
    """Tensors beside the scores that one mapping keeps on chip, and the other does not."""
    kept = set(one.mapping.on_chip) - set(other.mapping.on_chip)
    return [tensor for tensor in ("Q", "K", "V", "AV") if tensor in kept]


def _stationarity(found: SimulatedMapping) -> str:
    return f"{found.mapping.qk_stationarity}/{found.mapping.av_stationarity}"


def _found_dict(found: SimulatedMapping) -> dict[str, object]:
    costs = ("cycles", "latency_s", "offchip_bytes", "spilled")
    return {
        **{name: getattr(found.result, name) for name in costs},
        "mapping": asdict(found.mapping),
        "text": mapping_text(found.mapping),
    }


def search_row(row: SimulatorRow) -> Searched:
    """One row, searched."""
    platform = simulator_platform(row.platform)
    space = ArraySpace(workload=row.workload, platform=platform, ert=simulator_ert(platform))
    everything = {found.mapping: found for found in space.found(SPACES["wide"])}
    best = {
        name: fastest((everything[m] for m in space.mappings(choices)), choices)
        for name, choices in SPACES.items()
    }
    return Searched(row=row, theirs=space.priced(row.mapping), ours=best)
