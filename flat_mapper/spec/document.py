"""A document's values, and the typed door between them and the rest of the package."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeGuard

from flat_mapper.base import units
from flat_mapper.base.errors import SpecError, expected

MAX_SHOWN = 200  # chosen: characters of a value in an error
_MAX_BITS = 4096  # of an integer that is written out; Python itself writes 4300 digits at most


class Quoted(str):
    """A string that stood in quotes: never an expression, and written back in quotes."""

    __slots__ = ()


class Section(dict[str, object]):
    """One mapping of a document: its place, the line of every key. Treat it as read-only."""

    __slots__ = ("lines", "source", "where")

    def __init__(
        self,
        items: Mapping[str, object] | Iterable[tuple[str, object]] = (),
        source: str = "",
        lines: Mapping[str, int] | None = None,
        where: str = "",
    ) -> None:
        super().__init__(items)
        self.source = source  # the file, as errors name it
        self.lines = dict(lines or {})  # from 1
        self.where = where  # `path`, or `path: dotted.place`; empty before `section_of` says it

    def place(self, key: str, *, shown: bool = True) -> str:
        """The place of a key, with its line."""
        return place(self.where, self, key, shown=shown)

    def wrong(self, key: str, condition: str, got: object, change: str = "") -> SpecError:
        """The error of a key whose value is not what it should be."""
        return SpecError(expected(self.place(key), condition, got, change))


@dataclass(frozen=True, slots=True)
class Tagged:
    """A value with a local YAML tag, such as `!Component {...}`."""

    tag: str  # with its exclamation mark
    body: object
    line: int = field(default=0, compare=False)  # from 1; 0: not from a file


def walk(node: object) -> Iterator[object]:
    """A node of an architecture's document, and all inside it."""
    yield node
    for child in children(node):
        yield from walk(child)


def children(node: object) -> list[object]:
    """The nodes directly inside a node of a document."""
    body = node.body if isinstance(node, Tagged) else node
    nodes = body.get("nodes") if isinstance(body, Mapping) else None
    return list(nodes) if isinstance(nodes, list) else []


Edit = Callable[[Section], Sequence[Mapping[str, object]]]  # what takes the place of a named body


def edited_nodes(node: object, edit: Edit) -> Section:
    """The body of a hierarchy or a node, every named node inside it edited."""
    body, nodes = section_of(node, "a node"), list[object]()
    if not isinstance(body.get("nodes"), list):
        return body
    for child in children(body):
        if isinstance(child, Tagged) and isinstance(child.body, Mapping):
            inner = edited_nodes(child.body, edit)
            bodies = edit(inner) if "name" in inner else (inner,)
            nodes += [replace(child, body=own) for own in bodies]
        else:
            nodes.append(child)
    return Section({**body, "nodes": nodes}, body.source, body.lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """The numbers that a quantity may have, both ends included, and its unit."""

    least: float
    most: float
    unit: str = ""

    def holds(self, number: float) -> bool:
        """True where a number is in it; nan never is, and nothing is absurdly near to 0."""
        return self.least <= number <= self.most and not 0 < abs(number) < SMALLEST

    def __str__(self) -> str:
        unit = self.unit and f" {self.unit}"
        return f"from {self.least:g} to {self.most:g}{unit}"


# What a number may be that no field says more about: nothing physical is outside, and sums and
# products of a few of these stay finite.
REAL = Range(least=-1e30, most=1e30)
_WHOLE = Range(least=-(2**62), most=2**62)  # of integers: counts are int64
SMALLEST = 1e-30  # of numbers other than 0
COUNT = Range(least=1, most=2**61)
INSTANCES = Range(least=1, most=2**24, unit="instances")
BITS = Range(least=1, most=1024, unit="bits")
COPIES = Range(least=0, most=2**20, unit="copies")
CYCLE_TIME = Range(least=1e-15, most=1, unit="s")
RATE = Range(least=1e-9, most=1e15, unit="words per cycle")
PICOJOULES = Range(least=0, most=1e15, unit="pJ")
SCALE = Range(least=1e-12, most=1e12)
CYCLES = Range(least=0, most=1e12, unit="cycles")


class Required:
    """The default of a key that has none."""


REQUIRED: Final = Required()


def take[T, D](
    node: object,
    key: str,
    kind: type[T],
    where: str = "",
    default: D | Required = REQUIRED,
    *,
    above: float = -math.inf,
    within: Range = REAL,
) -> T | D:
    """The value of one key, of the kind asked for.

    kind:    bool, int, float (an int is one as well), str, list or dict (a Section).
    where:   the place of `node`, where it does not know that itself.
    default: what a missing key, or one without a value, stands for; the key is required otherwise.
    above:   numbers must be greater.
    within:  and in this range.
    raises:  SpecError with the path, the line, the dotted key and what to change.
    """
    section, where = _placed(node, where)
    value = section.get(key)
    if value is None:
        if not isinstance(default, Required):
            return default
        noun = _NOUNS.get(kind, kind.__name__)
        if key in section:
            raise SpecError(f"{place(where, section, key)}: expected {noun}, got nothing")
        got = f"the keys {', '.join(section)}" if section else "an empty mapping"
        raise SpecError(f"{where}: expected the key {key!r} ({noun}), got {got}")
    return checked(value, kind, place(where, section, key), above=above, within=within)


def _placed(node: object, where: str) -> tuple[Section, str]:
    """The node as a mapping, and its place."""
    section = node if isinstance(node, Section) else section_of(node, where)
    return section, where or section.where


def checked[T](
    value: object, kind: type[T], where: str, *, above: float = -math.inf, within: Range = REAL
) -> T:
    """The value itself where it is of the kind, and a number above a bound and in its range.

    Every number that enters the package comes through here; an unquoted `4k` is 4096.
    """
    condition = _NOUNS.get(kind, kind.__name__)
    if kind in (int, float):
        value = _counted(value)
        bounded = above > -math.inf
        condition += f" > {above:g}" if bounded else ""
        if _is_number(value, kind) and not value <= above:
            within = _WHOLE if kind is int and within is REAL else within
            if within.holds(value):
                return kind(value)  # type: ignore[call-arg]  # int or float; mypy loses it
            condition += f", {within}" if bounded else f" {within}"
    elif isinstance(value, kind):
        return value
    raise SpecError(f"{where}: expected {condition}, got {noun_of(value)}{_change(value, kind)}")


def _counted(value: object) -> object:
    """The number that an unquoted count such as `4k` is; anything else as it stands."""
    found = units.quantity(value) if type(value) is str else None
    return found[0] if found and not found[1] else value


def _is_number(value: object, kind: type) -> TypeGuard[float]:
    return isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)


