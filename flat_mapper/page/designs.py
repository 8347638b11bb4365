"""The architectures that `optimize` chose: what they are, what they reach, and what binds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flat_mapper.base import units
from flat_mapper.page.facts import EACH, read
from flat_mapper.page.rows import number_text, short
from flat_mapper.page.sources import input_of, json_of, opened

Chosen = dict[str, Any]  # one architecture of the front
_SHOWN: Mapping[str, Callable[[float], str]] = {
    "latency": lambda v: units.si(v, "s"),
    "energy": lambda v: units.si(units.joules_of(v), "J"),
    "edp": lambda v: units.si(v, "J·s"),
    "area": lambda v: f"{v:.4g} mm²",
    "buffer": units.size,
    "bandwidth": lambda v: units.si(v, "B/s"),
    "pes": lambda v: units.count(round(v)),
}


# A design of the front: its choices, its scores by objective or budget, and what stops it.
_DESIGN = {"coordinates": {EACH: object}, "scores": {EACH: float}, "binds": [str]}


def read_designs(paths: Sequence[str | Path]) -> tuple[Chosen, ...]:
    """The fronts that `optimize` left in results files; nothing from other files."""
    return tuple(chosen for path in paths for chosen in _front(Path(path)))


def _front(path: Path) -> list[Chosen]:
    if path.is_dir():
        return []
    with opened(path) as database:
        if database is None:
            return []
        row = database.execute("SELECT value FROM meta WHERE name = 'front'").fetchone()
    if row is None:
        return []
    found: list[Chosen] = read([_DESIGN], json_of(str(row[0]), str(path)), f"{path}: front")
    return found


def design_table(designs: Sequence[Chosen]) -> dict[str, object] | None:
    """Heads and rows for the page; None where there is no design."""
    if not designs:
        return None
    choices = list(dict.fromkeys(name for d in designs for name in d["coordinates"]))
    scores = [name for name in _SHOWN if any(name in d["scores"] for d in designs)]
    rows = []
    for design in designs:
        given, reached = design["coordinates"], design["scores"]
        chosen = [number_text(input_of(given.get(name, ""))) for name in choices]
        shown = [_SHOWN[name](reached[name]) if name in reached else "" for name in scores]
        rows.append({"cells": [*chosen, *shown], "binds": "; ".join(design["binds"])})
    return {"head": [*(short(name) for name in choices), *scores], "rows": rows}
