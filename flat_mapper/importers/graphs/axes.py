"""Axes of a graph's tensors: what is one rank of the cascade in the end.

A dimension of a tensor is a sequence of axes, outermost first; one position is no axis.
Reshapes and transposes only take such sequences apart and put them together. An axis is *split*
where a reshape or another tensor shows that it is a product, and two axes become *one* where an
operator runs over both at the same time. Axes that one Einsum runs over are *apart*: they never
become one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from math import prod


@dataclass(eq=False, slots=True)
class Axis:
    """One axis, as far as it is known."""

    size: int
    same: tuple[Axis, ...] = ()  # what it turned out to be: another axis, or its factors
    apart: set[Axis] = field(default_factory=set)

    def leaves(self) -> tuple[Axis, ...]:
        """The axes that it stands for, outermost first."""
        return flat(self.same) if self.same else (self,)


Dim = tuple[Axis, ...]


def dim(size: int) -> Dim:
    """A new dimension of a size."""
    return () if size == 1 else (Axis(size),)


def flat(axes: Iterable[Axis]) -> Dim:
    """The leaves of some axes, in order."""
    return tuple(leaf for axis in axes for leaf in axis.leaves())


def size_of(axes: Iterable[Axis]) -> int:
    """Positions along some axes together."""
    return prod(axis.size for axis in axes)


def split(axis: Axis, outer: int) -> None:
    """Make a leaf a product of two, of which the outer one has so many positions."""
    parts = (Axis(outer), Axis(axis.size // outer))
    for other in axis.apart:
        other.apart.discard(axis)
        other.apart.update(parts)
    for part in parts:
        part.apart |= axis.apart
    keep_apart(parts)
    axis.same, axis.apart = parts, set()


def keep_apart(axes: Iterable[Axis]) -> None:
    """Say that leaves are ranks of one Einsum."""
    for one, other in combinations(axes, 2):
        one.apart.add(other)
        other.apart.add(one)


def aligned(left: Iterable[Axis], right: Iterable[Axis]) -> list[tuple[Axis, Axis]] | None:
    """The leaves of two equally large dimensions in pairs of one size; None where they cross."""
    while True:
        pairs = list(zip(flat(left), flat(right), strict=False))
        uneven = next(((a, b) for a, b in pairs if a.size != b.size), None)
        if uneven is None:
            return pairs
        small, large = sorted(uneven, key=lambda axis: axis.size)
        if large.size % small.size:
            return None
        split(large, small.size)


def unify(left: Iterable[Axis], right: Iterable[Axis]) -> bool:
    """Make two dimensions one; False where they cross, or are apart."""
    pairs = aligned(left, right)
    if pairs is None or any(b in a.apart for a, b in pairs):
        return False
    for one, other in ((a, b) for a, b in pairs if a is not b):
        for third in other.apart:
            third.apart.discard(other)
            third.apart.add(one)
        one.apart |= other.apart
        other.same, other.apart = (one,), set()
    return True


def reshaped(dims: Iterable[Dim], shape: Sequence[int]) -> tuple[Dim, ...] | None:
    """The dimensions of a reshaped tensor; None where new ones cross old ones."""
    left, found = list(flat(axis for one in dims for axis in one)), []
    for size in shape:
        taken: list[Axis] = []
        while size_of(taken) < size and not size % size_of(taken):
            axis = left.pop(0)
            need = size // size_of(taken)
            if axis.size > need:
                if axis.size % need:
                    return None
                split(axis, need)
                axis, rest = axis.same
                left.insert(0, rest)
            taken.append(axis)
        if size_of(taken) != size:
            return None
        found.append(tuple(taken))
    return tuple(found)
