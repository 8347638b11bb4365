"""Enumeration of candidates from the inside out: extended by one level or fanout after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from flat_mapper.arch.cores import reads_apart
from flat_mapper.arch.values import Fanout, MemoryLevel
from flat_mapper.base.grouping import located
from flat_mapper.cost_model.candidates import Bools, CandidateBlock, Floats, Ints, NodeChoice
from flat_mapper.cost_model.facts import lacked, prod_of
from flat_mapper.cost_model.transfers import Transfer, looped
from flat_mapper.mapper.space.einsum import EinsumSpace, lanes_of, remembered
from flat_mapper.mapper.space.factors import combinations, least_multiple, new_loops
from flat_mapper.mapper.space.orders import inner_orders
from flat_mapper.mapper.space.rules import allowed_orders, in_order, is_bound_outside
from flat_mapper.mapper.space.tile_index import MOST_OUTER, ByTile, dividing


class TooMany(Exception):
    """More candidates than the caller can use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Conditions on candidates."""

    tiles: Ints  # int64[R, n]: a candidate's tile divides one of these
    least: int = 1  # compute units in use
    most: int | None = None  # candidates at any node; beyond, `TooMany` is raised

    @property
    def outer(self) -> Ints:
        """Outer tiles of which the tile of every candidate divides one; int64[R, few].

        Where those that are wanted are many, their common multiple: that is cheap to tell.
        """
        if self.tiles.shape[1] > MOST_OUTER:
            return np.array([[least_multiple(own)] for own in self.tiles])
        return self.tiles


def inner_candidates(space: EinsumSpace, wanted: Wanted) -> Iterator[CandidateBlock]:
    """All candidates of an Einsum, in blocks that share what the inner levels keep.

    raises: TooMany where there are more than `wanted` says.
    """
    yield from _enumerated(space, start(space), tuple(reversed(space.inner_nodes)), wanted)


def _enumerated(
    space: EinsumSpace,
    candidates: CandidateBlock,
    nodes: tuple[MemoryLevel | Fanout, ...],
    wanted: Wanted,
) -> Iterator[CandidateBlock]:
    """Candidates with the nodes that are still to come, innermost first, around them."""
    if not candidates.count:
        return
    if not nodes:
        used = np.flatnonzero(candidates.spatial >= wanted.least)
        if len(used):
            yield candidates if len(used) == candidates.count else candidates.take(used)
        return
    for keep in keeps(space, nodes[0]):
        yield from _enumerated(
            space, extend(space, candidates, nodes[0], keep, wanted), nodes[1:], wanted
        )


def keeps(space: EinsumSpace, node: MemoryLevel | Fanout) -> list[frozenset[str]]:
    """Tensors that a node may keep; none where it is a fanout."""
    return [frozenset()] if isinstance(node, Fanout) else space.keep_sets(node.name)


def extend(
    space: EinsumSpace,
    candidates: CandidateBlock,
    node: MemoryLevel | Fanout,
    keep: frozenset[str],
    wanted: Wanted,
) -> CandidateBlock:
    """Candidates with one more node around them."""
    if isinstance(node, Fanout):  # which leaves passes and open runs as they are
        found = _fanned(space, candidates, node, wanted)
    else:
        found = _at_level(space, candidates, node, keep, wanted)
    good = _may_be_whole(space, found, lanes_of(space.outside(node)))
    return found if good.all() else found.take(np.flatnonzero(good))


def _may_be_whole(space: EinsumSpace, candidates: CandidateBlock, lanes: int) -> Bools:
    """True but where a level walks a rank of all tensors for a tile that cannot stay there.

    Of that shared loops alone may cut what no level walks; lanes: of the nodes to come; bool[n].
    """
    found, common = np.ones(candidates.count, np.bool_), np.flatnonzero(space.common)
    for choice in candidates.node_choices:
        keep = space.staying.keys() & candidates.keep.get(choice.node, ())
        walks = (choice.grid[common] > 1).any(axis=0)
        if keep and walks.any():
            whole = ~walks[choice.column]
            for own in (list(space.staying[tensor]) for tensor in keep):
                cuts = np.array(space.sizes)[own, None] // candidates.tile[own]
                whole |= cuts.prod(axis=0) <= lanes
            found &= whole
    return found


def start(space: EinsumSpace) -> CandidateBlock:
    """The one candidate below all nodes."""
    one = np.ones(1)
    transfers = {t: [fresh(space, None, 1)] for t in space.tensors}
    tile = np.ones((len(space.ranks), 1), np.int64)
    return CandidateBlock(keep={}, tile=tile, spatial=one, transfers=transfers)


def fresh(space: EinsumSpace, child: MemoryLevel | None, count: int) -> Transfer:
    """The transfer to a child that nothing stands around yet; to the compute unit, closed."""
    one = np.ones(count)
    return Transfer(
        child=child,
        passes=one,
        open=one > 0 if child else one < 0,
        spread=one,
        copies=one,
        network=0 * one if space.priced_networks else None,
    )


def _at_level(
    space: EinsumSpace,
    candidates: CandidateBlock,
    level: MemoryLevel,
    keep: frozenset[str],
    wanted: Wanted,
) -> CandidateBlock:
    """Candidates with one more level: its factors, its loop order, and what it keeps.

    Three kinds of loops are not tried, unless a rule binds them. Over a rank that all tensors have:
    outermost of all it costs the same and leaves smaller tiles, but where a tile may stay here over
    shared loops: it has to be whole. At the innermost level, over a rank
    that no kept tensor has: as the innermost loop of the next level it costs the same, because
    below there is only the compute unit, to which order means nothing. And see `_distinct`.
    """
    limit, grows, ruled = _limit(space, level), _grows(space, keep), _is_ruled(space, level)
    grid, rows = level_rows(space, level.name, keep, below=any(candidates.keep.values()))
    bound = ruled or bool(space.rules(level.name, "temporal"))

    def fits(tiles: Ints, columns: Ints) -> Bools:
        tile = tiles * grid.take(columns, axis=1)
        return np.asarray(_total(space, keep, tile, level.name) <= limit)

    candidates = _ordered(
        space,
        candidates,
        level.name,
        grid,
        _pairs(space, candidates, rows, wanted, fits),
        ~np.array(grows) & (not bound),
    )
    if space.output in keep and space.so_far[level.name] != 1:
        candidates = candidates.take(_holding(space, candidates, level, keep, limit))
    candidates.keep = {**candidates.keep, level.name: keep}
    for tensor in keep:
        candidates.transfers[tensor].append(fresh(space, level, candidates.count))
    return candidates


def _limit(space: EinsumSpace, level: MemoryLevel) -> int:
    """Words that a level holds; as many as there are iterations, where that is unlimited."""
    return level.usable_words if level.usable_words is not None else space.iterations


def _grows(space: EinsumSpace, keep: frozenset[str]) -> list[bool]:
    """By rank, whether a tensor that is kept has it."""
    return [any(space.relevant[t][r] for t in keep) for r in range(len(space.ranks))]


def _is_ruled(space: EinsumSpace, level: MemoryLevel) -> bool:
    """True if a rule binds the loops around a level, which may then not take one of its own."""
    outer = space.arch.levels[space.arch.levels.index(level) - 1]
    return bool(space.rules(outer.name, "temporal"))


@remembered
def level_rows(
    space: EinsumSpace, name: str, keep: frozenset[str], *, below: bool
) -> tuple[Ints, list[tuple[Ints, Ints]]]:
    """Ways to choose a level's factors, int64[R, n], and the factors of each rank.

    below: whether a level below it keeps something. See `dividing`.
    """
    level = space.arch.level(name)
    limit, ruled = _limit(space, level), _is_ruled(space, level)
    useful = [ruled or below or more for more in _grows(space, keep)]
    grid = combinations(_level_factors(space, level, keep, limit, useful), space.iterations)
    grid = grid[:, _total(space, keep, grid, name) <= limit]
    return grid, [located(own) for own in grid]


def _level_factors(
    space: EinsumSpace, level: MemoryLevel, keep: frozenset[str], limit: int, useful: list[bool]
) -> list[list[int]]:
    """By rank, the factors that a level's loops may take; useful: whether a loop is worth a try."""
    forced = {m for rule in space.rules(level.name, "temporal") for m in rule.factors}
    staying, choices = keep & space.staying.keys(), []
    for r, rank in enumerate(space.ranks):
        kept = [t for t in keep if space.relevant[t][r]]
        # A tile of values that share a word may have more of them than the level has words.
        packed = min((space.share(t, level.name) for t in kept), default=1)
        most = int(limit / min(packed, 1)) if kept else space.iterations
        outermost = space.common[r] and not is_bound_outside(space, r) and not staying
        free = (useful[r] and not outermost) or forced & set(rank.members)
        choices.append(space.options(level.name, "temporal", r, most) if free else [1])
    return choices


