"""Einsums that run together: the shared bandwidths, and the schedule."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, NamedTuple

import numpy as np

from flat_mapper.arch.values import MemoryLevel, Platform
from flat_mapper.base.tolerance import whole_cycles
from flat_mapper.cost_model.nest import FloatArray
from flat_mapper.cost_model.outside import Outside, Words, around, weight_of
from flat_mapper.cost_model.ports import (
    Amount,
    Moved,
    added_up,
    chosen,
    largest,
    name_of_largest,
    transfer_cycles,
)
from flat_mapper.cost_model.residence import buffer_use, shared_tile
from flat_mapper.cost_model.result import BufferUse, EinsumStats, GroupStats
from flat_mapper.cost_model.schedule import (
    GroupCycles,
    PhaseCycles,
    Rounds,
    Timing,
    is_exposed,
    rounds_of,
    row_by_row,
)
from flat_mapper.cost_model.transfers import SHARED
from flat_mapper.cost_model.turns import (
    COMPUTE,
    KindParts,
    Turn,
    TurnParts,
    turn_parts,
    uneven_shared,
)
from flat_mapper.mapping.check import handed_inside
from flat_mapper.mapping.cores import CoreQuestion
from flat_mapper.mapping.order import UnevenRows, carried_loops, overlaps
from flat_mapper.mapping.sharing import shared_level, visited_tiles, whole_group
from flat_mapper.mapping.values import GroupMapping, Loop, Policy, pieces
from flat_mapper.workload.graph import Workload


@dataclass(frozen=True, kw_only=True)
class GroupTerms:
    """Terms of a group's latency, whatever stands outside its shared level.

    Words are those that cross to and from the outside, by tensor: read, written. Amounts are
    numbers, or arrays over tiles that differ in the number of their passes.
    """

    group: GroupMapping
    policy: Policy
    units: Mapping[str, str]  # compute unit by path
    compute: Mapping[str, Amount]  # cycles by path
    ideal: Mapping[str, float]
    passes: int  # of the shared loops in time, that a mask leaves
    inside: Mapping[str, Amount]  # cycles by level, of the shared one and those inside
    moved: Words  # in all
    staged: Words  # in whole tiles
    first: Words  # that the first pass waits for, and that are left after the last
    turns: tuple[TurnParts, ...]  # none where every transfer overlaps every compute
    buffer: BufferUse
    loops: tuple[Mapping[str, float], ...] = ()  # see `carried_loops`
    returns: tuple[tuple[frozenset[str], int], ...] = ()  # see `_returns`
    anew: frozenset[str] = frozenset()  # tensors that come in the time of one pass
    rounds: Rounds | None = None
    rows: UnevenRows | None = None  # where units take turns: at once, they even them out

    @cached_property
    def _timing(self) -> Timing:
        """Schedule of the group."""
        return Timing(
            overlapped=overlaps(self.group.schedule),
            turns=bool(self.turns) and self.policy.prefetch == "held",
            ahead=self.policy.buffering >= 2,
            passes=largest(sum(k.count for ks in p.sizes.values() for k in ks) for p in self.turns),
            behind=self.rounds.behind if self.rounds else 0,
        )

    def latency(self, outside: Outside) -> Latency:
        """Latency under the schedule, and under the policy's rule of prefetching."""
        if not self.turns:
            return self._ideal(outside)
        turns = [parts.turn(outside) for parts in self.turns]
        at_once, moved = outside.by_name(self.moved), outside.one_by_one(self.moved)
        steady, cycles = (self._by_unit(turns, of) for of in ("steady", "cycles"))
        timing, extra = self._timing, sum(turn.extra for turn in turns)
        inside = largest(self.inside.values())
        found = timing.latency(
            GroupCycles(
                steady=[*steady.values()],
                once=[*self._by_unit(turns, "once").values()],
                uneven=sum(n * self._waits(turns, own, outside) for own, n in self.returns),
                loops=[self._together(turns, own) for own in self.loops],
                extra=extra,
                phases=self._phases(turns),
                inside=inside,
                outside=moved,
                staged=outside.each_way(self.staged),
                exposed=outside.each_way(self.first),
                rows=self._rows(turns, outside),
            )
        )
        # Bound transfers count first inputs and last outputs twice; overlap is a bound.
        slack = moved - largest(at_once.values())
        alone = largest if timing.overlapped else sum
        least = steady if timing.overlapped and timing.ahead else cycles
        slack = slack + found.turns - alone(least.values())
        if not timing.ahead:
            return Latency(found.cycles, found.exposed, self._binding(outside), slack)
        level, most, late = name_of_largest(at_once), moved + found.late, found.late
        if timing.overlapped:
            within = inside > most
            level = chosen(within, name_of_largest(self.inside), level)
            most, late = largest((most, inside)), chosen(within, 0.0, late)
        longest = largest((most + extra, found.turns))
        waits = most + extra > found.turns  # for words
        place = level if np.all(waits) else chosen(waits, level, self._binding(outside))
        slack = slack + found.exposed + extra + found.cycles - longest + chosen(waits, late, 0.0)
        return Latency(found.cycles, found.exposed, place, slack)

    def _ideal(self, outside: Outside) -> Latency:
        """Latency where every transfer overlaps every compute."""
        transfers = {**outside.by_name(self.moved), **self.inside}
        found = self._timing.latency(
            GroupCycles(
                steady=[*self.compute.values()],
                exposed=outside.cycles(self.first) if self.group.schedule != "sequential" else 0.0,
                inside=largest(transfers.values()),
            )
        )
        waits = found.cycles > found.turns
        units = name_of_largest(self.named(self.compute))
        place = chosen(waits, name_of_largest(transfers), units)
        return Latency(found.cycles, found.exposed, place, 0.0)

    def _by_unit(self, turns: Sequence[Turn], of: str) -> dict[str, Amount]:
        """Cycles of turns added up by path."""
        return added_up((turn.unit, getattr(turn, of)) for turn in turns)

    def named(self, cycles: Mapping[str, Amount]) -> dict[str, Amount]:
        """Cycles by path as those of compute units, of which both paths may have one name."""
        return added_up((self.units[path], own) for path, own in cycles.items())

    @staticmethod
    def _together(turns: Sequence[Turn], names: Mapping[str, float]) -> tuple[Amount, Amount]:
        """Steady cycles of some of the turns of some Einsums, and of one pass of these."""
        own = [(turn, names[turn.einsum]) for turn in turns if turn.einsum in names]
        return sum(n * turn.steady for turn, n in own), sum(n * turn.once for turn, n in own)

    def _waits(self, turns: Sequence[Turn], last: frozenset[str], outside: Outside) -> Amount:
        """Cycles by which the longest pass of one takes more than a last pass of another.

        They are those that work at once: units, or all turns, and the transfers from outside.
        """
        apart = self._timing.overlapped
        every = [(turn.unit if apart else "", turn.once, *turn.in_last(last)) for turn in turns]
        most = added_up((unit, longest) for unit, longest, _, _ in every)
        least = added_up((unit, shortest) for unit, _, shortest, _ in every)
        free = added_up((unit, left) for unit, *_, left in every)
        words = outside.each_way({t: both for t, both in self.first.items() if t in self.anew})
        waits = [most[one] - least[other] for one in most for other in least if one != other]
        return largest((0.0, *waits, *(words - left for left in free.values())))

    def _binding(self, outside: Outside) -> Any:
        """The unit or level that sets most of the turns' cycles."""
        parts = (
            (self.units[one.unit] if name == COMPUTE else name, cycles)
            for one in self.turns
            for name, cycles in one.binding(outside).items()
        )
        return name_of_largest(added_up(parts))

    def _phases(self, turns: Sequence[Turn]) -> list[PhaseCycles]:
        """The turns by phase and unit."""
        found = []
        for phase in self.rounds.phases if self.rounds else ():
            every: dict[str, Amount] = dict.fromkeys(self.units, 0.0)
            rare, times = dict(every), [1.0]
            for turn in (t for t in turns if t.einsum in phase):
                if self.rounds and turn.einsum in self.rounds.rare:
                    rare[turn.unit] += turn.steady / turn.passes
                    times.append(turn.passes)
                else:
                    every[turn.unit] += self._timing.passes * turn.steady / turn.passes
            found.append(PhaseCycles([(every[unit], rare[unit]) for unit in every], largest(times)))
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
            return np.array([[n] for n in (own, *outside.loads(words, in_turn=True))], np.float64)

        found: float = row_by_row(cycles(True), cycles(False), self.rows)[0]
        return found


