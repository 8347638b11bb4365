"""Copies that need the same words at one time, and neighbours that pass words on.

Copies whose new words are the very same box share one access of the level outside. Where the new
words of a copy are those that a neighbour on the mesh got in the step before, the neighbour hands
them on, if that saves accesses outside. A part that two boxes have in common is no match.
Source: Timeloop, src/loop-analysis/nest-analysis.cpp, ComputeAccurateMulticastedAccesses and
ComputeNetworkLinkTransfers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

from flat_mapper.cost_model.windows.nest import Block
from flat_mapper.cost_model.windows.tile import Box, Point, Projection, added, less

Served = Counter[int]  # copies that one access serves: accesses


@dataclass(slots=True)
class Drawn:
    """Words that the copies below one block draw from it over the run."""

    accesses: Served = field(default_factory=Counter)
    handed: int = 0  # words that neighbours hand on


def drawn(block: Block, projection: Projection, found: Iterator[tuple[int, Box | None]]) -> Drawn:
    """Words that copies of a fanout draw, given what is new in each step for the first of them."""
    places = _places(block, projection)
    if block.apart:
        words = sum(weight * box.words for weight, box in found if box is not None)
        return Drawn(accesses=Counter({1: len(places) * words}))
    plain = _groups(list(places.values()))
    width = max(block.mesh[0], block.columns)
    height = max(block.mesh[1], block.rows)

    @cache
    def passed_on(way: Point) -> tuple[Served, int]:
        """Groups that still draw, and how many copies do not, when boxes have moved so far."""
        still = {
            index: place
            for index, place in places.items()
            if not any(
                other in places and less(places[other], place) == way
                for other in _neighbours(index, width, height)
            )
        }
        return _groups(list(still.values())), len(places) - len(still)

    total = Drawn()
    before: Box | None = None
    for weight, box in found:
        if box is not None:
            groups, passed = plain, 0
            if before is not None and before.shape == box.shape:
                fewer, could = passed_on(less(box.low, before.low))
                if fewer.total() < plain.total():
                    groups, passed = fewer, could
            for copies, count in groups.items():
                total.accesses[copies] += count * box.words * weight
            total.handed += passed * box.words * weight
        before = box
    return total


def _places(block: Block, projection: Projection) -> dict[int, Point]:
    """Distance of each copy's tile from the first one's, by the copies' running number."""
    places: list[Point] = [(0,) * len(projection.dims)]
    for loop in block.loops:
        moves = [projection.move(loop.rank, i * loop.stride) for i in range(loop.factor)]
        places = [added(place, move) for place in places for move in moves]
    return dict(enumerate(places))


def _groups(places: list[Point]) -> Served:
    """Number of places that copies share."""
    return Counter(Counter(places).values())


def _neighbours(index: int, width: int, height: int) -> Iterator[int]:
    column, row = index % width, index // width
    if row > 0:
        yield index - width
    if row < height - 1:
        yield index + width
    if column > 0:
        yield index - 1
    if column < width - 1:
        yield index + 1
