"""A mapping with fewer passes: the same tiles, the outermost loops cut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod

from flat_mapper.mapping.resize import resized_mapping
from flat_mapper.mapping.values import EinsumMapping, FusedMapping
from flat_mapper.workload.graph import Workload

PASSES = 2  # of an outermost loop that are left: the first, and one that comes after another


def shrunk(workload: Workload, mapping: FusedMapping, dram: str) -> tuple[Workload, FusedMapping]:
    """The mapping with every loop at DRAM cut to two passes, and the workload as small.

    A rank keeps the most that two passes of any Einsum cover, so that no tile inside is cut. Under
    a mask there stay at least as many keys as queries.

    dram: name of the outermost level.
    """
    sizes = {rank: _kept(workload, mapping, dram, rank, PASSES) for rank in workload.rank_sizes}
    passes, pair = PASSES, workload.roles.masked
    queries, keys = pair or ("", "")
    mask = workload.mask
    while (
        mask
        and pair
        and sizes[keys] < min(-(-sizes[queries] // mask.parts), workload.rank_sizes[keys])
    ):
        passes += 1
        sizes[keys] = _kept(workload, mapping, dram, keys, passes)
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


def _kept(workload: Workload, mapping: FusedMapping, dram: str, rank: str, passes: int) -> int:
    """Rest of a rank: the most that so many passes at DRAM cover in any Einsum."""
    size = workload.rank_sizes[rank]
    users = (
        nest
        for name, nest in mapping.einsum_mappings.items()
        if rank in workload.einsum(name).ranks and rank not in workload.einsum(name).each
    )
    return max((min(size, _covered(nest, dram, rank, passes)) for nest in users), default=size)


def _covered(mapping: EinsumMapping, dram: str, rank: str, passes: int) -> int:
    """Coordinates of a rank in so many passes of its loops at DRAM."""
    return prod(
        min(loop.factor, passes) if slot.node == dram else loop.factor
        for slot, loops in mapping.loops
        for loop in loops
        if loop.rank == rank
    )
