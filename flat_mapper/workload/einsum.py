"""One Einsum of a cascade, and its tensors as it touches them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # at run time networkx is imported when the graph is first asked for
    pass

Unit = Literal["matrix", "vector"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorAccess:
    """One tensor as one Einsum touches it: one rank to a dimension, unless `sums` says more.

    sums: each dimension as a sum of ranks with their steps, such as `2*p + r` of a convolution;
          empty where all dimensions are plain ranks.
    """

    tensor: str
    ranks: tuple[str, ...]
    is_output: bool = False
    sums: tuple[tuple[tuple[str, int], ...], ...] = ()

    def __str__(self) -> str:
        return f"{self.tensor}[{','.join(self._dimensions).lower()}]"

    @property
    def _dimensions(self) -> tuple[str, ...]:
        return tuple(" + ".join(map(_term, dim)) for dim in self.sums) if self.sums else self.ranks

    def words(self, extents: Mapping[str, int]) -> int:
        """Values of the box that it takes over so much of every rank."""
        if not self.sums:
            return prod(extents[r] for r in self.ranks)
        return prod(1 + sum(step * (extents[r] - 1) for r, step in dim) for dim in self.sums)


def _term(term: tuple[str, int]) -> str:
    rank, step = term
    return rank if step == 1 else f"{step}*{rank}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Einsum:
    """One tensor equation: an output, its inputs, and the operation that combines them."""

    name: str
    output: TensorAccess
    inputs: tuple[TensorAccess, ...]
    operation: str  # mul, max, exp, sum, div, ...: what the compute unit does at a point
    unit: Unit  # matrix: the PE array; vector: the special function unit
    text: str = ""  # the notation it was written in
    states_operation: bool = True  # False: a Timeloop problem's, whose points are all `compute`
    updates: bool = False  # it reads the old words of its output, which others may write too
    # How it stands to the shared loop over a rank that is none of its tensors':
    each: tuple[str, ...] = ()  # it runs once in every pass of that loop
    after: tuple[str, ...] = ()  # it runs once, when that loop is done
    so_far: tuple[str, ...] = ()  # inputs that it takes before their reduction is complete

    @property
    def accesses(self) -> tuple[TensorAccess, ...]:
        """Inputs in their written order, then the output."""
        return (*self.inputs, self.output)

    @property
    def ranks(self) -> tuple[str, ...]:
        """Iteration space: output ranks in order, then the reduced ranks in order.

        A rank of `each` is among them; its extent is the number of passes of the shared loop.
        """
        seen = dict.fromkeys(self.output.ranks)
        for access in self.inputs:
            seen.update(dict.fromkeys(access.ranks))
        return tuple(dict.fromkeys((*seen, *self.each)))

    @property
    def windowed(self) -> tuple[str, ...]:
        """Tensors with a dimension that is a sum of ranks: their tiles may overlap."""
        return tuple(a.tensor for a in self.accesses if a.sums)

    @property
    def reduced_ranks(self) -> tuple[str, ...]:
        """Ranks that the output lacks."""
        return tuple(r for r in self.ranks if r not in self.output.ranks)
