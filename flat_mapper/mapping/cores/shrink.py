"""A mapping with fewer passes: the same tiles, the outermost loops cut."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from math import prod

from flat_mapper.arch.values import Platform
from flat_mapper.mapping.cores.view import fusion_level, names_outside
from flat_mapper.mapping.resize import resized_mapping
from flat_mapper.mapping.values import EinsumMapping, FusedMapping, GroupMapping, largest_extent
from flat_mapper.workload.graph import Workload

PASSES = 2  # of an outermost loop that are left: the first, and one that comes after another


def shrunk(
    workload: Workload, mapping: FusedMapping, platform: Platform
) -> tuple[Workload, FusedMapping]:
    """The mapping with every loop outside its fusion level cut to two passes, and the workload too.

    A rank keeps the most that two passes of any Einsum cover, and two tiles of cores where it is
    given out, so that no tile inside is cut. Under a mask there stay at least as many keys as
    queries.
    """
    sizes = {rank: _kept(workload, mapping, platform, rank, PASSES) for rank in workload.rank_sizes}
    passes, pair = PASSES, workload.roles.masked
    queries, keys = pair or ("", "")
    mask = workload.mask
    while (
        mask
        and pair
        and sizes[keys] < min(-(-sizes[queries] // mask.parts), workload.rank_sizes[keys])
    ):
        passes += 1
        sizes[keys] = _kept(workload, mapping, platform, keys, passes)
    small = replace(workload, rank_sizes=sizes)
    for rank, size in sizes.items():
        if size < workload.rank_sizes[rank]:
            mapping = resized_mapping(mapping, workload, rank, size)
    return small, mapping


def cut_ranks(before: Workload, after: Workload) -> Mapping[str, tuple[int, int]]:
    """The ranks that became shorter: their sizes before and after."""
    return {
        rank: (size, after.rank_sizes[rank])
        for rank, size in before.rank_sizes.items()
        if after.rank_sizes[rank] != size
    }


def _kept(
    workload: Workload, mapping: FusedMapping, platform: Platform, rank: str, passes: int
) -> int:
    """Rest of a rank: the most that so many passes outside the fusion level cover."""
    size = workload.rank_sizes[rank]
    covered = [
        _covered(workload, group, platform, rank, passes)
        for group in mapping.groups
        if any(rank in workload.einsum(name).ranks for name in group.names)
    ]
    most = max(covered, default=0)
    return min(size, most) if most else size


def _covered(
    workload: Workload, group: GroupMapping, platform: Platform, rank: str, passes: int
) -> int:
    """Coordinates of a rank in so many passes of a group; 0 where all run once in each of them."""
    for loop in group.given_out:
        if loop.rank == rank:
            return largest_extent(group, rank) * min(loop.factor, passes)
    outside = names_outside(platform.matrix, fusion_level(platform, group).name)
    users = [
        nest
        for nest in group.einsums
        if rank in workload.einsum(nest.einsum).ranks
        and rank not in workload.einsum(nest.einsum).each
    ]
    return max((_passes(nest, outside, rank, passes) for nest in users), default=0)


def _passes(mapping: EinsumMapping, outside: Collection[str], rank: str, passes: int) -> int:
    """Coordinates of a rank in so many passes of one nest's loops outside the fusion level."""
    return prod(
        min(loop.factor, passes) if slot.node in outside else loop.factor
        for slot, loops in mapping.loops
        for loop in loops
        if loop.rank == rank
    )