def _ordered(
    space: EinsumSpace,
    candidates: CandidateBlock,
    node: str,
    grid: Ints,
    pairs: tuple[Ints, Ints],
    outward: Bools,
) -> CandidateBlock:
    """Put a level's loops around the candidates, in every order that matters.

    pairs:   (candidate, column of the grid) of all that is to be ordered.
    outward: by rank, whether its loop may as well stand at the next level, if it is the outermost.
    """
    tensors = [
        t
        for t, transfers in candidates.transfers.items()
        if any(transfer.child is not None for transfer in transfers)
    ]
    orders = inner_orders(space, tensors, space.waits.intersection(tensors))
    orders = allowed_orders(orders, space, node)
    candidate, column = pairs
    legal = [
        (good & in_order(space, node, order, grid))[column]
        for order, good in zip(orders, _distinct(orders, grid, outward), strict=True)
    ]
    chosen = [np.flatnonzero(good) for good in legal]
    index = np.concatenate(chosen)
    column = column[index]
    candidates = candidates.take(candidate[index])
    factors = grid.take(column, axis=1)
    candidates.tile *= factors
    runs = list(zip(orders, _runs(chosen), strict=True))
    for tensor, transfers in candidates.transfers.items():
        for transfer in transfers:
            _put_around(transfer, space.relevant[tensor], factors, runs)
    choice = np.repeat(np.arange(len(orders)), [len(some) for some in chosen])
    own = NodeChoice(node=node, grid=grid, column=column, choice=choice, orders=tuple(orders))
    candidates.node_choices.append(own)
    return candidates


