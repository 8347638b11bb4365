"""Einsums that run together: the shared bandwidths, the spilled words, and the schedule."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, prod

from flat_mapper.arch.values import Architecture, Platform
from flat_mapper.cost_model.latency import transfer_cycles
from flat_mapper.cost_model.occupancy import buffer_use, shared_tile
from flat_mapper.cost_model.result import BufferUse, EinsumStats, GroupStats
from flat_mapper.mapping.sharing import crosses_dram, shared_level
from flat_mapper.mapping.values import GroupMapping, Policy
from flat_mapper.workload.graph import Einsum, Workload


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
        cycles[name] = float(transfer_cycles(level, reads, writes))
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
    return float(transfer_cycles(platform.dram, words, 0.0))


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
