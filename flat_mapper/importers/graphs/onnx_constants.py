"""Constants of an ONNX graph that are worked out, and the words that each of them makes.

The library's own reference computes them; here stands what it may be asked, so that a node of some
bytes does not make words by the thousand million.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf, prod
from typing import Any

import numpy as np

MOST_FOLDED = 2**24  # chosen: words of a constant that is worked out, and of what it is made of

Arrays = Sequence[Any]


def is_small(kind: str, arrays: Arrays) -> bool:
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


def _broadcast(arrays: Arrays) -> float:
    return prod(np.broadcast_shapes(*map(np.shape, arrays)))


def _product(shape: Any) -> float:
    return prod(int(n) for n in np.ravel(shape))


def _range(arrays: Arrays) -> float:
    start, end, step = (float(np.reshape(a, ())) for a in arrays)
    return abs(end - start) / abs(step) if step else inf


WORDS: Mapping[str, Callable[[Arrays], float]] = {
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
