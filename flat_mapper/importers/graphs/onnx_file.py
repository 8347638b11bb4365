"""An ONNX file read as a graph, and that as a cascade: `flat-mapper import-onnx`.

The library `onnx` parses the file, infers the shapes and works out what is constant. The data of
weights is not looked at, and may be missing. After the standard's list of operators
(github.com/onnx/onnx, docs/Operators.md).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from functools import cache, partial
from math import inf, prod
from pathlib import Path
from typing import Any

import numpy as np

from flat_mapper.base.errors import BackendError, SpecError, expected, relative_name
from flat_mapper.base.parallel import Processes
from flat_mapper.importers.graphs.graph import Graph, Named, Operator, Source
from flat_mapper.importers.graphs.imported import Imported
from flat_mapper.importers.graphs.operators import MOST_FOLDED, understood
from flat_mapper.importers.graphs.reading import read_graph
from flat_mapper.spec.yamlio import note_input

# ATen's name of an operator, and attributes that ONNX has where a node says nothing.
_KINDS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    **{
        kind: (kind.lower(), {})
        for kind in (
            *("Tanh", "Sigmoid", "Erf", "Exp", "Log", "Sqrt", "Reciprocal", "Neg", "Relu", "Abs"),
            *("Gelu", "Where", "MatMul", "Pow", "Shape", "IsNaN", "Dropout", "Einsum", "Add"),
            *("Sub", "Mul", "Div", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Expand", "Gemm"),
        )
    },
    **{"Max": ("maximum", {}), "Min": ("minimum", {}), "Transpose": ("permute", {"dims": None})},
    **{
        f"Reduce{name}": (kind, {"keepdim": 1})
        for name, kind in {"Mean": "mean", "Sum": "sum", "Max": "amax", "Min": "amin"}.items()
    },
    "LayerNormalization": ("layer_norm", {"dim": -1}),
    **dict.fromkeys(
        ("RMSNormalization", "SimplifiedLayerNormalization"), ("rms_norm", {"dim": -1})
    ),
    **{"Conv": ("conv2d", {}), "Softmax": ("softmax", {"dim": -1}), "Split": ("split", {})},
    **{"Concat": ("cat", {}), "Slice": ("slices", {}), "Gather": ("take", {"dim": 0})},
    **{"Identity": ("alias", {}), "Cast": ("to", {})},
}
_NAMES = {  # of attributes
    **{"axis": "dim", "axes": "dim", "keepdims": "keepdim", "perm": "dims", "group": "groups"},
    **{"strides": "stride", "pads": "padding", "dilations": "dilation"},
}
# Operators whose results are not as large as their operands say.
_SIZED = (
    "Range",
    "ConstantOfShape",
    "Expand",
    "Tile",
    "Gather",
    "GatherND",
    "GatherElements",
    "MatMul",
)
_FOLDED = {  # operators of constants that are worked out
    *("Constant", "Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose"),
    *("Slice", "Split", "Concat", "Shape", "Size", "Trilu", "CumSum", "ReduceSum", "ReduceMean"),
    *("ReduceMax", "ReduceMin", "ReduceProd", "ArgMax", "Not", "Neg", "Abs", "Floor", "Ceil"),
    *("Round", "Sign", "Sqrt", "Reciprocal", "Exp", "Log", "Cos", "Sin", "Tanh", "Sigmoid", "Relu"),
    *("Erf", "IsNaN", "IsInf", "NonZero", "Add", "Sub", "Mul", "Div", "Pow", "Mod", "Max", "Min"),
    *("Where", "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "And", "Or", "Xor"),
    *("Clip", "BitwiseAnd", "BitwiseOr", "BitwiseNot"),
    *_SIZED,
}


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
    file = _File(onnx=onnx, model=_with_shapes(model, str(path)), path=source, where=str(path))
    return read_graph(file.graph(), name or source.stem)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """A file whose shapes are inferred."""

    onnx: Any
    model: Any
    path: Path
    where: str

    def graph(self) -> Graph:
        """Its graph, with weights and inputs as the sources."""
        graph = self.model.graph
        kinds = {i.name: i.type.tensor_type for i in (*graph.value_info, *graph.input)}
        kinds |= {i.name: i.type.tensor_type for i in graph.output}
        shapes: dict[str, Sequence[int | None]] = {
            name: [d.dim_value if d.dim_value > 0 else None for d in kind.shape.dim]
            for name, kind in kinds.items()
            if kind.HasField("shape")
        }
        sources = {
            i.name: Source(words=self._is_float(kinds[i.name].elem_type)) for i in graph.input
        }
        weights = {w.name: w for w in graph.initializer}
        tables = {
            name
            for name, weight in weights.items()
            if self._is_float(weight.data_type) and len(weight.dims) == 2
        }
        for name, weight in weights.items():
            shapes[name] = weight.dims
            sources[name] = Source(
                words=self._is_float(weight.data_type),
                parameter=name,
                numbers=partial(self._numbers, weight),
            )
        return Graph(
            where=self.where,
            inputs=[i.name for i in graph.input if i.name not in weights],
            outputs=[info.name for info in graph.output],
            operators=self._operators(),
            sources=sources,
            shapes=shapes,
            folded=partial(self._folded, tables),
        )

    def _operators(self) -> Iterator[Operator]:
        for node in self.model.graph.node:
            name = str(node.name or next(iter(node.output), "") or node.op_type)
            name = name.removeprefix("node_")
            at = f"{self.where}: {name}"
            if any(a.HasField("g") for a in node.attribute):
                condition = "operators without graphs inside them"
                raise SpecError(expected(at, condition, node.op_type))
            values: list[Any] = [Named(n) if n else None for n in node.input]
            with understood(at, str(node.op_type)):
                kind, values, named = self._said(node, values)
            yield Operator(
                kind=kind,
                said=node.op_type,
                name=name,
                values=values,
                named=named,
                outputs=node.output,
                own=node,
            )

    def _said(self, node: Any, values: list[Any]) -> tuple[str, list[Any], dict[str, Any]]:
        """A node as ATen has it: its kind, and its arguments by position and by name."""
        kind, named = _KINDS.get(node.op_type, ("", {}))
        named = dict(named)
        for one in node.attribute:
            named[_NAMES.get(one.name, one.name)] = self.onnx.helper.get_attribute_value(one)
        if kind in ("add", "sub", "mul", "div", "maximum", "minimum") and len(values) != 2:
            kind = ""
        elif kind == "cat":
            values = [values, named["dim"]]
        elif kind == "einsum":
            values = [named["equation"].decode(), values]
        elif kind.endswith("_norm"):
            values = [values[0], None, *values[1:]]
        elif kind == "conv2d" and named.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
            named["padding"] = [1]
        return kind, values, named

    def _numbers(self, weight: Any) -> Any:
        """The numbers of a small weight, some in a file beside; None where they are not there."""
        if prod(weight.dims) > MOST_FOLDED:
            return None
        if not self._is_outside(weight):
            return self.onnx.numpy_helper.to_array(weight)
        said = {str(e.key): str(e.value) for e in weight.external_data}
        name = relative_name(said.get("location", ""), f"{self.where}: {weight.name}: location")
        path = self.path.parent / name
        if not path.is_file():
            return None
        kind = np.dtype(self.onnx.helper.tensor_dtype_to_np_dtype(weight.data_type))
        with path.open("rb") as file:
            file.seek(int(said.get("offset", "0")))
            data = file.read(prod(weight.dims) * kind.itemsize)
        return np.frombuffer(data, dtype=kind).reshape(tuple(weight.dims))

    def _folded(
        self, tables: set[str], one: Operator, values: list[Any], named: dict[str, Any]
    ) -> Sequence[Any] | None:
        """Output of a node of constants, by the library's own reference; a table stays one."""
        node, arrays = one.own, values[0] if one.kind == "cat" else values
        is_table = node.op_type == "Gather" and node.input[0] in tables
        if is_table or node.domain or not _is_small(node.op_type, arrays):
            return None
        if any(a.HasField("sparse_tensor") or self._is_outside(a.t) for a in node.attribute):
            return None
        opsets = {o.domain: o.version for o in self.model.opset_import}
        given = {n: a for n, a in zip(node.input, arrays, strict=True) if n}
        try:
            run = self.onnx.reference.ReferenceEvaluator(node, opsets=opsets)
            return list(run.run(None, given))
        except Exception:  # an operator that the library has no reference for
            return None

    def _is_float(self, kind: int) -> bool:
        kinds = self.onnx.TensorProto
        return kind in (kinds.FLOAT, kinds.FLOAT16, kinds.DOUBLE, kinds.BFLOAT16)

    def _is_outside(self, weight: Any) -> bool:
        return bool(weight.data_location == self.onnx.TensorProto.EXTERNAL)


