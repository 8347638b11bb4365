"""A model's graph of operators, whatever file it stood in, and the one pass that reads it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from flat_mapper.importers.graphs.cascade import GraphCascade
from flat_mapper.importers.graphs.imported import Imported, finished
from flat_mapper.importers.graphs.operators import HANDLERS, Call, Handler, Made, Named, understood
from flat_mapper.importers.graphs.values import Value


@dataclass(slots=True)
class GraphReader(ABC):
    """Operators of a file, read in order: constants are worked out, the rest becomes a cascade.

    found: of each tensor so far its value, an array of constant numbers, or None: numbers that only
    point at words.
    """

    where: str
    inputs: Sequence[str] = ()
    outputs: Sequence[str] = ()
    operators: Iterable[Call] = ()
    handlers: Mapping[str, Handler] = field(default_factory=lambda: HANDLERS)
    graph: GraphCascade = field(default_factory=GraphCascade)
    found: dict[str, Any] = field(default_factory=dict)

    @abstractmethod
    def outside(self, name: str) -> Any:
        """What a tensor is that no operator so far has made."""

    def stored(self, name: str) -> Any:
        """The numbers that the file has of a parameter; None where they are not looked at."""
        return None

    @abstractmethod
    def shapes(self, one: Call) -> Callable[[], Sequence[tuple[int, ...]]]:
        """Shapes of what an operator makes."""

    @abstractmethod
    def folded(
        self, one: Call, values: list[Any], named: Mapping[str, Any]
    ) -> Sequence[Any] | None:
        """Output of an operator of constants; None where it is not worked out."""

    def imported(self, name: str) -> Imported:
        """The problem of the graph: every operator, then what it gives out is a tensor."""
        for given in self.inputs:
            self.found[given] = self.outside(given)
        for one in self.operators:
            with understood(one.where, one.kind):
                results = self._made(one)
            self.found |= dict(zip(one.outputs, results, strict=False))
        for given in self.outputs:
            value = self.found.get(given)
            if isinstance(value, Value):
                self.graph.outputs.add(self.graph.done(value).tensor)
        return finished(self.graph, name)

    def _made(self, one: Call) -> Sequence[Any]:
        """Output of an operator."""
        tensors = [a for a in _flat([*one.values, *one.named.values()]) if isinstance(a, Named)]
        if all(self._numbers(a) is not None for a in tensors):
            folded = self.folded(one, *_given(self._numbers, one))
            if folded is not None:
                return folded
        values, named = _given(self._value, one)
        words = [v for v in _flat([*values, *named.values()]) if isinstance(v, Value)]
        if not words or not one.outputs:
            return [None] * len(one.outputs)
        shapes = self.shapes(one)
        handler = self.handlers.get(one.kind, _unknown)
        made = handler(
            replace(
                one,
                values=values,
                named=named,
                shapes=shapes,
                numbers=lambda i: _with(self._numbers, one.values[i]),
            )
        )
        if made is NotImplemented:
            return [self.graph.cut(one.kind, one.name, words, shape) for shape in shapes()]
        return made if isinstance(made, list) else [made]

    def _value(self, tensor: Named) -> Any:
        if tensor.name not in self.found:
            self.found[tensor.name] = self.outside(tensor.name)
        return self.found[tensor.name]

    def _numbers(self, tensor: Named) -> Any:
        """The numbers of a constant; None where they are not known."""
        known = self.found.get(tensor.name)
        return self.stored(tensor.name) if known is None or isinstance(known, Value) else known


def _unknown(call: Call) -> Made:
    return NotImplemented


def _given(known: Callable[[Named], Any], one: Call) -> tuple[list[Any], dict[str, Any]]:
    """Arguments of an operator by position and by name, without `Named` ones."""
    values = [_with(known, a) for a in one.values]
    return values, {key: _with(known, a) for key, a in one.named.items()}


def _with(known: Callable[[Named], Any], argument: Any) -> Any:
    """An argument with values or arrays in place of names."""
    if isinstance(argument, list):
        return [_with(known, a) for a in argument]
    return known(argument) if isinstance(argument, Named) else argument


def _flat(arguments: Sequence[Any]) -> list[Any]:
    """Arguments, with those that are listed one by one."""
    return [a for one in arguments for a in (one if isinstance(one, list) else [one])]
