"""Operators of ONNX as those of ATen: their names, and their arguments in its order.

After the standard's list (github.com/onnx/onnx, docs/Operators.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.importers.graphs.operators import Call, Made
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
}


@dataclass(frozen=True, slots=True)
class Step:
    """One node: a call whose arguments are still in the order of ONNX, and its attributes."""

    call: Call
    attributes: Mapping[str, Any]

    def words(self, position: int) -> Value:
        """An operand as a tensor."""
        return self.call.words(self.call.values[position])

    def integers(self, position: int, key: str) -> list[int] | None:
        """Integers of an operand, or of the attribute that older versions have."""
        call, found = self.call, self.attributes.get(key)
        if found is None:
            found = call.get(position, key)
        if isinstance(found, Value):
            raise SpecError(expected(f"{call.where}: {key}", "constant numbers", call.said))
        return None if found is None else [int(n) for n in np.ravel(found)]

    def made(self, inputs: Sequence[Value]) -> Sequence[Any]:
        """Result of the node; inputs: its operands that are words."""
        arguments = ARGUMENTS.get(self.call.said)
        found = arguments(self) if arguments else self.call
        if found is NotImplemented:
            found = replace(self.call, kind="")  # no operator: a cut
        return (found if isinstance(found, Call) else replace(self.call, values=found)).made(inputs)

    def shaped(self, value: Value, shape: Sequence[int]) -> Call:
        """A call that only says how the words lie."""
        return replace(self.call, values=[value], shapes=lambda: [tuple(shape)])


def _pair(step: Step) -> Made:
    return step.call.values if len(step.call.values) == 2 else NotImplemented


def _gemm(step: Step) -> Made:
    value, get = step.words(0), step.attributes.get
    if get("transA"):
        value = value.with_dims(value.dims[::-1])
    return [value, *step.call.values[1:2], step.call.get(2, "bias"), get("transB", 0)]


def _einsum(step: Step) -> Made:
    return [step.attributes["equation"].decode(), step.call.values]


def _convolution(step: Step) -> Made:
    image, kernel, get = step.words(0), step.words(1), step.attributes.get
    free = not any(get("pads", [0])) and get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID")
    steps, holes = get("strides", [1] * len(kernel.shape[2:])), get("dilations", 1)
    return [image, kernel, step.call.get(2, "bias"), steps, not free, holes, get("group", 1)]


def _norm(step: Step) -> Made:
    value = step.words(0)
    rest = value.shape[step.attributes.get("axis", -1) :]
    return [value, rest, *step.call.values[1:]]


def _reduced(step: Step) -> Made:
    return [step.words(0), step.integers(1, "axes"), step.attributes.get("keepdims", 1)]


def _reshape(step: Step) -> Made:
    value, shape = step.words(0), step.integers(1, "shape")
    if shape is None:
        return NotImplemented
    if not step.attributes.get("allowzero"):
        shape = [value.shape[i] if n == 0 else n for i, n in enumerate(shape)]
    return step.shaped(value, shape)


def _squeeze(step: Step) -> Made:
    value, axes = step.call.graph.done(step.words(0)), step.integers(1, "axes")
    sizes = list(enumerate(value.shape))
    gone = {a % len(sizes) for a in axes} if axes else {i for i, n in sizes if n == 1}
    return step.shaped(value, [n for i, n in sizes if i not in gone])


def _unsqueeze(step: Step) -> Made:
    value, axes = step.call.graph.done(step.words(0)), step.integers(1, "axes") or []
    total, left = len(value.dims) + len(axes), iter(value.shape)
    new = {a % total for a in axes}
    return step.shaped(value, [1 if i in new else next(left) for i in range(total)])


def _flatten(step: Step) -> Made:
    value = step.words(0)
    rows = int(np.prod(value.shape[: step.attributes.get("axis", 1)]))
    return step.shaped(value, [rows, -1])


def _transpose(step: Step) -> Made:
    value = step.words(0)
    return [value, step.attributes.get("perm") or range(len(value.dims))[::-1]]


def _expand(step: Step) -> Made:
    shape = step.integers(1, "shape")
    return NotImplemented if shape is None else step.shaped(step.words(0), shape)


def _slice(step: Step) -> Made:
    starts, stops = step.integers(1, "starts"), step.integers(2, "ends")
    if starts is None or stops is None:
        return NotImplemented
    axes = step.integers(3, "axes") or list(range(len(starts)))
    return [step.words(0), axes, starts, stops, step.integers(4, "steps") or []]


def _gather(step: Step) -> Made:
    table, at = step.words(0), step.call.values[1]
    axis = step.attributes.get("axis", 0) % len(table.dims)
    if table.tensor.parameters and axis == 0 and len(table.dims) == 2:
        return replace(step.call, kind="embedding")
    if not isinstance(at, np.ndarray) or at.size != 1:
        return NotImplemented
    start = int(at.reshape(())) % table.shape[axis]
    values = [table, axis, start]
    one = replace(step.call, kind="slice", values=[*values, start + 1])
    return one if at.ndim else values


ARGUMENTS: Mapping[str, Callable[[Step], Made]] = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Max", "Min"), _pair),
    **dict.fromkeys(("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"), _reduced),
    **dict.fromkeys(
        ("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization"), _norm
    ),
    "Gemm": _gemm,
    "Einsum": _einsum,
    "Conv": _convolution,
    "Softmax": lambda step: [step.call.values[0], step.attributes.get("axis", -1)],
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Flatten": _flatten,
    "Transpose": _transpose,
    "Expand": _expand,
    "Slice": _slice,
    "Split": lambda step: [step.call.values[0], None, step.attributes.get("axis", 0)],
    "Concat": lambda step: [step.call.values, step.attributes["axis"]],
    "Gather": _gather,
}
