"""An ONNX file read as a graph, and that as a cascade: `flat-mapper import MODEL.onnx`.

The library `onnx` parses the file, infers the shapes and works out what is constant. The data of
weights is not looked at, and may be missing. After the standard's list of operators
(github.com/onnx/onnx, docs/Operators.md).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence, Set
from concurrent.futures import BrokenExecutor
from functools import cache, partial
from math import inf, prod
from pathlib import Path
from typing import Any

import numpy as np

from flat_mapper.base.errors import BackendError, SpecError, expected, relative_name
from flat_mapper.base.parallel import Processes
from flat_mapper.importers.graphs.imported import Imported
from flat_mapper.importers.graphs.operators import BINARIES, MOST_FOLDED, REDUCED, understood
from flat_mapper.importers.graphs.reading import Graph, Named, Operator, Source, read_graph
from flat_mapper.spec.yamlio import note_input

_AS_ATEN = """
    Tanh Sigmoid Erf Exp Log Sqrt Reciprocal Neg Relu Abs Gelu Where MatMul Pow Shape IsNaN Dropout
    Einsum Add Sub Mul Div Reshape Squeeze Unsqueeze Flatten Expand Softmax Split
"""
_KINDS: Mapping[str, str] = {  # ATen's name of an operator
    **{kind: kind.lower() for kind in _AS_ATEN.split()},
    **{"Max": "maximum", "Min": "minimum", "Transpose": "permute", "Conv": "conv2d"},
    **{"ReduceMean": "mean", "ReduceSum": "sum", "ReduceMax": "amax", "ReduceMin": "amin"},
    **{"Concat": "cat", "Identity": "alias", "Cast": "to"},
    **{"LayerNormalization": "layer_norm", "RMSNormalization": "rms_norm"},
    **{"SimplifiedLayerNormalization": "rms_norm"},
    **{"Gather": "Gather", "Gemm": "Gemm", "Slice": "Slice"},
}
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {  # of attributes that a node leaves out
    **{kind: {"keepdim": 1} for kind in REDUCED},
    **{kind: {"dim": -1} for kind in ("layer_norm", "rms_norm", "softmax")},
    "Gather": {"dim": 0},
}
_FLOATS = (1, 10, 11, 16)  # TensorProto.FLOAT, FLOAT16, DOUBLE and BFLOAT16
_NAMES = {  # of attributes
    **{"axis": "dim", "axes": "dim", "keepdims": "keepdim", "perm": "dims", "group": "groups"},
    **{"strides": "stride", "pads": "padding", "dilations": "dilation"},
}
# Operators whose results are not as large as their operands say.
_SIZED = (
    *("Range", "ConstantOfShape", "Expand", "Tile", "Gather", "GatherND", "GatherElements"),
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
    graph = _graph(_with_shapes(model, str(path)), source, str(path))
    return read_graph(graph, name or source.stem)


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


def _graph(model: Any, path: Path, where: str) -> Graph:
    """The graph of a file whose shapes are inferred, with weights and inputs as the sources."""
    graph = model.graph
    weights = {w.name: w for w in graph.initializer}
    tables = {n for n, w in weights.items() if w.data_type in _FLOATS and len(w.dims) == 2}
    return Graph(
        where=where,
        inputs=[i.name for i in graph.input if i.name not in weights],
        outputs=[info.name for info in graph.output],
        operators=(_operator(node, where) for node in graph.node),
        sources=_sources(graph, path, where),
        shapes=_shapes(graph),
        folded=partial(_folded, {o.domain: o.version for o in model.opset_import}, tables),
    )


def _shapes(graph: Any) -> dict[str, Sequence[int | None]]:
    """Shapes of the tensors by name, as far as they are known."""
    kinds = {i.name: i.type.tensor_type for i in (*graph.value_info, *graph.input, *graph.output)}
    found: dict[str, Sequence[int | None]] = {
        name: [d.dim_value if d.dim_value > 0 else None for d in kind.shape.dim]
        for name, kind in kinds.items()
        if kind.HasField("shape")
    }
    return found | {weight.name: weight.dims for weight in graph.initializer}


def _sources(graph: Any, path: Path, where: str) -> dict[str, Source]:
    """Inputs and weights by name."""
    kinds = {i.name: i.type.tensor_type.elem_type for i in graph.input}
    found = {name: Source(words=kind in _FLOATS) for name, kind in kinds.items()}
    for weight in graph.initializer:
        numbers = partial(_numbers, weight, path.parent, f"{where}: {weight.name}: location")
        words = weight.data_type in _FLOATS
        found[weight.name] = Source(words=words, parameter=weight.name, numbers=numbers)
    return found


# Arguments by position in ATen's order, of operators that ONNX has otherwise.
_ORDERS: Mapping[str, Callable[[list[Any], Mapping[str, Any]], list[Any]]] = {
    "cat": lambda values, named: [values, named["dim"]],
    "einsum": lambda values, named: [named["equation"].decode(), values],
    **dict.fromkeys(("layer_norm", "rms_norm"), lambda v, _: [v[0], None, *v[1:]]),
}


def _operator(node: Any, where: str) -> Operator:
    """A node as ATen has it: its kind, and its arguments by position and by name."""
    name = str(node.name or next(iter(node.output), "") or node.op_type).removeprefix("node_")
    at = f"{where}: {name}"
    if any(a.HasField("g") for a in node.attribute):
        condition = "operators without graphs inside them"
        raise SpecError(expected(at, condition, node.op_type))
    kind = _KINDS.get(node.op_type, "")
    values: list[Any] = [Named(n) if n else None for n in node.input]
    with understood(at, str(node.op_type)):
        value_of = _library().helper.get_attribute_value
        named = {_NAMES.get(a.name, a.name): value_of(a) for a in node.attribute}
        named = {**_DEFAULTS.get(kind, {}), **named}
        if kind in BINARIES and len(values) != 2:
            kind = ""
        if kind in _ORDERS:
            values = _ORDERS[kind](values, named)
    return Operator(
        kind=kind,
        said=node.op_type,
        name=name,
        values=values,
        named=named,
        outputs=node.output,
        own=node,
    )


def _numbers(weight: Any, folder: Path, where: str) -> Any:
    """The numbers of a small weight, some in a file beside; None where they are not there."""
    onnx = _library()
    if prod(weight.dims) > MOST_FOLDED:
        return None
    if not _is_outside(weight):
        return onnx.numpy_helper.to_array(weight)
    said = {str(e.key): str(e.value) for e in weight.external_data}
    path = folder / relative_name(said.get("location", ""), where)
    if not path.is_file():
        return None
    kind = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(weight.data_type))
    with path.open("rb") as file:
        file.seek(int(said.get("offset", "0")))
        data = file.read(prod(weight.dims) * kind.itemsize)
    return np.frombuffer(data, dtype=kind).reshape(tuple(weight.dims))


def _is_outside(weight: Any) -> bool:
    return bool(weight.data_location == weight.EXTERNAL)


def _folded(
    opsets: Mapping[str, int],
    tables: Set[str],
    one: Operator,
    values: list[Any],
    named: dict[str, Any],
) -> Sequence[Any] | None:
    """Output of a node of constants, by the library's own reference; a table stays one."""
    node, arrays = one.own, values[0] if one.kind == "cat" else values
    is_table = one.kind == "Gather" and node.input[0] in tables
    if is_table or node.domain or not _is_small(node.op_type, arrays):
        return None
    if any(a.HasField("sparse_tensor") or _is_outside(a.t) for a in node.attribute):
        return None
    given = {n: a for n, a in zip(node.input, arrays, strict=True) if n}
    try:
        run = _library().reference.ReferenceEvaluator(node, opsets=opsets)
        return list(run.run(None, given))
    except Exception:  # an operator that the library has no reference for
        return None


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
