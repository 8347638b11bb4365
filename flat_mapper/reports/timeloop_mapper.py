"""Our optimum beside timeloop-mapper's, as a table."""

from __future__ import annotations

from flat_mapper.base import units
from flat_mapper.base.table import TextRow, grid
from flat_mapper.timeloop.mapper import Beside, MapperPair

_HEAD = (
    *("Einsum", "cycles", "timeloop-mapper's", "energy", "timeloop-mapper's"),
    *("EDP", "timeloop-mapper's", "ratio"),
)


def beside_text(beside: Beside) -> str:
    """One row per Einsum; the ratio is timeloop-mapper's energy-delay product over ours."""
    rows = [_row(pair) for pair in beside.pairs]
    notes = [f"{pair.einsum}: {pair.note}" for pair in beside.pairs if pair.note]
    title = (
        f"beside timeloop-mapper: inside the same fusion, least {beside.objective} after "
        f"{beside.seconds:g} s of {beside.algorithm} on {beside.threads} threads per Einsum"
    )
    return "\n".join([title, grid(rows, head=_HEAD, right=range(1, len(_HEAD))), *notes])


def _row(pair: MapperPair) -> TextRow:
    ours, other = pair.ours, pair.timeloop
    return (
        pair.einsum,
        units.count(ours.cycles),
        units.count(other.cycles) if other else "-",
        units.si(units.joules_of(ours.energy_pj), "J"),
        units.si(units.joules_of(other.energy_pj), "J") if other else "-",
        units.si(ours.edp_js, "J*s"),
        units.si(other.edp_js, "J*s") if other else "-",
        f"{other.edp_js / ours.edp_js:.3f}" if other else "-",
    )
