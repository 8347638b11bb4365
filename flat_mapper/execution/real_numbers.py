"""Operations of an Einsum at a point, and how its points are combined, in numpy."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import numpy.typing as npt

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.workload.einsum import Einsum
from flat_mapper.workload.notation import OPERATORS, REDUCTIONS, format_einsum

Values = npt.NDArray[np.float64]

_TENSOR = re.compile(r"([A-Za-z_]\w*)\[[^\]]*\]")
_FUNCTION = re.compile(r"([A-Za-z_]\w*)\((.*)\)$")

_UNARY: dict[str, Callable[[Values], Values]] = {
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "reciprocal": lambda x: 1 / x,
    "square": np.square,
    "abs": np.abs,
    "neg": np.negative,
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "copy": lambda x: x,
    "rotary": lambda x: x,  # of the product of words and angles: one point is one complex number
}
_BINARY: dict[str, np.ufunc] = {
    "mul": np.multiply,
    "div": np.divide,
    "add": np.add,
    "sub": np.subtract,
    "max": np.maximum,
    "min": np.minimum,
}
_BINARY |= {sign: _BINARY[name] for sign, name in OPERATORS.items()}
_NEUTRAL = {np.add: 0.0, np.maximum: -np.inf, np.minimum: np.inf}
NEEDS_POSITIVE = {"log", "sqrt", "rsqrt", "reciprocal"}  # of what they are given


@dataclass(frozen=True, slots=True, kw_only=True)
class Arithmetic:
    """An Einsum's right side.

    operands: tensors in the order of the right side; the output among them where it is updated.
    combine:  how points with the same output word join; `neutral` is where they start.
    old:      what an updated output holds before it was ever written.
    """

    operands: tuple[str, ...]
    joint: str
    function: str
    combine: np.ufunc
    neutral: float
    old: float

    def point(self, values: Sequence[Values]) -> Values:
        """The value at each point, from the operands' values there."""
        joined = reduce(_BINARY[self.joint], values) if len(values) > 1 else values[0]
        if self.function == "exp" and self.joint == "-":
            # What is masked weighs nothing, also where the maximum itself is still minus infinity.
            return np.where(np.isneginf(values[0]), 0.0, np.exp(joined))
        return _UNARY[self.function](joined) if self.function else joined


def arithmetic(einsum: Einsum) -> Arithmetic:
    """The right side of an Einsum, read from the line it was written in."""
    right = format_einsum(einsum).partition("=")[2].strip()
    found = _FUNCTION.match(right)
    function, inside = (found[1], found[2]) if found else ("", right)
    operands = tuple(_TENSOR.findall(inside))
    signs = _TENSOR.sub("", inside).replace(" ", "")
    joint = signs[:1]
    if joint == ",":
        joint, function = function, ""
    unknown = function and function not in (*_UNARY, *REDUCTIONS)
    known = set(einsum.tensors)
    if unknown or (len(operands) > 1 and joint not in _BINARY) or not known.issuperset(operands):
        condition = f"a line of the notation with {', '.join(OPERATORS)} or a known function"
        raise SpecError(expected(einsum.name, condition, right))
    combine = {"max": np.maximum, "min": np.minimum}.get(function, np.add)
    return Arithmetic(
        operands=operands,
        joint=joint,
        function="" if function in REDUCTIONS else function,
        combine=combine,
        neutral=_NEUTRAL[combine],
        # The maximum of no scores; the sum of no terms.
        old=-np.inf if function == "exp" else 0.0,
    )