def _is_small(kind: str, arrays: Sequence[Any]) -> bool:
    """True where a node of constants is worked out, so that some bytes do not make gigabytes.

    arrays: of its inputs, None for one that is left out.
    """
    given = [a for a in arrays if a is not None]
    if kind not in _FOLDED or sum(np.size(a) for a in given) > MOST_FOLDED:
        return False
    try:
        return _words(kind, given) <= MOST_FOLDED
    except (ValueError, TypeError, IndexError, ArithmeticError):  # they make no sense together
        return kind not in _SIZED


def _words(kind: str, arrays: Sequence[Any]) -> float:
    """Words that a node makes at most, beside those that are in its inputs."""
    if kind == "Range":
        start, end, step = (float(np.reshape(a, ())) for a in arrays)
        return abs(end - start) / abs(step) if step else inf
    if kind in ("Tile", "ConstantOfShape"):
        *repeated, sizes = arrays
        return prod(map(np.size, repeated)) * prod(int(n) for n in np.ravel(sizes))
    if kind in ("Gather", "GatherND", "GatherElements", "MatMul"):
        return np.size(arrays[0]) * np.size(arrays[1])
    shapes = [np.shape(a) for a in arrays]
    if kind == "Expand":
        shapes[1] = tuple(int(n) for n in arrays[1])
    return prod(np.broadcast_shapes(*shapes))
