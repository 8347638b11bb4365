"""Results of ATen's functions of constants, such as masks and angles, worked out with numpy.

Only what is listed here is ever called, and only where what it makes is small.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from flat_mapper.importers.graphs.operators import MOST_FOLDED, SHAPES

_KINDS: Mapping[int, str] = {
    **{1: "u1", 2: "i1", 3: "i2", 4: "i4", 5: "i8", 6: "f4", 7: "f4", 8: "f8", 12: "?", 13: "f4"}
}

_ABOUT = ("dtype", "device", "layout", "pin_memory", "memory_format", "non_blocking", "copy")

Shape = tuple[int, ...]
Fold = Callable[..., Any]


def folded(
    kind: str, values: Sequence[Any], named: Mapping[str, Any], shape: Sequence[int], dtype: int
) -> Any:
    """The array that a function makes; None where it is not worked out.

    values, named: arguments, tensors as arrays. shape, dtype: of the result, as the graph says.
    """
    fold = FOLDS.get(kind)
    arrays = [a for v in values for a in (v if isinstance(v, list) else [v]) if np.ndim(a)]
    if fold is None or prod(shape) > MOST_FOLDED or sum(np.size(a) for a in arrays) > MOST_FOLDED:
        return None
    given = {key: value for key, value in named.items() if key not in _ABOUT}
    try:
        with np.errstate(all="ignore"):
            made = fold(tuple(shape), *values, **given)
            if made is None or np.shape(made) != tuple(shape):
                return None
            return np.asarray(made).astype(_KINDS.get(dtype, "f8"), copy=False)
    except (TypeError, ValueError, IndexError, OverflowError):  # arguments that make no sense
        return None


def _elementwise(function: Callable[..., Any]) -> Fold:
    def fold(shape: Shape, *values: Any) -> Any:
        arrays = [np.asarray(v) for v in values]
        return function(*arrays) if np.broadcast_shapes(*map(np.shape, arrays)) == shape else None

    return fold


def _arange(shape: Shape, *ends: Any, **_: Any) -> Any:
    start = ends[0] if len(ends) > 1 else 0
    step = ends[2] if len(ends) > 2 and ends[2] is not None else 1
    return start + step * np.arange(shape[0])


def _triangle(keep: Callable[[Any, Any], Any]) -> Fold:
    def fold(shape: Shape, value: Any, diagonal: int = 0) -> Any:
        rows, columns = np.ogrid[: shape[-2], : shape[-1]]
        return np.where(
            keep(columns - rows, diagonal), value, np.zeros((), np.asarray(value).dtype)
        )

    return fold


def _slice(
    shape: Shape, value: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Any:
    return np.asarray(value)[(slice(None),) * (dim % np.ndim(value)) + (slice(start, end, step),)]


def _index(shape: Shape, value: Any, indices: Sequence[Any]) -> Any:
    if np.broadcast_shapes(*(np.shape(i) for i in indices if i is not None)) != shape:
        return None
    return value[tuple(indices)] if all(i is not None for i in indices) else None


def _masked(shape: Shape, value: Any, mask: Any, fill: Any) -> Any:
    return np.where(mask, fill, value) if np.shape(value) == shape else None


def _difference(shape: Shape, value: Any, n: int = 1, dim: int = -1, *ends: Any) -> Any:
    given = [end for end in ends if end is not None]
    behind = {"prepend": given[0]} if len(given) == 1 else {}
    return np.diff(value, 1, dim, **behind) if n == 1 and len(given) < 2 else None


def _product(shape: Shape, left: Any, right: Any) -> Any:
    return left @ right if prod(shape) * np.shape(left)[-1] <= MOST_FOLDED else None


FOLDS: Mapping[str, Fold] = {
    "arange": _arange,
    **dict.fromkeys(("full", "full_like"), lambda s, _, fill, **__: np.full(s, fill)),
    **dict.fromkeys(("zeros", "zeros_like", "new_zeros"), lambda s, *_, **__: np.zeros(s)),
    **dict.fromkeys(("ones", "ones_like", "new_ones"), lambda s, *_, **__: np.ones(s)),
    "scalar_tensor": lambda shape, value, **_: np.full(shape, value),
    "tril": _triangle(lambda offset, diagonal: offset <= diagonal),
    "triu": _triangle(lambda offset, diagonal: offset >= diagonal),
    **{
        name: _elementwise(getattr(operator, name))
        for name in ("add", "sub", "mul", "eq", "ne", "lt", "le", "gt", "ge", "neg")
    },
    **{
        name: _elementwise(getattr(np, name))
        for name in ("logical_and", "logical_or", "logical_not", "where", "cos", "sin", "exp")
    },
    "rsub": _elementwise(lambda a, b: b - a),
    "div": _elementwise(operator.truediv),
    "pow": _elementwise(lambda a, b: np.power(a.astype(float), b)),
    **dict.fromkeys(("__and__", "bitwise_and"), _elementwise(operator.and_)),
    **dict.fromkeys(("__or__", "bitwise_or"), _elementwise(operator.or_)),
    "bitwise_not": _elementwise(operator.invert),
    "reciprocal": _elementwise(lambda a: 1 / a),
    "masked_fill": _masked,
    **dict.fromkeys(SHAPES, lambda shape, value, *_, **__: np.reshape(value, shape)),
    **dict.fromkeys(
        ("expand", "expand_as"), lambda shape, value, *_, **__: np.broadcast_to(value, shape)
    ),
    **dict.fromkeys(
        (*("to", "_to_copy", "clone", "alias", "contiguous", "detach", "lift_fresh_copy"), "float"),
        lambda _, value, *__, **___: value,
    ),
    "transpose": lambda _, value, one, other: np.swapaxes(value, one, other),
    "permute": lambda _, value, order: np.transpose(value, order),
    "t": lambda _, value: np.transpose(value),
    "slice": _slice,
    "select": lambda _, value, dim, at: np.take(value, at, axis=dim),
    "cat": lambda _, values, dim=0: np.concatenate(values, axis=dim),
    "stack": lambda _, values, dim=0: np.stack(values, axis=dim),
    **dict.fromkeys(("matmul", "mm", "bmm"), _product),
    "cumsum": lambda _, value, dim: np.cumsum(value, axis=dim),
    "diff": _difference,
    "index": _index,
    "gather": lambda _, value, dim, at: np.take_along_axis(value, at, axis=dim),
}
