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
from flat_mapper.importers.graphs.operators import HANDLERS, MOST_FOLDED, Call, Handler, Made
from flat_mapper.importers.graphs.values import Value


def aten(kind: str, arguments: Callable[[Call], Any] = lambda call: call.values) -> Handler:
    """The handler of an operator of ATen, for a node whose arguments have another order."""
    return lambda call: HANDLERS[kind](replace(call, kind=kind, values=arguments(call)))


def _integers(call: Call, position: int, key: str) -> list[int] | None:
    """Integers of an operand, or of the attribute that older versions have."""
    found = call.named.get(key)
    if found is None:
        found = call.get(position, key)
    if isinstance(found, Value):
        raise SpecError(expected(f"{call.where}: {key}", "constant numbers", call.said))
    return None if found is None else [int(n) for n in np.ravel(found)]


def _reshape(call: Call) -> Made:
    value, shape = call.tensor(0), _integers(call, 1, "shape")
    if shape is None:
        return NotImplemented
    if not call.named.get("allowzero"):
        shape = [value.shape[i] if n == 0 else n for i, n in enumerate(shape)]
    return call.graph.reshape(call.name, value, shape)


def _squeeze(call: Call) -> Made:
    value, axes = call.graph.done(call.tensor(0)), _integers(call, 1, "axes")
    sizes = list(enumerate(value.shape))
    gone = {a % len(sizes) for a in axes} if axes else {i for i, n in sizes if n == 1}
    return call.graph.reshape(call.name, value, [n for i, n in sizes if i not in gone])


def _unsqueeze(call: Call) -> Made:
    value, axes = call.graph.done(call.tensor(0)), _integers(call, 1, "axes") or []
    total, left = len(value.dims) + len(axes), iter(value.shape)
    new = {a % total for a in axes}
    shape = [1 if i in new else next(left) for i in range(total)]
    return call.graph.reshape(call.name, value, shape)


def _flatten(call: Call) -> Made:
    value = call.tensor(0)
    rows = int(np.prod(value.shape[: call.named.get("axis", 1)]))
    return call.graph.reshape(call.name, value, [rows, -1])


def _expand(call: Call) -> Made:
    shape = _integers(call, 1, "shape")
    return NotImplemented if shape is None else call.graph.expand(call.tensor(0), shape)


def _slice(call: Call) -> Made:
    starts, stops = _integers(call, 1, "starts"), _integers(call, 2, "ends")
    if starts is None or stops is None:
        return NotImplemented
    axes = _integers(call, 3, "axes") or list(range(len(starts)))
    values = [call.tensor(0), axes, starts, stops, _integers(call, 4, "steps") or []]
    return HANDLERS["slice"](replace(call, values=values))


def _gather(call: Call) -> Made:
    table, at = call.tensor(0), call.values[1]
    axis = call.named.get("axis", 0) % len(table.dims)
    if table.tensor.parameters and axis == 0 and len(table.dims) == 2:
        return HANDLERS["embedding"](call)
    if not isinstance(at, np.ndarray) or at.size != 1:
        return NotImplemented
    start = int(at.reshape(())) % table.shape[axis]
    part = call.graph.part(table, axis, start, start + 1)
    return part if at.ndim else call.graph.without(part, axis)


def _gemm(call: Call) -> Sequence[Any]:
    value, get = call.tensor(0), call.named.get
    if get("transA"):
        value = value.with_dims(value.dims[::-1])
    return [value, *call.values[1:2], call.get(2, "bias"), get("transB", 0)]


def _convolution(call: Call) -> Sequence[Any]:
    image, kernel, get = call.tensor(0), call.tensor(1), call.named.get
    free = not any(get("pads", [0])) and get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID")
    steps, holes = get("strides", [1] * len(kernel.shape[2:])), get("dilations", 1)
    return [image, kernel, call.get(2, "bias"), steps, not free, holes, get("group", 1)]


def _norm(call: Call) -> Sequence[Any]:
    value = call.tensor(0)
    return [value, value.shape[call.named.get("axis", -1) :], *call.values[1:]]


def _transpose(call: Call) -> Sequence[Any]:
    value = call.tensor(0)
    return [value, call.named.get("perm") or range(len(value.dims))[::-1]]


def _pair(kind: str) -> Handler:
    """Of two tensors; with more of them it is a cut."""
    return lambda call: aten(kind)(call) if len(call.values) == 2 else NotImplemented


def _reduction(kind: str) -> Handler:
    def arguments(call: Call) -> Sequence[Any]:
        return [call.tensor(0), _integers(call, 1, "axes"), call.named.get("keepdims", 1)]

    return aten(kind, arguments)


ONNX: Mapping[str, Handler] = {
    **{n: aten(n.lower()) for n in ("Tanh", "Sigmoid", "Erf", "Exp", "Log", "Sqrt", "Reciprocal")},
    **{n: aten(n.lower()) for n in ("Neg", "Relu", "Abs", "Gelu", "Where", "MatMul", "Pow")},
    **{n: aten(n.lower()) for n in ("Shape", "IsNaN", "Dropout")},
    **{n: _pair(n.lower()) for n in ("Add", "Sub", "Mul", "Div")},
    **{"Max": _pair("maximum"), "Min": _pair("minimum")},
    **{"ReduceMean": _reduction("mean"), "ReduceSum": _reduction("sum")},
    **{"ReduceMax": _reduction("amax"), "ReduceMin": _reduction("amin")},
    "LayerNormalization": aten("layer_norm", _norm),
    **dict.fromkeys(("RMSNormalization", "SimplifiedLayerNormalization"), aten("rms_norm", _norm)),
    "Gemm": aten("linear", _gemm),
    "Einsum": aten("einsum", lambda call: [call.named["equation"].decode(), call.values]),
    "Conv": aten("conv2d", _convolution),
    "Softmax": aten("softmax", lambda call: [call.values[0], call.named.get("axis", -1)]),
    **{"Reshape": _reshape, "Squeeze": _squeeze, "Unsqueeze": _unsqueeze, "Flatten": _flatten},
    **{"Transpose": aten("permute", _transpose), "Expand": _expand, "Slice": _slice},
    "Split": aten("split", lambda call: [call.values[0], None, call.named.get("axis", 0)]),
    "Concat": aten("cat", lambda call: [call.values, call.named["axis"]]),
    **{"Gather": _gather, "Identity": aten("alias"), "Cast": aten("to")},
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
