"""Names and operations of a cascade as C has them, and the lines of a program.

A record may come from anybody. A name is an identifier only where it is one of C's and plain; any
other is known by its number. In comments and strings stands nothing that could end them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.execution.real_numbers import Arithmetic

_PLAIN = re.compile(r"[A-Za-z](?:_?[A-Za-z0-9]){0,30}")  # and no two _ together, nor one at the end
_QUIET = re.compile(r"[^A-Za-z0-9_ .,:;=()\[\]<>/*+-]")

_SAME = ("", "copy", "rotary")  # functions that leave a number as it is
_FUNCTIONS: Mapping[str, str] = {  # of one number x
    "exp": "expf(x)",
    "log": "logf(x)",
    "sqrt": "sqrtf(x)",
    "rsqrt": "1 / sqrtf(x)",
    "reciprocal": "1 / x",
    "square": "x * x",
    "abs": "fabsf(x)",
    "neg": "-x",
    "relu": "x > 0 ? x : 0",
    "gelu": "0.5f * x * (1 + tanhf(0.797884561f * (x + 0.044715f * x * x * x)))",
    "silu": "x / (1 + expf(-x))",
    "sigmoid": "1 / (1 + expf(-x))",
    "tanh": "tanhf(x)",
}
_SIGNS = {"mul": "*", "div": "/", "add": "+", "sub": "-", "*": "*", "/": "/", "+": "+", "-": "-"}
_CHOICES = {"max": "larger", "min": "smaller", "maximum": "larger", "minimum": "smaller"}
HELPERS: Mapping[str, str] = {
    **{f"{name}_of": f"float x) {{ return {c}; }}" for name, c in _FUNCTIONS.items()},
    "weight": "float x, float most) { return x == -INFINITY ? 0 : expf(x - most); }",
    "larger": "float a, float b) { return a > b ? a : b; }",
    "smaller": "float a, float b) { return a < b ? a : b; }",
}


@dataclass
class CodeLines:
    """Lines of C, indented by the blocks that are open."""

    lines: list[str] = field(default_factory=list)
    depth: int = 0

    def add(self, *lines: str) -> None:
        """Lines at the depth of now."""
        self.lines += ["    " * self.depth + line if line else "" for line in lines]

    @contextmanager
    def block(self, *heads: str, end: str = "") -> Iterator[None]:
        """A block for each head, each in the one before; end: a comment behind the heads."""
        for head in heads:
            self.add(f"{head} {{{end}")
            self.depth += 1
        yield
        for _ in heads:
            self.depth -= 1
            self.add("}")

    def array(self, name: str, shape: tuple[int, ...], comment: str) -> None:
        """An array of float32 that begins with a line of the cache."""
        sizes = "".join(f"[{n}]" for n in shape) or "[1]"
        self.add(f"static float {name}{sizes} __attribute__((aligned(64)));  // {comment}")


def identifiers(names: Iterable[str], kind: str) -> dict[str, str]:
    """An identifier, or a part of one, for every name: no two alike; none ends in _7."""
    return {
        name: name if _PLAIN.fullmatch(name) else f"{kind}__{number}"
        for number, name in enumerate(names)
    }


def quiet(text: str) -> str:
    """A text for a line of comment: what could end it, or hide something in it, is `_`."""
    return _QUIET.sub("_", text).replace("/*", "/ *").replace("*/", "* /")


def string(text: str) -> str:
    """A text as a C string, whatever is in it."""
    kept = re.sub(rb"[^A-Za-z0-9_.-]", lambda found: b"\\%03o" % found[0][0], text.encode())
    return f'"{kept.decode()}"'


def number(value: float) -> str:
    """A constant."""
    return {float("inf"): "INFINITY", float("-inf"): "-INFINITY"}.get(value, f"{value:g}")


def point(how: Arithmetic, operands: Sequence[str]) -> str:
    """The value at one point, of the operands' values there."""
    first, *others = operands
    if how.function == "exp" and how.joint == "-":
        return f"weight({first}, {' + '.join(others)})"
    if how.joint in _CHOICES:
        for other in others:
            first = f"{_CHOICES[how.joint]}({first}, {other})"
    elif others:
        if how.joint not in _SIGNS:
            raise SpecError(expected("lower: c", f"one of {', '.join(_SIGNS)}", how.joint))
        first = f" {_SIGNS[how.joint]} ".join(operands)
    if how.function in _SAME:
        return first
    if how.function not in _FUNCTIONS:
        raise SpecError(expected("lower: c", f"one of {', '.join(_FUNCTIONS)}", how.function))
    return f"{how.function}_of({first})"


def joined_to(how: Arithmetic, so_far: str, value: str) -> str:
    """The statement that joins a value to those with the same place."""
    choice = _CHOICES.get(how.combine.__name__)
    return f"{so_far} = {choice}({so_far}, {value});" if choice else f"{so_far} += {value};"
