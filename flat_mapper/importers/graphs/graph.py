"""A model's graph of operators as plain values, whatever file it stood in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Named:
    """An argument that is a tensor of the graph."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A tensor that no operator makes.

    words:     it is of words, not of numbers that only point at some.
    parameter: its name outside; empty for an input of the model, a buffer and a constant.
    numbers:   gives the array that the file has of it; None where that is not looked at.
    """

    words: bool
    parameter: str = ""
    numbers: Callable[[], Any] = lambda: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One operator.

    kind:    as ATen has it; said: as the file does; own: the file's record of it.
    values:  its arguments by position, in ATen's order; named: by ATen's names. A tensor is
             `Named`, others are as Python has them.
    outputs: names of the tensors that it makes.
    """

    kind: str
    said: str
    name: str
    values: Sequence[Any]
    named: Mapping[str, Any]
    outputs: Sequence[str]
    own: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """Operators in order, from the inputs to the outputs.

    where:  the file, as errors name it.
    shapes: of tensors by name, None for a size that the file leaves open.
    folded: what an operator of constants makes, of its arguments with arrays for tensors; None
            where that is not worked out.
    """

    where: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    operators: Iterable[Operator]
    sources: Mapping[str, Source]
    shapes: Mapping[str, Sequence[int | None]]
    folded: Callable[[Operator, list[Any], dict[str, Any]], Sequence[Any] | None]
