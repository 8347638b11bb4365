"""New words of a tile at each step of the loops outside it.

Timeloop keeps, of one tile and the next, the overlap, as long as the tile goes on by the same
stride: a tile that has moved by another stride than the time before is fetched whole, and what it
has in common with the last one is forgotten. It runs two iterations of every loop, the second for
all that follow it, so the way back from the end of a loop is that from its second iteration.
Source: Timeloop, src/loop-analysis/nest-analysis.cpp, ComputeDeltas and ComputeTemporalWorkingSet;
src/workload/shape-models/operation-space.cpp, SaveAndSubtractIfSameStride.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod

from flat_mapper.cost_model.windows.nest import Pass
from flat_mapper.cost_model.windows.tile import Box, Point, Projection, added, less

Step = tuple[int, Point]  # how many steps it stands for, and where the tile then begins


def steps(loops: Sequence[Pass], projection: Projection) -> Iterator[Step]:
    """The steps of temporal loops, outermost first, in their order."""
    real = [loop for loop in loops if loop.factor > 1]
    moves = [projection.move(loop.rank, loop.stride) for loop in real]
    rests = [loop.factor - 1 for loop in real]
    start: Point = (0,) * len(projection.dims)
    for index in product((False, True), repeat=len(real)):
        place = start
        for moved, move in zip(index, moves, strict=True):
            if moved:
                place = added(place, move)
        yield prod(rest for moved, rest in zip(index, rests, strict=True) if moved), place


def deltas(found: Iterator[Step], shape: Point) -> Iterator[tuple[int, Box | None]]:
    """Of each step, what the tile has that it did not have before; None where nothing is new.

    shape: of the tile.
    """
    last: Point | None = None
    stride: Point | None = None
    for weight, low in found:
        whole = Box(low=low, shape=shape)
        if last is None:
            yield weight, whole
            last = low
            continue
        way = less(low, last)
        last = low
        if not any(way):
            yield weight, None
        elif stride is None or stride == way:
            stride = way
            yield weight, _new(whole, way)
        else:
            stride = None
            yield weight, whole


def _new(tile: Box, way: Point) -> Box:
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
