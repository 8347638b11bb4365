"""Einsums that run together: the shared buffer, the shared bandwidths, and the schedule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import dropwhile
from math import ceil, prod

import numpy as np

from flat_mapper.arch.values import Architecture, Platform
from flat_mapper.cost_model.latency import transfer_cycles
from flat_mapper.cost_model.result import BufferUse, EinsumStats, GroupStats
from flat_mapper.mapping.sharing import (
    carried_tensors,
    crosses_dram,
    in_place_classes,
    leaves_finished,
    left_out_words,
    shared_level,
    with_unmapped,
)
from flat_mapper.mapping.values import EinsumMapping, GroupMapping, Policy, slots_of
from flat_mapper.workload.graph import Einsum, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What one tensor takes in the shared buffer, or several that share one place."""

    tensor: str  # the first of those that share it
    words: float  # of one copy
    copies: float
    first: str  # the Einsum of the group that touches it first
    last: str  # and the one that touches it last

    @property
    def total_words(self) -> int:
        """All copies."""
        return ceil(self.words * self.copies)


def held_tensors(
    workload: Workload, platform: Platform, group: GroupMapping, policy: Policy
) -> tuple[Held, ...]:
    """What the shared level holds for a group, by tensor.

    A tensor kept there takes its whole tile below the shared loops; one that bypasses it is
    streamed, and takes its tile below the shared level's own loops. What the group keeps at DRAM
    is held `buffering` times, an intermediate once (once more when units overlap). What is carried
    over the passes of an inner loop is an intermediate, also where a free softmax leaves it out of
    the mapping; when units overlap, two tiles of rows are in flight, each with its own.
    source: FLAT, ASPLOS'23, table 1; its general form as derived from the simulator's data.
    """
    level = shared_level(platform)
    classes = in_place_classes(workload) if policy.in_place else {}
    free = policy.softmax == "free" and len(group.einsums) > 1
    off_chip = {t for m in group.einsums for t in m.kept_at(platform.dram.name)}
    off_chip -= {t for t in off_chip if free and leaves_finished(workload, group.names, t)}
    carried = carried_tensors(
        workload, with_unmapped(workload, group.names) if free else group.names
    )
    held: dict[str, Held] = {}
    for mapping in group.einsums:
        einsum = workload.einsum(mapping.einsum)
        arch = platform.path(einsum.unit)
        for access in einsum.accesses:
            tensor = access.tensor
            early = policy.drain == "early" and access.is_output and tensor not in group.staged
            values = shared_tile(workload, arch, mapping, tensor, level.name, early=early)
            words = values * workload.share(tensor)
            key = classes.get(tensor, tensor)
            if tensor in off_chip:
                copies = policy.buffering
                # What enters from DRAM overwrites nothing: its maker ran elsewhere.
                key = key if workload.producers.get(tensor) in group.names else tensor
            else:
                copies = 2.0 if _in_flight(workload, group, tensor, carried) else 1.0
            before = held.get(key)
            first = mapping.einsum
            if before is not None:
                words, copies = max(words, before.words), max(copies, before.copies)
                first = before.first
            held[key] = Held(
                tensor=key, words=words, copies=copies, first=first, last=mapping.einsum
            )
    for tensor, words in left_out_words(workload, group).items() if free else ():
        copies = 2.0 if group.schedule == "overlapped" else 1.0
        ends = {"first": group.names[0], "last": group.names[-1]}
        held.setdefault(tensor, Held(tensor=tensor, words=words, copies=copies, **ends))
    return tuple(held.values())


def buffer_use(
    workload: Workload, platform: Platform, group: GroupMapping, policy: Policy
) -> BufferUse:
    """Live words of the shared level at the worst moment of a FLAT-tile: all that it holds."""
    level = shared_level(platform)
    held = held_tensors(workload, platform, group, policy)
    terms = tuple((h.tensor, h.total_words) for h in held)
    return BufferUse(level=level.name, capacity_words=level.usable_words, terms=terms)


def _in_flight(
    workload: Workload, group: GroupMapping, tensor: str, carried: tuple[str, ...]
) -> bool:
    """Whether an intermediate needs a second tile: the units work on different tiles at once."""
    if group.schedule != "overlapped" or tensor not in workload.producers:
        return False
    if tensor in carried:
        return True
    maker = workload.einsum(workload.producers[tensor]).unit
    readers = (e.unit for e in workload.einsums if any(a.tensor == tensor for a in e.inputs))
    return any(unit != maker for unit in readers)


def shared_tile(
    workload: Workload,
    arch: Architecture,
    mapping: EinsumMapping,
    tensor: str,
    level: str,
    *,
    early: bool = False,
) -> int:
    """Values of a tensor's tile at the shared level: whole where kept, inner where streamed.

    early: count only what is alive at once of an output that leaves as soon as it is complete:
           its tile under the level's outermost loops, as far as those are over its own ranks.
    """
    outside = True
    inner: dict[str, int] = {}
    staged = tensor in mapping.kept_at(level)
    ranks = workload.tensor_ranks[tensor]
    for slot in slots_of(arch):
        if slot.node == level:
            outside = False
            if not staged:
                continue
        if not outside:
            loops = mapping.at(slot)
            if early and slot.node == level:
                loops = tuple(dropwhile(lambda loop: loop.rank in ranks, loops))
            for loop in loops:
                inner[loop.rank] = inner.get(loop.rank, 1) * loop.factor
    return prod(min(inner.get(r, 1), workload.rank_sizes[r]) for r in ranks)


