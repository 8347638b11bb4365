"""Einsums that run together: the shared bandwidths, and the schedule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from flat_mapper.arch.values import Platform
from flat_mapper.base.tolerance import whole_cycles
from flat_mapper.cost_model.latency import Outside, Words, only_dram, transfer_cycles
from flat_mapper.cost_model.occupancy import buffer_use, shared_tile
from flat_mapper.cost_model.result import BufferUse, EinsumStats, GroupStats
from flat_mapper.cost_model.reuse import SHARED
from flat_mapper.cost_model.schedule import (
    Latency,
    Rounds,
    Row,
    ideal_latency,
    rounds_of,
    turns_latency,
)
from flat_mapper.cost_model.turn_taking import Turn, TurnParts, turn_parts, uneven_shared
from flat_mapper.mapping.cores.handover import handed_inside
from flat_mapper.mapping.order import UnevenRows, overlaps
from flat_mapper.mapping.sharing import shared_level, whole_group
from flat_mapper.mapping.values import GroupMapping, Policy
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
