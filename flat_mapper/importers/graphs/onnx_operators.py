"""Operators of ONNX, each said with what a cascade has.

After the standard's list (github.com/onnx/onnx, docs/Operators.md). What is missing here is a cut.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.importers.graphs import operators
from flat_mapper.importers.graphs.cascade import GraphCascade
from flat_mapper.importers.graphs.masks import added_mask
from flat_mapper.importers.graphs.values import Value

UNARY = {
    **{n: n.lower() for n in ("Tanh", "Sigmoid", "Erf", "Exp", "Log", "Sqrt", "Reciprocal")},
    **{n: n.lower() for n in ("Neg", "Relu", "Abs", "Gelu")},
}
BINARY = {"Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div", "Max": "max", "Min": "min"}
REDUCED = {"ReduceMean": "sum", "ReduceSum": "sum", "ReduceMax": "max", "ReduceMin": "min"}

Operand = Value | Any | None  # words; a constant's array; None: numbers that only point at words


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One node: its operands, and what is known of it."""

    graph: GraphCascade
    kind: str
    name: str
    where: str
    operands: Sequence[Operand]
    attributes: Mapping[str, Any]
    arrays: Callable[[int], Any]  # of an operand's position: its numbers, None where not known
    shapes: Callable[[], Sequence[tuple[int, ...]]]  # of what the node makes
    notes: list[str]
    checks_numbers: bool = False  # the condition of a Where: whether it only asks if all is finite

    def words(self, position: int) -> Value:
        """An operand as a tensor."""
        operand = self.operands[position]
        if isinstance(operand, Value):
            return operand
        if operand is None:
            raise SpecError(
                expected(self.where, "words, not numbers that point at some", self.kind)
            )
        return self.graph.source(f"{self.name}_constant", np.shape(operand))

    def given(self, position: int) -> Value | None:
        """An operand that may be missing."""
        there = position < len(self.operands) and self.operands[position] is not None
        return self.words(position) if there else None

    def integers(self, position: int, key: str) -> list[int] | None:
        """Integers of an operand, or of the attribute that older versions have."""
        found = self.attributes.get(key)
        if found is None and position < len(self.operands):
            found = self.operands[position]
        if isinstance(found, Value):
            raise SpecError(expected(f"{self.where}: {key}", "constant numbers", self.kind))
        return None if found is None else [int(n) for n in np.ravel(found)]


Made = Operand | list[Operand]  # NotImplemented: a cut


def _unary(step: Step) -> Made:
    return step.graph.function(UNARY[step.kind], step.words(0))


def _power(step: Step) -> Made:
    exponent = step.operands[1]
    if not isinstance(exponent, np.ndarray) or exponent.size != 1:
        return NotImplemented
    made = operators.power(step.graph, step.words(0), round(float(exponent.reshape(())), 6))
    return NotImplemented if made is None else made


def _binary(step: Step) -> Made:
    operation = BINARY[step.kind]
    if len(step.operands) != 2:
        return NotImplemented
    for i, one in enumerate(step.operands):
        other = step.operands[1 - i]
        if not isinstance(one, Value) or isinstance(other, Value):
            continue
        if other is None:
            step.notes.append(operators.unknown_mask(step.name))
            return one
        if np.size(other) == 1:
            return operators.with_number(step.graph, operation, one, number_first=i == 1)
    masked = _masked(step) if operation == "add" else None
    if masked is not None:
        return masked
    return step.graph.pointwise(step.name, operation, step.words(0), step.words(1))


def _masked(step: Step) -> Value | None:
    """Scores with what hides some of them; None where it is another sum."""
    for i in (0, 1):
        scores, array = step.operands[1 - i], step.arrays(i)
        if array is None or not isinstance(scores, Value) or len(scores.shape) < 3:
            continue
        if np.shape(array)[-2:] != scores.shape[-2:]:
            continue
        mask = added_mask(array)
        if not isinstance(mask, bool) and mask is not None:
            return step.graph.mask(scores, mask)
        if mask is True:
            return scores
    return None


def _where(step: Step) -> Made:
    condition, branches = step.operands[0], step.operands[1:]
    for i, one in enumerate(branches):
        if not isinstance(one, Value) or isinstance(branches[1 - i], Value):
            continue
        if isinstance(condition, np.ndarray):
            mask = added_mask(condition.astype(bool) ^ (i == 1))
            if isinstance(mask, bool) or mask is None:
                return one if mask else NotImplemented
            return step.graph.mask(one, mask)
        if not step.checks_numbers:
            step.notes.append(operators.unknown_mask(step.name))
        return one
    return NotImplemented


def _matmul(step: Step) -> Made:
    return operators.matmul(step.graph, step.name, step.words(0), step.words(1))


def _gemm(step: Step) -> Made:
    value = step.words(0)
    if step.attributes.get("transA"):
        value = value.with_dims(value.dims[::-1])
    turned = bool(step.attributes.get("transB"))
    bias = step.given(2)
    return operators.linear(step.graph, step.name, value, step.words(1), bias, turned=turned)


def _einsum(step: Step) -> Made:
    text = step.attributes["equation"].decode().replace(" ", "")
    inputs, arrow, out = text.partition("->")
    if not arrow or "." in text:
        return NotImplemented
    labels = inputs.split(",")
    operands = [(step.words(i), list(labels[i])) for i in range(len(labels))]
    return step.graph.contract(step.name, operands, list(out))


