"""Arithmetic in specification files, evaluated without `eval`.

Timeloop's front end lets an attribute be an expression over variables, outer attributes and the
component's own earlier ones. Here an expression is parsed to a syntax tree of which only numbers,
strings, names, arithmetic, comparisons, conditions, a few functions and the reading of a
component's attributes are evaluated; anything else is refused, and so are results of a size that
no specification means.
"""

from __future__ import annotations

import ast
import math
import operator
import warnings
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from flat_mapper.base.errors import SpecError
from flat_mapper.spec.document import Quoted, did_you_mean

MAX_LENGTH = 2000  # chosen: characters of one expression
MAX_BITS = 1024  # chosen: of one integer; a capacity in bits needs 50
MAX_TEXT = 4096  # chosen: characters of a string result

_FAILURES = (SyntaxError, ValueError, TypeError, ArithmeticError, RecursionError, MemoryError)
ExpressionValue = object  # a number, a truth value, a string, or a tuple of these

_BUILTINS = (abs, bool, float, int, len, max, min, round, sum)
_MATH = ("ceil", "exp", "floor", "gcd", "log", "log10", "log2", "prod", "sqrt", "trunc")
_FUNCTIONS: Mapping[str, Callable[..., object]] = {
    **{function.__name__: function for function in _BUILTINS},
    **{name: getattr(math, name) for name in _MATH},
}
_CONSTANTS: Mapping[str, float] = {"pi": math.pi, "e": math.e, "inf": math.inf}
_OPERATORS: Mapping[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Not: operator.not_,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


def resolved(value: ExpressionValue, names: Mapping[str, object], where: str) -> ExpressionValue:
    """The value of what a file says: an unquoted word is an expression, a list is resolved inside.

    names: what expressions may refer to; a mapping among them is read as `name.key` or
           `name["key"]`.
    where: the place, for errors.
    """
    if isinstance(value, list | tuple):
        return tuple(resolved(item, names, where) for item in value)
    if isinstance(value, str) and not isinstance(value, Quoted):
        return expression_value(value, names, where)
    return value


def expression_value(text: str, names: Mapping[str, object], where: str) -> ExpressionValue:
    """The value of an expression."""
    if len(text) > MAX_LENGTH:
        raise SpecError(
            f"{where}: expected an expression of at most {MAX_LENGTH} characters, got {len(text)}"
        )
    try:
        value = _Evaluator(text, names, where).value(_tree(text.strip()))
    except _FAILURES as err:
        reason = err.msg if isinstance(err, SyntaxError) else str(err) or type(err).__name__
        raise SpecError(
            f"{where}: expected an arithmetic expression, got {text!r} ({reason}); "
            "put a word that is not one in quotes"
        ) from err
    return value


@lru_cache(maxsize=256)  # chosen: files of a chip say the same thing of many levels
def _tree(text: str) -> ast.expr:
    """The syntax tree of an expression."""
    with warnings.catch_warnings(action="ignore", category=SyntaxWarning):
        return ast.parse(text, mode="eval").body


class _Evaluator:
    """Walks one syntax tree."""

    def __init__(self, text: str, names: Mapping[str, object], where: str) -> None:
        self.text, self.names, self.where = text, names, where

    def error(self, condition: str, got: str, change: str = "") -> SpecError:
        """One error line about this expression."""
        tail = f"; {change}" if change else ""
        return SpecError(f"{self.where}: expected {condition}, got {got} in {self.text!r}{tail}")

    def value(self, node: ast.expr) -> ExpressionValue:
        """The value of a node, of bounded size."""
        return self._bounded(self._value(node))

    def _value(self, node: ast.expr) -> ExpressionValue:
        match node:
            case ast.Constant(value=bool() | int() | float() as number):
                return number
            case ast.Constant(value=str() as word):
                return Quoted(word)
            case ast.Name(id=name):
                return self._name(name)
            case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATORS:
                inner = self.value(operand)
                return _OPERATORS[type(op)](
                    inner if isinstance(op, ast.Not) else self._number(inner)
                )
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                return self._binary(self.value(left), op, self.value(right))
            case ast.Compare():
                return self._comparison(node)
            case ast.BoolOp(op=op, values=values):
                return self._either(op, values)
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return self.value(body if self.value(test) else orelse)
            case _:
                return self._reading(node)

    def _reading(self, node: ast.expr) -> ExpressionValue:
        match node:
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return tuple(self.value(item) for item in items)
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
                return self._call(name, args)
            case ast.Attribute(value=owner, attr=key):
                return self._item(self.value(owner), key)
            case ast.Subscript(value=owner, slice=index):
                return self._item(self.value(owner), self.value(index))
            case _:
                kind = type(node).__name__
                raise self.error("numbers, names, arithmetic and known functions", f"a {kind}")

    def _name(self, name: str) -> ExpressionValue:
        if name in self.names:
            return self.names[name]
        if name in _CONSTANTS:
            return _CONSTANTS[name]
        known = sorted(self.names)
        raise self.error(
            f"a name among {', '.join(known) or '(none are defined)'}",
            repr(name),
            did_you_mean(name, known) or f'if it is a word, write "{name}" in quotes',
        )

    def _binary(
        self, left: ExpressionValue, op: ast.operator, right: ExpressionValue
    ) -> ExpressionValue:
        if isinstance(op, ast.Add) and isinstance(left, str) and isinstance(right, str):
            return Quoted(left + right)
        a, b = self._number(left), self._number(right)
        if isinstance(op, ast.Pow) and abs(a) > 1 and b * math.log2(abs(a)) > MAX_BITS:
            raise self.error(f"a power below 2**{MAX_BITS}", f"{a} ** {b}")
        result = _OPERATORS[type(op)](a, b)
        if isinstance(result, complex):
            raise self.error("a real number", f"{a} ** {b}")
        return result

    def _number(self, value: ExpressionValue) -> int | float:
        if isinstance(value, int | float):
            return value
        raise self.error(
            "a number", repr(str(value)) if isinstance(value, str) else type(value).__name__
        )

    def _comparison(self, node: ast.Compare) -> bool:
        left = self.value(node.left)
        for op, following in zip(node.ops, node.comparators, strict=True):
            right = self.value(following)
            if type(op) not in _OPERATORS:
                raise self.error("a comparison such as <, <= or ==", type(op).__name__)
            if not _OPERATORS[type(op)](left, right):
                return False
            left = right
        return True

    def _either(self, op: ast.boolop, values: list[ast.expr]) -> ExpressionValue:
        result: ExpressionValue = None
        for inner in values:
            result = self.value(inner)
            if bool(result) is isinstance(op, ast.Or):
                break
        return result

    def _call(self, name: str, args: list[ast.expr]) -> ExpressionValue:
        values = [self.value(arg) for arg in args]
        if name == "pow" and len(values) == 2:
            return self._binary(values[0], ast.Pow(), values[1])
        if name not in _FUNCTIONS:
            known = ", ".join(sorted((*_FUNCTIONS, "pow")))
            raise self.error(
                f"a function among {known}", repr(name), did_you_mean(name, _FUNCTIONS)
            )
        return _FUNCTIONS[name](*values)

    def _item(self, owner: ExpressionValue, key: ExpressionValue) -> ExpressionValue:
        if isinstance(owner, Mapping):
            if key in owner:
                return owner[key]
            known = sorted(str(k) for k in owner)
            raise self.error(f"a key among {', '.join(known)}", repr(str(key)))
        if (
            isinstance(owner, tuple | list)
            and isinstance(key, int)
            and -len(owner) <= key < len(owner)
        ):
            return owner[key]
        raise self.error("a component's attributes or a list before a key", repr(key))

    def _bounded(self, value: ExpressionValue) -> ExpressionValue:
        if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > MAX_BITS:
            raise self.error(f"numbers below 2**{MAX_BITS}", f"one of {value.bit_length()} bits")
        if isinstance(value, str) and len(value) > MAX_TEXT:
            raise self.error(f"a string of at most {MAX_TEXT} characters", f"one of {len(value)}")
        if isinstance(value, float) and math.isnan(value):
            raise self.error("a number", "one that is undefined (nan)")
        return value
