"""The architectures that `optimize` chose: what they are, what they reach, and what binds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flat_mapper.base import units
from flat_mapper.page.rows import number_text, short
from flat_mapper.page.sources import Input, input_of, json_of, opened
from flat_mapper.spec.document import checked, section_of, take, take_list

_SHOWN: Mapping[str, Callable[[float], str]] = {
    "latency": lambda v: units.si(v, "s"),
    "energy": lambda v: units.si(units.joules_of(v), "J"),
    "edp": lambda v: units.si(v, "J·s"),
    "area": lambda v: f"{v:.4g} mm²",
    "buffer": units.size,
    "bandwidth": lambda v: units.si(v, "B/s"),
    "pes": lambda v: units.count(round(v)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """One architecture of the front."""

    number: int  # of the design
    choices: Mapping[str, Input]
    scores: Mapping[str, float]  # by objective or budget
    binds: tuple[str, ...]

    def words(self, choices: Sequence[str], scores: Sequence[str]) -> list[str]:
        """Its values under the given heads."""
        chosen = [number_text(self.choices.get(name, "")) for name in choices]
        shown = [_SHOWN.get(n, str)(self.scores[n]) if n in self.scores else "" for n in scores]
        return [*chosen, *shown]


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
    designs = checked(json_of(str(row[0]), str(path)), list, f"{path}: front")
    return [_chosen(part, f"{path}: front.{i}") for i, part in enumerate(designs)]


def _chosen(node: object, where: str) -> Chosen:
    part = section_of(node, where)
    choices = take(part, "coordinates", dict, where)
    scores = take(part, "scores", dict, where)
    return Chosen(
        number=take(part, "design", int, where),
        choices={name: input_of(value) for name, value in choices.items()},
        scores={name: checked(v, float, f"{where}.scores.{name}") for name, v in scores.items()},
        binds=take_list(part, "binds", str, where),
    )


def design_table(designs: Sequence[Chosen]) -> dict[str, object] | None:
    """Heads and rows for the page; None where there is no design."""
    if not designs:
        return None
    choices = list(dict.fromkeys(name for d in designs for name in d.choices))
    scores = [name for name in _SHOWN if any(name in d.scores for d in designs)]
    return {
        "head": [*(short(name) for name in choices), *scores],
        "rows": [{"cells": d.words(choices, scores), "binds": "; ".join(d.binds)} for d in designs],
    }
