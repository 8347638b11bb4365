"""One Einsum of a cascade, and its tensors as it touches them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # at run time networkx is imported when the graph is first asked for
    pass

Unit = Literal["matrix", "vector"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorAccess:
    """One tensor as one Einsum touches it. Plain ranks only: attention needs no affine sums."""

    tensor: str
    ranks: tuple[str, ...]
    is_output: bool = False

    def __str__(self) -> str:
        return f"{self.tensor}[{','.join(self.ranks).lower()}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Einsum:
    """One tensor equation: an output, its inputs, and the operation that combines them."""

    name: str
    output: TensorAccess
    inputs: tuple[TensorAccess, ...]
    operation: str  # mul, max, exp, sum, div, ...: what the compute unit does at a point
    unit: Unit  # matrix: the PE array; vector: the special function unit
    text: str = ""  # the notation it was written in
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
    def reduced_ranks(self) -> tuple[str, ...]:
        """Ranks that the output lacks."""
        return tuple(r for r in self.ranks if r not in self.output.ranks)
