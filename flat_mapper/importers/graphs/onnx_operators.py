"""Operators of ONNX as those of ATen: their names, and their arguments in its order.

After the standard's list (github.com/onnx/onnx, docs/Operators.md). Constants are worked out by the
library's own reference; here stands what it may be asked, with the words that it makes, so that a
node of some bytes does not make them by the thousand million.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import inf, prod
from typing import Any

import numpy as np

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.importers.graphs.operators import MOST_FOLDED, Call, Made
from flat_mapper.importers.graphs.values import Value

KINDS = {
    **{n: n.lower() for n in ("Tanh", "Sigmoid", "Erf", "Exp", "Log", "Sqrt", "Reciprocal")},
    **{n: n.lower() for n in ("Neg", "Relu", "Abs", "Gelu", "Where", "MatMul")},
    **{"Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div", "Max": "maximum", "Min": "minimum"},
    **{"ReduceMean": "mean", "ReduceSum": "sum", "ReduceMax": "amax", "ReduceMin": "amin"},
    **{"LayerNormalization": "layer_norm", "RMSNormalization": "rms_norm"},
    "SimplifiedLayerNormalization": "rms_norm",  # of onnxruntime
    **{"Pow": "pow", "Gemm": "linear", "Einsum": "einsum", "Conv": "conv2d", "Softmax": "softmax"},
    **dict.fromkeys(("Reshape", "Squeeze", "Unsqueeze", "Flatten"), "reshape"),
    **{"Transpose": "permute", "Expand": "expand", "Slice": "slice", "Split": "split"},
    **{"Concat": "cat", "Gather": "select"},
    **{"Identity": "alias", "Cast": "to", "Dropout": "dropout"},
}


def in_order(call: Call) -> Call:
    """A node's call with the arguments in the order of ATen; its names are still ONNX's."""
    arguments = ARGUMENTS.get(call.said)
    found = arguments(call) if arguments else call
    if found is NotImplemented:
        return replace(call, kind="")  # no operator: a cut
    return found if isinstance(found, Call) else replace(call, values=found)


def _integers(call: Call, position: int, key: str) -> list[int] | None:
    """Integers of an operand, or of the attribute that older versions have."""
    found = call.named.get(key)
    if found is None:
        found = call.get(position, key)
    if isinstance(found, Value):
        raise SpecError(expected(f"{call.where}: {key}", "constant numbers", call.said))
    return None if found is None else [int(n) for n in np.ravel(found)]


def _shaped(call: Call, value: Value, shape: Sequence[int]) -> Call:
    """A call that only says how the words lie."""
    return replace(call, values=[value], shapes=lambda: [tuple(shape)])


def _gemm(call: Call) -> Made:
    value, get = call.tensor(0), call.named.get
    if get("transA"):
        value = value.with_dims(value.dims[::-1])
    return [value, *call.values[1:2], call.get(2, "bias"), get("transB", 0)]


def _convolution(call: Call) -> Made:
    image, kernel, get = call.tensor(0), call.tensor(1), call.named.get
    free = not any(get("pads", [0])) and get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID")
    steps, holes = get("strides", [1] * len(kernel.shape[2:])), get("dilations", 1)
    return [image, kernel, call.get(2, "bias"), steps, not free, holes, get("group", 1)]


def _norm(call: Call) -> Made:
    value = call.tensor(0)
    rest = value.shape[call.named.get("axis", -1) :]
    return [value, rest, *call.values[1:]]


def _reshape(call: Call) -> Made:
    value, shape = call.tensor(0), _integers(call, 1, "shape")
    if shape is None:
        return NotImplemented
    if not call.named.get("allowzero"):
        shape = [value.shape[i] if n == 0 else n for i, n in enumerate(shape)]
    return _shaped(call, value, shape)


def _squeeze(call: Call) -> Made:
    value, axes = call.graph.done(call.tensor(0)), _integers(call, 1, "axes")
    sizes = list(enumerate(value.shape))
    gone = {a % len(sizes) for a in axes} if axes else {i for i, n in sizes if n == 1}
    return _shaped(call, value, [n for i, n in sizes if i not in gone])


def _unsqueeze(call: Call) -> Made:
    value, axes = call.graph.done(call.tensor(0)), _integers(call, 1, "axes") or []
    total, left = len(value.dims) + len(axes), iter(value.shape)
    new = {a % total for a in axes}
    return _shaped(call, value, [1 if i in new else next(left) for i in range(total)])


def _flatten(call: Call) -> Made:
    value = call.tensor(0)
    rows = int(np.prod(value.shape[: call.named.get("axis", 1)]))
    return _shaped(call, value, [rows, -1])


def _transpose(call: Call) -> Made:
    value = call.tensor(0)
    return [value, call.named.get("perm") or range(len(value.dims))[::-1]]


def _expand(call: Call) -> Made:
    shape = _integers(call, 1, "shape")
    return NotImplemented if shape is None else _shaped(call, call.tensor(0), shape)


def _slice(call: Call) -> Made:
    starts, stops = _integers(call, 1, "starts"), _integers(call, 2, "ends")
    if starts is None or stops is None:
        return NotImplemented
    axes = _integers(call, 3, "axes") or list(range(len(starts)))
    return [call.tensor(0), axes, starts, stops, _integers(call, 4, "steps") or []]


def _gather(call: Call) -> Made:
    table, at = call.tensor(0), call.values[1]
    axis = call.named.get("axis", 0) % len(table.dims)
    if table.tensor.parameters and axis == 0 and len(table.dims) == 2:
        return replace(call, kind="embedding")
    if not isinstance(at, np.ndarray) or at.size != 1:
        return NotImplemented
    start = int(at.reshape(())) % table.shape[axis]
    values = [table, axis, start]
    one = replace(call, kind="slice", values=[*values, start + 1])
    return one if at.ndim else values


ARGUMENTS: Mapping[str, Callable[[Call], Made]] = {
    **dict.fromkeys(
        ("Add", "Sub", "Mul", "Div", "Max", "Min"),
        lambda call: call.values if len(call.values) == 2 else NotImplemented,
    ),
    **dict.fromkeys(
        ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"),
        lambda call: [call.tensor(0), _integers(call, 1, "axes"), call.named.get("keepdims", 1)],
    ),
    **dict.fromkeys(
        ("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization"), _norm
    ),
    "Gemm": _gemm,
    "Einsum": lambda call: [call.named["equation"].decode(), call.values],
    "Conv": _convolution,
    "Softmax": lambda call: [call.values[0], call.named.get("axis", -1)],
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Flatten": _flatten,
    "Transpose": _transpose,
    "Expand": _expand,
    "Slice": _slice,
    "Split": lambda call: [call.values[0], None, call.named.get("axis", 0)],
    "Concat": lambda call: [call.values, call.named["axis"]],
    "Gather": _gather,
}


def is_small(kind: str, arrays: Sequence[Any]) -> bool:
    """True where a node of constants is worked out.

    arrays: of its inputs, None for one that is left out.
    """
    words = WORDS.get(kind)
    given = [a for a in arrays if a is not None]
    if words is None or sum(np.size(a) for a in given) > MOST_FOLDED:
        return False
    try:
        return bool(words(given) <= MOST_FOLDED)
    except (ValueError, TypeError, IndexError, ArithmeticError):  # they make no sense together
        return False


def _broadcast(arrays: Sequence[Any]) -> float:
    return prod(np.broadcast_shapes(*map(np.shape, arrays)))


def _product(shape: Any) -> float:
    return prod(int(n) for n in np.ravel(shape))


def _range(arrays: Sequence[Any]) -> float:
    start, end, step = (float(np.reshape(a, ())) for a in arrays)
    return abs(end - start) / abs(step) if step else inf


WORDS: Mapping[str, Callable[[Sequence[Any]], float]] = {
    **dict.fromkeys(
        (
            *("Constant", "Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten"),
            *("Transpose", "Slice", "Split", "Concat", "Shape", "Size", "Trilu", "CumSum"),
            *("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ArgMax"),
            *("Not", "Neg", "Abs", "Floor", "Ceil", "Round", "Sign", "Sqrt", "Reciprocal", "Exp"),
            *("Log", "Cos", "Sin", "Tanh", "Sigmoid", "Relu", "Erf", "IsNaN", "IsInf", "NonZero"),
        ),
        lambda arrays: sum(np.size(a) for a in arrays),
    ),
    **dict.fromkeys(
        (
            *("Add", "Sub", "Mul", "Div", "Pow", "Mod", "Max", "Min", "Where", "Equal", "Less"),
            *("LessOrEqual", "Greater", "GreaterOrEqual", "And", "Or", "Xor", "Clip"),
            *("BitwiseAnd", "BitwiseOr", "BitwiseNot"),
        ),
        _broadcast,
    ),
    "Range": _range,
    "ConstantOfShape": lambda arrays: _product(arrays[0]),
    "Expand": lambda arrays: prod(
        np.broadcast_shapes(np.shape(arrays[0]), tuple(int(n) for n in arrays[1]))
    ),
    "Tile": lambda arrays: np.size(arrays[0]) * _product(arrays[1]),
    **dict.fromkeys(
        ("Gather", "GatherND", "GatherElements", "MatMul"),
        lambda arrays: np.size(arrays[0]) * np.size(arrays[1]),
    ),
}
