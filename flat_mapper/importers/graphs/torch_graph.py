"""A graph of torch.export read as a cascade: `flat-mapper import-torch`.

The file is read without torch, and nothing in it is run: see `torch_archive`. Constants, such as
masks and angles, are worked out with numpy; weights are not looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from flat_mapper.base.errors import BackendError, SpecError, expected
from flat_mapper.importers.graphs.cascade import GraphCascade
from flat_mapper.importers.graphs.imported import Imported, finished
from flat_mapper.importers.graphs.operators import Call, understood
from flat_mapper.importers.graphs.torch_archive import (
    FLOATS,
    ExportedGraph,
    Named,
    Node,
    read_archive,
)
from flat_mapper.importers.graphs.torch_constants import folded
from flat_mapper.importers.graphs.values import Value
from flat_mapper.spec.yamlio import note_input


def import_torch(program: Any, *, name: str = "model") -> Imported:
    """The cascade of an exported program.

    program: the path of a file that torch.export.save wrote, which is read without torch, or what
             torch.export.export gave.
    raises:  SpecError; BackendError where a program is given and torch is missing.
    """
    if isinstance(program, str | Path):
        path, where = Path(program), str(program)
        if not path.is_file():
            raise SpecError(expected(where, "a file of torch.export.save", "no such file"))
        note_input(path)
        exported = read_archive(path, where)
    else:
        where = name
        exported = read_archive(_saved(program), where)
    walk = _Walk(exported=exported, where=where)
    walk.through()
    return finished(walk.graph, name, notes=list(dict.fromkeys(walk.notes)))


def _saved(program: Any) -> BytesIO:
    """A program as the file that it would be."""
    try:
        import torch
    except ImportError as error:
        change = "install it: pip install torch"
        raise BackendError(f"torch: expected the library, got {error}; {change}") from error
    file = BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    return file


@dataclass(slots=True)
class _Walk:
    """One pass over the calls of a program."""

    exported: ExportedGraph
    where: str
    graph: GraphCascade = field(default_factory=GraphCascade)
    found: dict[str, Any] = field(default_factory=dict)  # by name: a Value, an array, None
    parameters: dict[str, Value] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def through(self) -> None:
        """Every node in order; then what the program gives out is a tensor."""
        for name, kind, outside in self.exported.inputs:
            self.found[name] = self._outside(name, kind, outside)
        for node in self.exported.nodes:
            with understood(f"{self.where}: {node.name}", node.kind):
                results = self._call(node)
            self.found |= dict(zip(node.outputs, results, strict=False))
        for name in self.exported.outputs:
            value = self.found.get(name)
            if isinstance(value, Value):
                self.graph.outputs.add(self.graph.done(value).tensor)

    def _outside(self, name: str, kind: str, outside: str) -> Any:
        """A parameter, a buffer or a constant, or an input."""
        if kind == "parameter":
            if outside not in self.parameters:  # one that is tied has several names
                shape = self._shape(name)
                made = self.graph.source(outside, shape, parameters=prod(shape))
                self.parameters[outside] = made
            return self.parameters[outside]
        if kind in ("buffer", "constant"):
            return self.exported.constants.get(outside)
        known = self.exported.kinds.get(name)
        if kind != "input" or known is None or known.dtype not in FLOATS:
            return None
        return self.graph.source(name, self._shape(name))

    def _shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor."""
        known = self.exported.kinds.get(name)
        sizes = known.shape if known else (None,)
        fixed = tuple(size for size in sizes if size is not None)
        if len(fixed) < len(sizes):
            change = "export it with fixed sizes"
            raise SpecError(expected(f"{self.where}: {name}", "fixed sizes", "an open one", change))
        return fixed

    def _call(self, node: Node) -> Sequence[Any]:
        """Result of a call."""
        values = [self._value(a) for a in node.values]
        named = {key: self._value(a) for key, a in node.named.items()}
        words = [v for v in _flat([*values, *named.values()]) if isinstance(v, Value)]
        if not words:
            return [self._folded(node, values, named)]
        if not node.outputs:
            return []
        shapes = [self._shape(name) for name in node.outputs]
        return Call(
            graph=self.graph,
            kind=node.kind,
            said=node.kind,
            name=node.name,
            where=f"{self.where}: {node.name}",
            values=values,
            named=named,
            shapes=lambda: shapes,
            numbers=lambda i: None if isinstance(values[i], Value) else np.asarray(values[i]),
            notes=self.notes,
        ).made(words)

    def _folded(self, node: Node, values: list[Any], named: dict[str, Any]) -> Any:
        """Output of a call of constants; None where some of its inputs only point."""
        given = _flat([*node.values, *node.named.values()])
        unknown = any(isinstance(a, Named) and self.found.get(a.name) is None for a in given)
        if len(node.outputs) != 1 or unknown:
            return None
        kind = self.exported.kinds.get(node.outputs[0])
        if kind is None or any(size is None for size in kind.shape):
            return None
        return folded(node.kind, values, named, self._shape(node.outputs[0]), kind.dtype)

    def _value(self, argument: Any) -> Any:
        """An argument with values and arrays in place of names."""
        if isinstance(argument, list):
            return [self._value(a) for a in argument]
        if not isinstance(argument, Named):
            return argument
        return self.found.get(argument.name)


def _flat(arguments: Sequence[Any]) -> list[Any]:
    """Arguments, with those that are listed one by one."""
    return [a for one in arguments for a in (one if isinstance(one, list) else [one])]
