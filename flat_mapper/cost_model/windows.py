"""Words that move of a tensor whose tiles overlap: sums of ranks, as in a convolution.

A loop nest is a chain of blocks: one for each storage level, and one for each fanout. What moves is
counted at every block, whether the tensor is kept there or not. A block that does not keep it hands
what its own children draw on to the block outside, in the ratio of copies and accesses that it has
there. Source: Timeloop, src/loop-analysis/tiling.cpp.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import chain, pairwise, product
from math import floor, prod

# Words at one instance of a level: read, filled, updated, and different ones that it ever holds
Counts = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Pass:
    """One loop."""

    rank: int
    factor: int
    stride: int  # how far one iteration takes the rank: the product of its factors further in


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The loops of one node. Those of a storage level are temporal, those of a fanout spatial.

    loops:  outermost first; a fanout's Y stands outside its X.
    across: how many of a fanout's last loops run along X.
    mesh:   physical copies along X and Y.
    keeps:  whether the tensor in question is kept here; False for a fanout.
    apart:  whether each of a fanout's copies reads the tensor for itself.
    """

    loops: tuple[Pass, ...]
    spatial: bool
    keeps: bool = False
    across: int = 0
    mesh: tuple[int, int] = (1, 1)
    apart: bool = False

    @property
    def temporal(self) -> tuple[Pass, ...]:
        """The loops that take time."""
        return () if self.spatial else self.loops

    @property
    def fanout(self) -> int:
        """Copies in use of what stands further in, for one of this block."""
        return prod(loop.factor for loop in self.loops) if self.spatial else 1

    @property
    def rows(self) -> int:
        """Copies in use along Y."""
        return prod(loop.factor for loop in self.loops[: len(self.loops) - self.across])

    @property
    def columns(self) -> int:
        """Copies in use along X."""
        return prod(loop.factor for loop in self.loops[len(self.loops) - self.across :])


def extents_inside(blocks: Sequence[Block], ranks: int) -> list[list[int]]:
    """Extent of every rank inside each block, its own loops included; one more for a compute."""
    inside = [[1] * ranks]
    for block in reversed(blocks):
        reached = list(inside[0])
        for loop in block.loops:
            reached[loop.rank] *= loop.factor
        inside.insert(0, reached)
    return inside


Point = tuple[int, ...]
Term = tuple[int, int]  # rank index, step: what one more of the rank adds


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """One box of words: its least point, and its size along each dimension."""

    low: Point
    shape: Point

    @property
    def words(self) -> int:
        """Words in it."""
        return prod(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """The dimensions of a tensor, each a sum of terms."""

    dims: tuple[tuple[Term, ...], ...]

    def shape(self, extents: Sequence[int]) -> Point:
        """The shape of the tile over so much of every rank."""
        return tuple(1 + sum(step * (extents[r] - 1) for r, step in dim) for dim in self.dims)

    def words(self, extents: Sequence[int]) -> int:
        """Words of the tile over so much of every rank."""
        return prod(self.shape(extents))

    def move(self, rank: int, distance: int) -> Point:
        """Distance that a tile moves when a rank goes on by one."""
        return tuple(sum(step * distance for r, step in dim if r == rank) for dim in self.dims)


def added(a: Point, b: Point) -> Point:
    """The sum of two points."""
    return tuple(x + y for x, y in zip(a, b, strict=True))


def less(a: Point, b: Point) -> Point:
    """The way from b to a."""
    return tuple(x - y for x, y in zip(a, b, strict=True))


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
) -> list[Counts | None]:
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


def _counts(level: _Level, *, is_output: bool, outermost: bool) -> Counts:
    share = 0.0 if outermost else level.share
    served, held = level.content + level.peers, level.partition
    filled = share + level.peers
    if not is_output:
        return _rounded(served), floor(filled), 0, held
    again = _rounded(served - held)
    fills = _rounded(filled if outermost else filled - held)
    return again, fills, _rounded(level.content), held


def _rounded(value: float) -> int:
    return floor(value + 0.5)


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
