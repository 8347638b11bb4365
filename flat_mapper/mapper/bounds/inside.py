"""Lower bounds on what an Einsum takes inside outer tiles of any extents.

A nest is a chain of extents, of each rank at each node, innermost first: pieces of them come by in
turn, or side by side on a fanout, and a last one may be smaller. A box is an interval for each.
What comes by is counted with the largest pieces, what a level holds with the smallest. The box with
the least bound is split first, until a point in some box is as good but for little.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import NamedTuple

import numpy as np

from flat_mapper.arch.cores import reads_apart
from flat_mapper.arch.values import Fanout, MemoryLevel
from flat_mapper.cost_model.candidates import Bools, Floats, Ints
from flat_mapper.cost_model.facts import prod_of
from flat_mapper.cost_model.roles import Role
from flat_mapper.mapper.bounds.energy import least_along, moved_once, top_lines
from flat_mapper.mapper.bounds.occupancy import SharedOccupancy
from flat_mapper.mapper.bounds.outer import OuterBounds
from flat_mapper.mapper.space.einsum import EinsumSpace, PjLines, remembered

Ends = tuple[tuple[int, int], ...]

_NEAR = 5e-4  # chosen: how near a bound comes to what it bounds, if there is time
_MOST = 20_000  # chosen: boxes of an Einsum under one outer tile
_MOST_WAYS = 4_000  # chosen: of more, none is bounded
_AT_ONCE = 256  # boxes that are split in one go
_FEW = 32  # of them, those of which points are priced


@dataclass(frozen=True)
class _Way:
    """Keeps of levels, and the rank of the innermost loop of each and of the shared level."""

    option: int
    keep: tuple[frozenset[str], ...]  # by inner node, innermost first; nothing of a fanout
    loop: tuple[int, ...]  # the same, and of the shared level


def halves(low: Ints, high: Ints) -> tuple[Ints, Ints]:
    """Both halves of boxes int64[R, n], cut where the widest has as many passes on either side."""
    widest, each = np.argmax(high / low, axis=0), np.arange(low.shape[1])
    first, last = low[widest, each], high[widest, each]
    middle = np.clip(np.sqrt(first * last.astype(float)).astype(np.int64), first, last - 1)
    upper, lower = low.copy(), high.copy()
    upper[widest, each], lower[widest, each] = middle + 1, middle
    return np.concatenate([low, upper], axis=1), np.concatenate([lower, high], axis=1)


def of_both[Some](one: Some, other: Some) -> Some:
    """Two sets of boxes as one, a value of arrays whose last axis is that of the boxes."""
    every = zip(vars(one).values(), vars(other).values(), strict=True)
    return type(one)(*(np.concatenate(both, axis=-1) for both in every))


class Prices(NamedTuple):
    """pJ that count for a cycle, and for a word of the shared level through which streams pass."""

    cycle: float
    word: float = 0.0


class InRoles(NamedTuple):
    """Roles that an Einsum's tensors may have, and what they take beside."""

    roles: tuple[Role, ...]
    pj: float


@remembered
def least_inside(
    bounds: OuterBounds, i: int, options: tuple[InRoles, ...], box: Ends, prices: Prices
) -> float:
    """Lower bound on the pJ of the i-th Einsum of a group, with its cycles and words at prices.

    But for its computes, networks, and what DRAM takes of what is staged.

    box: by rank, the least and the largest extent of its outer tile.
    """
    space = bounds.problem.spaces[i]
    ways = [_Way(o, *own) for o in range(len(options)) for own in _nests(space)]
    if len(ways) > _MOST_WAYS or space.einsum.each:
        return min(one.pj for one in options)
    ends = np.array(box)[:, :, None]
    asked = _Asked(bounds.occupancy, space, options, ends, prices, ways)
    boxes, least, spent = asked.root(), np.inf, len(ways)
    best = asked.best_end(boxes)
    while True:
        good = boxes.pj < best * (1 - _NEAR)
        least = min(least, boxes.pj[~good].min(initial=np.inf))
        boxes = boxes.take(np.flatnonzero(good)[np.argsort(boxes.pj[good], kind="stable")])
        wide = np.flatnonzero((boxes.low < boxes.high)[:, :, :_AT_ONCE].any(axis=(0, 1)))
        if spent > _MOST or not len(wide) or wide[0] > 0:
            return float(min(least, best, boxes.pj[:1].min(initial=np.inf)))
        parts = asked.halves(boxes.take(wide))
        spent += len(parts.pj)
        parts = parts.take(np.flatnonzero(parts.pj < best))
        best = min(best, asked.best_end(parts))
        boxes = of_both(boxes.take(np.delete(np.arange(len(boxes.pj)), wide)), parts)


