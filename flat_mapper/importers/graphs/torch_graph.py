"""A graph of torch.export read as a cascade: `flat-mapper import-torch`.

The file is read without torch, and nothing in it is run: see `torch_archive`. Constants, such as
masks and angles, are worked out with numpy; weights are not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any

from flat_mapper.base.errors import BackendError, SpecError, expected
from flat_mapper.importers.graphs.imported import Imported
from flat_mapper.importers.graphs.operators import Call
from flat_mapper.importers.graphs.reading import GraphReader
from flat_mapper.importers.graphs.torch_archive import FLOATS, ExportedGraph, read_archive
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
    return _Program(where=where, exported=exported).imported(name)


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


@dataclass(slots=True, kw_only=True)
class _Program(GraphReader):
    """Calls of a program."""

    exported: ExportedGraph
    parameters: dict[str, Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.inputs, self.outputs = list(self.exported.inputs), self.exported.outputs
        self.operators = (Call(graph=self.graph, **node) for node in self.exported.nodes)

    def outside(self, name: str) -> Any:
        """A parameter, a buffer or a constant, or an input."""
        kind, outside = self.exported.inputs.get(name, ("", ""))
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

    def shapes(self, one: Call) -> Callable[[], Sequence[tuple[int, ...]]]:
        """Shapes of what a call makes: none of them is open, needed or not."""
        shapes = [self._shape(name) for name in one.outputs]
        return lambda: shapes

    def folded(
        self, one: Call, values: list[Any], named: Mapping[str, Any]
    ) -> Sequence[Any] | None:
        """Output of a call of constants, by numpy."""
        kind = self.exported.kinds.get(one.outputs[0]) if len(one.outputs) == 1 else None
        if kind is None or None in kind.shape:
            return None
        return [folded(one.kind, values, named, self._shape(one.outputs[0]), kind.dtype)]

    def _shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor."""
        known = self.exported.kinds.get(name)
        sizes = known.shape if known else (None,)
        fixed = tuple(size for size in sizes if size is not None)
        if len(fixed) < len(sizes):
            change = "export it with fixed sizes"
            raise SpecError(expected(f"{self.where}: {name}", "fixed sizes", "an open one", change))
        return fixed
