"""What one Einsum of a group has to leave of the shared level to the others."""

from __future__ import annotations

from flat_mapper.arch import Platform
from flat_mapper.mapping import FusedMapping
from flat_mapper.model.group import buffer_use, shared_level, shared_tile
from flat_mapper.workload import Workload


def held_words(workload: Workload, platform: Platform, fused: FusedMapping) -> dict[str, int]:
    """By Einsum, words of the shared level that its own kept tiles, each counted once, must leave.

    In a group these are the terms of `buffer_use` less the Einsum's own kept tiles: tiles of the
    others, second copies, streamed tiles. The number is negative where tensors share one buffer,
    or where the group spills: Timeloop would count such tiles side by side and in full.
    An operator alone has free tiles; what it loses is the room for the second copies.
    """
    level, held = shared_level(platform), dict[str, int]()
    for group in fused.groups:
        use = buffer_use(workload, platform, group, fused.policy)
        capacity = use.capacity_words
        for mapping in group.einsums:
            if capacity is None:
                held[mapping.einsum] = 0
            elif len(group.einsums) == 1 and not group.shared:
                held[mapping.einsum] = capacity - int(capacity / fused.policy.buffering)
            else:
                einsum = workload.einsum(mapping.einsum)
                arch, kept = platform.path(einsum.unit), mapping.kept_at(level.name)
                own = sum(shared_tile(workload, arch, mapping, t, level.name) for t in kept)
                held[mapping.einsum] = min(use.live_words, capacity) - own
    return held
