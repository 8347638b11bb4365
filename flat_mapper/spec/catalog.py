"""The data files that ship with the package, by name.

`edge` among the architectures is arch/edge.yaml. A path works wherever a name does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from flat_mapper.base.errors import SpecError
from flat_mapper.spec.document import did_you_mean
from flat_mapper.spec.rendering import SUFFIXES

CatalogKind = Literal["arch", "problems", "mapspaces"]


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


def shipped(kind: CatalogKind) -> list[tuple[str, str]]:
    """The shipped names with a line on each: the first comment line of its file."""
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
        first = next(filter(str.strip, file), "")
    return first.lstrip("#").strip() if first.startswith("#") else ""