def _convolution(step: Step) -> Made:
    image, kernel, get = step.words(0), step.words(1), step.attributes.get
    free = not any(get("pads", [0])) and get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID")
    (shape,) = step.shapes()
    return operators.convolution(
        *(step.graph, step.name, image, kernel, step.given(2)),
        steps=get("strides", [1] * len(kernel.shape[2:])),
        plain=free and get("group", 1) == 1 and set(get("dilations", [1])) == {1},
        shape=shape,
    )


def _softmax(step: Step) -> Made:
    return step.graph.softmax(step.name, step.words(0), step.attributes.get("axis", -1))


def _norm(step: Step) -> Made:
    value = step.words(0)
    if step.attributes.get("axis", -1) not in (-1, len(value.dims) - 1):
        return NotImplemented
    kind = "layer" if step.kind == "LayerNormalization" else "rms"
    return step.graph.norm(step.name, kind, value, step.given(1), step.given(2))


def _reduced(step: Step) -> Made:
    value = step.words(0)
    rank, axes = len(value.dims), step.integers(1, "axes")
    over = [a % rank for a in axes] if axes else list(range(rank))
    keep = bool(step.attributes.get("keepdims", 1))
    return step.graph.reduce(step.name, REDUCED[step.kind], value, over, keep=keep)


def _reshape(step: Step) -> Made:
    value = step.words(0)
    shape = step.integers(1, "shape")
    if shape is None:
        return NotImplemented
    if not step.attributes.get("allowzero"):
        shape = [value.shape[i] if n == 0 else n for i, n in enumerate(shape)]
    return step.graph.reshape(step.name, value, shape)


def _squeeze(step: Step) -> Made:
    value, axes = step.graph.done(step.words(0)), step.integers(1, "axes")
    rank = len(value.dims)
    gone = {a % rank for a in axes} if axes else {i for i, n in enumerate(value.shape) if n == 1}
    return value.with_dims(tuple(d for i, d in enumerate(value.dims) if i not in gone))


def _unsqueeze(step: Step) -> Made:
    value, axes = step.graph.done(step.words(0)), step.integers(1, "axes") or []
    new = {a % (len(value.dims) + len(axes)) for a in axes}
    left = iter(value.dims)
    total = len(value.dims) + len(axes)
    return value.with_dims(tuple(() if i in new else next(left) for i in range(total)))


def _flatten(step: Step) -> Made:
    value, axis = step.words(0), step.attributes.get("axis", 1)
    rows = int(np.prod(value.shape[:axis]))
    return step.graph.reshape(step.name, value, [rows, -1])


def _transpose(step: Step) -> Made:
    value = step.words(0)
    order = step.attributes.get("perm") or range(len(value.dims))[::-1]
    return step.graph.transposed(value, list(order))


def _expand(step: Step) -> Made:
    shape = step.integers(1, "shape")
    return NotImplemented if shape is None else step.graph.expand(step.words(0), shape)


def _slice(step: Step) -> Made:
    value = step.words(0)
    starts, stops = step.integers(1, "starts"), step.integers(2, "ends")
    if starts is None or stops is None:
        return NotImplemented
    axes = step.integers(3, "axes") or list(range(len(starts)))
    if any(s != 1 for s in step.integers(4, "steps") or []):
        return NotImplemented
    for start, stop, axis in zip(starts, stops, axes, strict=True):
        axis %= len(value.dims)
        low, high, _ = slice(start, stop).indices(value.shape[axis])
        value = step.graph.part(value, axis, low, high)
    return value


def _split(step: Step) -> Made:
    axis = step.attributes.get("axis", 0)
    return operators.parts_along(step.graph, step.words(0), axis, step.shapes())


def _concat(step: Step) -> Made:
    values = [step.words(i) for i in range(len(step.operands))]
    axis = step.attributes["axis"] % len(values[0].dims)
    return step.graph.concat(step.name, values, axis)


def _gather(step: Step) -> Made:
    table, at = step.words(0), step.operands[1]
    axis = step.attributes.get("axis", 0) % len(table.dims)
    if table.tensor.parameters and axis == 0 and len(table.dims) == 2:
        (shape,) = step.shapes()
        return operators.embedding(step.graph, step.name, table, shape)
    if isinstance(at, np.ndarray) and at.size == 1:
        start = int(at.reshape(())) % table.shape[axis]
        one = step.graph.part(table, axis, start, start + 1)
        return one if at.ndim else step.graph.without(one, axis)
    return NotImplemented


HANDLERS: Mapping[str, Callable[[Step], Made]] = {
    **dict.fromkeys(UNARY, _unary),
    **dict.fromkeys(BINARY, _binary),
    **dict.fromkeys(REDUCED, _reduced),
    **dict.fromkeys(("LayerNormalization", "RMSNormalization"), _norm),
    "SimplifiedLayerNormalization": _norm,  # of onnxruntime
    "Pow": _power,
    "Where": _where,
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Einsum": _einsum,
    "Conv": _convolution,
    "Softmax": _softmax,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Flatten": _flatten,
    "Transpose": _transpose,
    "Expand": _expand,
    "Slice": _slice,
    "Split": _split,
    "Concat": _concat,
    "Gather": _gather,
}
