"""A mapping carried over to a smaller size of one rank: the same tiles, fewer of them."""

from __future__ import annotations

from dataclasses import replace

from flat_mapper.mapping.sharing import pass_piece
from flat_mapper.mapping.values import (
    EinsumMapping,
    FusedMapping,
    GroupMapping,
    Loop,
    Slot,
    largest_extent,
    pieces,
)
from flat_mapper.workload.graph import Workload


def resized_mapping(
    mapping: FusedMapping, workload: Workload, rank: str, size: int
) -> FusedMapping:
    """The mapping of a workload, for a smaller size of one of its ranks.

    A loop over the rank makes as many passes as the size still needs, and the last pass of the
    loops above it as many as are left (Timeloop's remainders). Tiles only shrink, so that what fits
    still fits. Loops over other ranks, and what every level keeps, stay.

    mapping: with loops over the rank that multiply to its size, as the search makes them.
    """
    groups = tuple(resized_group(g, workload, rank, size) for g in mapping.groups)
    return replace(mapping, groups=groups)


def resized_group(
    group: GroupMapping, workload: Workload, rank: str, size: int, tile: int = 0
) -> GroupMapping:
    """One group of a mapping, for a smaller size of one rank of its workload.

    Of a rank that is given out to cores the tiles stay and there are fewer, down to one.

    tile: of the rank in a pass of the shared loops; by default as the nests have it.
    """
    whole = workload.rank_sizes[rank]
    if any(loop.rank == rank for loop in group.given_out):
        whole = largest_extent(group, rank)
        group = _fewer_tiles(group, rank, -(-size // whole))
        if size >= whole:
            return group
    if len(group.einsums) == 1 or not any(loop.rank == rank for loop in group.shared):
        nests = tuple(_resized_nest(m, rank, size) for m in group.einsums)
        return replace(group, einsums=nests)
    count = -(-size // (tile or pass_piece(workload, group, rank)))
    nests = tuple(
        # What runs once in each pass of the loop over the rank has no other loop over it.
        _resized_nest(m, rank, count if rank in workload.einsum(m.einsum).each else size)
        for m in group.einsums
    )
    return replace(group, einsums=nests, shared=_counted(group.shared, rank, count))


def _fewer_tiles(group: GroupMapping, rank: str, count: int) -> GroupMapping:
    """The group with so many tiles along a rank that is given out."""
    cores = [(at, _counted(loops, rank, count)) for at, loops in group.cores]
    return replace(group, cores=tuple((at, loops) for at, loops in cores if loops))


def _counted(loops: tuple[Loop, ...], rank: str, count: int) -> tuple[Loop, ...]:
    """Loops of which the one over a rank makes so many passes; those of one pass are none."""
    counted = (replace(p, factor=count, last=0) if p.rank == rank else p for p in loops)
    return tuple(loop for loop in counted if loop.factor > 1)


def _resized_nest(mapping: EinsumMapping, rank: str, size: int) -> EinsumMapping:
    """One loop nest, its loops over a rank cut to a size; from the innermost out."""
    own = [loop for _, loop in mapping.placed if loop.rank == rank]
    if any(loop.extent for loop in own):
        return _with_pieces(mapping, rank, size)
    inner = 1
    slots: list[tuple[Slot, tuple[Loop, ...]]] = []
    for slot, loops in reversed(mapping.loops):
        kept: list[Loop] = []
        for loop in reversed(loops):
            if loop.rank != rank:
                kept.append(loop)
                continue
            needed = -(-size // inner)
            factor = min(loop.factor, needed)
            last = (needed - 1) % loop.factor + 1 if needed > factor else factor
            if factor > 1:
                kept.append(Loop(rank, factor, 0 if last == factor else last))
            inner *= loop.factor
        if kept:
            slots.append((slot, tuple(reversed(kept))))
    return replace(mapping, loops=tuple(reversed(slots)))


def _with_pieces(mapping: EinsumMapping, rank: str, size: int) -> EinsumMapping:
    """One loop nest with the same pieces of a rank of another size, from the outermost in."""
    extents = iter(pieces([loop for _, loop in mapping.placed if loop.rank == rank]))
    slots: list[tuple[Slot, tuple[Loop, ...]]] = []
    for slot, loops in mapping.loops:
        kept: list[Loop] = []
        for loop in loops:
            if loop.rank != rank:
                kept.append(loop)
            elif (extent := next(extents)) < size:
                kept.append(Loop(rank, -(-size // extent), extent=extent))
                size = extent
        if kept:
            slots.append((slot, tuple(kept)))
    return replace(mapping, loops=tuple(slots))
