"""Rows grown from the inside out: one more level or fanout around them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from flat_mapper.arch.values import Fanout, MemoryLevel
from flat_mapper.mapper.space.candidates import Bools, Floats, Ints, Link, Rows, Step, looped
from flat_mapper.mapper.space.einsum import EinsumSpace, loop_orders
from flat_mapper.mapper.space.factors import combinations, multiple, prod_of, real_loops
from flat_mapper.mapper.space.tile_index import ByTile

MOST_TILES = 16  # outer tiles to hold every row against


class TooMany(Exception):
    """More rows than somebody can use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which rows are wanted."""

    least: int = 1  # compute units in use
    tiles: Ints | None = None  # int64[R, n]: a row's tile divides one of these; None: the ranks
    most: int | None = None  # rows at any node; beyond, `TooMany` is raised

    def limits(self, sizes: tuple[int, ...]) -> Ints:
        """By rank, what the tile of every row divides; int64[R]."""
        if self.tiles is None:
            return np.array(sizes, dtype=np.int64)
        return np.array([multiple(mine) for mine in self.tiles])

    def fits(self, tile: Ints) -> Bools:
        """Whether tiles divide one of those that are wanted, as far as it is cheap to tell."""
        found = np.ones(tile.shape[1], np.bool_)
        if self.tiles is None or self.tiles.shape[1] > MOST_TILES:
            return found
        found[:] = False
        for outer in self.tiles.T:
            left = np.flatnonzero(~found)
            for mine, extent in zip(tile, outer, strict=True):
                left = left[extent % mine[left] == 0]
            found[left] = True
        return found


def inner_rows(space: EinsumSpace, wanted: Wanted) -> Iterator[Rows]:
    """All rows of an Einsum, in blocks that share what the inner levels keep, one after another."""
    yield from _grown(space, start(space), tuple(reversed(space.inner_nodes)), wanted)


def _grown(
    space: EinsumSpace, rows: Rows, nodes: tuple[MemoryLevel | Fanout, ...], wanted: Wanted
) -> Iterator[Rows]:
    """Rows with the nodes that are still to come, innermost first, around them."""
    if not rows.count:
        return
    if not nodes:
        used = np.flatnonzero(rows.spatial >= wanted.least)
        if len(used):
            yield rows if len(used) == rows.count else rows.take(used)
        return
    for keep in keeps(space, nodes[0]):
        yield from _grown(space, around(space, rows, nodes[0], keep, wanted), nodes[1:], wanted)


def keeps(space: EinsumSpace, node: MemoryLevel | Fanout) -> list[frozenset[str]]:
    """What a node may keep; nothing, where it is a fanout."""
    return [frozenset()] if isinstance(node, Fanout) else space.keep_sets(node.name)


def around(
    space: EinsumSpace,
    rows: Rows,
    node: MemoryLevel | Fanout,
    keep: frozenset[str],
    wanted: Wanted,
) -> Rows:
    """Rows with one more node around them, but for those that keep something for nothing."""
    if isinstance(node, Fanout):
        rows = _fan_out(space, rows, node, wanted)
    else:
        rows = _at_level(space, rows, node, keep, wanted)
    idle = wasted(space, rows)
    return rows.take(np.flatnonzero(~idle)) if idle.any() else rows


def start(space: EinsumSpace) -> Rows:
    """The one row below all nodes."""
    one = np.ones(1)
    links = {
        t: [Link(child=None, passes=one, open=one < 0, spread=one, copies=one)]
        for t in space.tensors
    }
    tile = np.ones((len(space.ranks), 1), np.int64)
    return Rows(keep={}, tile=tile, spatial=one, links=links)


def _fan_out(space: EinsumSpace, rows: Rows, fanout: Fanout, wanted: Wanted) -> Rows:
    grid, across = space.splits[fanout.name]
    others = space.lanes // (fanout.fanout_x * fanout.fanout_y)
    everything = prod_of(grid, range(len(space.ranks)))
    wide = np.flatnonzero(everything * others >= wanted.least)
    grid, across = grid[:, wide], across[:, wide]
    everything = everything[wide].astype(np.float64)
    row, column = _pairs(space, rows, grid, wanted)
    step = Step(node=fanout.name, grid=grid, column=column, across=across)
    # A merged rank stands on both axes of one fanout at most: its members then suffice for all.
    if rows.on_both_axes.any():
        good = np.flatnonzero(~(rows.on_both_axes[:, row] & step.on_both_axes).any(axis=0))
        row, column, step = row[good], column[good], step.take(good)
    rows = rows.take(row)
    for tensor, links in rows.links.items():
        mine = [r for r, yes in enumerate(space.relevant[tensor]) if yes]
        relevant = prod_of(grid, mine).astype(np.float64)
        for link in links:
            link.spread = link.spread * relevant[column]
            link.copies = link.copies * everything[column]
    rows.tile = rows.tile * grid[:, column]
    rows.spatial = rows.spatial * everything[column]
    rows.steps.append(step)
    return rows


def _at_level(
    space: EinsumSpace,
    rows: Rows,
    level: MemoryLevel,
    keep: frozenset[str],
    wanted: Wanted,
) -> Rows:
    """Rows with one more level: its factors, its loop order, and what it keeps.

    Three kinds of loops are not tried. Over a rank that all tensors have: outermost of all it costs
    the same and leaves smaller tiles. At the innermost level, over a rank that no kept tensor has:
    as the innermost loop of the next level it costs the same, because below there is only the
    compute unit, to which order means nothing. And see `_distinct`.
    """
    innermost = all(link.child is None for links in rows.links.values() for link in links)
    ruled = any(
        space.rules(lv.name, "temporal")
        for lv in space.arch.levels[space.shared :]
        if lv is not level
    )  # the next level may then not take such a loop
    forced = {m for rule in space.rules(level.name, "temporal") for m in rule.factors}
    limit = level.usable_words if level.usable_words is not None else space.iterations
    grows = [any(space.relevant[t][r] for t in keep) for r in range(len(space.ranks))]
    choices = []
    for r, rank in enumerate(space.ranks):
        used = ruled or not innermost or grows[r]
        free = (used and not space.common[r]) or forced & set(rank.members)
        # A tile of values that share a word may have more of them than the level has words.
        packed = min((space.share(t) for t in keep if space.relevant[t][r]), default=1)
        most = int(limit / min(packed, 1)) if grows[r] else space.iterations
        choices.append(space.options(level.name, "temporal", r, most) if free else [1])
    grid = combinations(choices, space.iterations)
    grid = grid[:, _total(space, keep, grid) <= limit]
    bound = ruled or bool(space.rules(level.name, "temporal"))
    rows = _ordered(
        space,
        rows,
        level.name,
        grid,
        _pairs(space, rows, grid, wanted, lambda tile: _total(space, keep, tile) <= limit),
        ~np.array(grows) & (not bound),
    )
    rows.keep = {**rows.keep, level.name: keep}
    for tensor in keep:
        links = rows.links[tensor]
        one = np.ones(rows.count)
        links.append(Link(child=level, passes=one, open=one > 0, spread=one, copies=one))
    return rows


def _ordered(
    space: EinsumSpace,
    rows: Rows,
    node: str,
    grid: Ints,
    pairs: tuple[Ints, Ints],
    outward: Bools,
) -> Rows:
    """Put a level's loops around the rows, in every order that matters.

    pairs:   (row, column of the grid) of all that is to be ordered.
    outward: by rank, whether its loop may as well stand at the next level, if it is the outermost.
    """
    lacking = [
        frozenset(r for r, yes in enumerate(space.relevant[t]) if not yes)
        for t, links in rows.links.items()
        if any(link.child is not None for link in links)
    ]
    orders = allowed_orders(loop_orders(range(len(space.ranks)), lacking), space, node)
    row, column = pairs
    legal = [good[column] for good in _distinct(orders, grid, outward)]
    chosen = [np.flatnonzero(good) for good in legal]
    index = np.concatenate(chosen)
    column = column[index]
    rows = rows.take(row[index])
    rows.tile = rows.tile * grid[:, column]
    for tensor, links in rows.links.items():
        for link in links:
            parts = [
                looped(
                    space.relevant[tensor], link.passes[at], link.open[at], grid, order, column[at]
                )
                for order, at in zip(orders, _runs(chosen), strict=True)
            ]
            link.passes = np.concatenate([p for p, _ in parts])
            link.open = np.concatenate([o for _, o in parts])
    choice = np.repeat(np.arange(len(orders)), [len(some) for some in chosen])
    rows.steps.append(
        Step(
            node=node,
            grid=grid,
            column=column,
            choice=choice,
            orders=tuple(orders),
        )
    )
    return rows


def _distinct(orders: list[tuple[int, ...]], grid: Ints, outward: Bools) -> Iterator[Bools]:
    """For each order, whether a column's real loops stand in no earlier order the same.

    Nor may its outermost real loop be one that might as well stand at the next level.
    """
    met: list[Ints] = []
    for order in orders:
        sequence = real_loops(grid, order)
        last = sequence % (len(grid) + 1) - 1  # the outermost; -1 where there is none
        good = (last < 0) | ~outward[last]
        for earlier in met:
            good &= sequence != earlier
        met.append(sequence)
        yield good


def _runs(parts: list[Ints]) -> Iterator[slice]:
    """Where each of several arrays stands once they are one."""
    start = 0
    for part in parts:
        yield slice(start, start + len(part))
        start += len(part)


def wasted(space: EinsumSpace, rows: Rows) -> Bools:
    """Rows of which a level keeps a tensor for nothing: whatever it brings, it fetches.

    Its tile comes by as often as what it feeds does, and stays in place as long: without it there,
    the next keeper serves as many words, and nothing is written or read in between.
    """
    found = np.zeros(rows.count, np.bool_)
    for tensor, links in rows.links.items():
        for below, above in pairwise(links):
            assert above.child is not None
            kept = rows.keep[above.child.name]
            if kept - {tensor} in space.keep_sets(above.child.name):
                found |= (below.passes == above.passes) & (below.open == above.open)
    return found


def allowed_orders(
    orders: list[tuple[int, ...]], space: EinsumSpace, node: str
) -> list[tuple[int, ...]]:
    """Orders under the rules of a mapspace: a rule fixes the innermost ranks."""
    for rule in space.rules(node, "temporal"):
        if rule.innermost:
            names = [
                next((i for i, k in enumerate(space.ranks) if m in k.members), -1)
                for m in rule.innermost
            ]
            fixed = tuple(dict.fromkeys(i for i in names if i >= 0))
            orders = list(
                dict.fromkeys(fixed + tuple(r for r in order if r not in fixed) for order in orders)
            )
    return orders


def _pairs(
    space: EinsumSpace,
    rows: Rows,
    grid: Ints,
    wanted: Wanted,
    fits: Callable[[Ints], Bools] | None = None,
) -> tuple[Ints, Ints]:
    """(row, column of a factor grid) whose tile divides the ranks, and fits."""
    sizes = wanted.limits(space.sizes)[:, None]
    columns = np.flatnonzero((sizes % grid == 0).all(axis=0))
    # Many rows share a tile, and with it the columns.
    same = ByTile.of(space, rows.tile)
    tiles = same.tile
    n, m = tiles.shape[1], len(columns)
    room = sizes // tiles
    good = np.ones((n, m), np.bool_)
    for mine, factors in zip(room, grid[:, columns], strict=True):
        distinct, at = np.unique(mine, return_inverse=True)
        good &= (distinct[:, None] % factors[None, :] == 0)[at.ravel()]
    tile, column = np.nonzero(good)
    around = tiles[:, tile] * grid[:, columns[column]]
    some = np.flatnonzero(wanted.fits(around) & (fits is None or fits(around)))
    tile, column = tile[some], column[some]
    if wanted.most is not None and same.counts[tile].sum() > wanted.most:
        raise TooMany
    column, row = same.rows(columns[column], tile)
    return row, column


def _total(space: EinsumSpace, keep: frozenset[str], tile: Ints) -> Ints | Floats:
    """Words of the tiles of what a level keeps, whole ones each."""
    total = np.zeros(tile.shape[1], np.int64)
    for tensor in keep:
        mine = [r for r, yes in enumerate(space.relevant[tensor]) if yes]
        values, share = prod_of(tile, mine), space.share(tensor)
        total = total + (values if share == 1 else np.ceil(values * share))
    return total