def group_stats(
    workload: Workload,
    platform: Platform,
    group: GroupMapping,
    policy: Policy,
    stats: Mapping[str, EinsumStats],
) -> GroupStats:
    """Latency of a group from the counts of its Einsums, whoever counted them."""
    members = [stats[name] for name in group.names]
    use = buffer_use(workload, platform, group, policy)
    compute: dict[str, int] = {}
    ideal: dict[str, float] = {}
    for member in members:
        compute[member.unit] = compute.get(member.unit, 0) + member.compute_cycles
        ideal[member.unit] = ideal.get(member.unit, 0.0) + member.ideal_cycles
    spilled = _spill_words(platform, group, policy, use, stats) if policy.overflow == "spill" else 0
    transfers = _transfers(platform, members, spilled)
    busy = max(compute.values()) if group.schedule == "overlapped" else sum(compute.values())
    longest = max(transfers, key=lambda name: transfers[name])
    cold = _cold_start(workload, platform, group) if group.schedule != "sequential" else 0.0
    cold += policy.tile_start_cycles * prod(loop.factor for loop in group.shared)
    if transfers[longest] > busy:
        bottleneck, steady = longest, transfers[longest]
    else:
        bottleneck, steady = max(compute, key=lambda unit: compute[unit]), float(busy)
    return GroupStats(
        names=group.names,
        schedule=group.schedule,
        compute_cycles=compute,
        ideal_cycles=ideal,
        transfer_cycles=transfers,
        cold_start_cycles=cold,
        cycles=ceil(steady + cold - 1e-9),
        bottleneck=bottleneck,
        buffer=use,
        spill_words=spilled,
    )


def _transfers(platform: Platform, members: list[EinsumStats], spilled: int) -> dict[str, float]:
    """Cycles of each level's transfers, summed over the Einsums that use its ports."""
    cycles: dict[str, float] = {}
    levels = {lv.name: lv for arch in _paths(platform) for lv in arch.levels}
    for name, level in levels.items():
        found = [lv for m in members if (lv := m.level(name)) is not None]
        # Half of what spills goes out, half comes back.
        extra = spilled / 2 if name == platform.dram.name else 0.0
        reads = sum(lv.reads for lv in found) + extra
        writes = sum(lv.writes for lv in found) + extra
        cycles[name] = float(transfer_cycles(level, np.array([reads]), np.array([writes]))[0])
    return cycles


def _paths(platform: Platform) -> tuple[Architecture, ...]:
    return (platform.matrix,) if platform.vector is None else (platform.matrix, platform.vector)


def _cold_start(workload: Workload, platform: Platform, group: GroupMapping) -> float:
    """Cycles until the first Einsum has its first inputs on chip; nothing overlaps them."""
    mapping = group.einsums[0]
    einsum: Einsum = workload.einsum(mapping.einsum)
    arch = platform.path(einsum.unit)
    level = shared_level(platform).name
    words = sum(
        shared_tile(workload, arch, mapping, a.tensor, level) * workload.share(a.tensor)
        for a in einsum.inputs
        if crosses_dram(workload, group.names, a.tensor)
    )
    return float(transfer_cycles(platform.dram, np.array([words]), np.array([0]))[0])


def _spill_words(
    platform: Platform,
    group: GroupMapping,
    policy: Policy,
    use: BufferUse,
    stats: Mapping[str, EinsumStats],
) -> int:
    """Words that go to DRAM and back because the shared buffer is too small.

    The fraction of the live words that does not fit is taken from every access to what the shared
    level keeps; of the tensors in `spill_streamed`, from every word that passes it by. An output
    that the compute units accumulate there is read at every update, the first one included; one
    that arrives finished and leaves for DRAM anyway costs nothing more.
    source: the FLAT simulator's soft overflow (FuseMax artifact, flat_validation.csv).
    """
    if not use.spilled:
        return 0
    touched = 0.0
    for mapping in group.einsums:
        passing, held, *inner = (lv.tensors for lv in stats[mapping.einsum].levels)
        kept = mapping.kept_at(use.level)
        inside = {t.tensor for tensors in inner for t in tensors}
        off_chip = mapping.kept_at(platform.dram.name)
        for t in held:
            if t.scalar_updates and t.tensor not in inside:
                touched += 2 * t.scalar_updates * t.share
            elif not (t.scalar_updates and t.tensor in off_chip):
                touched += (t.scalar_reads + t.scalar_updates) * t.share
        for t in passing:
            if t.tensor in policy.spill_streamed and t.tensor not in kept:
                touched += (t.scalar_reads + t.scalar_updates) * t.share
    return round(use.spilled * touched)
