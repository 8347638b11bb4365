"""Einsums that run together: the shared bandwidths, and the schedule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from flat_mapper.arch.values import Platform
from flat_mapper.base.tolerance import whole_cycles
from flat_mapper.cost_model.latency import InTurn, Outside, Words, only_dram, transfer_cycles
from flat_mapper.cost_model.residence import buffer_use, shared_tile
from flat_mapper.cost_model.result import BufferUse, EinsumStats, GroupStats
from flat_mapper.cost_model.transfers import SHARED
from flat_mapper.cost_model.turn_taking import COMPUTE, Turn, TurnParts, turn_parts, uneven_shared
from flat_mapper.mapping.cores.check import handed_inside
from flat_mapper.mapping.order import UnevenRows, overlaps, rounds_behind
from flat_mapper.mapping.sharing import shared_level, whole_group
from flat_mapper.mapping.values import GroupMapping, Phases, Policy, Schedule
from flat_mapper.workload.graph import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupTerms:
    """Terms of a group's latency, whatever stands outside its shared level.

    Words are those that cross to and from the outside, by tensor: read, written.
    """

    group: GroupMapping
    policy: Policy
    units: Mapping[str, str]  # compute unit by path
    compute: Mapping[str, float]  # cycles by unit
    ideal: Mapping[str, float]
    inside: Mapping[str, float]  # cycles by level, of the shared one and those inside
    moved: Words  # in all
    staged: Words  # in whole tiles
    first: Words  # that the first pass waits for, and that are left after the last
    turns: tuple[TurnParts, ...]  # none where every transfer overlaps every compute
    buffer: BufferUse
    rounds: Rounds | None = None
    rows: UnevenRows | None = None  # where units take turns: at once, they even them out

    @property
    def passes(self) -> int:
        """Passes of the shared loops, if a mask leaves all."""
        return prod(loop.factor for loop in self.group.shared)

    def latency(self, outside: Outside) -> Latency:
        """Latency under the schedule, and under the policy's rule of prefetching."""
        transfers = {**outside.by_name(self.moved), **self.inside}
        exposed = outside.cycles(self.first)
        if not self.turns:
            return ideal_latency(self.group.schedule, self.compute, transfers, exposed)
        turns = [parts.turn(outside) for parts in self.turns]
        return turns_latency(
            self.group.schedule,
            self.policy,
            turns,
            transfers,
            outside.in_turn(self.moved),
            _ways(outside, self.staged),
            _ways(outside, self.first),
            self.units,
            self.rounds,
            self._rows(turns, outside),
        )

    def _rows(self, turns: Sequence[Turn], outside: Outside) -> list[Row]:
        """The kinds of rows of tiles that a mask leaves; none where it leaves them alike.

        What has its turn or comes from outside in every pass of a row does so in proportion to
        these; anything else, as much in every row.
        """
        if self.rows is None:
            return []
        every = {p.einsum for p in self.turns if p.in_pass is not None}
        anew = frozenset[str]().union(*(p.in_pass for p in self.turns if p.in_pass is not None))
        found = []
        for passes, count in self.rows.counts:
            share = {True: passes / self.rows.passes, False: 1 / self.rows.rows}
            words = {
                t: (read * share[t in anew], written * share[t in anew])
                for t, (read, written) in self.moved.items()
            }
            cycles = sum(turn.steady * share[turn.einsum in every] for turn in turns)
            moved = outside.in_turn(words).cycles
            found.append(Row(count=count, turns=cycles, outside=moved))
        return found


def _ways(outside: Outside, words: Words) -> float:
    """Cycles of all that is read and of all that is written, one after the other."""
    ways = (
        {t: (r, 0.0) for t, (r, _) in words.items()},
        {t: (0.0, w) for t, (_, w) in words.items()},
    )
    return sum(outside.in_turn(way).cycles for way in ways)


