"""Schedules: the latency of a group from the turns of its Einsums and its transfers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flat_mapper.cost_model.latency import InTurn
from flat_mapper.cost_model.turn_taking import COMPUTE, Turn
from flat_mapper.mapping.order import overlaps, rounds_behind
from flat_mapper.mapping.values import Phases, Policy, Schedule
from flat_mapper.workload.graph import Workload

Cycles = float | npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """Rounds of the schedule `phases`."""

    phases: Phases
    rare: frozenset[str]  # Einsums that do not run in every pass, but when a loop is done
    behind: int  # rounds between the first Einsum and the last


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Rows of tiles under a mask that have as many passes."""

    count: int
    turns: float  # cycles of one row's turns, if all were of equal length
    outside: float  # cycles of all words from outside in its time


def rounds_of(
    workload: Workload,
    names: Sequence[str],
    phases: Phases,
    level: str,
    inside: Mapping[str, str] | None = None,
) -> Rounds | None:
    """The rounds of a group's phases; None where it has none.

    level: the shared one. inside: that of each tensor that is handed over inside it.
    """
    if not phases:
        return None
    rare = frozenset(n for n in names if workload.einsum(n).after)
    behind = max(rounds_behind(workload, names, phases, level, inside).values())
    return Rounds(phases=phases, rare=rare, behind=behind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Cycles of a group, and what sets most of them."""

    cycles: float  # without what nothing overlaps
    exposed: float  # first inputs and last outputs
    bottleneck: str  # a compute unit or a level
    slack: float = 0.0  # at most so many more than the same turns and transfers run one by one


def ideal_latency(
    schedule: Schedule,
    compute: Mapping[str, float],
    transfers: Mapping[str, float],
    first: float,
) -> Latency:
    """Latency where every transfer overlaps every compute: the slowest of units and levels.

    It is Timeloop's rule for one Einsum, and that of FLAT's simulator for a group.

    compute, transfers: cycles by unit and by level. first: cycles of the first inputs.
    """
    busy = max(compute.values()) if overlaps(schedule) else sum(compute.values())
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
    rounds: Rounds | None = None,
    rows: Sequence[Row] = (),
) -> Latency:
    """Latency of a group whose Einsums take turns; in each of `phases` as overlapped.

    interleaved: the turns of all units, one after another, or all words of DRAM if these take
                 longer; where a mask leaves rows of tiles more passes than others, so row by row:
                 two copies are no room for the words of more than the next. Then with what turns
                 that bring new tiles take more than the others, as transfers do not make up for a
                 late start. Whole tiles come and go beside the turns only where the shared level
                 has two copies of them; with fewer, nothing runs ahead, whatever the schedule: a
                 pass begins when its tiles are there, and ends when its outputs are gone.
    overlapped:  the turns of the busiest unit, with one pass of the others as the way in and out;
                 or all words of a level, from outside with one pass of all units after the last;
                 turns that bring new tiles are not overlapped by how much longer they are.

    It is never less than an execution of the turns and transfers one by one, and not more than the
    slack above it: bound transfers count first inputs and last outputs twice; overlap is a bound.

    transfers: cycles of all words, by level; outside: those of what comes from outside.
    staged:    cycles of whole tiles there. units: compute unit by path.
    exposed:   cycles of the first inputs and the last outputs.
    rows:      of tiles under a mask, if they are not alike.
    rounds:    of `phases`; the first and last ones may expose as much as the first and last pass.
    """
    overlap = outside.cycles - outside.least
    busy = _by_unit(turns, units, [turn.cycles for turn in turns])
    total = sum(busy.values())
    if policy.buffering < 2:
        slack = overlap + (total - max(busy.values()) if overlaps(schedule) else 0.0)
        place = _binding(turns, units)
        return Latency(cycles=total + staged, exposed=0.0, bottleneck=place, slack=slack)
    extra, late, slack = sum(turn.extra for turn in turns), 0.0, 0.0
    slowest: dict[str, float] = {outside.level: outside.cycles}
    if overlaps(schedule):
        total, late, exposed = _at_once(turns, units, rounds, exposed)
        total += extra
        slack = total - max(_by_unit(turns, units, [turn.steady for turn in turns]).values())
        slowest = {**transfers, outside.level: outside.cycles + late}
    place = max(slowest, key=lambda name: slowest[name])
    if slowest[place] + extra > total:
        total, slack = slowest[place] + extra, slack + late * (place == outside.level)
    else:
        place = _binding(turns, units)
    by_row = extra + sum(row.count * max(row.turns, row.outside) for row in rows)
    slack += exposed + extra + overlap + max(by_row - total, 0.0)
    return Latency(cycles=max(total, by_row), exposed=exposed, bottleneck=place, slack=slack)


def _by_unit(
    turns: Sequence[Turn], units: Mapping[str, str], cycles: Sequence[float]
) -> dict[str, float]:
    """Cycles of turns added up by compute unit."""
    found: dict[str, float] = {}
    for turn, value in zip(turns, cycles, strict=True):
        found[units[turn.unit]] = found.get(units[turn.unit], 0.0) + value
    return found


def _at_once(
    turns: Sequence[Turn], units: Mapping[str, str], rounds: Rounds | None, exposed: float
) -> tuple[float, float, float]:
    """Of units that work at once: cycles of turns of equal length; by how much the way in or out of
    words from outside is longer than what is exposed; and that.

    It is a pass of all units; beside passes that DRAM takes as long for, one of the others.
    """
    if rounds is not None:
        return _phased(turns, units, rounds), 0.0, exposed * (1 + rounds.behind)
    busy = _by_unit(turns, units, [turn.steady for turn in turns])
    once = _by_unit(turns, units, [turn.once for turn in turns])
    one = sum(once.values())
    late = max(one - exposed, one - max(once.values()))
    return max(busy[u] + one - once[u] for u in busy), late, exposed


def _phased(turns: Sequence[Turn], units: Mapping[str, str], rounds: Rounds) -> float:
    """Cycles of all rounds over the phases, with turns of equal length."""
    total, passes = 0.0, max(turn.passes for turn in turns)
    for phase in rounds.phases:
        every: dict[str, float] = dict.fromkeys(units.values(), 0.0)
        rare: dict[str, float] = dict.fromkeys(units.values(), 0.0)
        times = 1.0
        for turn in (t for t in turns if t.einsum in phase):
            if turn.einsum in rounds.rare:
                rare[units[turn.unit]] += turn.steady / turn.passes
                times = max(times, turn.passes)
            else:
                every[units[turn.unit]] += passes * turn.steady / turn.passes
        pairs = [(every[unit], rare[unit]) for unit in every]
        total += float(phase_cycles(pairs, passes, times, rounds.behind))
    return total


def phase_cycles(
    units: Sequence[tuple[Cycles, Cycles]], passes: float, times: float, behind: int
) -> Cycles:
    """Cycles of one phase in all rounds, at most; numbers, or arrays over candidates.

    A unit that is not the busiest has that much room for what runs in some passes only. Rounds in
    which not all Einsums work yet, or any more, are as if the units took turns.

    units:  cycles of each in all passes, and cycles in one pass of Einsums that run in a few.
    times:  passes of those. behind: rounds between the first Einsum and the last.
    """
    most, every_unit = units[0][0], units[0][0]
    for every, _ in units[1:]:
        most, every_unit = np.maximum(most, every), every_unit + every
    found = most + (every_unit - most) * behind / passes
    for every, rare in units:
        found = found + times * np.maximum(rare - (most - every) / passes, 0.0)
        found = found + rare * behind  # in the last rounds the busiest has no more to do
    return found


def _binding(turns: Sequence[Turn], units: Mapping[str, str]) -> str:
    """The unit or level that sets most of the turns' cycles."""
    found: dict[str, float] = {}
    for turn in turns:
        for name, cycles in turn.binding.items():
            place = units[turn.unit] if name == COMPUTE else name
            found[place] = found.get(place, 0.0) + cycles
    return max(found, key=lambda name: found[name])
