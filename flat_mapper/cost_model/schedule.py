"""Schedules: the latency of a group from the turns of its Einsums and its transfers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flat_mapper.cost_model.latency import InTurn
from flat_mapper.cost_model.turn_taking import COMPUTE, Turn
from flat_mapper.mapping.values import Policy, Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Cycles of a group, and what sets most of them."""

    cycles: float  # without what nothing overlaps
    exposed: float  # first inputs and last outputs
    bottleneck: str  # a compute unit or a level
    slack: float = 0.0  # at most so many more than the same turns and transfers run one by one


def ideal_latency(
    schedule: Schedule,
    compute: Mapping[str, int],
    transfers: Mapping[str, float],
    first: float,
) -> Latency:
    """Latency where every transfer overlaps every compute: the slowest of units and levels.

    It is Timeloop's rule for one Einsum, and that of FLAT's simulator for a group.

    compute, transfers: cycles by unit and by level. first: cycles of the first inputs.
    """
    busy = max(compute.values()) if schedule == "overlapped" else sum(compute.values())
    longest = max(transfers, key=lambda name: transfers[name])
    exposed = first if schedule != "sequential" else 0.0
    if transfers[longest] > busy:
        return Latency(cycles=transfers[longest], exposed=exposed, bottleneck=longest)
    unit = max(compute, key=lambda name: compute[name])
    return Latency(cycles=float(busy), exposed=exposed, bottleneck=unit)


def turns_latency(
    schedule: Schedule,
    policy: Policy,
    turns: Sequence[Turn],
    transfers: Mapping[str, float],
    outside: InTurn,
    staged: float,
    exposed: float,
    units: Mapping[str, str],
) -> Latency:
    """Latency of a group whose Einsums take turns.

    interleaved: the turns of all units, one after another, or all words of DRAM if these take
                 longer; then with what turns that bring new tiles take more than the others, as
                 transfers do not make up for a late start. Whole tiles come and go beside the turns
                 only where the shared level has two copies of them; with fewer, nothing runs ahead,
                 whatever the schedule: a pass begins when its tiles are there, and ends when its
                 outputs are gone.
    overlapped:  the turns of the busiest unit, with one pass of the others as the way in and out;
                 turns that bring new tiles are not overlapped by how much longer they are.

    It is never less than an execution of the turns and transfers one by one, and not more than the
    slack above it: where transfers bind, first inputs and last outputs count twice, and what units
    overlap is told by bounds.

    transfers: cycles of all words, by level; outside: those of what comes from outside.
    staged:    cycles of whole tiles there.
    exposed:   cycles of the first inputs and the last outputs. units: compute unit by path.
    """
    busy: dict[str, float] = {}
    ahead = policy.buffering >= 2
    for turn in turns:
        name = units[turn.unit]
        own = turn.steady if schedule == "overlapped" and ahead else turn.cycles
        busy[name] = busy.get(name, 0.0) + own
    extra = sum(turn.extra for turn in turns)
    slowest: Mapping[str, float] = {outside.level: outside.cycles}
    slack = 0.0
    overlap = outside.cycles - outside.least
    if schedule == "overlapped" and ahead:
        passes = max(turn.passes for turn in turns)
        most = max(busy.values())
        total = most + (sum(busy.values()) - most) / passes + extra
        slowest, slack = {**transfers, **slowest}, total - most
    else:
        total = sum(busy.values())
    if not ahead:
        slack = total - max(busy.values()) if schedule == "overlapped" else 0.0
        slack += overlap
        place = _binding(turns, units)
        return Latency(cycles=total + staged, exposed=0.0, bottleneck=place, slack=slack)
    longest = max(slowest, key=lambda name: slowest[name])
    if slowest[longest] + extra > total:
        cycles, place = slowest[longest] + extra, longest
    else:
        cycles, place = total, _binding(turns, units)
    return Latency(
        cycles=cycles, exposed=exposed, bottleneck=place, slack=slack + exposed + extra + overlap
    )


def _binding(turns: Sequence[Turn], units: Mapping[str, str]) -> str:
    """The unit or level that sets most of the turns' cycles."""
    found: dict[str, float] = {}
    for turn in turns:
        for name, cycles in turn.binding.items():
            place = units[turn.unit] if name == COMPUTE else name
            found[place] = found.get(place, 0.0) + cycles
    return max(found, key=lambda name: found[name])