def group_terms(
    workload: Workload,
    platform: Platform,
    group: GroupMapping,
    policy: Policy,
    stats: Mapping[str, EinsumStats],
) -> GroupTerms:
    """The terms of a group from the counts of its Einsums, whoever counted them."""
    members = [stats[name] for name in group.names]
    use = buffer_use(workload, platform, group, policy)
    compute: dict[str, float] = {}
    ideal: dict[str, float] = {}
    for member in members:
        compute[member.unit] = compute.get(member.unit, 0) + member.compute_cycles
        ideal[member.unit] = ideal.get(member.unit, 0.0) + member.ideal_cycles
    together = len(members) > 1 and policy.prefetch != "ideal"
    names = whole_group(workload, group.names, policy)
    first = _first_words(workload, platform, group, everything=together)
    last = _last_words(workload, platform, group) if together else {}
    staged: dict[str, tuple[float, float]] = {}
    for member in members:
        for t in member.levels[0].tensors:
            if any(s.tensor == t.tensor for s in member.levels[SHARED].tensors):
                _add(staged, t.tensor, t.words_read, t.words_written)
    return GroupTerms(
        group=group,
        policy=policy,
        units={
            path: platform.path(path).compute.name
            for path in {workload.einsum(n).unit for n in group.names}
        },
        compute=compute,
        ideal=ideal,
        inside=_inside(platform, members),
        moved=_moved(members),
        staged=staged,
        first={t: (first.get(t, 0.0), last.get(t, 0.0)) for t in dict.fromkeys((*first, *last))},
        turns=turn_parts(workload, platform, group, names) if together else (),
        buffer=use,
        rounds=rounds_of(
            *(workload, group.names, group.phases, use.level),
            handed_inside(workload, platform, group),
        ),
        rows=None if overlaps(group.schedule) else uneven_shared(workload, group),
    )


def alone(terms: GroupTerms, platform: Platform) -> GroupStats:
    """A group by itself on one core, with DRAM outside."""
    outside = only_dram(platform.dram, terms.moved)
    latency = terms.latency(outside)
    return GroupStats(
        names=terms.group.names,
        schedule=terms.group.schedule,
        compute_cycles=terms.compute,
        ideal_cycles=terms.ideal,
        transfer_cycles={**outside.by_name(terms.moved), **terms.inside},
        cold_start_cycles=latency.exposed,
        cycles=whole_cycles(latency.cycles + latency.exposed),
        bottleneck=latency.bottleneck,
        buffer=terms.buffer,
        slack_cycles=latency.slack,
    )


def _add(words: dict[str, tuple[float, float]], tensor: str, read: float, written: float) -> None:
    before = words.get(tensor, (0.0, 0.0))
    words[tensor] = before[0] + read, before[1] + written


def _moved(members: list[EinsumStats]) -> dict[str, tuple[float, float]]:
    """Words at the outermost level, by tensor."""
    found: dict[str, tuple[float, float]] = {}
    for member in members:
        for t in member.levels[0].tensors:
            _add(found, t.tensor, t.words_read, t.words_written)
    return found


def _inside(platform: Platform, members: list[EinsumStats]) -> dict[str, float]:
    """Cycles of the transfers of each level on chip, over the Einsums that use its ports."""
    cycles: dict[str, float] = {}
    levels = {lv.name: lv for arch in platform.paths for lv in arch.levels[SHARED:]}
    for name, level in levels.items():
        found = [lv for m in members if (lv := m.level(name)) is not None]
        reads, writes = sum(lv.reads for lv in found), sum(lv.writes for lv in found)
        cycles[name] = float(transfer_cycles(level, reads, writes))
    return cycles


def _first_words(
    workload: Workload, platform: Platform, group: GroupMapping, *, everything: bool
) -> dict[str, float]:
    """Words from outside that the first pass waits for; nothing overlaps them.

    They are the first tiles of the first Einsum's inputs, and with `everything` whatever other
    Einsums have staged.
    """
    found: dict[str, float] = {}
    level = shared_level(platform).name
    for position, mapping in enumerate(group.einsums):
        einsum = workload.einsum(mapping.einsum)
        arch, kept = platform.path(einsum.unit), mapping.kept_at(level)
        for tensor in (a.tensor for a in einsum.inputs):
            waits = position == 0 or (everything and tensor in kept)
            if waits and tensor in mapping.kept_at(platform.dram.name):
                tile = shared_tile(workload, arch, mapping, tensor, level)
                found[tensor] = found.get(tensor, 0.0) + tile * workload.share(
                    tensor, platform.dram.name
                )
    return found


def _last_words(workload: Workload, platform: Platform, group: GroupMapping) -> dict[str, float]:
    """Words that are left when the last turn is over: the last tiles of the group's outputs."""
    found: dict[str, float] = {}
    level = shared_level(platform).name
    for position, mapping in enumerate(group.einsums):
        einsum = workload.einsum(mapping.einsum)
        tensor, last = einsum.output.tensor, position + 1 == len(group.einsums)
        leaves = tensor in mapping.kept_at(platform.dram.name)
        if leaves and (last or tensor in mapping.kept_at(level)):
            tile = shared_tile(workload, platform.path(einsum.unit), mapping, tensor, level)
            found[tensor] = found.get(tensor, 0.0) + tile * workload.share(
                tensor, platform.dram.name
            )
    return found


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
