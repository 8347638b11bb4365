"""The shared level as one Einsum of a group sees it: what it must leave, what it asks for."""

from __future__ import annotations

from math import ceil

from flat_mapper.arch.values import MemoryLevel, Platform
from flat_mapper.cost_model.occupancy import buffer_use, shared_tile
from flat_mapper.mapping.sharing import shared_level
from flat_mapper.mapping.values import EinsumMapping, FusedMapping
from flat_mapper.workload.graph import Workload


def held_words(workload: Workload, platform: Platform, fused: FusedMapping) -> dict[str, int]:
    """By Einsum, words of the shared level that its own kept tiles, each counted once, must leave.

    In a group these are the terms of `buffer_use` less the Einsum's own kept tiles: tiles of the
    others, second copies, streamed tiles. The number is negative where tensors share one buffer:
    Timeloop would count such tiles side by side and in full.
    An operator alone has free tiles; what it loses is the room for the second copies.
    """
    held: dict[str, int] = {}
    for group in fused.groups:
        use = buffer_use(workload, platform, group, fused.policy)
        capacity = use.capacity_words
        for mapping in group.einsums:
            if capacity is None:
                held[mapping.einsum] = 0
            elif len(group.einsums) == 1 and not group.shared:
                held[mapping.einsum] = capacity - int(capacity / fused.policy.buffering)
            else:
                own = _kept_words(workload, platform, mapping)
                held[mapping.einsum] = min(use.live_words, capacity) - own
    return held


def overfull_words(workload: Workload, platform: Platform, fused: FusedMapping) -> dict[str, int]:
    """By Einsum, words of its own kept tiles at the shared level, where these exceed what it has.

    Timeloop counts every tensor's tile in full. Over a group, tensors that share a buffer count
    once (softmax in place): such a mapping fits, and Timeloop would refuse an Einsum of it. A group
    that does not fit is left out: Timeloop is right to refuse it.
    """
    level, overfull = shared_level(platform), dict[str, int]()
    if level.usable_words is None:
        return overfull
    for group in fused.groups:
        asked: dict[str, int] = {}
        for mapping in group.einsums:
            unit = workload.einsum(mapping.einsum).unit
            if unit == "matrix" or platform.vector is not None:
                words = _kept_words(workload, platform, mapping)
                asked |= {mapping.einsum: words} if words > level.usable_words else {}
        if asked and buffer_use(workload, platform, group, fused.policy).fits:
            overfull |= asked
    return overfull


def _kept_words(workload: Workload, platform: Platform, mapping: EinsumMapping) -> int:
    """Words of an Einsum's own kept tiles at the shared level, each counted once and in full."""
    arch = platform.path(workload.einsum(mapping.einsum).unit)
    level = shared_level(platform).name
    return sum(shared_tile(workload, arch, mapping, t, level) for t in mapping.kept_at(level))


def depth_for(level: MemoryLevel, words: int) -> int:
    """The depth at which a level has room for so many words."""
    return ceil(words * level.multiple_buffering / level.row_words)
