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
from flat_mapper.importers.graphs.reading import Operator

STORED: Mapping[int, str] = {  # numpy's types by ScalarType in torch's schema, as a file has them
    **{1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 6: "<f2", 7: "<f4", 8: "<f8", 12: "?"},
    13: "<u2",  # bfloat16: the upper half of a float's bits
}
_KINDS = {**STORED, 6: "f4", 13: "f4"}  # and as they are worked out
_ABOUT = ("dtype", "device", "layout", "pin_memory", "memory_format", "non_blocking", "copy")
_Shape = tuple[int, ...]


def folded(
    kinds: Mapping[str, tuple[int, Sequence[int | None]]],
    one: Operator,
    values: list[Any],
    named: dict[str, Any],
) -> Sequence[Any] | None:
    """The array that a function makes; None where it is not worked out.

    kinds: type and shape of the graph's tensors. values, named: arguments, tensors as arrays.
    """
    (name, *more) = one.outputs or ("",)
    dtype, sizes = kinds.get("" if more else name, (0, (None,)))
    shape = tuple(size for size in sizes if size is not None)
    if len(shape) < len(sizes) or max(prod(shape), _words(values)) > MOST_FOLDED:
        return None
    given = {key: value for key, value in named.items() if key not in _ABOUT}
    try:
        with np.errstate(all="ignore"):
            made = _made(one.kind, shape, values, given)
            if made is None or np.shape(made) != shape:
                return None
            return [np.asarray(made).astype(_KINDS.get(dtype, "f8"), copy=False)]
    except (TypeError, ValueError, IndexError, OverflowError):  # arguments that make no sense
        return None


def _words(values: Sequence[Any]) -> int:
    """Words of all arrays among some arguments."""
    arguments = (a for v in values for a in (v if isinstance(v, list) else [v]))
    return sum(np.size(a) for a in arguments if np.ndim(a))


def _made(kind: str, shape: _Shape, values: Sequence[Any], named: Mapping[str, Any]) -> Any:
    """The result, where what is made on the way is no larger than the graph says."""
    if kind in _POINTWISE:
        fits = np.broadcast_shapes(*map(np.shape, values)) == shape
        return _POINTWISE[kind](*map(np.asarray, values), **named) if fits else None
    return _OTHERS[kind](shape, *values, **named) if kind in _OTHERS else None


def _arange(shape: _Shape, *ends: Any, **_: Any) -> Any:
    start = ends[0] if len(ends) > 1 else 0
    step = ends[2] if len(ends) > 2 and ends[2] is not None else 1
    return start + step * np.arange(shape[0])


def _slice(
    _: _Shape, value: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Any:
    return np.asarray(value)[(slice(None),) * (dim % np.ndim(value)) + (slice(start, end, step),)]


def _index(shape: _Shape, value: Any, indices: Sequence[Any]) -> Any:
    known = all(i is not None for i in indices)
    return (
        value[tuple(indices)]
        if known and np.broadcast_shapes(*map(np.shape, indices)) == shape
        else None
    )


def _difference(_: _Shape, value: Any, n: int = 1, dim: int = -1, *ends: Any) -> Any:
    given = [end for end in ends if end is not None]
    behind = {"prepend": given[0]} if len(given) == 1 else {}
    return np.diff(value, 1, dim, **behind) if n == 1 and len(given) < 2 else None


def _product(shape: _Shape, left: Any, right: Any) -> Any:
    return left @ right if prod(shape) * np.shape(left)[-1] <= MOST_FOLDED else None


_POINTWISE: Mapping[str, Callable[..., Any]] = {
    **{n: getattr(operator, n) for n in ("add", "sub", "mul", "eq", "ne", "lt", "le", "gt", "ge")},
    **{n: getattr(np, f"logical_{n[8:]}") for n in ("logical_and", "logical_or", "logical_not")},
    **{"where": np.where, "cos": np.cos, "sin": np.sin, "exp": np.exp, "neg": operator.neg},
    **{"rsub": lambda a, b: b - a, "div": operator.truediv, "reciprocal": lambda a: 1 / a},
    "pow": lambda a, b: np.power(a.astype(float), b),
    **dict.fromkeys(("__and__", "bitwise_and"), operator.and_),
    **dict.fromkeys(("__or__", "bitwise_or"), operator.or_),
    "bitwise_not": operator.invert,
    "masked_fill": lambda a, mask, fill: np.where(mask, fill, a),
}
_OTHERS: Mapping[str, Callable[..., Any]] = {
    "arange": _arange,
    **dict.fromkeys(("full", "full_like"), lambda s, _, fill, **__: np.full(s, fill)),
    **dict.fromkeys(("zeros", "zeros_like", "new_zeros"), lambda s, *_, **__: np.zeros(s)),
    **dict.fromkeys(("ones", "ones_like", "new_ones"), lambda s, *_, **__: np.ones(s)),
    "scalar_tensor": lambda shape, value, **_: np.full(shape, value),
    **dict.fromkeys(SHAPES, lambda shape, value, *_, **__: np.reshape(value, shape)),
    **dict.fromkeys(
        ("expand", "expand_as"), lambda shape, value, *_, **__: np.broadcast_to(value, shape)
    ),
    "transpose": lambda _, value, one, other: np.swapaxes(value, one, other),
    "permute": lambda _, value, order: np.transpose(value, order),
    "t": lambda _, value: np.transpose(value),
    **dict.fromkeys(
        (*("to", "_to_copy", "clone", "alias", "contiguous", "detach", "lift_fresh_copy"), "float"),
        lambda _, value, *__, **___: value,
    ),
    "tril": lambda _, value, diagonal=0: np.tril(value, diagonal),
    "triu": lambda _, value, diagonal=0: np.triu(value, diagonal),
    "cumsum": lambda _, value, dim: np.cumsum(value, axis=dim),
    "slice": _slice,
    "select": lambda _, value, dim, at: np.take(value, at, axis=dim),
    "cat": lambda _, values, dim=0: np.concatenate(values, axis=dim),
    "stack": lambda _, values, dim=0: np.stack(values, axis=dim),
    **dict.fromkeys(("matmul", "mm", "bmm"), _product),
    "diff": _difference,
    "index": _index,
    "gather": lambda shape, value, dim, at: (
        np.take_along_axis(value, at, axis=dim) if np.shape(at) == shape else None
    ),
}
