"""The data files that ship with the package, by name.

`edge` among the architectures is arch/edge.yaml. A path works wherever a name does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from itertools import takewhile
from pathlib import Path
from typing import Literal, get_args

from flat_mapper.base.errors import Faults, SpecError, expected
from flat_mapper.base.formats import NUMBER_FORMATS, SUMS, TensorWidth, Width, near
from flat_mapper.spec.document import (
    BITS,
    Quoted,
    Section,
    checked,
    did_you_mean,
    place,
    section_of,
)
from flat_mapper.spec.expressions import expression_value
from flat_mapper.spec.rendering import SUFFIXES

CatalogKind = Literal["arch", "problems", "mapspaces"]
CATALOG_KINDS: tuple[CatalogKind, ...] = get_args(CatalogKind)


def resolve(kind: CatalogKind, name_or_path: str | Path) -> Path:
    """The file of a shipped name, or the path itself where it is one.

    raises: SpecError listing the shipped names.
    """
    text = str(name_or_path)
    path = Path(text)
    if isinstance(name_or_path, Path) or path.suffix in SUFFIXES or len(path.parts) > 1:
        if path.is_file():
            return path
        got, name = "a folder" if path.is_dir() else "no such file", path.name.partition(".")[0]
        known = name in _files(kind)
        hint = f"; the shipped {name!r} is named without a path" if known else ""
        raise SpecError(f"{text}: expected a readable file, got {got}{hint}")
    found = folder(kind) / f"{text}.yaml"
    if "." in text or not found.is_file():
        names = ", ".join(_files(kind)) or "none"
        hint = did_you_mean(text, _files(kind)) or "or give the path of a file"
        raise SpecError(f"{kind}: expected one of {names}, got {text!r}; {hint}")
    return found


def shipped_file(name: str) -> Path:
    """The file of a shipped name, whatever its kind.

    raises: SpecError for a word that is none.
    """
    known: dict[str, Path] = {}
    for kind in CATALOG_KINDS:
        known = {**_files(kind), **known}
    if name not in known:
        raise SpecError(expected(name, "a file or a shipped name", name, did_you_mean(name, known)))
    return known[name]


def shipped_names(kind: CatalogKind) -> list[tuple[str, str]]:
    """The shipped names with a line on each: what its file's first comment says."""
    return [(name, _description(path)) for name, path in _files(kind).items()]


def _files(kind: CatalogKind) -> dict[str, Path]:
    """Shipped files by name, sorted. `x.sfu.yaml` belongs to `x` and has no name of its own."""
    paths = sorted(folder(kind).glob("*.yaml"))
    return {path.stem: path for path in paths if "." not in path.stem}


def folder(kind: CatalogKind) -> Path:
    """The folder in the installed package, or beside the package in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "data" / kind
    return installed if installed.is_dir() else package.parent / kind


def _description(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        lines = list(takewhile(lambda line: line.startswith("#") and line != "#\n", file))
    return " ".join(line.lstrip("#").strip() for line in lines)


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_QUANTITY = re.compile(r"\s*[0-9.]+\s*[A-Za-z]")  # "512 KB": a unit, and no expression


def rank_size(value: object, names: Mapping[str, object], where: str) -> int:
    """An integer > 0: the number itself, or what an unquoted expression over the names gives.

    Division gives whole numbers where it comes out even: `D / H` is 64 for 768 and 12.
    """
    if not isinstance(value, str) or isinstance(value, Quoted) or _QUANTITY.match(value):
        return checked(value, int, where, above=0)
    result = expression_value(value, names, where)
    if isinstance(result, float) and result.is_integer():
        result = int(result)
    if not isinstance(result, int) or isinstance(result, bool) or result <= 0:
        raise SpecError(expected(where, "int > 0", result, f"it is what {value!r} gives"))
    return result


def section_sizes(
    section: Section, changes: Mapping[str, object], where: str, faults: Faults
) -> dict[str, int]:
    """Every size of a section, in its order, each worked out after those that it refers to.

    changes: sizes that take the place of the section's, or that it lacks.
    where:   the place of the section, for errors.
    faults:  where unreadable sizes are noted; they are missing in what is returned.
    """
    values = {**section, **changes}
    waits = {name: _referred(value, values) for name, value in values.items()}
    try:
        order = tuple(TopologicalSorter(waits).static_order())
    except CycleError as error:
        faults.append(expected(where, "sizes without a cycle", " -> ".join(error.args[1])))
        return {}
    known: dict[str, int] = {}
    for name in order:
        if all(other in known for other in waits[name]):  # otherwise the other one is the fault
            spot = f"{where}.{name}" if name in changes else place(where, section, name)
            size = faults.attempt(rank_size, values[name], known, spot)
            known.update({name: size} if size else {})
    return {name: known[name] for name in values if name in known}


def width_of(value: object, where: str) -> Width:
    """Bits of a value, or the name of a number format."""
    if not isinstance(value, str):
        return checked(value, int, where, above=0, within=BITS)
    if value not in (*NUMBER_FORMATS, SUMS):
        raise SpecError(expected(where, f"bits, or one of {near(value)}", value))
    return str(value)


def tensor_width_of(value: object, where: str) -> TensorWidth:
    """Width of a tensor: the same everywhere, or a section of them by level."""
    if not isinstance(value, Mapping):
        return width_of(value, where)
    if not value:
        raise SpecError(expected(where, "bits, a number format, or widths by level", "{}"))
    levels = section_of(value, where)
    return {level: width_of(own, place(where, levels, level)) for level, own in levels.items()}


def widths_of(section: Section) -> dict[str, TensorWidth]:
    """Widths by tensor."""
    return {
        tensor: tensor_width_of(width, section.place(tensor)) for tensor, width in section.items()
    }


def _referred(value: object, values: Mapping[str, object]) -> tuple[str, ...]:
    if not isinstance(value, str) or isinstance(value, Quoted):
        return ()
    return tuple(name for name in _NAME.findall(value) if name in values)
