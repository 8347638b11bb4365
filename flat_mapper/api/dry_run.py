"""All that `map` does before it searches: what it would refuse, and what it understood."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flat_mapper.api.calls import load_problem, mapspace_of
from flat_mapper.api.prices import energies
from flat_mapper.arch.reader import load_platform
from flat_mapper.arch.values import Platform
from flat_mapper.arch.words import fitted
from flat_mapper.base.errors import BackendError, UnpricedError
from flat_mapper.energy.tables import Art, Ert
from flat_mapper.mapper.solve.alternatives import space_size
from flat_mapper.mapping.arch_rules import binding_notes, check_hierarchy, with_arch_rules
from flat_mapper.mapping.space_reader import absent_parts, load_mapspace
from flat_mapper.reports import understood
from flat_mapper.reports.text import left_out_text

MAPSPACE = "flat"  # that of `map` where none is named


@dataclass(frozen=True, slots=True, kw_only=True)
class Understood:
    """Meaning of some inputs, for people and for machines."""

    text: str
    document: dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """A chip with its prices; none where nothing that prices it is installed."""

    platform: Platform
    ert: Ert | None
    art: Art | None


def read_chip(path: str, ert: str | None = None) -> Chip:
    """The chip of a file, as `map` would take it.

    raises: SpecError for a hierarchy that cannot be searched, or a component without a price.
    """
    platform = load_platform(Path(path))
    for arch in platform.paths:
        check_hierarchy(arch)
    try:
        table, art = energies(platform, ert)
    except (BackendError, UnpricedError):
        return Chip(platform=platform, ert=None, art=None)
    return Chip(platform=platform, ert=table, art=art)


def chip_understood(chip: Chip) -> Understood:
    """Levels, units and prices."""
    return Understood(
        text=understood.platform_text(chip.platform, chip.ert, chip.art),
        document=understood.platform_document(chip.platform, chip.ert, chip.art),
    )


def problem_understood(path: str) -> Understood:
    """The Einsums that `map` would map, and what its default scope leaves out."""
    workload = load_problem(Path(path))
    lines = [understood.workload_text(workload), left_out_text(workload)]
    return Understood(
        text="\n".join(line for line in lines if line),
        document=understood.workload_document(workload),
    )


def mapspace_understood(path: str) -> Understood:
    """Freedom that a mapspace leaves, whatever the problem."""
    space = load_mapspace(Path(path))
    return Understood(
        text=understood.mapspace_text(space), document=understood.mapspace_document(space)
    )


def together(chip: Chip, problem: str, mapspace: str) -> Understood:
    """A problem on a chip in a mapspace, up to where a search would begin.

    mapspace: a file, or a shipped name.
    raises:   SpecError with the words of `map`.
    """
    workload = load_problem(Path(problem))
    fit = fitted(chip.platform, workload)
    space = mapspace_of(mapspace, workload, fit.platform)
    ruled = with_arch_rules(space, fit.platform, workload)  # bounds are made of prices
    size = space_size(workload, fit.platform, ruled, chip.ert) if chip.ert else None
    notes = [*fit.notes, *absent_parts(space, workload), *binding_notes(fit.platform, workload)]
    document = understood.mapspace_document(space, size) | {
        "workload": workload.name,
        "arch": chip.platform.name,
        "notes": notes,
    }
    text = "\n".join([understood.mapspace_text(space, size), *notes])
    return Understood(text=text, document=document)
