"""Operators of torch's exported graphs, each said with what a cascade has.

After PyTorch's ATen operators (docs.pytorch.org, "Core ATen IR"). What is missing here is a cut.
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
from flat_mapper.workload.mask import Mask

UNARY = (
    *("tanh", "sigmoid", "erf", "exp", "log", "sqrt", "rsqrt", "reciprocal", "neg", "relu", "abs"),
    *("gelu", "silu", "square"),
)
BINARY = ("add", "sub", "mul", "div", "maximum", "minimum")
SAME = ("dropout", "contiguous", "clone", "alias", "to", "_to_copy", "detach", "type_as", "float")
SHAPES = ("view", "reshape", "_unsafe_view", "flatten", "unflatten", "unsqueeze", "squeeze")
REDUCED = {"mean": "sum", "sum": "sum", "amax": "max", "amin": "min"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of the graph.

    values: its arguments by position, keywords behind them by name: a Value, an array of constant
            numbers, None (numbers that only point), or what Python has.
    shapes: of what it makes.
    """

    graph: GraphCascade
    kind: str
    name: str
    where: str
    values: Sequence[Any]
    named: Mapping[str, Any]
    shapes: Sequence[tuple[int, ...]]
    notes: list[str]

    def get(self, position: int, name: str, default: Any = None) -> Any:
        """An argument by position or name."""
        if position < len(self.values):
            return self.values[position]
        return self.named.get(name, default)

    def words(self, operand: Any) -> Value:
        """An operand as a tensor."""
        if isinstance(operand, Value):
            return operand
        if operand is None:
            condition = "words, not numbers that point at some"
            raise SpecError(expected(self.where, condition, self.kind))
        return self.graph.source(f"{self.name}_constant", np.shape(operand))

    def given(self, position: int, name: str) -> Value | None:
        """A tensor that may be missing."""
        found = self.get(position, name)
        return None if found is None else self.words(found)


Made = Any  # a Value, a list of them, or NotImplemented: a cut


def _unary(call: Call) -> Made:
    return call.graph.function(call.kind, call.words(call.values[0]))


def _power(call: Call) -> Made:
    exponent = call.values[1]
    if isinstance(exponent, Value) or np.size(exponent) != 1:
        return NotImplemented
    made = operators.power(call.graph, call.words(call.values[0]), float(np.ravel(exponent)[0]))
    return NotImplemented if made is None else made


def _binary(call: Call) -> Made:
    operation = {"maximum": "max", "minimum": "min"}.get(call.kind, call.kind)
    left, right = call.values[:2]
    for one, other in ((left, right), (right, left)):
        if not isinstance(one, Value) or isinstance(other, Value):
            continue
        if other is None:
            call.notes.append(operators.unknown_mask(call.name))
            return one
        if np.size(other) == 1:
            return operators.with_number(call.graph, operation, one, number_first=one is right)
        hidden = added_mask(np.asarray(other)) if operation == "add" else False
        if isinstance(hidden, Mask) and np.shape(other)[-2:] == one.shape[-2:]:
            return call.graph.mask(one, hidden)
        if hidden is True:
            return one
    return call.graph.pointwise(call.name, operation, call.words(left), call.words(right))


def _hidden(call: Call) -> Made:
    """masked_fill(words, where, number), or where(condition, one, other)."""
    if call.kind == "masked_fill":
        value, seen = call.values[0], call.values[1]
        seen = None if seen is None or isinstance(seen, Value) else ~np.asarray(seen)
    else:
        condition, one, other = call.values
        value = one if isinstance(one, Value) else other
        if isinstance(one, Value) == isinstance(other, Value):
            return NotImplemented
        known = isinstance(condition, np.ndarray)
        seen = np.asarray(condition).astype(bool) ^ (value is other) if known else None
    if seen is None:
        call.notes.append(operators.unknown_mask(call.name))
        return value
    mask = added_mask(seen)
    if isinstance(mask, Mask):
        return call.graph.mask(value, mask)
    return value if mask else NotImplemented


def _matmul(call: Call) -> Made:
    left, right = (call.words(v) for v in call.values[:2])
    return operators.matmul(call.graph, call.name, left, right)


def _linear(call: Call) -> Made:
    value, weight = (call.words(v) for v in call.values[:2])
    bias = call.given(2, "bias")
    return operators.linear(call.graph, call.name, value, weight, bias, turned=True)


def _addmm(call: Call) -> Made:
    bias, value, weight = (call.words(v) for v in call.values[:3])
    return operators.linear(call.graph, call.name, value, weight, bias, turned=False)


def _einsum(call: Call) -> Made:
    inputs, arrow, out = str(call.values[0]).replace(" ", "").partition("->")
    if not arrow or "." in inputs:
        return NotImplemented
    tensors = zip(call.values[1], inputs.split(","), strict=True)
    operands = [(call.words(value), list(labels)) for value, labels in tensors]
    return call.graph.contract(call.name, operands, list(out))