def _put_around(
    transfer: Transfer,
    relevant: tuple[bool, ...],
    factors: Ints,
    runs: list[tuple[tuple[int, ...], slice]],
) -> None:
    """Put loops around a transfer; runs: the orders, each of candidates that follow each other."""
    if not transfer.open.any():  # whatever the order
        transfer.passes = transfer.passes * lacked(relevant, factors)
        return
    parts = [
        looped(relevant, transfer.passes[at], transfer.open[at], factors[:, at], order)
        for order, at in runs
    ]
    transfer.passes = np.concatenate([p for p, _ in parts])
    transfer.open = np.concatenate([o for _, o in parts])


def _distinct(orders: list[tuple[int, ...]], grid: Ints, outward: Bools) -> Iterator[Bools]:
    """For each order, whether a column's real loops stand in no earlier order the same.

    Nor may its outermost real loop be one that might as well stand at the next level.
    """
    for sequence, new in new_loops(grid, orders):
        last = sequence % (len(grid) + 1) - 1  # the outermost; -1 where there is none
        yield new & ((last < 0) | ~outward[last])


def _runs(parts: list[Ints]) -> Iterator[slice]:
    """Place of each of several arrays once they are one."""
    start = 0
    for part in parts:
        yield slice(start, start + len(part))
        start += len(part)


_AT_ONCE = 1 << 21  # tiles times columns of a grid that are looked at in one go


