"""Einsums that run together: the shared bandwidths, and the schedule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import NamedTuple

import numpy as np

from flat_mapper.arch.values import Platform
from flat_mapper.base.tolerance import whole_cycles
from flat_mapper.cost_model.nest import FloatArray
from flat_mapper.cost_model.outside import Outside, Words, dram_alone
from flat_mapper.cost_model.ports import largest, transfer_cycles
from flat_mapper.cost_model.residence import buffer_use, shared_tile
from flat_mapper.cost_model.result import BufferUse, EinsumStats, GroupStats
from flat_mapper.cost_model.schedule import (
    GroupCycles,
    Phase,
    Rounds,
    Timing,
    is_exposed,
    rounds_of,
    row_by_row,
)
from flat_mapper.cost_model.transfers import SHARED
from flat_mapper.cost_model.turns import COMPUTE, Turn, TurnParts, turn_parts, uneven_shared
from flat_mapper.mapping.cores.check import handed_inside
from flat_mapper.mapping.order import UnevenRows, carried_loops, overlaps
from flat_mapper.mapping.sharing import shared_level, whole_group
from flat_mapper.mapping.values import GroupMapping, Policy
from flat_mapper.workload.graph import Workload


@dataclass(frozen=True, kw_only=True)
class GroupTerms:
    """Terms of a group's latency, whatever stands outside its shared level.

    Words are those that cross to and from the outside, by tensor: read, written.
    """

    group: GroupMapping
    policy: Policy
    units: Mapping[str, str]  # compute unit by path
    compute: Mapping[str, float]  # cycles by path
    ideal: Mapping[str, float]
    inside: Mapping[str, float]  # cycles by level, of the shared one and those inside
    moved: Words  # in all
    staged: Words  # in whole tiles
    first: Words  # that the first pass waits for, and that are left after the last
    turns: tuple[TurnParts, ...]  # none where every transfer overlaps every compute
    buffer: BufferUse
    loops: tuple[frozenset[str], ...] = ()  # Einsums that wait for one another from pass to pass
    rounds: Rounds | None = None
    rows: UnevenRows | None = None  # where units take turns: at once, they even them out

    @property
    def passes(self) -> int:
        """Passes of the shared loops, if a mask leaves all."""
        return prod(loop.factor for loop in self.group.shared)

    @cached_property
    def _timing(self) -> Timing:
        """Schedule of the group."""
        return Timing(
            overlapped=overlaps(self.group.schedule),
            turns=bool(self.turns),
            ahead=self.policy.buffering >= 2,
            passes=max((float(n) for n in self._turns_of.values()), default=1.0),
            behind=self.rounds.behind if self.rounds else 0,
        )

    @cached_property
    def _turns_of(self) -> dict[str, float]:
        """Passes of each Einsum."""
        return {p.einsum: sum(k.count for ks in p.sizes for k in ks) for p in self.turns}

    def named(self, cycles: Mapping[str, float]) -> dict[str, float]:
        """Cycles by path as those of compute units, of which both paths may have one name."""
        found: dict[str, float] = {}
        for path, own in cycles.items():
            found[self.units[path]] = found.get(self.units[path], 0) + own
        return found

    def latency(self, outside: Outside) -> Latency:
        """Latency under the schedule, and under the policy's rule of prefetching."""
        transfers = {**outside.by_name(self.moved), **self.inside}
        exposed = outside.cycles(self.first)
        if not self.turns:
            return self._ideal(transfers, exposed)
        exposed = outside.each_way(self.first)
        turns = [parts.turn(outside) for parts in self.turns]
        moved = outside.in_turn(self.moved)
        steady, cycles = (self._by_unit(turns, of) for of in ("steady", "cycles"))
        timing, extra = self._timing, sum(turn.extra for turn in turns)
        found = timing.latency(
            GroupCycles(
                steady=[*steady.values()],
                once=[*self._by_unit(turns, "once").values()],
                loops=[self._together(turns, own) for own in self.loops],
                extra=extra,
                phases=self._phases(turns),
                inside=largest(self.inside.values()),
                outside=moved.cycles,
                staged=outside.each_way(self.staged),
                exposed=exposed,
                rows=self._rows(turns, outside),
            )
        )
        # Bound transfers count first inputs and last outputs twice; overlap is a bound.
        overlap, late = moved.cycles - moved.least, found.late
        busiest = max((cycles if not timing.ahead else steady).values())
        slack = found.turns - busiest if timing.overlapped else 0.0
        slowest = {moved.level: moved.cycles}
        if timing.overlapped:
            slowest = {**transfers, moved.level: moved.cycles + late}
        place = max(slowest, key=slowest.__getitem__)
        if not timing.ahead:
            place = self._binding(outside)
        else:
            if slowest[place] + extra > found.turns:
                slack += late * (place == moved.level)
                by_row = found.cycles - slowest[place] - extra
            else:
                place, by_row = self._binding(outside), found.cycles - found.turns
            slack += found.exposed + extra + by_row
        return Latency(found.cycles, found.exposed, place, slack + overlap)

    def _ideal(self, transfers: Mapping[str, float], first: float) -> Latency:
        """Latency where every transfer overlaps every compute."""
        found = self._timing.latency(
            GroupCycles(
                steady=[*self.compute.values()],
                exposed=first if self.group.schedule != "sequential" else 0.0,
                inside=max(transfers.values()),
            )
        )
        places = transfers if found.cycles > found.turns else self.compute
        place = max(places, key=places.__getitem__)
        place = self.units.get(place, place)
        return Latency(float(found.cycles), found.exposed, place, 0.0)

    def _by_unit(self, turns: Sequence[Turn], of: str) -> dict[str, float]:
        """Cycles of turns added up by path."""
        found: dict[str, float] = {}
        for turn in turns:
            found[turn.unit] = found.get(turn.unit, 0.0) + getattr(turn, of)
        return found

    @staticmethod
    def _together(turns: Sequence[Turn], names: frozenset[str]) -> tuple[float, float]:
        """Steady cycles of some Einsums' turns, and of one pass of them."""
        own = [turn for turn in turns if turn.einsum in names]
        return sum(turn.steady for turn in own), sum(turn.once for turn in own)

    def _binding(self, outside: Outside) -> str:
        """The unit or level that sets most of the turns' cycles."""
        found: dict[str, float] = {}
        for parts in self.turns:
            for name, cycles in parts.binding(outside).items():
                place = self.units[parts.unit] if name == COMPUTE else name
                found[place] = found.get(place, 0.0) + cycles
        return max(found, key=found.__getitem__)

    def _phases(self, turns: Sequence[Turn]) -> list[Phase]:
        """The turns by phase and unit."""
        found = []
        for phase in self.rounds.phases if self.rounds else ():
            every = dict.fromkeys(self.units, 0.0)
            rare, times = dict(every), 1.0
            for turn in (t for t in turns if t.einsum in phase):
                unit = turn.unit
                if self.rounds and turn.einsum in self.rounds.rare:
                    rare[unit] += turn.steady / turn.passes
                    times = max(times, turn.passes)
                else:
                    every[unit] += self._timing.passes * turn.steady / turn.passes
            found.append(Phase([(every[unit], rare[unit]) for unit in every], times))
        return found

    def _rows(self, turns: Sequence[Turn], outside: Outside) -> float | None:
        """Cycles of the rows of tiles that a mask leaves, one by one; None where they are alike.

        What has its turn or comes from outside in every pass of a row does so in proportion to
        these; anything else, as much in every row.
        """
        if self.rows is None:
            return None
        names = {p.einsum for p in self.turns if p.in_pass is not None}
        anew = frozenset[str]().union(*(p.in_pass for p in self.turns if p.in_pass is not None))

        def cycles(every: bool) -> FloatArray:
            own = sum(t.steady if (t.einsum in names) is every else 0.0 for t in turns)
            words = {t: both for t, both in self.moved.items() if (t in anew) is every}
            ports = [port.cycles(words) for port in outside.ports]
            return np.array([[own], *([n] for n in ports), [outside.one_by_one(words)]], np.float64)

        found: float = row_by_row(cycles(True), cycles(False), self.rows)[0]
        return found


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
        path = workload.einsum(member.einsum).unit
        compute[path] = compute.get(path, 0) + member.compute_cycles
        ideal[path] = ideal.get(path, 0.0) + member.ideal_cycles
    together = len(members) > 1 and policy.prefetch != "ideal"
    names = whole_group(workload, group.names, policy)
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
        first=_exposed_words(workload, platform, group, turns=together),
        turns=turn_parts(workload, platform, group, names) if together else (),
        buffer=use,
        loops=carried_loops(workload, group.names) if group.schedule == "overlapped" else (),
        rounds=rounds_of(
            *(workload, group.names, group.phases, use.level),
            handed_inside(workload, platform, group),
        ),
        rows=None if overlaps(group.schedule) else uneven_shared(workload, group),
    )


