"""Operators of a model's graph, each said with what a cascade has.

After PyTorch's ATen operators (docs.pytorch.org, "Core ATen IR"): a reader of files calls them by
their names there, with their arguments in their order. What is missing here is a cut. Gather, Gemm
and Slice are ONNX's, whose operands are others than ATen's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, chain
from math import prod
from typing import Any

import numpy as np

from flat_mapper.base.errors import SpecError, expected, found_by
from flat_mapper.importers.graphs.cascade import GraphCascade
from flat_mapper.importers.graphs.values import Value
from flat_mapper.workload.mask import Mask

_NO_SENSE = (
    *(ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError),
)
POWERS = {2.0: "square", 3.0: "cube", 0.5: "sqrt", -0.5: "rsqrt", -1.0: "reciprocal"}
_UNARY = (
    *("tanh", "sigmoid", "erf", "exp", "log", "sqrt", "rsqrt", "reciprocal", "neg", "relu", "abs"),
    *("gelu", "silu", "square"),
)
BINARIES = ("add", "sub", "mul", "div", "maximum", "minimum")
SHAPES = ("view", "reshape", "_unsafe_view", "flatten", "unflatten", "unsqueeze", "squeeze")
SAME = ("dropout", "contiguous", "clone", "alias", "to", "_to_copy", "detach", "type_as", "float")
REDUCED = {"mean": "sum", "sum": "sum", "amax": "max", "amin": "min"}

HIDDEN = -1e4  # what is added to a score that no query is to see is below it
MOST_FOLDED = 2**24  # chosen: words of a constant that is worked out, and of what it is made of
Made = Any  # a Value, a list of them, or NotImplemented: a cut


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One operator of the graph, with what its arguments are.

    kind, said, name, values, named: as an `Operator` has them, but for tensors: each is a Value, an
             array of constant numbers, or None: numbers that only point at words.
    where:   its place, as errors name it. shapes: of what it makes.
    numbers: of an argument by position: the array that a parameter holds too, None if not known.
    """

    graph: GraphCascade
    kind: str
    said: str
    name: str
    where: str
    values: Sequence[Any]
    named: Mapping[str, Any]
    shapes: Callable[[], Sequence[tuple[int, ...]]]
    numbers: Callable[[int], Any]

    def get(self, position: int, name: str, default: Any = None) -> Any:
        """An argument by position or name."""
        if name in self.named or position >= len(self.values):
            return self.named.get(name, default)
        return self.values[position]

    def integers(self, position: int, name: str) -> list[int] | None:
        """Integers by position, or by the name that older versions have; None if not known."""
        found = self.get(position, name)
        if isinstance(found, Value):
            raise SpecError(expected(f"{self.where}: {name}", "constant numbers", self.said))
        return None if found is None else [int(n) for n in np.ravel(found)]

    def tensor(self, position: int) -> Value:
        """An argument as a tensor."""
        return self.words(self.values[position])

    def words(self, operand: Any) -> Value:
        """An operand as a tensor."""
        if isinstance(operand, Value):
            return operand
        if operand is None:
            condition = "words, not numbers that point at some"
            raise SpecError(expected(self.where, condition, self.said))
        return self.graph.source(f"{self.name}_constant", np.shape(operand))

    def given(self, position: int, name: str) -> Value | None:
        """A tensor that may be missing."""
        found = self.get(position, name)
        return None if found is None else self.words(found)

    def masked(self, scores: Value, array: Any) -> Made:
        """Scores with what hides some of them; a cut where that is no mask of ours.

        array: (..., queries, keys), what is added to them; or booleans, true where a key is seen.
        """
        plain = array.dtype == bool or bool(np.all((array == 0) | (array <= HIDDEN)))
        seen = array if array.dtype == bool else array == 0
        if plain and bool(np.all(seen)):
            return scores
        if not plain or seen.shape[-2:] != scores.shape[-2:] or seen.ndim < 2:
            return NotImplemented
        rows = seen.reshape(-1, *seen.shape[-2:])
        queries, keys = rows[0].shape
        away = np.arange(keys) - (np.arange(queries) + keys - queries)[:, None]
        window = max(int(rows[0][-1].sum()), 1)
        for mask, wanted in (
            (Mask(causal=True), away <= 0),
            (Mask(causal=True, window=window), (away <= 0) & (away > -window)),
            (Mask(window=window), abs(away) < window),
        ):
            if bool(np.all(rows == wanted)):
                return self.graph.mask(scores, mask)
        return NotImplemented

    def unmasked(self, value: Value) -> Value:
        """Scores whose mask is computed from the model's input."""
        self.graph.notes.append(f"{self.name}: what it hides depends on the input: nothing, here.")
        return value