def group_terms(core: CoreQuestion, policy: Policy, stats: Mapping[str, EinsumStats]) -> GroupTerms:
    """The terms of a group from the counts of its Einsums, whoever counted them."""
    workload, platform, group = core
    members = [stats[name] for name in group.names]
    paths = [(name, workload.einsum(name).unit) for name in group.names]
    use = buffer_use(core, policy)
    inside = {lv.name: lv for arch in platform.paths for lv in arch.levels[SHARED:]}
    together = len(members) > 1 and policy.prefetch == "held"
    own = len(members) > 1 and policy.prefetch == "own"
    names, tiles = whole_group(workload, group.names, policy), visited_tiles(workload, group)
    every = prod(loop.factor for loop in group.shared)
    runs = tuple(_run(stats[n], path, inside.values()) for n, path in paths if own)
    return GroupTerms(
        group=group,
        policy=policy,
        units={path: platform.path(path).compute.name for _, path in paths},
        compute=added_up((path, stats[n].compute_cycles) for n, path in paths),
        ideal=added_up((path, stats[n].ideal_cycles) for n, path in paths),
        passes=every * tiles.visited // tiles.total if tiles else every,
        inside=port_cycles(inside.values(), members),
        moved=_moved(members),
        staged={} if own else _moved(members, staged=True),
        first={} if own else _exposed_words(core, turns=together),
        turns=tuple(turn_parts(core, names, m) for m in group.einsums) if together else runs,
        buffer=use,
        loops=carried_loops(workload, group.names) if group.schedule == "overlapped" else (),
        returns=_returns(workload, group),
        anew=_anew(workload, group),
        rounds=rounds_of(workload, group.names, group.phases, use.level, handed_inside(*core)),
        rows=None if own or overlaps(group.schedule) else uneven_shared(workload, group),
    )