@remembered
def _nests(space: EinsumSpace) -> list[tuple[tuple[frozenset[str], ...], tuple[int, ...]]]:
    """All ways of an Einsum whatever its roles; the innermost level's order means nothing."""
    nodes = space.inner_nodes[::-1]
    first = next((n for n in nodes if isinstance(n, MemoryLevel)), None)
    none, free = [frozenset[str]()], list(_free(space)) or [0]
    levels = [isinstance(n, MemoryLevel) for n in nodes]
    keeps = [space.keep_sets(n.name) if lv else none for n, lv in zip(nodes, levels, strict=True)]
    loops = [free if lv and n is not first else [0] for n, lv in zip(nodes, levels, strict=True)]
    return [(k, i) for k in product(*keeps) for i in product(*loops, free)]


def _free(space: EinsumSpace) -> Iterator[int]:
    """Ranks that some tensor lacks: over others nothing is reused."""
    some = zip(space.sizes, space.common, strict=True)
    return (r for r, (size, common) in enumerate(some) if size > 1 and not common)


@dataclass(frozen=True)
class _Nests:
    """Boxes of nests: extents by inner node, innermost first, and pJ at least."""

    low: Ints  # int64[nodes, R, n]
    high: Ints
    way: Ints  # int64[n]
    pj: Floats

    def take(self, some: Ints) -> _Nests:
        """Some of them."""
        return _Nests(self.low[..., some], self.high[..., some], self.way[some], self.pj[some])


