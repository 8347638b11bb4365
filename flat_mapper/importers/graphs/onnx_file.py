"""An ONNX file read as a cascade: `flat-mapper import-onnx`.

The library `onnx` parses the file, infers the shapes and works out what is constant. The data of
weights is not looked at, and may be missing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, field
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from flat_mapper.base.errors import BackendError, SpecError, expected, relative_name
from flat_mapper.base.parallel import Processes
from flat_mapper.importers.graphs.imported import Imported
from flat_mapper.importers.graphs.onnx_operators import ONNX, is_small
from flat_mapper.importers.graphs.operators import MOST_FOLDED, Call, Named, understood
from flat_mapper.importers.graphs.reading import GraphReader
from flat_mapper.spec.yamlio import note_input


def import_onnx(
    path: str | Path, *, sizes: Mapping[str, int] | None = None, name: str = ""
) -> Imported:
    """The cascade of an ONNX file.

    sizes:  of the dimensions that the file leaves open, by their names.
    raises: BackendError where the library onnx is missing; SpecError.
    """
    onnx = _library()
    source = Path(path)
    if not source.is_file():
        raise SpecError(expected(str(path), "an ONNX file", "no such file"))
    note_input(source)
    try:
        model = onnx.load(str(source), load_external_data=False)
    except Exception as error:  # of protobuf, which the library does not wrap
        raise SpecError(expected(str(path), "an ONNX file", str(error)[:200])) from error
    _set_sizes(model, str(path), sizes or {})
    model = _with_shapes(model, str(path))
    reader = _Model(onnx=onnx, model=model, where=str(path), folder=source.parent)
    return reader.imported(name or source.stem)


def _with_shapes(model: Any, where: str) -> Any:
    """The model with the shapes that the library infers, in a process that a bad graph may end."""
    try:
        found, fault = _inference().submit(_inferred, model.SerializeToString()).result()
    except BaseException as error:
        _inference().end()
        _inference.cache_clear()
        if not isinstance(error, BrokenExecutor):
            raise
        found, fault = b"", "a graph that ends the library onnx"
    if fault:
        raise SpecError(expected(where, "a graph whose shapes follow", fault))
    return _library().load_from_string(found)


@cache
def _inference() -> Processes:
    return Processes(1)


def _inferred(data: bytes) -> tuple[bytes, str]:
    """A model with its shapes, or what is wrong with it."""
    onnx = _library()
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stderr.fileno())  # what the library says where it aborts
    try:
        model = onnx.shape_inference.infer_shapes(onnx.load_from_string(data), data_prop=True)
    except Exception as error:  # of the library's own classes, and of what it is written in
        return b"", " ".join(str(error).split())[:200]
    return model.SerializeToString(), ""


def _library() -> Any:
    try:
        import onnx
        import onnx.reference
        import onnx.shape_inference
    except ImportError as error:
        change = "install it: pip install 'flat-mapper[onnx]'"
        raise BackendError(f"onnx: expected the library, got {error}; {change}") from error
    return onnx


def _set_sizes(model: Any, where: str, sizes: Mapping[str, int]) -> None:
    """Give the open dimensions of the inputs their sizes."""
    open_dims: dict[str, None] = {}
    given = {i.name for i in model.graph.initializer}
    for one in (i for i in model.graph.input if i.name not in given):
        for size in one.type.tensor_type.shape.dim:
            if size.HasField("dim_value"):
                continue
            if size.dim_param in sizes:
                size.dim_value = sizes[size.dim_param]
            else:
                open_dims[size.dim_param or "?"] = None
    if open_dims:
        change = " ".join(f"--dim {n}=SIZE" for n in open_dims)
        names = ", ".join(open_dims)
        raise SpecError(expected(where, "sizes of all dimensions of its inputs", names, change))
    if sizes:
        del model.graph.value_info[:]


@dataclass(slots=True, kw_only=True)
class _Model(GraphReader):
    """Nodes of a file."""

    onnx: Any
    model: Any
    folder: Path
    weights: dict[str, Any] = field(default_factory=dict)  # initializers
    kinds: dict[str, Any] = field(default_factory=dict)  # types of tensors

    def __post_init__(self) -> None:
        graph = self.model.graph
        self.weights = {i.name: i for i in graph.initializer}
        for info in (*graph.value_info, *graph.input, *graph.output):
            self.kinds[info.name] = info.type.tensor_type
        self.inputs = [i.name for i in graph.input if i.name not in self.weights]
        self.outputs = [info.name for info in graph.output]
        self.operators, self.handlers = map(self._operator, graph.node), ONNX

    def _operator(self, node: Any) -> Call:
        name = str(node.name or next(iter(node.output), "") or node.op_type).removeprefix("node_")
        at = f"{self.where}: {name}"
        if any(a.HasField("g") for a in node.attribute):
            condition = "operators without graphs inside them"
            raise SpecError(expected(at, condition, node.op_type))
        with understood(at, str(node.op_type)):
            named = {a.name: self.onnx.helper.get_attribute_value(a) for a in node.attribute}
        return Call(
            graph=self.graph,
            kind=node.op_type,
            said=node.op_type,
            name=name,
            where=at,
            values=[Named(n) if n else None for n in node.input],
            named=named,
            outputs=node.output,
            node=node,
        )

    def outside(self, name: str) -> Any:
        """An input of the model, or a weight: a tensor when words are read of it."""
        weight = self.weights.get(name)
        if weight is None and name in self.inputs:
            words = self.kinds[name].elem_type in self._floats()
            return self.graph.source(name, self._shape(name, "its input")) if words else None
        if weight is None:
            condition = f"an operator that makes {name} before it is read"
            change = "export the model again: its operators are in order"
            raise SpecError(expected(self.where, condition, "none", change))
        array = self.stored(name)
        if array is not None and (array.size == 1 or weight.data_type not in self._floats()):
            return array
        return self.graph.source(name, weight.dims, parameters=prod(weight.dims))

    def stored(self, name: str) -> Any:
        """The numbers of a small weight; None where its data is not there."""
        weight = self.weights.get(name)
        if weight is None or prod(weight.dims) > MOST_FOLDED:
            return None
        if self._is_outside(weight):
            return self._beside(weight)
        return self.onnx.numpy_helper.to_array(weight)

    def shapes(self, one: Call) -> Callable[[], Sequence[tuple[int, ...]]]:
        """Shapes of what a node makes, where they are needed."""
        return lambda: [self._shape(n, one.name) for n in one.outputs if n]

    def folded(
        self, one: Call, values: list[Any], named: Mapping[str, Any]
    ) -> Sequence[Any] | None:
        """Output of a node of constants, by the library's own reference."""
        node = one.node
        if node.op_type == "Gather" and self._is_table(node.input[0]):
            return None
        if node.domain or not is_small(node.op_type, values):
            return None
        if any(a.HasField("sparse_tensor") or self._is_outside(a.t) for a in node.attribute):
            return None
        opsets = {o.domain: o.version for o in self.model.opset_import}
        given = {n: a for n, a in zip(node.input, values, strict=True) if n}
        try:
            run = self.onnx.reference.ReferenceEvaluator(node, opsets=opsets)
            return list(run.run(None, given))
        except Exception:  # an operator that the library has no reference for
            return None

    def _floats(self) -> tuple[int, ...]:
        kinds = self.onnx.TensorProto
        return (kinds.FLOAT, kinds.FLOAT16, kinds.DOUBLE, kinds.BFLOAT16)

    def _shape(self, name: str, by: str) -> tuple[int, ...]:
        """The shape of a tensor by the file, or as it was inferred."""
        kind = self.kinds.get(name)
        dims = [d.dim_value for d in kind.shape.dim] if kind and kind.HasField("shape") else [0]
        if any(size < 1 for size in dims):
            condition = f"a known shape of {name}"
            change = "export it with fixed sizes"
            raise SpecError(expected(f"{self.where}: {by}", condition, "an open one", change))
        return tuple(dims)

    def _is_table(self, name: str) -> bool:
        weight = self.weights.get(name)
        return weight is not None and weight.data_type in self._floats() and len(weight.dims) == 2

    def _is_outside(self, weight: Any) -> bool:
        return bool(weight.data_location == self.onnx.TensorProto.EXTERNAL)

    def _beside(self, weight: Any) -> Any:
        """The numbers of a weight in a file beside the model's; None where it is not there."""
        said = {str(e.key): str(e.value) for e in weight.external_data}
        name = relative_name(said.get("location", ""), f"{self.where}: {weight.name}: location")
        path = self.folder / name
        if not path.is_file():
            return None
        kind = np.dtype(self.onnx.helper.tensor_dtype_to_np_dtype(weight.data_type))
        with path.open("rb") as file:
            file.seek(int(said.get("offset", "0")))
            data = file.read(prod(weight.dims) * kind.itemsize)
        return np.frombuffer(data, dtype=kind).reshape(tuple(weight.dims))
