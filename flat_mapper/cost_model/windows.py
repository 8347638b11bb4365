"""Words that move of a tensor whose tiles overlap: sums of ranks, as in a convolution.

A loop nest is a chain of blocks: one for each storage level, and one for each fanout. What moves is
counted at every block, whether the tensor is kept there or not. A block that does not keep it hands
what its own children draw on to the block outside, in the ratio of copies and accesses that it has
there. Source: Timeloop, src/loop-analysis/tiling.cpp.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise, product
from math import floor, prod
from typing import NamedTuple

import numpy as np

from flat_mapper.arch.values import Fanout
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.cost_model.nest import Factors, IntArray, Nest
from flat_mapper.cost_model.transfers import Traffic

_Point = tuple[int, ...]  # by dimension of the tensor
Counts = tuple[int, int, int, int]  # read, filled, updated, and different words that it ever holds
_Loop = tuple[int, _Point]  # its factor, and how far one iteration takes a tile


class Box(NamedTuple):
    """One box of words: its least point, and its size along each dimension."""

    low: _Point
    shape: _Point


@dataclass(slots=True, kw_only=True)
class _Block:
    """One node of the nest, and its running sums.

    Of what stands further in there are so many copies in use for one of this block: 1 of a level.
    """

    keeps: bool
    words: int  # of its tile
    partition: int  # different words that one instance ever holds
    instances: int
    copies: int
    accesses: float  # by its children
    arrived: float  # words that these bring, each to all copies that share it
    handed: int  # words that neighbours hand on


def windowed_traffic(nest: Nest, factors: Factors, tensor: str) -> dict[tuple[int, str], Traffic]:
    """Words moved of a tensor whose tiles may overlap, at the levels that keep it.

    raises: SpecError where loops have remainders.
    """
    if factors.lasts is not None:
        where = f"{nest.einsum.name}: {tensor}"
        condition = "factors that divide their ranks beside a sum of ranks, as in a convolution"
        raise SpecError(expected(where, condition, "a remainder"))
    each = [_counts(nest, factors.factors[..., n], tensor) for n in range(factors.count)]
    levels = [i for i, kept in enumerate(nest.keep) if tensor in kept]
    return {
        (level, tensor): Traffic(*np.array(counts, np.int64).T)
        for level, counts in zip(levels, zip(*each, strict=True), strict=True)
    }


def _counts(nest: Nest, grid: IntArray, tensor: str) -> list[Counts]:
    """Words of a tensor in one nest, by level that keeps it; grid: its factors, int64[S, R]."""
    blocks = _blocks(nest, grid, tensor)
    filled = [0.0, *(outer.arrived / outer.copies for outer in blocks[:-1])]
    for outer, one in reversed([*pairwise(blocks)]):
        if not one.keeps:
            outer.accesses *= one.accesses * outer.copies / outer.arrived
            outer.handed = 0
    peers = [0.0, *(outer.handed / one.instances for outer, one in pairwise(blocks))]
    found: list[Counts] = []
    for one, own, handed in zip(blocks, filled, peers, strict=True):
        if one.keeps:
            served, fills = one.accesses + handed, handed + (own if found else 0.0)
            if tensor != nest.einsum.output.tensor:
                found.append((_rounded(served), floor(fills), 0, one.partition))
                continue
            again = _rounded(fills - one.partition if found else fills)
            updates = _rounded(one.accesses)
            found.append((_rounded(served - one.partition), again, updates, one.partition))
    return found


def _rounded(value: float) -> int:
    return floor(value + 0.5)


def _blocks(nest: Nest, grid: IntArray, tensor: str) -> list[_Block]:
    """The nodes of a nest, outermost first, with what is drawn from each."""
    steps = np.zeros((len(nest.dims[tensor]), len(nest.ranks)), np.int64)
    for dim, terms in zip(steps, nest.dims[tensor], strict=True):
        for r, step in terms:
            dim[r] += step
    inside = np.array([grid[slot:].prod(axis=0) for slot in range(len(grid) + 1)])
    shapes: list[_Point] = [tuple(own) for own in (1 + (inside - 1) @ steps.T).tolist()]

    def loops(slot: int) -> Iterator[_Loop]:
        """Loops of a slot, outermost first."""
        for r in reversed(nest.orders[slot]):
            if grid[slot, r] > 1:
                yield int(grid[slot, r]), tuple((steps[:, r] * inside[slot + 1, r]).tolist())

    found: list[_Block] = []
    time: list[_Loop] = []
    slot, keep = 0, iter(nest.keep)
    for node in nest.arch.nodes:
        first, width, height = slot, 1, 1
        places: list[_Point] = [(0,) * len(steps)]
        if isinstance(node, Fanout):
            slot += 2
            height = max(node.fanout_y, int(grid[first].prod()))
            width = max(node.fanout_x, int(grid[first + 1].prod()))
            for factor, move in (*loops(first), *loops(first + 1)):
                far = [tuple(i * n for n in move) for i in range(factor)]
                places = [_added(place, way) for place in places for way in far]
        else:
            slot += 1
            time += loops(first)
        steps_of = _steps(time, shapes[slot])
        draw = steps_of if node is nest.arch.nodes[-1] else _new_words(steps_of)
        words, outer = prod(shapes[first]), found[-1] if found else None
        partition = words if outer is None else outer.partition
        if outer is not None and outer.copies > 1:
            partition = partition * words // outer.words
        accesses, arrived, handed = _drawn(
            places, (width, height), draw, apart=first in nest.apart[tensor]
        )
        found.append(
            _Block(
                keeps=not isinstance(node, Fanout) and tensor in next(keep),
                words=words,
                partition=partition,
                instances=outer.instances * outer.copies if outer else 1,
                copies=len(places),
                accesses=accesses,
                arrived=arrived,
                handed=handed,
            )
        )
    return found


def _added(a: _Point, b: _Point) -> _Point:
    return tuple(x + y for x, y in zip(a, b, strict=True))


def _less(a: _Point, b: _Point) -> _Point:
    return tuple(x - y for x, y in zip(a, b, strict=True))


def _steps(loops: Sequence[_Loop], shape: _Point) -> Iterator[tuple[int, Box]]:
    """Steps of temporal loops, outermost first: how many each stands for, and the tile then."""
    for moved in product((False, True), repeat=len(loops)):
        low, weight = (0,) * len(shape), 1
        for yes, (factor, move) in zip(moved, loops, strict=True):
            if yes:
                low, weight = _added(low, move), weight * (factor - 1)
        yield weight, Box(low, shape)


def _new_words(steps: Iterable[tuple[int, Box]]) -> Iterator[tuple[int, Box | None]]:
    """Of each step, what the tile has that it did not have before; None where nothing is new."""
    last: _Point | None = None
    stride: _Point | None = None
    for weight, tile in steps:
        way, last = None if last is None else _less(tile.low, last), tile.low
        if way is None:
            yield weight, tile
        elif not any(way):
            yield weight, None
        elif stride is None or stride == way:
            stride = way
            yield weight, _moved(tile, way)
        else:
            stride = None
            yield weight, tile


def _moved(tile: Box, way: _Point) -> Box:
    """New words of a tile that moved; the whole of it where it moved along several dimensions."""
    moved = [d for d, far in enumerate(way) if far]
    if len(moved) != 1 or abs(way[moved[0]]) >= tile.shape[moved[0]]:
        return tile
    (d,) = moved
    far = abs(way[d])
    low = tile.low[d] + (tile.shape[d] - far if way[d] > 0 else 0)
    return Box(
        low=(*tile.low[:d], low, *tile.low[d + 1 :]),
        shape=(*tile.shape[:d], far, *tile.shape[d + 1 :]),
    )


def _drawn(
    places: Sequence[_Point],
    mesh: tuple[int, int],
    steps: Iterable[tuple[int, Box | None]],
    *,
    apart: bool,
) -> tuple[int, int, int]:
    """Accesses by copies of what stands inside a block, words that arrive, and those handed on.

    places: distance of each copy's tile from the first one's, by the copies' running number.
    mesh:   copies along X and Y. steps: what is new in each for the first copy.
    apart:  each copy reads for itself.
    """
    plain, (width, height) = len(set(places)), mesh

    def neighbours(index: int) -> Iterator[int]:
        row, column = divmod(index, width)
        near = (
            (row > 0, -width),
            (row < height - 1, width),
            (column > 0, -1),
            (column < width - 1, 1),
        )
        yield from (index + way for yes, way in near if yes and index + way < len(places))

    @cache
    def still(way: _Point) -> tuple[int, int]:
        """Groups and copies that still draw, when boxes have moved so far."""
        own = [
            place
            for index, place in enumerate(places)
            if not any(_less(places[other], place) == way for other in neighbours(index))
        ]
        return len(set(own)), len(own)

    accesses = arrived = handed = 0
    before: Box | None = None
    for weight, box in steps:
        if box is not None:
            groups, copies = len(places) if apart else plain, len(places)
            if not apart and before is not None and before.shape == box.shape:
                fewer = still(_less(box.low, before.low))
                if fewer[0] < plain:
                    groups, copies = fewer
            words = prod(box.shape) * weight
            accesses, arrived = accesses + groups * words, arrived + copies * words
            handed += (len(places) - copies) * words
        before = box
    return accesses, arrived, handed
