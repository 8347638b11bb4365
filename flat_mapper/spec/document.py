"""A document's values, and the typed door between them and the rest of the package."""

from __future__ import annotations

import difflib
import enum
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, overload

from flat_mapper.base.errors import SpecError, expected


class Quoted(str):
    """A string that stood in quotes: never an expression, and written back in quotes."""

    __slots__ = ()


class Section(dict[str, object]):
    """One mapping of a document, with the line of every key. Treat it as read-only."""

    __slots__ = ("lines", "source")

    def __init__(
        self,
        items: Mapping[str, object] | Iterable[tuple[str, object]] = (),
        source: str = "",
        lines: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(items)
        self.source = source  # the file, as errors name it
        self.lines = dict(lines or {})  # from 1


@dataclass(frozen=True, slots=True)
class Tagged:
    """A value with a local YAML tag, such as `!Component {...}`."""

    tag: str  # with its exclamation mark
    body: object
    line: int = field(default=0, compare=False)  # from 1; 0: not from a file


class _Need(enum.Enum):
    REQUIRED = enum.auto()


REQUIRED: Final = _Need.REQUIRED  # the default of a key that has none


@overload
def take[T](node: object, key: str, kind: type[T], where: str, *, above: float = ...) -> T: ...
@overload
def take[T, D](
    node: object, key: str, kind: type[T], where: str, default: D, *, above: float = ...
) -> T | D: ...
def take(
    node: object,
    key: str,
    kind: type[object],
    where: str,
    default: object = REQUIRED,
    *,
    above: float = -math.inf,
) -> object:
    """The value of one key, of the kind asked for.

    kind:    bool, int, float (an int is one as well), str, list or dict (a Section).
    where:   the place of `node`: `path`, or `path: dotted.place`.
    default: what a missing key, or one without a value, stands for; the key is required otherwise.
    above:   numbers must be greater, and finite.
    raises:  SpecError with the path, the line, the dotted key and what to change.
    """
    section = section_of(node, where)
    value = section.get(key)
    if value is None:
        if default is not REQUIRED:
            return default
        noun = _NOUNS.get(kind, kind.__name__)
        if key in section:
            raise SpecError(f"{place(where, section, key)}: expected {noun}, got nothing")
        got = f"the keys {', '.join(section)}" if section else "an empty mapping"
        raise SpecError(f"{where}: expected the key {key!r} ({noun}), got {got}")
    return checked(value, kind, place(where, section, key), above=above)


def checked[T](value: object, kind: type[T], where: str, *, above: float = -math.inf) -> T:
    """The value itself where it is of the kind (and, for a number, finite and above a bound)."""
    noun = _NOUNS.get(kind, kind.__name__)
    if kind in (int, float) and above > -math.inf:
        noun += f" > {above:g}"
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    if fits and isinstance(value, int | float) and kind is not bool:
        fits = value > above and math.isfinite(value)
    if fits:
        return value  # type: ignore[return-value]  # isinstance above; mypy loses it in `fits`
    raise SpecError(f"{where}: expected {noun}, got {kind_of(value)}{_change(value, kind)}")


def take_choice[C: str](
    node: object, key: str, choices: tuple[C, ...], where: str, default: C | None = None
) -> C:
    """The word of one key, among those that are known; required where there is no default."""
    word = take(node, key, str, where, default) if default else take(node, key, str, where)
    for choice in choices:
        if choice == word:
            return choice
    section = section_of(node, where)
    raise SpecError(
        expected(
            place(where, section, key),
            f"one of {', '.join(choices)}",
            str(word),
            did_you_mean(word, choices),
        )
    )


def take_list[T](
    node: object, key: str, kind: type[T], where: str, default: tuple[T, ...] | None = None
) -> tuple[T, ...]:
    """The list of one key, every item of the kind; required where there is no default."""
    section = section_of(node, where)
    if default is not None and section.get(key) is None:
        return default
    items = take(section, key, list, where)
    inside = place(where, section, key)
    return tuple(checked(item, kind, f"{inside}.{i}") for i, item in enumerate(items))


def refuse_unknown(node: object, known: Iterable[str], where: str) -> None:
    """Raise SpecError at the first key that is not among the known ones."""
    section, listed = section_of(node, where), tuple(known)
    for key in section:
        if key not in listed:
            raise SpecError(unknown_key(key, section, listed, where))


def unknown_key(key: str, section: Section, known: Iterable[str], where: str) -> str:
    """The error line of a key that is not among the known ones."""
    listed = tuple(known)
    hint = did_you_mean(key, listed)
    spot = place(where, section, key, shown=False)
    return f"{spot}: unknown key {key!r}; known keys: {', '.join(listed)}" + (
        f"; {hint}" if hint else ""
    )


def section_of(node: object, where: str) -> Section:
    """The node, where it is a mapping."""
    if isinstance(node, Section):
        return node
    if isinstance(node, Mapping):
        return Section({str(key): value for key, value in node.items()})
    raise SpecError(f"{where}: expected a mapping of keys to values, got {kind_of(node)}")


def place(where: str, section: Section, key: str = "", *, shown: bool = True) -> str:
    """`where` with the key appended, and the key's line put behind the path."""
    spot = where
    if key and shown:
        spot += ("." if ": " in where else ": ") + key
    line, source = section.lines.get(key, 0), section.source
    if line and source and (where == source or where.startswith(source + ": ")):
        spot = f"{source}:{line}{spot[len(source) :]}"
    return spot


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?` where a known word is near, else an empty string."""
    listed = list(known)
    folded = {name.lower(): name for name in reversed(listed)}
    near = difflib.get_close_matches(word.lower(), folded, n=1, cutoff=0.6)
    return f"did you mean {folded[near[0]]!r}?" if near else ""


_NOUNS: dict[type, str] = {
    bool: "true or false",
    int: "int",
    float: "number",
    str: "a word",
    list: "a list",
    dict: "a mapping",
}


def _change(value: object, kind: type) -> str:
    """The spelling to write instead, where that is plain."""
    if kind in (int, float) and isinstance(value, str):
        digits = re.match(r"\s*[-+]?[0-9]+(\.[0-9]+)?", value)
        return f"; write {digits.group().strip()}" if digits else ""
    if kind is int and isinstance(value, float) and value.is_integer():
        return f"; write {int(value)}"
    if kind is list and not isinstance(value, list | dict | Tagged):
        return f"; write [{value}]"
    return ""


def kind_of(value: object) -> str:
    """The kind of a value, in a reader's words."""
    if isinstance(value, Tagged):
        return value.tag
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    return "nothing" if value is None else repr(str(value) if isinstance(value, str) else value)