@dataclass(frozen=True)
class _Asked:
    """An Einsum under a box of outer tiles."""

    occupancy: SharedOccupancy
    space: EinsumSpace
    options: tuple[InRoles, ...]
    outer: Ints  # int64[R, 2, 1]: least and largest extents
    prices: Prices
    ways: Sequence[_Way]

    @cached_property
    def nodes(self) -> tuple[MemoryLevel | Fanout, ...]:
        """Inner nodes, innermost first."""
        return self.space.inner_nodes[::-1]

    @cached_property
    def option(self) -> Ints:
        """Number of the option, by way."""
        return np.array([way.option for way in self.ways])

    @cached_property
    def loop(self) -> Ints:
        """Rank of the innermost loop of each node and of the shared level, by way."""
        return np.array([way.loop for way in self.ways]).T

    @cached_property
    def keep(self) -> dict[str, Bools]:
        """Keeps of a tensor by node and way; bool[nodes, ways]."""
        found = {t: [[t in own for own in w.keep] for w in self.ways] for t in self.space.tensors}
        return {t: np.array(own, np.bool_).T for t, own in found.items()}

    def root(self) -> _Nests:
        """Everything, by way.

        A loop of the innermost level over a rank that nothing there has is as well one further out.
        """
        shape = len(self.nodes), len(self.space.sizes), len(self.ways)
        low, high = np.ones((2, *shape), np.int64)
        levels = [k for k, node in enumerate(self.nodes) if isinstance(node, MemoryLevel)]
        for r in _free(self.space):
            high[:, r] = self.outer[r, 1]
            if levels[:1] == [0]:
                some = [own[0] for t, own in self.keep.items() if self.space.relevant[t][r]]
                high[0, r, ~np.logical_or.reduce(some)] = 1
        return self._bounded(low, high, np.arange(len(self.ways)))

    def halves(self, boxes: _Nests) -> _Nests:
        """Both halves of each."""
        flat = (own.reshape(-1, own.shape[2]) for own in (boxes.low, boxes.high))
        lows, highs = (own.reshape(*boxes.low.shape[:2], -1) for own in halves(*flat))
        return self._bounded(lows, highs, np.tile(boxes.way, 2))

    def _bounded(self, low: Ints, high: Ints, way: Ints) -> _Nests:
        """Boxes, narrowed as no piece is larger than the one that it is of, with their bounds."""
        low = np.maximum.accumulate(low, axis=0)
        high = np.minimum.accumulate(high[::-1], axis=0)[::-1]
        return _Nests(low, high, way, self.least(low, high, way))

    def best_end(self, boxes: _Nests) -> float:
        """The least of the points at both ends of the most promising boxes."""
        some = boxes.take(np.argsort(boxes.pj, kind="stable")[:_FEW])
        ends = np.concatenate([some.low, some.high], axis=-1)
        return float(self.least(ends, ends, np.tile(some.way, 2)).min(initial=np.inf))

    def least(self, low: Ints, high: Ints, way: Ints) -> Floats:
        """pJ of boxes at least; infinite where nothing fits."""
        fits, lanes = (low <= high).all(axis=(0, 1)), _Lanes.of(self, len(way))
        every = [_Words.of(self, i, way) for i in range(len(self.space.tensors))]
        inner = (np.ones_like(low[0]),) * 2
        for k, node in enumerate(self.nodes):
            own = low[k], high[k]
            if isinstance(node, Fanout):
                few = -(-own[0] // inner[1])
                many = self._most(k, node, few)
                fits &= (many > 0).any(axis=0)
                many = np.minimum(-(-own[1] // inner[0]), np.maximum(many, 1))
                lanes.fan_out(node, few, many)
                for words in every:
                    words.fan_out(node, few, many, own[1])
            else:
                held: Floats = np.zeros(len(way))
                for words in every:
                    words.loop(self.loop[k][way], own, inner)
                    held = held + words.kept(k, node, own)
                fits &= held <= (np.inf if node.usable_words is None else node.usable_words)
            inner = own
        total = self.prices.cycle * self.space.lane_cycles / lanes.at_work()
        for number, (roles, pj) in enumerate(self.options):
            own = self.option[way] == number
            total[own] += pj
            if self.prices.word:
                streams = self.occupancy.streamed(self.space, inner[0], roles)
                total[own] += self.prices.word * streams[own]
        ends = [np.broadcast_to(self.outer[:, i], low[0].shape) for i in (0, 1)]
        for words in every:
            words.loop(self.loop[-1][way], (ends[0], ends[1]), inner)
            total = total + words.pj()
        return np.where(fits, total, np.inf)

    @cached_property
    def sides(self) -> list[list[list[list[int]]]]:
        """By inner node, ways to give ranks to its axes; a merged one may stand on both."""
        return [list(self._sides(n)) if isinstance(n, Fanout) else [] for n in self.nodes]

    def _sides(self, fanout: Fanout) -> Iterator[list[list[int]]]:
        _, _, axes, _ = self.space.on_fanout(fanout)
        ranks, free = self.space.ranks, _free(self.space)
        single = [r for r in free if len(ranks[r].sizes) == 1 and any(axes[r])]
        for own in product(*([i for i in (0, 1) if axes[r][i]] for r in single)):
            yield [[r for r, i in zip(single, own, strict=True) if i == side] for side in (0, 1)]

    def _most(self, node: int, fanout: Fanout, few: Ints) -> Ints:
        """Instances of a fanout that a rank may have beside the others, by rank; 0: no way is left.

        few: by rank, at least.
        """
        used, most = few.prod(axis=0), np.zeros_like(few)
        for ranks in self.sides[node]:
            own = np.where(used <= fanout.copies, fanout.copies * few // used, 0)
            for some, size in zip(ranks, (fanout.fanout_x, fanout.fanout_y), strict=True):
                there = few[some].prod(axis=0)
                own[some] = np.minimum(own[some], size * few[some] // there)
                own[:, there > size] = 0
            most = np.maximum(most, own)
        return most


@dataclass
class _Lanes:
    """Compute units at work in n boxes, as fanouts are put around them."""

    asked: _Asked
    by_rank: Ints  # int64[R, n]: at most, of the ranks that some tensor lacks
    others: Ints  # at most, of all other ranks together
    every: int

    @classmethod
    def of(cls, asked: _Asked, count: int) -> _Lanes:
        """One."""
        one = np.ones((len(asked.space.sizes), count), np.int64)
        return cls(asked, one, one[0], 1)

    def fan_out(self, fanout: Fanout, few: Ints, many: Ints) -> None:
        """Put a fanout around; few, many: its factors by rank, at least and at most."""
        self.by_rank = self.by_rank * many
        self.others = self.others * np.maximum(fanout.copies // few.prod(axis=0), 1)
        self.every *= fanout.copies

    def at_work(self) -> Floats:
        """Units at work on average, at most: what does not fill them leaves some idle."""
        space, found = self.asked.space, np.ones(len(self.others))
        for r in _free(space):
            found = found * (space.sizes[r] / -(-space.sizes[r] // self.by_rank[r]))
        common = [r for r, yes in enumerate(space.common) if yes]
        found = found * np.minimum(self.others, self.asked.outer[common, 1].prod())
        most: Floats = np.minimum(found, self.every)
        return most


@dataclass
class _Move:
    """Words of a tensor to one place, in n boxes: to a level, or to the compute units.

    Of the ranks that the tensor lacks: extents over which a word serves, by the place that takes it
    (`filled`), and by the one that is asked for it (`read`).
    """

    child: MemoryLevel | None
    some: Bools  # boxes in which the place takes it
    filled: Ints
    read: Ints
    closed: Bools  # a loop outside brings other words in its place
    open: Bools  # it is not known yet who is asked for it
    asked: list[tuple[MemoryLevel, Bools]]  # boxes in which a level is
    fewest: Floats  # instances of the child so far, at least, and of the place that is asked
    fewest_asked: Floats
    apart: Floats  # the same of those over whose extents a word serves: each takes it anew
    apart_asked: Floats
    most: Floats  # and at most
    most_asked: Floats


@dataclass
class _Words:
    """A tensor on its way to the units, in n boxes, as nodes are put around them."""

    asked: _Asked
    tensor: str
    position: int
    way: Ints
    moves: list[_Move]

    @classmethod
    def of(cls, asked: _Asked, position: int, way: Ints) -> _Words:
        """Below all nodes: to the compute units, and no tile stays there."""
        found = cls(asked, asked.space.tensors[position], position, way, [])
        none = np.ones((len(found._lacks), len(way)), np.int64)
        found._add(None, np.ones(len(way), np.bool_), none)
        found.moves[0].closed = np.ones(len(way), np.bool_)
        return found

    @cached_property
    def _lacks(self) -> list[int]:
        return [r for r, yes in enumerate(self.asked.space.relevant[self.tensor]) if not yes]

    @cached_property
    def _has(self) -> list[int]:
        return [r for r, yes in enumerate(self.asked.space.relevant[self.tensor]) if yes]

    def _add(self, child: MemoryLevel | None, some: Bools, extents: Ints) -> None:
        no, one = np.zeros_like(some), np.ones(len(some))
        self.moves.append(_Move(child, some, extents, extents, no, ~no, [], *6 * (one,)))

    def fan_out(self, fanout: Fanout, few: Ints, many: Ints, high: Ints) -> None:
        """Put a fanout around; few, many: its factors by rank, at least and at most."""
        apart, lacks = reads_apart(fanout, self.tensor), self._lacks
        least = prod_of(few, lacks)
        most = np.minimum(prod_of(many.astype(float), lacks), fanout.copies)
        for move in self.moves:
            still = move.open
            if not apart:
                wider = np.minimum(move.read * many[lacks], np.maximum(high[lacks], move.read))
                move.read = np.where(still, wider, move.read)
            move.fewest, move.most = move.fewest * least, move.most * most
            move.fewest_asked = move.fewest_asked * np.where(still, 1, least)
            move.most_asked = move.most_asked * np.where(still, 1, most)

    def loop(self, rank: Ints, own: tuple[Ints, Ints], inner: tuple[Ints, Ints]) -> None:
        """Put a level's loops around, from inner extents to its own, both at least and at most.

        rank: of the innermost loop: what lacks it stays over those that it lacks.
        """
        relevant = np.array(self.asked.space.relevant[self.tensor])
        again = (own[0][self._has] > inner[1][self._has]).any(axis=0)
        for move in self.moves:
            stays = ~move.closed & ~relevant[rank]
            move.filled = np.where(stays, own[1][self._lacks], move.filled)
            move.read = np.where(stays, own[1][self._lacks], move.read)
            move.apart = np.where(stays, move.fewest, move.apart)
            move.apart_asked = np.where(stays, move.fewest_asked, move.apart_asked)
            move.closed = move.closed | ~stays | again

    def kept(self, node: int, level: MemoryLevel, own: tuple[Ints, Ints]) -> Floats:
        """Let a level keep it, where the way says so; the words that it holds at least."""
        keep = self.asked.keep[self.tensor][node][self.way]
        for move in self.moves:
            some = keep & move.some & move.open
            move.asked.append((level, some))
            move.open = move.open & ~some
        self._add(level, keep, own[1][self._lacks])
        values = prod_of(own[0], self._has)
        return np.where(keep, np.ceil(values * self.asked.space.share(self.tensor, level.name)), 0)

    @cached_property
    def _tops(self) -> list[tuple[PjLines, Bools]]:
        """pJ of what comes from the level on top, by role; and the boxes that give it the role."""
        space, each = self.asked.space, [one.roles[self.position] for one in self.asked.options]
        found = []
        for role in dict.fromkeys(each):
            lines = top_lines(space, self.tensor, (role,), rounded=False)[role != "stream"]
            own = np.array([one == role for one in each])[self.asked.option[self.way]]
            found.append((lines, own))
        return found

    def pj(self) -> Floats:
        """pJ at the levels that it passes, but for DRAM where it is staged."""
        space = self.asked.space
        sizes = np.array(space.sizes, np.int64)[self._lacks][:, None]
        output, total = self.tensor == space.output, np.zeros(len(self.way))
        for move in self.moves:
            often, comes = (
                np.prod(-(-sizes // np.where(move.closed, own, sizes)), axis=0, dtype=float) * some
                for own, some in ((move.read, move.apart_asked), (move.filled, move.apart))
            )
            for level, some in move.asked:
                read, _, update = moved_once(space, self.tensor, level)
                pj = often * read
                if output:
                    first = np.minimum(often, move.most_asked)
                    pj = (often - first) * space.so_far[level.name] * (read + update)
                    pj = pj + first * update
                total = total + np.where(some, pj, 0.0)
            for lines, some in self._tops:
                own = move.some & move.open & some
                total = total + np.where(own, least_along(lines, often), 0.0)
            if move.child is not None:
                write = moved_once(space, self.tensor, move.child)[1]
                if output:
                    comes = np.maximum(comes - move.most, 0.0) * space.so_far[move.child.name]
                total = total + np.where(move.some, comes * write, 0.0)
        return total