Handler = Callable[[Call], Made]  # of the operators of one name


@contextmanager
def understood(where: str, kind: str) -> Iterator[None]:
    """Arguments of a file that are not what its operator takes, as one line.

    Whatever stands in a file of others reaches a handler as it is: the wrong number of operands, of
    dimensions, a name for a number.
    raises: SpecError in place of what a handler makes of them.
    """
    try:
        yield
    except _NO_SENSE as error:
        raise SpecError(expected(where, f"the arguments of {kind}", found_by(error))) from error


def _power(call: Call) -> Made:
    exponent = call.values[1]
    if exponent is None or isinstance(exponent, Value) or np.size(exponent) != 1:
        return NotImplemented
    step = POWERS.get(round(float(np.ravel(exponent)[0]), 6))
    value = call.tensor(0)
    return call.graph.function(step, value) if step else NotImplemented


def _binary(call: Call) -> Made:
    operation = {"maximum": "max", "minimum": "min"}.get(call.kind, call.kind)
    made = _with_number(call, operation)
    if made is None and operation == "add":
        made = _with_mask(call)
    if made is None:
        made = call.graph.pointwise(call.name, operation, *map(call.words, call.values[:2]))
    return made


def _with_number(call: Call, operation: str) -> Value | None:
    """Words and one number, which rides along, but for 1/x and a bound; None where it is none."""
    left, right = call.values[:2]
    if isinstance(left, Value) == isinstance(right, Value):
        return None
    words, other = (left, right) if isinstance(left, Value) else (right, left)
    if other is None:
        return call.unmasked(words)
    if np.size(other) != 1:
        return None
    if operation in ("max", "min"):
        return call.graph.function("relu", words)
    inverse = operation == "div" and words is right
    return call.graph.function("reciprocal", words) if inverse else words


def _with_mask(call: Call) -> Value | None:
    """Scores and what hides some of them; None where neither operand is that."""
    pair = call.values[:2]
    for i, scores in ((0, pair[1]), (1, pair[0])):
        array = call.numbers(i)
        if array is None or not isinstance(scores, Value):
            continue
        # The zeros of a parameter are words where they are added to something else than scores.
        fits = len(scores.shape) > 2 and np.shape(array)[-2:] == scores.shape[-2:]
        made = call.masked(scores, array) if fits or not isinstance(pair[i], Value) else None
        if isinstance(made, Value):
            return made
    return None


def _masked_fill(call: Call) -> Made:
    value, hidden = call.values[:2]
    if hidden is None or isinstance(hidden, Value):
        return call.unmasked(value)
    return call.masked(value, ~np.asarray(hidden))


def _where(call: Call) -> Made:
    condition, one, other = call.values
    if isinstance(one, Value) == isinstance(other, Value):
        return NotImplemented
    value = one if isinstance(one, Value) else other
    if isinstance(condition, np.ndarray):
        return call.masked(value, condition.astype(bool) ^ (value is other))
    return call.unmasked(value)


