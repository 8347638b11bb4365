"""A sweep file (docs/sweeps.md): which values of which inputs, and how they combine.

Grid, zip and list multiply. Points are numbered, never listed: any of them is worked out from its
number, so a sweep costs no memory however many points it has. Inputs of the architecture vary
slowest, so that points that share a chip are neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, repeat, takewhile
from math import log, prod
from operator import mul
from pathlib import Path

from flat_mapper.api.questions import DEFAULT
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.base.tolerance import EQUAL
from flat_mapper.spec.document import (
    Section,
    checked,
    did_you_mean,
    noun_of,
    place,
    refuse_unknown,
    section_of,
    take,
    take_section,
)
from flat_mapper.spec.timeloopfe import IN_MEMORY
from flat_mapper.spec.yamlio import dump, is_text, load_text, read_text

InputValue = str | int | float | bool
PointInputs = Mapping[str, InputValue]  # the value of every input of one point, by its path
SweepAxis = Mapping[str, Sequence[InputValue]]  # inputs that vary together, each with its values

MAX_VALUES = 10**12  # chosen: of one range
MAX_LISTED = 10**5  # chosen: of one geometric range, whose values are listed
DEFAULTS: Mapping[str, InputValue] = {
    "mapspace": DEFAULT,
    "objective": "edp",
    "backend": "native",
}
# Inputs by how often they change from point to point, slowest first. A name that ends in a dot
# stands for all that begin with it.
_ORDER = (
    *("arch", "arch.", "ert", "problem", "scope", "phase", "softmax", "mask", "seq", "rank."),
    "word_bits",
    *("bits.", "mapspace", "objective", "backend"),
)
_PARTS = ("grid", "zip", "list")
_KEYS = ("description", "fixed", *_PARTS)
_RANGE = ("from", "to", "step", "times")


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPoints:
    """The points of a sweep file, by number."""

    name: str
    text: str  # the file
    folder: Path  # what its paths are relative to
    fixed: PointInputs
    axes: tuple[SweepAxis, ...]  # the last one varies fastest
    description: str = ""

    @property
    def sizes(self) -> list[int]:
        """The number of values of each axis."""
        return [len(next(iter(axis.values()))) for axis in self.axes]

    @property
    def size(self) -> int:
        """The number of points; not len(), which ends at the machine's integers."""
        return prod(self.sizes)

    def indices(self, position: int) -> tuple[int, ...]:
        """The place on each axis of one point."""
        found = []
        for size in reversed(self.sizes):
            position, index = divmod(position, size)
            found.append(index)
        return tuple(reversed(found))

    def position(self, indices: Sequence[int]) -> int:
        """The number of the point at a place on each axis."""
        found = 0
        for size, index in zip(self.sizes, indices, strict=True):
            found = found * size + index
        return found

    def point(self, position: int) -> dict[str, InputValue]:
        """Every input of one point, in a fixed order."""
        found = dict(self.fixed)
        for axis, index in zip(self.axes, self.indices(position), strict=True):
            found |= {name: column[index] for name, column in axis.items()}
        return dict(sorted(found.items(), key=lambda item: order_of(item[0])))

    @property
    def columns(self) -> SweepAxis:
        """Every input that the sweep sets, with all its values."""
        found: dict[str, Sequence[InputValue]] = {n: (value,) for n, value in self.fixed.items()}
        for axis in self.axes:
            found |= axis
        return found

    def values(self, name: str) -> tuple[InputValue, ...]:
        """All values of an input that is listed, in their order."""
        return tuple(dict.fromkeys(self.columns.get(name, ())))


Written = str | Path | Mapping[str, object]  # a file, its YAML text, or what that says


def asks_for_designs(source: Written) -> bool:
    """True of a design question, in a file, a text or memory; false of anything else."""
    text, where, _ = _written(source)
    document = load_text(text, where)
    return isinstance(document, Mapping) and "optimize" in document


def _written(source: Written) -> tuple[str, str, Path]:
    """A question's text, where it stands, and the folder its paths are relative to."""
    if isinstance(source, Mapping):
        return dump(source), IN_MEMORY, Path()
    if is_text(source):
        return str(source), IN_MEMORY, Path()
    return read_text(Path(source)), str(source), Path(source).parent


def spec_body(source: Written, head: str) -> tuple[Section, str, Path]:
    """The mapping under a question's key, its text, and the folder its paths are relative to."""
    text, where, folder = _written(source)
    top = section_of(load_text(text, where), where)
    refuse_unknown(top, (head,), where)
    return section_of(take(top, head, dict, where), where), text, folder


def load_sweep(source: Written) -> SweepPoints:
    """The sweep in a file, in a text or in memory.

    raises: SpecError where it is none, where an input is unknown or set twice, or an axis is empty.
    """
    return sweep_of(*spec_body(source, "sweep"))


def sweep_of(body: Section, text: str, folder: Path) -> SweepPoints:
    """The sweep that a body of a text says."""
    where = body.source
    inside = f"{where}: sweep"
    refuse_unknown(body, _KEYS, inside)
    fixed = {name: _value(value, spot) for name, value, spot in _inputs(body, "fixed", inside)}
    axes = _axes(body, inside)
    if not axes:
        condition = "at least one of grid, zip and list"
        raise SpecError(f"{inside}: expected {condition}, got {', '.join(body) or 'none'}")
    names = [*fixed, *(name for axis in axes for name in axis)]
    for name in dict.fromkeys(n for i, n in enumerate(names) if n in names[:i]):
        raise SpecError(f"{inside}: expected each input once, got {name!r} twice; remove one")
    _check_inputs(names, inside)
    defaults = {name: value for name, value in DEFAULTS.items() if name not in names}
    return SweepPoints(
        name=Path(where).stem,
        text=text,
        folder=folder,
        fixed={**fixed, **defaults},
        axes=tuple(sorted(axes, key=lambda axis: min(map(order_of, axis)))),
        description=take(body, "description", str, inside, ""),
    )


