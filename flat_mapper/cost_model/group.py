"""Einsums that run together: the shared bandwidths, the spilled words, and the schedule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, prod

from flat_mapper.arch.values import Architecture, Platform
from flat_mapper.cost_model.latency import transfer_cycles
from flat_mapper.cost_model.occupancy import buffer_use, shared_tile
from flat_mapper.cost_model.result import BufferUse, EinsumStats, GroupStats
from flat_mapper.cost_model.reuse import SHARED
from flat_mapper.cost_model.schedule import Latency, ideal_latency, turns_latency
from flat_mapper.cost_model.turn_taking import turns
from flat_mapper.mapping.sharing import shared_level, whole_group
from flat_mapper.mapping.values import GroupMapping, Policy
from flat_mapper.workload.graph import Workload


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
    latency = _latency(workload, platform, group, policy, members, compute, transfers)
    cold = latency.exposed + policy.tile_start_cycles * prod(loop.factor for loop in group.shared)
    return GroupStats(
        names=group.names,
        schedule=group.schedule,
        compute_cycles=compute,
        ideal_cycles=ideal,
        transfer_cycles=transfers,
        cold_start_cycles=cold,
        cycles=ceil(latency.cycles + cold - 1e-9),
        bottleneck=latency.bottleneck,
        buffer=use,
        spill_words=spilled,
        slack_cycles=latency.slack,
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
        cycles[name] = float(transfer_cycles(level, reads, writes))
    return cycles


def _paths(platform: Platform) -> tuple[Architecture, ...]:
    return (platform.matrix,) if platform.vector is None else (platform.matrix, platform.vector)


def _latency(
    workload: Workload,
    platform: Platform,
    group: GroupMapping,
    policy: Policy,
    members: Sequence[EinsumStats],
    compute: Mapping[str, int],
    transfers: Mapping[str, float],
) -> Latency:
    """Latency of a group under its schedule, and under the policy's rule of prefetching."""
    if len(members) == 1 or policy.prefetch == "ideal":
        first = _first_words(workload, platform, group, everything=False)
        return ideal_latency(group.schedule, compute, transfers, _dram_cycles(platform, first, 0))
    names = whole_group(workload, group.names, policy)
    read = _first_words(workload, platform, group, everything=True)
    written = _last_words(workload, platform, group)
    at_dram = [(m, lv) for m in members if (lv := m.level(platform.dram.name)) is not None]
    staged = [
        (t.words_read, t.words_written)
        for m, lv in at_dram
        for t in lv.tensors
        if any(s.tensor == t.tensor for s in m.levels[SHARED].tensors)
    ]
    return turns_latency(
        group.schedule,
        policy,
        turns(workload, platform, group, names),
        transfers,
        platform.dram.name,
        _dram_cycles(platform, sum(r for r, _ in staged), 0)
        + _dram_cycles(platform, 0, sum(w for _, w in staged)),
        _dram_cycles(platform, read, 0) + _dram_cycles(platform, 0, written),
        {
            path: platform.path(path).compute.name
            for path in {workload.einsum(n).unit for n in group.names}
        },
    )


def _dram_cycles(platform: Platform, reads: float, writes: float) -> float:
    return float(transfer_cycles(platform.dram, reads, writes))


def _first_words(
    workload: Workload, platform: Platform, group: GroupMapping, *, everything: bool
) -> float:
    """Words from DRAM that the first pass waits for; nothing overlaps them.

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
            if waits and tensor in mapping.kept_at(platform.dram.name) and tensor not in found:
                tile = shared_tile(workload, arch, mapping, tensor, level)
                found[tensor] = tile * workload.share(tensor)
    return sum(found.values())


def _last_words(workload: Workload, platform: Platform, group: GroupMapping) -> float:
    """Words to DRAM that are left when the last turn is over: the last tiles of its outputs."""
    total, level = 0.0, shared_level(platform).name
    for position, mapping in enumerate(group.einsums):
        einsum = workload.einsum(mapping.einsum)
        tensor, last = einsum.output.tensor, position + 1 == len(group.einsums)
        leaves = tensor in mapping.kept_at(platform.dram.name)
        if leaves and (last or tensor in mapping.kept_at(level)):
            tile = shared_tile(workload, platform.path(einsum.unit), mapping, tensor, level)
            total += tile * workload.share(tensor)
    return total


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
