"""A model's graph of operators as plain values, whatever file it stood in, and the pass over it.

Constants are worked out, the rest becomes a cascade.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.importers.graphs.cascade import GraphCascade
from flat_mapper.importers.graphs.imported import Imported, finished
from flat_mapper.importers.graphs.operators import HANDLERS, MOST_FOLDED, Call, understood
from flat_mapper.importers.graphs.values import Value

MOST_TOGETHER = 4 * MOST_FOLDED  # chosen: words of all constants that are worked out, 0.5 GB


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


def read_graph(graph: Graph, name: str) -> Imported:
    """The problem of a graph: every operator, then what it gives out is a tensor."""
    reading = _Reading(graph)
    for given in graph.inputs:
        reading.value(given)
    for one in graph.operators:
        with understood(f"{graph.where}: {one.name}", one.said):
            results = reading.made(one)
        reading.found |= dict(zip(one.outputs, results, strict=False))
    for given in graph.outputs:
        value = reading.found.get(given)
        if isinstance(value, Value):
            reading.cascade.outputs.add(reading.cascade.done(value).tensor)
    return finished(reading.cascade, name)


@dataclass(slots=True)
class _Reading:
    """A graph that is being read.

    found: of each tensor so far its value, an array of constant numbers, or None: numbers that only
           point at words. parameters: values by their names outside: one that is tied has several.
    room:  words that constants may still take, all of them together.
    """

    graph: Graph
    cascade: GraphCascade = field(default_factory=GraphCascade)
    found: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, Value] = field(default_factory=dict)
    room: int = MOST_TOGETHER

    def made(self, one: Operator) -> Sequence[Any]:
        """Output of an operator."""
        if (folded := self.folded(one)) is not None:
            return folded
        values, named = _given(self.value, one)
        words = [v for v in _flat((*values, *named.values())) if isinstance(v, Value)]
        if not words or not one.outputs:
            return [None] * len(one.outputs)
        call = Call(
            graph=self.cascade,
            kind=one.kind,
            said=one.said,
            name=one.name,
            where=f"{self.graph.where}: {one.name}",
            values=values,
            named=named,
            shapes=lambda: [self.shape(n) for n in one.outputs if n],
            numbers=lambda i: _with(self.numbers, one.values[i]),
        )
        handler = HANDLERS.get(one.kind)
        made = handler(call) if handler else NotImplemented
        if made is NotImplemented:
            return [self.cascade.cut(one.said, one.name, words, shape) for shape in call.shapes()]
        return made if isinstance(made, list) else [made]

    def folded(self, one: Operator) -> Sequence[Any] | None:
        """Output of an operator of constants; None where it is none, or is not worked out."""
        arguments = _flat((*one.values, *one.named.values()))
        unknown = (self.numbers(a.name) is None for a in arguments if isinstance(a, Named))
        if self.room < 0 or any(unknown):
            return None
        made = self.graph.folded(one, *_given(self.numbers, one))
        self.room -= sum(map(_held, made or ()))
        return made

    def value(self, name: str) -> Any:
        """The meaning of a tensor."""
        if name not in self.found:
            self.found[name] = self.outside(name)
        return self.found[name]

    def numbers(self, name: str) -> Any:
        """The numbers of a constant; None where they are not known."""
        known = self.found.get(name)
        if known is not None and not isinstance(known, Value):
            return known
        return self.graph.sources[name].numbers() if name in self.graph.sources else None

    def outside(self, name: str) -> Any:
        """The meaning of a tensor that no operator so far has made."""
        source = self.graph.sources.get(name)
        if source is None:
            condition = f"an operator that makes {name} before it is read"
            change = "export the model again: its operators are in order"
            raise SpecError(expected(self.graph.where, condition, "none", change))
        array, outer = source.numbers(), source.parameter
        if array is not None and (not outer or array.size == 1 or not source.words):
            return array
        if not outer:
            return self.cascade.source(name, self.shape(name)) if source.words else None
        if outer not in self.parameters:
            shape = self.shape(name)
            self.parameters[outer] = self.cascade.source(outer, shape, parameters=prod(shape))
        return self.parameters[outer]

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor."""
        sizes = self.graph.shapes.get(name, (None,))
        fixed = tuple(size for size in sizes if size is not None)
        if len(fixed) < len(sizes):
            change = "export it with fixed sizes"
            where = f"{self.graph.where}: {name}"
            raise SpecError(expected(where, "fixed sizes", "an open one", change))
        return fixed


def _held(array: Any) -> int:
    """Words that a constant takes by itself; none where it looks at another's."""
    return int(np.size(array)) if getattr(array, "base", None) is None else 0


def _given(known: Callable[[str], Any], one: Operator) -> tuple[list[Any], dict[str, Any]]:
    """Arguments of an operator by position and by name, without `Named` ones."""
    values = [_with(known, a) for a in one.values]
    return values, {key: _with(known, a) for key, a in one.named.items()}


def _with(known: Callable[[str], Any], argument: Any) -> Any:
    """An argument with values or arrays in place of names."""
    if isinstance(argument, list):
        return [_with(known, a) for a in argument]
    return known(argument.name) if isinstance(argument, Named) else argument


def _flat(arguments: Iterable[Any]) -> Iterator[Any]:
    """Arguments, with those that are listed one by one."""
    for one in arguments:
        yield from one if isinstance(one, list) else [one]