def _product(call: Call, name: str, left: Value, right: Value) -> Value:
    """A product of matrices, over the dimensions before the last two, as numpy has it."""
    sides: list[list[object]] = []
    for value, own in ((left, ("row", "in")), (right, ("in", "column"))):
        inner = own if len(value.dims) > 1 else ("in",)
        sides.append([*range(-len(value.dims), -2), *inner])
    batch = sorted({x for side in sides for x in side if isinstance(x, int)})
    rest = [x for side in sides for x in side if x in ("row", "column")]
    return call.graph.joined(name, [(left, sides[0]), (right, sides[1])], [*batch, *rest])


def _linear(call: Call) -> Made:
    """A product with a weight, over the last dimension, and a bias; turned: it is (out, in)."""
    turned = call.named.get("transB", call.kind == "linear")
    bias: Value | None
    if call.kind == "addmm":
        bias, value, weight = (call.words(v) for v in call.values[:3])
    else:
        value, weight = (call.words(v) for v in call.values[:2])
        bias = call.given(2, "bias")
    if call.named.get("transA"):
        value = value.with_dims(value.dims[::-1])
    rows: list[object] = list(range(len(value.dims) - 1))
    sides: list[object] = ["out", "in"] if turned else ["in", "out"]
    operands = [(value, [*rows, "in"]), (weight, sides)]
    return call.graph.joined(call.name, operands, [*rows, "out"], plus=bias)


def _einsum(call: Call) -> Made:
    inputs, arrow, out = str(call.values[0]).replace(" ", "").partition("->")
    if not arrow or "." in inputs:
        return NotImplemented
    tensors = zip(call.values[1], inputs.split(","), strict=True)
    operands = [(call.words(value), list(labels)) for value, labels in tensors]
    return call.graph.joined(call.name, operands, list(out))


def _convolution(call: Call) -> Made:
    """A convolution whose windows do not overlap, as a product; any other one is a cut.

    Images are (b, channels, ...), kernels (out, channels, ...).
    """
    graph, name = call.graph, call.name
    image, kernel = (call.words(v) for v in call.values[:2])
    bias, windows = call.given(2, "bias"), _windows(call, image, kernel)
    if windows is None:
        (shape, *_) = call.shapes()
        return graph.cut("Conv", name, [image], shape, prod(shape) * prod(kernel.shape[1:]))
    places: list[object] = [f"p{i}" for i in range(len(windows))]
    inner: list[object] = [f"k{i}" for i in range(len(windows))]
    split = [*image.shape[:2], *chain.from_iterable(windows)]
    both = chain.from_iterable(zip(places, inner, strict=True))
    tiles = graph.reshape(name, image, split)
    column = bias and graph.reshape(name, bias, [*bias.shape, *[1] * len(windows)])
    operands = [(tiles, ["b", "c", *both]), (kernel, ["o", "c", *inner])]
    return graph.joined(name, operands, ["b", "o", *places], plus=column)