def _pairs(
    space: EinsumSpace,
    candidates: CandidateBlock,
    factors: Sequence[tuple[Ints, Ints]],
    wanted: Wanted,
    fits: Callable[[Ints, Ints], Bools] | None = None,
) -> tuple[Ints, Ints]:
    """(candidate, column of a factor grid) whose tile together divides a wanted one, and fits.

    factors: see `dividing`. fits: of tiles int64[R, n], each with a column of the grid.
    """
    # Many candidates share a tile, and with it the columns.
    same, found, count = ByTile.of(space, candidates.tile), list[tuple[Ints, Ints]](), 0
    step = max(1, _AT_ONCE // max(1, len(factors[0][1])))
    for first in range(0, max(1, same.tile.shape[1]), step):
        own = same.tile[:, first : first + step]
        tile, column = dividing(wanted.outer, own, factors)
        if fits is not None:
            some = fits(own.take(tile, axis=1), column)
            tile, column = tile[some], column[some]
        found.append((first + tile, column))
        count += int(same.counts[first + tile].sum())
        if wanted.most is not None and count > wanted.most:
            raise TooMany
    tile, column = (np.concatenate(part) for part in zip(*found, strict=True))
    column, candidate = same.candidates(column, tile)
    return candidate, column


def _total(space: EinsumSpace, keep: frozenset[str], tile: Ints, level: str) -> Ints | Floats:
    """Words at a level of the tiles of what a level keeps, whole ones each."""
    total = np.zeros(tile.shape[1], np.int64)
    for tensor in keep:
        own = [r for r, yes in enumerate(space.relevant[tensor]) if yes]
        values, share = prod_of(tile, own), space.share(tensor, level)
        total = total + (values if share == 1 else np.ceil(values * share))
    return total


def _holding(
    space: EinsumSpace,
    candidates: CandidateBlock,
    level: MemoryLevel,
    keep: frozenset[str],
    limit: int,
) -> Ints:
    """Candidates that a level holds where it is certain that it has sums that are not done.

    So it is where what it feeds brings some back already, or where a reduction has loops outside
    over which no tile stays in place.
    """
    tensor, below = space.output, candidates.transfers[space.output][-1]
    left = np.array(space.sizes, dtype=np.int64)[:, None] // candidates.tile
    sums = (below.passes > 1) | (~below.open & (lacked(space.relevant[tensor], left) > 1))
    own = [r for r, yes in enumerate(space.relevant[tensor]) if yes]
    values, share = prod_of(candidates.tile, own), space.share(tensor, level.name)
    more = np.ceil(values * (share * space.so_far[level.name])) - np.ceil(values * share)
    words = _total(space, keep, candidates.tile, level.name) + np.where(sums, more, 0.0)
    return np.flatnonzero(words <= limit)


def sharing_ranks(space: EinsumSpace, fanout: Fanout) -> tuple[tuple[int, ...], ...]:
    """By tensor, ranks over which instances of a fanout take the same words of it."""
    return tuple(
        ()
        if reads_apart(fanout, tensor)
        else tuple(r for r, yes in enumerate(space.relevant[tensor]) if not yes)
        for tensor in space.tensors
    )


def _fanned(
    space: EinsumSpace, candidates: CandidateBlock, fanout: Fanout, wanted: Wanted
) -> CandidateBlock:
    """Candidates with each way to split ranks over a fanout around them."""
    grid, across = space.splits[fanout.name]
    units, rows = _split_rows(space, fanout.name)
    some = splits_used(space, fanout, wanted.least)
    few = [(own, which.take(some)) for own, which in rows]
    candidate, column = _pairs(space, candidates, few, wanted)
    column = some[column]
    node_choice = NodeChoice(node=fanout.name, grid=grid, column=column, across=across)
    # A merged rank stands on both axes of one fanout at most: its members then suffice for all.
    if candidates.on_both_axes.any():
        good = np.flatnonzero(
            ~(candidates.on_both_axes[:, candidate] & node_choice.on_both_axes).any(axis=0)
        )
        candidate, column, node_choice = candidate[good], column[good], node_choice.take(good)
    candidates, factors = candidates.take(candidate), grid.take(column, axis=1)
    everything, word = units[column], fanout.word_pj
    for tensor, transfers in candidates.transfers.items():
        own = [r for r, yes in enumerate(space.relevant[tensor]) if yes]
        relevant = prod_of(factors, own).astype(np.float64)
        apart = reads_apart(fanout, tensor)
        for transfer in transfers:
            top = transfer is transfers[-1]
            transfer.fan_out(word, relevant, everything, outermost=top, apart=apart)
    candidates.tile *= factors
    candidates.spatial = candidates.spatial * everything
    candidates.node_choices.append(node_choice)
    return candidates


def splits_used(space: EinsumSpace, fanout: Fanout, least: int) -> Ints:
    """Splits over a fanout beside which so many compute units at least may be in use."""
    units, _ = _split_rows(space, fanout.name)
    return np.flatnonzero(units * (space.lanes // fanout.copies) >= least)


@remembered
def _split_rows(space: EinsumSpace, fanout: str) -> tuple[Floats, list[tuple[Ints, Ints]]]:
    """Units that each way to split ranks over a fanout uses, and the factors of each rank.

    See `EinsumSpace.splits` and `dividing`.
    """
    grid, _ = space.splits[fanout]
    return prod_of(grid, range(len(grid))).astype(np.float64), [located(own) for own in grid]
