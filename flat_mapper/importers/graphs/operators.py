"""Operators that every front end has, said with what a cascade has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from math import prod

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.importers.graphs.cascade import GraphCascade
from flat_mapper.importers.graphs.values import Value
from flat_mapper.workload.mask import Mask

_NO_SENSE = (
    *(ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError),
)
POWERS = {2.0: "square", 3.0: "cube", 0.5: "sqrt", -0.5: "rsqrt", -1.0: "reciprocal"}


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
        got = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise SpecError(expected(where, f"the arguments of {kind}", got)) from error


def matmul(graph: GraphCascade, name: str, left: Value, right: Value) -> Value:
    """A product of matrices, over the dimensions before the last two, as numpy has it."""
    sides: list[list[object]] = []
    for value, own in ((left, ("row", "in")), (right, ("in", "column"))):
        inner = own if len(value.dims) > 1 else ("in",)
        sides.append([*range(-len(value.dims), -2), *inner])
    batch = sorted({x for side in sides for x in side if isinstance(x, int)})
    rest = [x for side in sides for x in side if x in ("row", "column")]
    return graph.contract(name, [(left, sides[0]), (right, sides[1])], [*batch, *rest])


def linear(
    graph: GraphCascade, name: str, value: Value, weight: Value, bias: Value | None, *, turned: bool
) -> Value:
    """A product with a weight, over the last dimension, and a bias.

    turned: the weight is (out, in), not (in, out).
    """
    rows: list[object] = list(range(len(value.dims) - 1))
    sides = ["out", "in"] if turned else ["in", "out"]
    named = name if bias is None else f"{name}_dot"
    made = graph.contract(named, [(value, [*rows, "in"]), (weight, sides)], [*rows, "out"])
    return made if bias is None else graph.pointwise(name, "add", made, bias)


def with_number(graph: GraphCascade, operation: str, value: Value, *, number_first: bool) -> Value:
    """A value and one constant number: it rides along, but for 1/x and a bound."""
    if operation in ("max", "min"):
        return graph.function("relu", value)
    return graph.function("reciprocal", value) if operation == "div" and number_first else value


def power(graph: GraphCascade, value: Value, exponent: float) -> Value | None:
    """A power; None for an exponent that is no operation."""
    step = POWERS.get(exponent)
    return graph.function(step, value) if step else None


def convolution(
    graph: GraphCascade,
    name: str,
    image: Value,
    kernel: Value,
    bias: Value | None,
    *,
    steps: Sequence[int],
    plain: bool,
    shape: Sequence[int],
) -> Value:
    """A convolution whose windows do not overlap, as a product; any other one is a cut.

    image (b, channels, ...), kernel (out, channels, ...). plain: no padding, one group, no holes.
    """
    sizes = list(zip(image.shape[2:], steps, strict=True))
    if not plain or list(kernel.shape[2:]) != list(steps) or any(s % t for s, t in sizes):
        return graph.cut("Conv", name, [image], shape, prod(shape) * prod(kernel.shape[1:]))
    split = [*image.shape[:2], *(x for size, step in sizes for x in (size // step, step))]
    places: list[object] = [f"p{i}" for i in range(len(sizes))]
    inner: list[object] = [f"k{i}" for i in range(len(sizes))]
    both = [x for pair in zip(places, inner, strict=True) for x in pair]
    made = graph.contract(
        name if bias is None else f"{name}_dot",
        [(graph.reshape(name, image, split), ["b", "c", *both]), (kernel, ["o", "c", *inner])],
        ["b", "o", *places],
    )
    if bias is None:
        return made
    column = graph.reshape(name, bias, [*bias.shape, *[1] * len(sizes)])
    return graph.pointwise(name, "add", made, column)


def attention(
    graph: GraphCascade,
    name: str,
    values: tuple[Value, Value, Value],
    mask: Mask | Value | None,
) -> Value:
    """Scores, softmax and the weighted sum; queries, keys and values are (b, h, position, width).

    Where there are fewer heads of keys and values, each serves as many query heads.
    """
    queries, keys, weighed = values
    heads, own = queries.shape[1], keys.shape[1]
    if own != heads:
        keys, weighed = (repeated(graph, name, v, heads // own) for v in (keys, weighed))
    left, right = (["b", "h", "p", "e"], ["b", "h", "m", "e"])
    scores = graph.contract(
        f"{name}_scores", [(queries, left), (keys, right)], ["b", "h", "p", "m"]
    )
    if isinstance(mask, Mask):
        scores = graph.mask(scores, mask)
    elif mask is not None:
        scores = graph.pointwise(f"{name}_masked", "add", scores, mask)
    shares = graph.softmax(f"{name}_softmax", scores, -1)
    return matmul(graph, name, shares, weighed)


def repeated(graph: GraphCascade, name: str, value: Value, times: int) -> Value:
    """Every head so many times, one after another; its words are the same."""
    b, h, *rest = value.shape
    wide = graph.expand(graph.reshape(name, value, [b, h, 1, *rest]), [b, h, times, *rest])
    return graph.reshape(name, wide, [b, h * times, *rest])


def parts_along(
    graph: GraphCascade, value: Value, axis: int, shapes: Sequence[Sequence[int]]
) -> list[Value]:
    """Parts along an axis, one after another, of the sizes that the shapes have there."""
    axis %= len(value.dims)
    ends = accumulate(shape[axis] for shape in shapes)
    return [
        graph.part(value, axis, end - shape[axis], end)
        for shape, end in zip(shapes, ends, strict=True)
    ]


def unknown_mask(name: str) -> str:
    """The note on a mask that is computed from the model's input."""
    return f"{name}: what it hides depends on the input: nothing, here."


def embedding(graph: GraphCascade, name: str, table: Value, shape: Sequence[int]) -> Value:
    """Rows of a table: as many words as there are in the result, from DRAM."""
    graph.tables[table.tensor.name] = table.tensor.parameters
    return graph.source(name, shape)
