"""Layers of a model that differ in their mask: a row for each kind of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from flat_mapper.base import units
from flat_mapper.base.table import grid
from flat_mapper.cost_model.result import Bound, Result
from flat_mapper.reports import text as report
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.mask import NONE, LayerKind

_HEAD = ("layers", "mask", "latency", "of all", "energy", "of all", *report.COMPARISON_COLUMNS[5:])


def kind_of(workload: Workload) -> LayerKind:
    """The layers that a workload of one kind stands for."""
    return LayerKind(count=workload.repeat, mask=workload.mask)


def with_others(first: Result, others: Sequence[Result]) -> Result:
    """The cost of some layers and of others, one after another; bounds add up."""
    parts = (first, *others)
    bound = Bound(
        cycles=sum(p.bound.cycles for p in parts),
        energy_pj=sum(p.bound.energy_pj for p in parts),
        offchip_bytes=sum(p.bound.offchip_bytes for p in parts),
    )
    notes = tuple(dict.fromkeys(note for p in parts for note in p.notes))
    return replace(first, others=tuple(others), bound=bound, notes=notes)


def kinds_text(parts: Sequence[tuple[Workload, Result]], total: Result) -> str:
    """A table of the kinds: what all layers of each cost, and all of them together."""
    rows = []
    for workload, result in parts:
        mask = workload.mask or NONE
        _, latency, _, energy, _, *rest = report.comparison_row("", None, result)
        share = units.percent(result.latency_s / total.latency_s)
        saved = units.percent(result.energy_pj / total.energy_pj)
        rows.append((f"{workload.repeat}", str(mask), latency, share, energy, saved, *rest))
    return grid(rows, head=_HEAD, right=(0, *range(2, 9)))
