"""A mapping of one core's tile as mappings of the whole on the chip: the ways to give tiles out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from flat_mapper.arch.values import Platform
from flat_mapper.mapping.cores.tiles import given_ranks
from flat_mapper.mapping.cores.view import levels_between
from flat_mapper.mapping.values import EinsumMapping, GroupMapping, Loop, Slot
from flat_mapper.workload.graph import Workload


def lifted(
    workload: Workload,
    platform: Platform,
    group: GroupMapping,
    level: str,
    tiles: Mapping[str, int],
) -> Iterator[GroupMapping]:
    """Mappings of a whole group in which every core runs a tile as one core does.

    Tiles of queries go first or last. Without a level between, nothing is kept there; with one,
    either nothing or every input of the group, of all tiles or of those of the innermost loops.

    group: of a tile, on `core_platform`. tiles: extents of the ranks that are given out.
    """
    orders = loop_orders(workload, group.names, tiles)
    between = levels_between(platform.matrix, level)
    dram = platform.dram.name
    for order in orders:
        yield _whole(workload, group, level, [(dram, order)], dram, keep=False)
    if not between:
        return
    name = between[-1].name
    for order in orders:
        for outer in range(len(order) + 1):
            cores = [(dram, order[:outer]), (name, order[outer:])]
            yield _whole(workload, group, level, cores, name, keep=True)


def loop_orders(
    workload: Workload, names: tuple[str, ...], tiles: Mapping[str, int]
) -> list[tuple[Loop, ...]]:
    """The loops over a group's tiles, outermost first, in every order that is tried."""
    sizes, legal = workload.rank_sizes, given_ranks(workload, names)
    loops = [Loop(r, -(-sizes[r] // n)) for r, n in tiles.items() if n < sizes[r] and r in legal]
    queries = [p for p in loops if p.rank == workload.roles.queries]
    others = [p for p in loops if p not in queries]
    first = (*others, *queries)
    return [first, (*queries, *others)] if queries and others else [first]


def _whole(
    workload: Workload,
    group: GroupMapping,
    level: str,
    cores: list[tuple[str, tuple[Loop, ...]]],
    at: str,
    *,
    keep: bool,
) -> GroupMapping:
    return replace(
        group,
        einsums=tuple(_nest(workload, group, m, at, keep=keep) for m in group.einsums),
        level=level,
        cores=tuple((n, loops) for n, loops in cores if loops),
    )


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