def order_of(name: str) -> int:
    """The place of an input among the others; where it is unknown, behind all of them."""
    for i, known in enumerate(_ORDER):
        if name == known or (known.endswith(".") and name.startswith(known) and name != known):
            return i
    return len(_ORDER)


def _check_inputs(names: Sequence[str], where: str) -> None:
    """Raise SpecError unless the inputs are known, enough, and do not contradict each other."""
    words = [f"{known}..." if known.endswith(".") else known for known in _ORDER]
    for name in names:
        if order_of(name) == len(_ORDER):
            raise SpecError(
                expected(where, f"inputs among {', '.join(words)}", name, did_you_mean(name, words))
            )
    for needed in ("arch", "problem"):
        if needed not in names:
            got = ", ".join(names) or "none"
            raise SpecError(f"{where}: expected the input {needed!r}, got {got}; add it to fixed")
    clash = [name for name in ("rank.P", "rank.M") if name in names and "seq" in names]
    if clash:
        raise SpecError(f"{where}: expected either seq (P and M at once) or {clash[0]}, got both")


def _inputs(body: Section, part: str, where: str) -> Iterator[tuple[str, object, str]]:
    """The inputs of one part of the file, what is written of each, and where."""
    section = take_section(body, part, where)
    for name, value in section.items():
        yield name, value, place(f"{where}.{part}", section, name)


def _axes(body: Section, where: str) -> list[SweepAxis]:
    """Every axis of the grid, the one of what stands side by side, and the one that is listed."""
    grid, zipped = (
        {name: _column(value, spot) for name, value, spot in _inputs(body, part, where)}
        for part in ("grid", "zip")
    )
    if "grid" in body and not grid:
        raise SpecError(f"{place(where, body, 'grid')}: expected at least one input, got none")
    axes = [_axis({name: column}, f"{where}.grid") for name, column in grid.items()]
    if "zip" in body:
        lengths = {name: len(column) for name, column in zipped.items()}
        if len(set(lengths.values())) != 1:
            got = ", ".join(f"{name} {n}" for name, n in lengths.items()) or "none"
            condition = "inputs with as many values each"
            raise SpecError(f"{where}.zip: expected {condition}, got {got}")
        axes.append(_axis(zipped, f"{where}.zip"))
    return [*axes, _axis(_listed(body, where), f"{where}.list")] if "list" in body else axes


def _listed(body: Section, where: str) -> SweepAxis:
    """The inputs of points as they stand."""
    spot = f"{where}.list"
    rows = [section_of(r, f"{spot}.{i}") for i, r in enumerate(take(body, "list", list, where))]
    if not rows or not rows[0]:
        raise SpecError(f"{spot}: expected at least one point, got none")
    for i, row in enumerate(rows):
        if set(row) != set(rows[0]):
            raise SpecError(
                f"{spot}.{i}: expected the inputs of the first point ({', '.join(rows[0])}), got "
                f"{', '.join(row) or 'none'}"
            )
    return {
        name: tuple(_value(row[name], f"{spot}.{i}.{name}") for i, row in enumerate(rows))
        for name in rows[0]
    }


def _axis(axis: SweepAxis, where: str) -> SweepAxis:
    """The axis, where no two of its rows are the same."""
    columns, seen = tuple(axis.values()), set[tuple[InputValue, ...]]()
    for row in () if isinstance(columns[0], range) else zip(*columns, strict=True):
        if row in seen:
            label = ", ".join(f"{n} {v}" for n, v in zip(axis, row, strict=True))
            raise SpecError(f"{where}: expected each value once, got {label} twice; remove one")
        seen.add(row)
    return axis


def _column(written: object, where: str) -> Sequence[InputValue]:
    """The values of one input: a list, or a range."""
    if isinstance(written, Mapping):
        return _range(section_of(written, where), where)
    items = checked(written, list, where)
    if not items:
        raise SpecError(f"{where}: expected at least one value, got an empty list")
    return tuple(_value(item, f"{where}.{i}") for i, item in enumerate(items))


def _range(section: Section, where: str) -> Sequence[InputValue]:
    """`{from, to, step}`, a range of whole numbers, or `{from, to, times}`; the end is included."""
    refuse_unknown(section, _RANGE, where)
    first, last = take(section, "from", int, where), take(section, "to", int, where)
    if "step" in section and "times" in section:
        raise SpecError(f"{where}: expected either step or times, got both; remove one")
    if last < first:
        raise SpecError(f"{where}: expected to >= from ({first}), got {last}")
    if "times" not in section:
        step = take(section, "step", int, where, 1, above=0)
        if (last - first) // step >= MAX_VALUES:
            condition = f"at most {MAX_VALUES} values"
            raise SpecError(expected(where, condition, (last - first) // step + 1))
        return range(first, last + 1, step)
    factor = take(section, "times", float, where, above=1)
    if first <= 0:
        raise SpecError(f"{where}: expected from > 0 beside times, got {first}")
    if log(last / first) / log(factor) > MAX_LISTED:
        raise SpecError(f"{where}: expected at most {MAX_LISTED} values, got more; use step")
    powers = accumulate(repeat(factor), mul, initial=float(first))
    return tuple(dict.fromkeys(map(round, takewhile(lambda n: n <= last * (1 + EQUAL), powers))))


def _value(value: object, where: str) -> InputValue:
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int | float):
        return checked(value, type(value), where)
    raise SpecError(f"{where}: expected a word or a finite number, got {noun_of(value)}")
