"""FLAT's simulator against an exhaustive search of its own mapspace, row by row.

Of every row, the simulator's mapping is priced beside the best mapping that this model finds: in
the space that the simulator's rows show (`published`), and in a wider one, with tiles of any
number of rows and the granularities of whole tensors and batch elements (`wide`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from studies.simulator.array import OUTER, SCORES, ArraySpace, Choices, mapping_text
from studies.simulator.mapping import SimulatorMapping
from studies.simulator.rows import SimulatorRow, simulator_ert, simulator_platform
from studies.simulator.spill import Simulated

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
