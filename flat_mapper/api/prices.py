"""Energies of a chip: from a table, a file, Accelergy or hwcomponents."""

from __future__ import annotations

from pathlib import Path

from flat_mapper.arch.values import Architecture, Platform
from flat_mapper.base.errors import UnpricedError
from flat_mapper.energy.tables import ACCELERGY, Art, Ert, load_ert, unpriced


def energies(
    platform: Platform | Architecture, ert: str | Path | Ert | None
) -> tuple[Ert, Art | None]:
    """The energies of a platform: a table's, a file's, Accelergy's, or hwcomponents'.

    The last two come with areas; the word `accelergy` asks for it. A table must price the whole
    matrix path; the vector path is left out where softmax is free.
    """
    if ert == ACCELERGY:
        from flat_mapper.timeloop.accelergy import chosen_accelergy

        return chosen_accelergy().price(platform)
    if ert is not None:
        table = ert if isinstance(ert, Ert) else load_ert(ert)
        return table.covering(platform.matrix if isinstance(platform, Platform) else platform), None
    from flat_mapper.energy.pricing import price_with_hwcomponents

    return price_with_hwcomponents(platform)


def known_energies(
    platform: Platform, ert: str | Path | Ert | None, objective: str = ""
) -> tuple[Ert, Art | None, tuple[str, ...]]:
    """The energies of a platform, none where nothing says them, and what is to be said of it.

    objective: of a search, which then goes for latency alone.
    raises:    UnpricedError where nothing says what a component costs, and energy was asked for.
    """
    try:
        return *energies(platform, ert), ()
    except UnpricedError as error:
        if objective == "energy":
            raise
        instead = "searched for latency alone" if objective else "times alone"
        return unpriced(platform), None, (f"energies unknown, {instead}: {error}",)
