"""Reads, fills and updates of one tensor at every level, as Timeloop adds them up.

What moves is counted at every block, whether the tensor is kept there or not. A block that does not
keep it hands what its own children draw on to the block outside, in the ratio of copies and
accesses that it has there. Source: Timeloop, src/loop-analysis/tiling.cpp.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise
from math import floor, prod

from flat_mapper.cost_model.windows.moves import deltas, steps
from flat_mapper.cost_model.windows.nest import Block, Pass, extents_inside
from flat_mapper.cost_model.windows.sharing import Drawn, Served, drawn
from flat_mapper.cost_model.windows.tile import Box, Point, Projection


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowCounts:
    """Words of one tensor at one level and instance."""

    reads: int
    fills: int
    updates: int
    temporal_reductions: int
    partition: int


@dataclass(slots=True, kw_only=True)
class _Level:
    """One block's running sums."""

    block: Block
    words: int  # of its tile
    drawn: Drawn
    instances: int
    content: float = 0.0  # accesses by its children
    share: float = 0.0  # of the accesses of the block outside, what one instance gets
    partition: int = 0
    peers: float = 0.0  # words that one instance hands to neighbours, and gets from them
    accesses: dict[int, float] = field(default_factory=dict)


def window_counts(
    blocks: Sequence[Block], projection: Projection, ranks: int, *, is_output: bool
) -> list[WindowCounts | None]:
    """For each block, outermost first, the words of the tensor; None where it is not kept.

    ranks: how many there are.
    """
    inside = extents_inside(blocks, ranks)
    levels = [
        _Level(
            block=block,
            words=projection.words(inside[i]),
            drawn=_drawn(blocks, i, projection, projection.shape(inside[i + 1])),
            instances=prod(b.fanout for b in blocks[:i]),
        )
        for i, block in enumerate(blocks)
    ]
    for i, level in enumerate(levels):
        level.accesses = {copies: float(n) for copies, n in level.drawn.accesses.items()}
        level.content = sum(level.accesses.values())
        if i:
            outer = levels[i - 1]
            level.share = _weighted(outer.accesses) / outer.block.fanout
        across = projection.words(_across(blocks[i - 1], inside[i])) if i else level.words
        before = levels[i - 1].partition if i else level.words
        level.partition = before * level.words // across
    _bypass(levels)
    _hand_on(levels)
    first = next((i for i, level in enumerate(levels) if level.block.keeps), 0)
    return [
        _counts(level, is_output=is_output, outermost=i <= first) if level.block.keeps else None
        for i, level in enumerate(levels)
    ]


def _across(outer: Block, inside: Sequence[int]) -> list[int]:
    """Extent of every rank in all copies of a block together."""
    reached = list(inside)
    for loop in outer.loops if outer.spatial else ():
        reached[loop.rank] *= loop.factor
    return reached


def _drawn(blocks: Sequence[Block], index: int, projection: Projection, shape: Point) -> Drawn:
    """Words that what stands inside a block draws from it."""
    loops: list[Pass] = list(chain.from_iterable(b.temporal for b in blocks[: index + 1]))
    to_compute = index == len(blocks) - 1
    block = blocks[index]
    if to_compute and not block.spatial:
        return Drawn(accesses=Served({1: prod(loop.factor for loop in loops)}))
    walk = steps(loops, projection)
    if to_compute:
        found = ((weight, Box(low=low, shape=shape)) for weight, low in walk)
        return drawn(block, projection, iter(found))
    moved = deltas(walk, shape)
    if block.spatial:
        return drawn(block, projection, moved)
    return Drawn(accesses=Served({1: sum(weight * box.words for weight, box in moved if box)}))


def _weighted(accesses: dict[int, float]) -> float:
    """Words that arrive: accesses times the copies that each serves."""
    return sum(copies * n for copies, n in accesses.items())


def _bypass(levels: Sequence[_Level]) -> None:
    """Give what blocks without the tensor would serve to the block outside; innermost first."""
    for outer, level in reversed(list(pairwise(levels))):
        if level.block.keeps:
            continue
        grown = level.content * outer.block.fanout / _weighted(outer.accesses)
        outer.accesses = {copies: n * grown for copies, n in outer.accesses.items()}
        outer.content = sum(outer.accesses.values())
        outer.drawn.handed = 0


def _hand_on(levels: Sequence[_Level]) -> None:
    for outer, level in pairwise(levels):
        level.peers = outer.drawn.handed / level.instances


def _counts(level: _Level, *, is_output: bool, outermost: bool) -> WindowCounts:
    share = 0.0 if outermost else level.share
    served = level.content + level.peers
    filled = share + level.peers
    if not is_output:
        return WindowCounts(
            reads=_rounded(served),
            fills=floor(filled),
            updates=0,
            temporal_reductions=0,
            partition=level.partition,
        )
    again = _rounded(served - level.partition)
    return WindowCounts(
        reads=again,
        fills=_rounded(filled if outermost else filled - level.partition),
        updates=_rounded(level.content),
        temporal_reductions=again,
        partition=level.partition,
    )


def _rounded(value: float) -> int:
    return floor(value + 0.5)