def take_choice[C: str](
    node: object, key: str, choices: tuple[C, ...], where: str = "", default: C | None = None
) -> C:
    """The word of one key, among those that are known; required where there is no default."""
    section, where = _placed(node, where)
    word = take(section, key, str, where, default or REQUIRED)
    return among(place(where, section, key), word, choices)


def among[C: str](where: str, word: str, known: Iterable[C]) -> C:
    """The one of some words that is asked for."""
    listed = tuple(known)
    for one in listed:
        if one == word:
            return one
    raise SpecError(unknown_word(where, "one of", word, listed))


def unknown_word(where: str, noun: str, word: str, known: Iterable[str]) -> str:
    """The error line of a word that is not among the known ones, which `noun` introduces."""
    listed = tuple(known)
    return expected(where, f"{noun} {', '.join(listed)}", word, did_you_mean(str(word), listed))


def take_list[T](
    node: object, key: str, kind: type[T], where: str = "", default: tuple[T, ...] | None = None
) -> tuple[T, ...]:
    """The list of one key, every item of the kind; required where there is no default."""
    section, where = _placed(node, where)
    if default is not None and section.get(key) is None:
        return default
    items = take(section, key, list, where)
    inside = place(where, section, key)
    return tuple(checked(item, kind, f"{inside}.{i}") for i, item in enumerate(items))


def take_words(
    node: object, key: str, where: str = "", default: tuple[str, ...] | None = ()
) -> tuple[str, ...]:
    """The words of the list of one key, without their quotes; by default it may be missing."""
    return tuple(map(str, take_list(node, key, str, where, default)))


def take_section(node: object, key: str, where: str = "", *, required: bool = False) -> Section:
    """The mapping of one key; an empty one where there is none, unless it is required."""
    section, where = _placed(node, where)
    found = take(section, key, dict, where, REQUIRED if required else {})
    return section_of(found, _inside(where, key))


def take_sections(node: object, key: str, *, required: bool = True) -> tuple[Section, ...]:
    """The mappings of the list of one key; none where it is missing, unless it is required."""
    section, where = _placed(node, "")
    items = take_list(section, key, dict, where, None if required else ())
    return tuple(section_of(n, f"{_inside(where, key)}.{i}") for i, n in enumerate(items))


def refuse_unknown(node: object, known: Iterable[str], where: str = "") -> None:
    """Raise SpecError at the first key that is not among the known ones."""
    for line in unknown_keys(node, known, where):
        raise SpecError(line)


def unknown_keys(node: object, known: Iterable[str], where: str = "") -> Iterator[str]:
    """An error line for each key that is not among the known ones."""
    (section, where), listed = _placed(node, where), tuple(known)
    for key in (key for key in section if key not in listed):
        yield unknown_key(key, section, listed, where)


def unknown_key(key: str, section: Section, known: tuple[str, ...], where: str) -> str:
    """The error line of a key that is not among the known ones."""
    return unknown_word(place(where, section, key, shown=False), "keys among", key, known)


def section_of(node: object, where: str = "") -> Section:
    """The node, where it is a mapping; one that does not know its place has that one."""
    if isinstance(node, Section):
        return node if node.where or not where else Section(node, node.source, node.lines, where)
    if isinstance(node, Mapping):
        return Section({str(key): value for key, value in node.items()}, where=where)
    raise SpecError(f"{where}: expected a mapping of keys to values, got {noun_of(node)}")


def place(where: str, section: Section, key: str, *, shown: bool = True) -> str:
    """`where` with the key appended, and the key's line put behind the path."""
    spot = _inside(where, key) if shown else where
    line, source = section.lines.get(key, 0), section.source
    if line and source and (where == source or where.startswith(source + ": ")):
        spot = f"{source}:{line}{spot[len(source) :]}"
    return spot


def _inside(where: str, key: str) -> str:
    return f"{where}{'.' if ': ' in where else ': '}{key}"


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
        scaled = units.quantity(value)  # what it says without its unit is another number
        return f"; write {digits.group().strip()}" if digits and not scaled else ""
    if kind is int and isinstance(value, float) and value.is_integer():
        return f"; write {int(value)}"
    if kind is list and not isinstance(value, list | dict | Tagged):
        return f"; write [{value}]"
    return ""


def noun_of(value: object) -> str:
    """The kind of a value, in a reader's words."""
    if isinstance(value, Tagged):
        return value.tag
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None:
        return "nothing"
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        return f"an integer of {value.bit_length()} bits"
    text = repr(str(value) if isinstance(value, str) else value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}... ({len(text)} characters)"