def alone(terms: GroupTerms, platform: Platform) -> GroupStats:
    """A group by itself on one core, with DRAM outside."""
    outside = dram_alone(platform.dram, terms.moved)
    latency = terms.latency(outside)
    return GroupStats(
        names=terms.group.names,
        schedule=terms.group.schedule,
        compute_cycles=terms.named(terms.compute),
        ideal_cycles=terms.named(terms.ideal),
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


def _exposed_words(
    workload: Workload, platform: Platform, group: GroupMapping, *, turns: bool
) -> dict[str, tuple[float, float]]:
    """Words from outside that the first pass waits for, and that are left after the last turn."""
    found: dict[str, tuple[float, float]] = {}
    level, dram = shared_level(platform).name, platform.dram.name
    for position, mapping in enumerate(group.einsums):
        einsum = workload.einsum(mapping.einsum)
        ends = {"first": position == 0, "last": position + 1 == len(group.einsums)}
        for access in einsum.accesses:
            tensor, staged = access.tensor, access.tensor in mapping.kept_at(level)
            waits = is_exposed(**ends, output=access.is_output, staged=staged, turns=turns)
            if waits and tensor in mapping.kept_at(dram):
                tile = shared_tile(workload, platform.path(einsum.unit), mapping, tensor, level)
                words = tile * workload.share(tensor, dram)
                out = access.is_output
                _add(found, tensor, words * (not out), words * out)
    return found


class Latency(NamedTuple):
    """Cycles of a group, and what sets most of them."""

    cycles: float  # without what nothing overlaps
    exposed: float  # first inputs and last outputs
    bottleneck: str  # a compute unit or a level
    slack: float = 0.0  # at most so many more than the same turns and transfers run one by one