def _returns(workload: Workload, group: GroupMapping) -> tuple[tuple[frozenset[str], int], ...]:
    """Ranks of shared loops in shorter last passes, and how often a full pass comes after these.

    Where units work at once, one waits before them too: also of the last ones of all.
    """
    found: list[tuple[frozenset[str], int]] = []
    passes, before = 1, int(not overlaps(group.schedule))
    short = [loop.rank for loop in group.shared if _cut_short(workload, group, loop)]
    for loop in group.shared:
        if loop.rank in short:
            found.append((frozenset(short[len(found) :]), passes - before))
            before = passes
        passes *= loop.factor
    return tuple(found)


def _anew(workload: Workload, group: GroupMapping) -> frozenset[str]:
    """Tensors that come in the time of one pass: what stays over some has all these to come in.

    A mask may leave one pass of its inner loop.
    """
    inner = [loop.rank for loop in group.shared if loop.factor > 1][::-1]
    rows = uneven_shared(workload, group)
    alone = rows is not None and inner[0] == rows.inner and rows.counts[0][0] == 1
    ranks = {*inner[: 1 + alone]}
    return frozenset(t for t, own in workload.tensor_ranks.items() if ranks & {*own})


def _cut_short(workload: Workload, group: GroupMapping, loop: Loop) -> bool:
    """True if the last pass of a shared loop is shorter than the others."""
    nest = next(n for n in group.einsums if any(p == loop for _, p in n.placed))
    own = [p for _, p in nest.placed if p.rank == loop.rank]
    return workload.rank_sizes[loop.rank] % pieces(own)[0] > 0


def _run(stats: EinsumStats, unit: str, levels: Collection[MemoryLevel]) -> TurnParts:
    """All of an Einsum's run as one turn, beside which its own transfers go."""
    local = {COMPUTE: stats.compute_cycles, **port_cycles(levels, [stats])}
    run = KindParts(1, local, _moved([stats]))
    return TurnParts(einsum=stats.einsum, unit=unit, sizes={frozenset(): (run,)})


def alone(terms: GroupTerms, platform: Platform) -> GroupStats:
    """A group by itself on one core, with DRAM outside."""
    dram, moved = platform.dram, terms.moved
    weights = {t: weight_of(dram, t, read + written) for t, (read, written) in moved.items()}
    outside = around(dram, weights)
    latency = terms.latency(outside)
    return GroupStats(
        names=terms.group.names,
        schedule=terms.group.schedule,
        compute_cycles=terms.named(terms.compute),
        ideal_cycles=terms.named(terms.ideal),
        transfer_cycles={**outside.by_name(moved), **terms.inside},
        cold_start_cycles=latency.exposed,
        cycles=whole_cycles(latency.cycles + latency.exposed),
        bottleneck=latency.bottleneck,
        buffer=terms.buffer,
        slack_cycles=latency.slack,
    )


def _add(words: dict[str, tuple[float, float]], tensor: str, read: float, written: float) -> None:
    before = words.get(tensor, (0.0, 0.0))
    words[tensor] = before[0] + read, before[1] + written


def _moved(members: list[EinsumStats], *, staged: bool = False) -> dict[str, tuple[float, float]]:
    """Words at the outermost level, by tensor; staged: of those in whole tiles alone."""
    found: dict[str, tuple[float, float]] = {}
    for member in members:
        for t in member.levels[0].tensors:
            if not staged or any(s.tensor == t.tensor for s in member.levels[SHARED].tensors):
                _add(found, t.tensor, t.moved.reads, t.moved.writes)
    return found


def port_cycles(
    levels: Collection[MemoryLevel], members: Sequence[EinsumStats]
) -> dict[str, float]:
    """Cycles of the transfers of each level, over the Einsums that use its ports."""
    moved: dict[str, list[Moved]] = {level.memory: [] for level in levels}
    for level in levels:
        moved[level.memory] += [lv.moved for m in members if (lv := m.level(level.name))]
    own = (level for level in levels if not level.part_of)
    return {lv.name: float(transfer_cycles(lv, *Moved.total(moved[lv.name]))) for lv in own}


def _exposed_words(core: CoreQuestion, *, turns: bool) -> dict[str, tuple[float, float]]:
    """Words from outside that the first pass waits for, and that are left after the last turn."""
    workload, platform, group = core
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
    """Cycles of a group, and what sets most of them; numbers, or arrays over tiles."""

    cycles: Amount  # without what nothing overlaps
    exposed: Amount  # first inputs and last outputs
    bottleneck: Any  # a compute unit or a level
    slack: Amount = 0.0  # at most so many more than the same turns and transfers run one by one
