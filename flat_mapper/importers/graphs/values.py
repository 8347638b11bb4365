"""Tensors of a graph as they stand while it is read, and the lines of the cascade being made."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from flat_mapper.importers.graphs.axes import Axis, Dim, flat, size_of


@dataclass(eq=False, slots=True)
class Tensor:
    """A tensor of the cascade: what an Einsum makes, or what comes from outside."""

    name: str
    axes: tuple[Axis, ...]
    made: bool = False
    parameters: int = 0  # words of a parameter; 0: it is none
    view_of: Tensor | None = None

    @property
    def leaves(self) -> Dim:
        """Its ranks."""
        return flat(self.axes)


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Part:
    """Positions start to stop of one dimension of a value."""

    whole: Value
    dimension: int
    start: int
    stop: int


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Value:
    """A tensor as the graph has it: its dimensions in order, some of them only repeated.

    steps: functions of one word that are still to be applied, in order.
    part:  the value is a part of another. angles: what a turned row is still to be multiplied by.
    """

    tensor: Tensor
    dims: tuple[Dim, ...]
    steps: tuple[str, ...] = ()
    part: Part | None = None
    angles: Value | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Positions of every dimension."""
        return tuple(size_of(one) for one in self.dims)

    def with_dims(self, dims: tuple[Dim, ...]) -> Value:
        """The same words under other dimensions."""
        return replace(self, dims=dims)


@dataclass(eq=False, slots=True)
class Line:
    """One Einsum being made; `form` has {0}, {1} in place of its inputs."""

    form: str
    output: Tensor
    inputs: list[Tensor]
    operator: list[Line] = field(default_factory=list)  # the row-wise unit that it is of


@dataclass(eq=False, slots=True)
class Rows:
    """A row-wise operator being recognised: a norm, a softmax.

    source: what it reduces; rank: over which axes; lines: its Einsums so far.
    """

    source: Tensor
    rank: Dim
    lines: list[Line]
    joined: bool = False
