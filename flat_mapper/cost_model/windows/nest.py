"""A loop nest as a chain of blocks: one for each storage level, and one for each fanout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod


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