def _windows(call: Call, image: Value, kernel: Value) -> list[tuple[int, int]] | None:
    """The number of windows along each dimension and their size; None where they overlap."""
    count = len(kernel.shape) - 2
    steps = list(call.get(3, "stride", [1] * count))
    steps = steps * count if len(steps) == 1 else steps
    padding, dilation = call.get(4, "padding", 0), call.get(5, "dilation", 1)
    groups = call.get(8 if call.kind == "convolution" else 6, "groups", 1)
    plain = not np.any(padding) and bool(np.all(np.equal(dilation, 1))) and groups == 1
    plain &= call.named.get("auto_pad", b"VALID") in (b"NOTSET", b"VALID")  # ONNX's
    sizes = list(zip(image.shape[2:], steps, strict=True))
    if not plain or list(kernel.shape[2:]) != steps or any(s % t for s, t in sizes):
        return None
    return [(size // step, step) for size, step in sizes]


def _grouped(call: Call) -> Made:
    """Products of each expert's rows: a cut, for which rows are whose depends on the input."""
    (shape, *_), operands = call.shapes(), [call.words(v) for v in call.values[:2]]
    macs = prod(shape) * operands[0].shape[-1]
    return call.graph.cut(call.said, call.name, operands, shape, macs)


def _norm(call: Call) -> Made:
    value = call.tensor(0)
    if len(call.values[1] or value.shape[call.named["dim"] :]) != 1:
        return NotImplemented
    kind = "layer" if call.kind == "layer_norm" else "rms"
    shift = call.given(3, "bias") if kind == "layer" else None
    return call.graph.norm(call.name, kind, value, call.given(2, "weight"), shift)


def _reduced(call: Call) -> Made:
    value, over = call.tensor(0), call.integers(1, "dim")
    rank = len(value.dims)
    axes = over or range(rank)
    keep = bool(call.get(2, "keepdim", False))
    operation = REDUCED[call.kind]
    return call.graph.reduce(call.name, operation, value, [a % rank for a in axes], keep=keep)


def _transposed(call: Call) -> Made:
    value = call.tensor(0)
    order = list(range(len(value.dims)))
    if call.kind == "permute":
        order = [order[i] for i in call.get(1, "dims") or order[::-1]]
    else:
        one, other = call.values[1:3] if call.kind == "transpose" else (0, 1)
        order[one], order[other] = order[other], order[one]
    return call.graph.transposed(value, order)


def _slice(call: Call) -> Made:
    ends = call.get(2, "start"), call.get(3, "end"), call.get(4, "step", 1)
    return _sliced(call, [call.get(1, "dim", 0)], *([end] for end in ends))


def _slices(call: Call) -> Made:
    """Of several dimensions; which they are is said behind where they begin and end."""
    starts, stops = call.integers(1, "starts"), call.integers(2, "ends")
    if starts is None or stops is None:
        return NotImplemented
    axes = call.integers(3, "dim") or range(len(starts))
    return _sliced(call, axes, starts, stops, call.integers(4, "steps") or [])


def _sliced(
    call: Call, axes: Sequence[Any], starts: list[Any], stops: list[Any], steps: list[Any]
) -> Made:
    value = call.tensor(0)
    if any(step != 1 for step in steps):
        return NotImplemented
    for one, start, stop in zip(axes, starts, stops, strict=True):
        axis = one % len(value.dims)
        low, high, _ = slice(start, stop).indices(value.shape[axis])
        value = call.graph.part(value, axis, low, high)
    return value


def _select(call: Call) -> Made:
    value = call.tensor(0)
    axis = call.values[1] % len(value.dims)
    at = call.values[2] % value.shape[axis]
    return call.graph.without(call.graph.part(value, axis, at, at + 1), axis)


def _split(call: Call) -> Made:
    """Parts along an axis, one after another, of the sizes that the shapes have there."""
    value = call.tensor(0)
    axis = call.get(2, "dim", 0) % len(value.dims)
    sizes = [shape[axis] for shape in call.shapes()]
    ends = zip(sizes, accumulate(sizes), strict=True)
    return [call.graph.part(value, axis, end - size, end) for size, end in ends]


def _concat(call: Call) -> Made:
    values = [call.words(v) for v in call.values[0]]
    return call.graph.concat(call.name, values, call.get(1, "dim", 0) % len(values[0].dims))


def _embedding(call: Call) -> Made:
    """Rows of a table: as many words as there are in the result, from DRAM."""
    tensor = call.tensor(0).tensor
    call.graph.tables[tensor.name] = tensor.parameters
    return call.graph.source(call.name, call.shapes()[0])


def _gather(call: Call) -> Made:
    """Rows of a table, or what stands at one place of a dimension."""
    table, at = call.tensor(0), call.values[1]
    axis = call.named["dim"] % len(table.dims)
    if table.tensor.parameters and axis == 0 and len(table.dims) == 2:
        return _embedding(call)
    if not isinstance(at, np.ndarray) or at.size != 1:
        return NotImplemented
    start = int(at.reshape(())) % table.shape[axis]
    part = call.graph.part(table, axis, start, start + 1)
    return part if at.ndim else call.graph.without(part, axis)


def _reshape(call: Call) -> Made:
    """By the shape that it makes; by constants that say that, where there are some."""
    value, given = call.tensor(0), call.get(1, "shape") if call.kind == "reshape" else None
    if not isinstance(given, np.ndarray):
        return call.graph.reshape(call.name, value, call.shapes()[0])
    zeros = bool(call.named.get("allowzero"))
    shape = [n if n or zeros else value.shape[i] for i, n in enumerate(given.ravel().tolist())]
    return call.graph.reshape(call.name, value, shape)


def _attention(call: Call) -> Made:
    """Scores, softmax and the weighted sum; queries, keys and values are (b, h, position, width).

    Where there are fewer heads of keys and values, each serves as many query heads.
    """
    graph, name = call.graph, call.name
    queries, keys, weighed = (call.tensor(i) for i in range(3))
    heads, own = queries.shape[1], keys.shape[1]
    if own != heads:
        keys, weighed = (_repeated(call, v, heads // own) for v in (keys, weighed))
    scores = _product(call, f"{name}_scores", queries, graph.transposed(keys, (0, 1, 3, 2)))
    hidden = call.get(3, "attn_mask")
    if hidden is not None:
        made: Made = NotImplemented
        if not isinstance(hidden, Value):
            made = call.masked(scores, np.asarray(hidden))
        if made is NotImplemented:
            made = graph.pointwise(f"{name}_masked", "add", scores, call.words(hidden))
        scores = made
    elif call.get(5, "is_causal", False):
        scores = graph.mask(scores, Mask(causal=True))
    return _product(call, name, graph.softmax(f"{name}_softmax", scores, -1), weighed)


def _repeated(call: Call, value: Value, times: int) -> Value:
    """Every head so many times, one after another; its words are the same."""
    b, h, *rest = value.shape
    wide = call.graph.reshape(call.name, value, [b, h, 1, *rest])
    wide = call.graph.expand(wide, [b, h, times, *rest])
    return call.graph.reshape(call.name, wide, [b, h * times, *rest])


HANDLERS: Mapping[str, Handler] = {
    **dict.fromkeys(_UNARY, lambda c: c.graph.function(c.kind, c.tensor(0))),
    **dict.fromkeys(BINARIES, _binary),
    **dict.fromkeys(REDUCED, _reduced),
    **dict.fromkeys(SHAPES, _reshape),
    **dict.fromkeys(
        ("matmul", "mm", "bmm"), lambda c: _product(c, c.name, c.tensor(0), c.tensor(1))
    ),
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "convolution"), _convolution),
    **dict.fromkeys(
        ("softmax", "_softmax", "_safe_softmax"),
        lambda c: c.graph.softmax(c.name, c.tensor(0), int(c.get(1, "dim"))),
    ),
    **dict.fromkeys(("_grouped_mm", "grouped_mm", "grouped_mm_fallback"), _grouped),
    **dict.fromkeys(("layer_norm", "rms_norm"), _norm),
    **dict.fromkeys(("transpose", "permute", "t"), _transposed),
    **dict.fromkeys(("split", "split_with_sizes", "chunk"), _split),
    "where": _where,
    "masked_fill": _masked_fill,
    **dict.fromkeys(("linear", "addmm", "Gemm"), _linear),
    **dict.fromkeys(SAME, lambda call: [call.values[0]]),
    "isnan": lambda c: [np.broadcast_to(False, c.graph.done(c.tensor(0)).shape)],  # none is
    "shape": lambda c: [np.array(c.tensor(0).shape, dtype=np.int64)],
    "einsum": _einsum,
    "pow": _power,
    "expand": lambda c: c.graph.expand(c.tensor(0), c.shapes()[0]),
    **{"slice": _slice, "Slice": _slices},
    "select": _select,
    "cat": _concat,
    "embedding": _embedding,
    "Gather": _gather,
    "scaled_dot_product_attention": _attention,
}
