"""Tiles of a tensor whose dimensions may be sums of ranks, such as `2*p + r`.

A tile is a box: along a sum it reaches from the least point to the greatest, so that what a stride
steps over counts as well. Source: Timeloop, src/workload/shape-models/operation-space.cpp.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

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