def _convolution(call: Call) -> Made:
    image, kernel = (call.words(v) for v in call.values[:2])
    count = len(kernel.shape) - 2
    steps = list(call.get(3, "stride", [1] * count))
    padding, dilation = call.get(4, "padding", 0), call.get(5, "dilation", 1)
    place = 8 if call.kind == "convolution" else 6
    plain = not np.any(padding) and np.all(np.equal(dilation, 1))
    return operators.convolution(
        *(call.graph, call.name, image, kernel, call.given(2, "bias")),
        steps=steps * count if len(steps) == 1 else steps,
        plain=bool(plain) and call.get(place, "groups", 1) == 1,
        shape=call.shapes[0],
    )


def _softmax(call: Call) -> Made:
    return call.graph.softmax(call.name, call.words(call.values[0]), int(call.get(1, "dim")))


def _norm(call: Call) -> Made:
    if len(call.values[1]) != 1:
        return NotImplemented
    kind = "layer" if call.kind == "layer_norm" else "rms"
    shift = call.given(3, "bias") if kind == "layer" else None
    value = call.words(call.values[0])
    return call.graph.norm(call.name, kind, value, call.given(2, "weight"), shift)


def _reduced(call: Call) -> Made:
    value = call.words(call.values[0])
    rank, over = len(value.dims), call.get(1, "dim")
    axes = list(range(rank)) if over is None or over == [] else np.ravel(over).tolist()
    keep = bool(call.get(2, "keepdim", False))
    operation = REDUCED[call.kind]
    return call.graph.reduce(call.name, operation, value, [a % rank for a in axes], keep=keep)


def _shape(call: Call) -> Made:
    return call.graph.reshape(call.name, call.words(call.values[0]), call.shapes[0])


def _expand(call: Call) -> Made:
    return call.graph.expand(call.words(call.values[0]), call.shapes[0])


def _transposed(call: Call) -> Made:
    value = call.words(call.values[0])
    order = list(range(len(value.dims)))
    if call.kind == "permute":
        order = [i % len(order) for i in call.values[1]]
    else:
        one, other = call.values[1:3] if call.kind == "transpose" else (0, 1)
        order[one], order[other] = order[other], order[one]
    return call.graph.transposed(value, order)


def _slice(call: Call) -> Made:
    value = call.words(call.values[0])
    if call.get(4, "step", 1) != 1:
        return NotImplemented
    axis = call.get(1, "dim", 0) % len(value.dims)
    wanted = slice(call.get(2, "start"), call.get(3, "end"))
    low, high, _ = wanted.indices(value.shape[axis])
    return call.graph.part(value, axis, low, high)


def _select(call: Call) -> Made:
    value = call.words(call.values[0])
    axis = call.values[1] % len(value.dims)
    at = call.values[2] % value.shape[axis]
    return call.graph.without(call.graph.part(value, axis, at, at + 1), axis)


def _split(call: Call) -> Made:
    value = call.words(call.values[0])
    return operators.parts_along(call.graph, value, call.get(2, "dim", 0), call.shapes)


def _concat(call: Call) -> Made:
    values = [call.words(v) for v in call.values[0]]
    return call.graph.concat(call.name, values, call.get(1, "dim", 0) % len(values[0].dims))


def _embedding(call: Call) -> Made:
    return operators.embedding(call.graph, call.name, call.words(call.values[0]), call.shapes[0])


def _attention(call: Call) -> Made:
    queries, keys, weighed = (call.words(v) for v in call.values[:3])
    hidden, causal = call.get(3, "attn_mask"), call.get(5, "is_causal", False)
    mask: Mask | Value | None = Mask(causal=True) if causal else None
    if isinstance(hidden, Value):
        mask = hidden
    elif hidden is not None:
        found = added_mask(np.asarray(hidden))
        if isinstance(found, Mask):
            mask = found
        elif not found:
            mask = call.words(hidden)
    return operators.attention(call.graph, call.name, (queries, keys, weighed), mask)


HANDLERS: Mapping[str, Callable[[Call], Made]] = {
    **dict.fromkeys(UNARY, _unary),
    **dict.fromkeys(BINARY, _binary),
    **dict.fromkeys(REDUCED, _reduced),
    **dict.fromkeys(SHAPES, _shape),
    **dict.fromkeys(("where", "masked_fill"), _hidden),
    **dict.fromkeys(("matmul", "mm", "bmm"), _matmul),
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "convolution"), _convolution),
    **dict.fromkeys(("softmax", "_softmax", "_safe_softmax"), _softmax),
    **dict.fromkeys(("layer_norm", "rms_norm"), _norm),
    **dict.fromkeys(("transpose", "permute", "t"), _transposed),
    **dict.fromkeys(("split", "split_with_sizes", "chunk"), _split),
    "linear": _linear,
    "addmm": _addmm,
    "einsum": _einsum,
    "pow": _power,
    "expand": _expand,
    "slice": _slice,
    "select": _select,
    "cat": _concat,
    "embedding": _embedding,
    "scaled_dot_product_attention": _attention,
}
