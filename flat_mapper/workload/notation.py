"""The notation of one Einsum: text -> Einsum, and back.

    QK[b,h,p,m]     = Q[b,h,p,e] * K[b,h,m,e]
    QK_max[b,h,p]   = max(QK[b,h,p,m])
    QK_exp[b,h,p,m] = exp(QK[b,h,p,m] - QK_max[b,h,p])

    einsum   := access "=" ( joined | function "(" ( joined | access "," access ) ")" )
    joined   := access { "*" access } | access { "+" access } | access [ ( "-" | "/" ) access ]
    access   := tensor "[" dim { "," dim } "]"
    dim      := rank | of an input  [ step "*" ] rank { "+" [ step "*" ] rank }

Ranks are written in lower case and stored in upper case; either case is read. A rank that the
output lacks is reduced: by max or min where that is the function, by a sum otherwise, so that
`sum(A * B)` and `A * B` say the same thing. `X[2*p+r,c]` are the windows of a convolution. An
Einsum that names its output among its inputs updates it: `AV[p,f] = AV[p,f] * QK_cor[p]` reads and
writes the words that are there.

An Einsum is an item of a file: a line of the notation, or that with what the line cannot say.

    - QK[b,h,p,m] = Q[b,h,p,e] * K[b,h,m,e]
    - {name: activation, einsum: "R[i,k] = relu(T[i,k])", unit: vector}
    - {einsum: "E[p,m] = exp(S[p,m] - X[p])", so_far: [X]}
    - {name: fix, einsum: "Y[p,f] = Y[p,f] * C[p]", each: [M]}
    - {einsum: "O[p,f] = Y[p,f] / Z[p]", after: [M]}

`so_far` names inputs that are taken before their reduction is complete, because the cascade
corrects what is made of them; `each` names ranks in each pass of whose shared loop the Einsum runs
once; `after` ranks behind whose loop it runs. See `flat_mapper.workload.softmax` for their use.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from typing import get_args

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.spec.document import refuse_unknown, section_of, take, take_choice, take_words
from flat_mapper.workload.einsum import Einsum, TensorAccess, Unit

OPERATORS = {"*": "mul", "/": "div", "+": "add", "-": "sub"}
REDUCTIONS = ("max", "min", "sum")  # of one tensor, over the ranks that the output lacks
BINARY = (*OPERATORS.values(), "max", "min")  # f(A, B), point by point
UNARY = (
    *("exp", "log", "sqrt", "rsqrt", "reciprocal", "square", "abs", "neg"),
    *("relu", "gelu", "silu", "sigmoid", "tanh", "copy"),
    "rotary",  # of words by angles: pairs of words as complex numbers, and their product
)
FUNCTIONS = tuple(dict.fromkeys((*REDUCTIONS, *BINARY, *UNARY)))

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TOKEN = re.compile(rf"\s*(?:({_NAME.pattern}|\d+)|(\S)|$)")
_END = "the end"

UNITS: tuple[Unit, ...] = get_args(Unit)


def parse_einsum(
    text: str, *, where: str = "einsum", name: str | None = None, unit: Unit | None = None
) -> Einsum:
    """The Einsum that a line of the notation says.

    text:   e.g. `AV[b,h,p,f] = A[b,h,p,m] * V[b,h,m,f]`.
    where:  the place of the text, for errors.
    name:   of the Einsum; by default its output tensor's.
    unit:   where it runs; by default the PE array (matrix) for a product that reduces a rank, and
            the special function unit (vector) for everything else.
    raises: SpecError with the column (from 1) of what cannot be read.
    """
    return _parsed(text, where, name, unit)


@lru_cache(maxsize=1024)  # a block, a layer and a model have the same lines
def _parsed(text: str, where: str, name: str | None, unit: Unit | None) -> Einsum:
    reader = _Reader(where, text)
    output = replace(reader.access(), is_output=True)
    reader.take("=", "'='")
    function, joint, inputs = reader.right_side()
    reader.end(f"the end after {inputs[-1]}")
    reduces = not {*chain.from_iterable(a.ranks for a in inputs)} <= {*output.ranks}
    if function in REDUCTIONS and joint != "," and not reduces:
        condition = f"a rank that {output} lacks, for {function} to reduce"
        raise SpecError(expected(where, condition, ", ".join(map(str, inputs))))
    operation = point_operation(function, joint, reduces)
    old = replace(output, is_output=False)
    usual: Unit = "matrix" if operation == "mul" and reduces else "vector"
    return Einsum(
        name=name or output.tensor,
        output=output,
        inputs=tuple(a for a in inputs if a != old),
        updates=old in inputs,
        operation=operation,
        unit=unit or usual,
        text=_spaced(text),
    )


def point_operation(function: str, joint: str, reduces: bool) -> str:
    """The operation at a point. A sum is implied wherever a rank is reduced."""
    if function in ("", "copy") or (function, joint) == ("sum", "mul"):
        return joint or ("sum" if reduces else "copy")
    return function


def format_einsum(einsum: Einsum) -> str:
    """The line that it was written in, or of a Timeloop problem the line that says the same."""
    right = " * ".join(map(str, einsum.inputs))
    if einsum.operation == "sum":
        right = f"sum({right})"
    return einsum.text or f"{einsum.output} = {right}"


def _spaced(text: str) -> str:
    """The text in canonical spacing and case: `A[b,p] = exp(B[b,p] - C[b])`."""
    dense = "".join(text.split())
    dense = re.sub(r"\[[^\]]*\]", lambda ranks: ranks.group().lower(), dense)
    dense = re.sub(r"([-=*/+])", r" \1 ", dense)
    return re.sub(r",(?![^\[]*\])", ", ", dense)


@dataclass(slots=True)
class _Reader:
    """A cursor over the tokens of one line."""

    where: str
    text: str
    position: int = 0

    @property
    def token(self) -> str:
        """The token under the cursor; `the end` after the last."""
        found = _TOKEN.match(self.text, self.position)
        return (found[1] or found[2] or _END) if found else _END

    def error(self, condition: str, change: str = "") -> SpecError:
        """The expectation at the cursor, with its column."""
        rest = self.text[self.position :]
        column = self.position + len(rest) - len(rest.lstrip()) + 1
        place = f"{self.where}: column {column} of {self.text.strip()!r}"
        return SpecError(expected(place, condition, self.token, change))

    def take(self, token: str, condition: str) -> None:
        """Step over a fixed token."""
        if self.token != token:
            raise self.error(condition)
        self._step()

    def end(self, condition: str) -> None:
        """Raise SpecError unless nothing is left."""
        if self.token != _END:
            change = "say the rest in an Einsum of its own" if self.token in OPERATORS else ""
            raise self.error(condition, change)

    def name(self, condition: str) -> str:
        """Step over an identifier."""
        token = self.token
        if not _NAME.fullmatch(token):
            raise self.error(condition)
        self._step()
        return token

    def access(self, *, sums: bool = False) -> TensorAccess:
        """Step over `tensor[rank, ...]`, or of an input with sums of ranks."""
        tensor = self.name("a tensor name")
        self.take("[", f"'[' and the ranks of {tensor}")
        one = self._sum if sums else self._plain
        dims = tuple(self._listed(",", lambda: one(tensor)))
        self.take("]", f"',' or ']' after the ranks of {tensor}")
        return TensorAccess(
            tensor=tensor,
            ranks=tuple(rank for dim in dims for rank, _ in dim),
            sums=() if all(len(dim) == 1 == dim[0][1] for dim in dims) else dims,
        )

    def right_side(self) -> tuple[str, str, tuple[TensorAccess, ...]]:
        """Step over all that follows `=`.

        returns: the function or "", what joins its tensors (an operation, a comma or ""), and them.
        """
        start = self.position
        word = self.name("a tensor or a function")
        if self.token != "(":
            self.position = start
            return "", *self._joined()
        if word not in FUNCTIONS:
            self.position = start
            raise self.error(f"a function among {', '.join(FUNCTIONS)}")
        self._step()
        joint, inputs = self._joined()
        if self.token == "," and not joint:
            self._step()
            joint, inputs = ",", (*inputs, self.access(sums=True))
        if joint == "," and word not in BINARY:
            self.position = start
            raise self.error(f"one of {', '.join(BINARY)} before two tensors with a comma")
        if joint != "," and word in OPERATORS.values():
            self.position = start
            raise self.error(f"two tensors with a comma in {word}(...)")
        self.take(")", "')'")
        return word, joint, inputs

    def _joined(self) -> tuple[str, tuple[TensorAccess, ...]]:
        inputs = [self.access(sums=True)]
        sign = self.token
        while self.token == sign and (sign in "*+" or (sign in "-/" and len(inputs) == 1)):
            self._step()
            inputs.append(self.access(sums=True))
        return OPERATORS.get(sign, ""), tuple(inputs)

    def _listed[T](self, sign: str, item: Callable[[], T]) -> Iterator[T]:
        """Terms between signs."""
        yield item()
        while self.token == sign:
            self._step()
            yield item()

    def _plain(self, tensor: str) -> tuple[tuple[str, int], ...]:
        return ((self.name(f"a rank of {tensor}").upper(), 1),)

    def _sum(self, tensor: str) -> tuple[tuple[str, int], ...]:
        return tuple(self._listed("+", lambda: self._term(tensor)))

    def _term(self, tensor: str) -> tuple[str, int]:
        step = "1"
        if self.token.isdecimal():
            step = self.token
            if not int(step):
                raise self.error("a step of 1 or more")
            self._step()
            self.take("*", f"'*' and a rank of {tensor} after its step")
        return self.name(f"a rank of {tensor}").upper(), int(step)

    def _step(self) -> None:
        found = _TOKEN.match(self.text, self.position)
        self.position = found.end() if found else len(self.text)


EINSUM_KEYS = ("name", "einsum", "unit", "each", "after", "so_far")


def read_einsum(item: object, where: str) -> Einsum:
    """The Einsum of an item."""
    if isinstance(item, str):
        return parse_einsum(item, where=where)
    section = section_of(item, where)
    refuse_unknown(section, EINSUM_KEYS)
    text = take(section, "einsum", str)
    name = take(section, "name", str, default=None)
    unit = take_choice(section, "unit", UNITS) if "unit" in section else None
    einsum = parse_einsum(text, where=f"{where}.einsum", name=name and str(name), unit=unit)
    return replace(
        einsum,
        each=tuple(map(str.upper, take_words(section, "each"))),
        after=tuple(map(str.upper, take_words(section, "after"))),
        so_far=take_words(section, "so_far"),
    )


def einsum_item(einsum: Einsum) -> dict[str, object]:
    """The Einsum's line; with its name and unit where the line alone means others."""
    line = format_einsum(einsum)
    plain = parse_einsum(line)
    item: dict[str, object] = {"einsum": line}
    if (plain.name, plain.unit) != (einsum.name, einsum.unit):
        item |= {"name": einsum.name, "unit": einsum.unit}
    said: Mapping[str, tuple[str, ...]]
    said = {"each": einsum.each, "after": einsum.after, "so_far": einsum.so_far}
    return item | {key: list(words) for key, words in said.items() if words}
