"""A mapping of one core's tile as mappings of the whole on the chip: the ways to give tiles out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from flat_mapper.arch.values import Platform
from flat_mapper.mapping.cores.tiles import given_ranks
from flat_mapper.mapping.cores.view import levels_between
from flat_mapper.mapping.values import EinsumMapping, FusedMapping, GroupMapping, Loop, Slot
from flat_mapper.workload.graph import Workload


def lifted(
    workload: Workload,
    platform: Platform,
    mapping: FusedMapping,
    level: str,
    tiles: Mapping[str, int],
) -> Iterator[FusedMapping]:
    """Mappings of the whole in which every core runs a tile as one core does.

    Without a level between, tiles of queries go first or last; with one, either nothing or every
    input of a group is kept there, of all tiles or of those of the innermost loops.

    mapping: of a tile, on `core_platform`. tiles: extents of the ranks that are given out.
    """
    sizes = workload.rank_sizes
    loops = [Loop(r, -(-sizes[r] // n)) for r, n in tiles.items() if n < sizes[r]]
    queries = [p for p in loops if p.rank == workload.roles.queries]
    others = [p for p in loops if p not in queries]
    orders = [[*others, *queries]] + ([[*queries, *others]] if queries and others else [])
    between = levels_between(platform.matrix, level)
    dram = platform.dram.name
    for order in orders:
        yield _whole(workload, mapping, level, [(dram, tuple(order))], dram, keep=False)
    if not between:
        return
    name = between[-1].name
    for order in orders:
        for outer in range(len(order) + 1):
            cores = [(dram, tuple(order[:outer])), (name, tuple(order[outer:]))]
            yield _whole(workload, mapping, level, cores, name, keep=True)


def _whole(
    workload: Workload,
    mapping: FusedMapping,
    level: str,
    cores: list[tuple[str, tuple[Loop, ...]]],
    at: str,
    *,
    keep: bool,
) -> FusedMapping:
    groups = tuple(
        replace(
            group,
            einsums=tuple(_nest(workload, group, m, at, keep=keep) for m in group.einsums),
            level=level,
            cores=tuple((n, own) for n, loops in cores if (own := _own(workload, group, loops))),
        )
        for group in mapping.groups
    )
    return replace(mapping, groups=groups)


def _own(workload: Workload, group: GroupMapping, loops: tuple[Loop, ...]) -> tuple[Loop, ...]:
    """Of the loops whose passes are given out, those that a group may have."""
    legal = given_ranks(workload, group.names)
    return tuple(loop for loop in loops if loop.rank in legal)


def _nest(
    workload: Workload, group: GroupMapping, nest: EinsumMapping, at: str, *, keep: bool
) -> EinsumMapping:
    """The nest with its loops outside the fusion level at a level, where its inputs are kept."""
    dram = nest.keep[0][0]
    loops = tuple((Slot(at, s.axis) if s.node == dram else s, ls) for s, ls in nest.loops)
    if not keep:
        return replace(nest, loops=loops)
    made = {workload.einsum(n).output.tensor for n in group.names}
    held = tuple(t for t in nest.kept_at(dram) if t not in made)
    first, *rest = nest.keep
    return replace(nest, loops=loops, keep=(first, (at, held), *rest))
