"""Layers of a model that differ in their mask: a row for each kind of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import sqrt

from flat_mapper.base import units
from flat_mapper.base.table import grid
from flat_mapper.base.tolerance import ABOVE
from flat_mapper.cost_model.result import Bound, Result
from flat_mapper.reports.fields import Document
from flat_mapper.reports.text import COMPARISON_COLUMNS, comparison_row
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.mask import NO_MASK, LayerKind

_HEAD = ("layers", "mask", "latency", "of all", "energy", "of all", *COMPARISON_COLUMNS[5:])


def layer_kind(workload: Workload) -> LayerKind:
    """The layers that a workload of one kind stands for."""
    return LayerKind(count=workload.repeat, mask=workload.mask)


def sequences_of(workload: Workload) -> dict[str, int]:
    """The sequences of a ragged batch that a workload stands for, and their length."""
    roles, sizes = workload.roles, workload.rank_sizes
    found = {"sequences": sizes[roles.batch], "queries": sizes[roles.queries]}
    return found | {"keys": sizes[roles.keys] + workload.unseen}


def sequences_text(workload: Workload) -> str:
    """The same in words."""
    number, queries, keys = sequences_of(workload).values()
    many = f"{number} sequence{'s' if number > 1 else ''} of {queries}"
    return many if queries == keys else f"{many} against {keys}"


def kinds_title(whole: Workload, kinds: int) -> str:
    """The number of layers, or of sequences, and of kinds of them."""
    if not whole.sequences:
        return f"{whole.all_layers} layers of {kinds} kinds"
    count = sum(sequences_of(one)["sequences"] for one in whole.sequences)
    layers = f", each {whole.all_layers} layers" if whole.all_layers > 1 else ""
    return f"{count} sequences of {len(whole.sequences)} lengths{layers}"


def reread_note(workload: Workload) -> str:
    """Words of what every length of a ragged batch reads for itself; empty where nothing is."""
    roles, made = workload.roles, workload.producers
    own = {roles.batch, roles.queries, roles.keys}
    shared = [t for t, r in workload.tensor_ranks.items() if t not in made and not own & set(r)]
    if not workload.sequences or not shared:
        return ""
    return f"sequences of one length run together, and read for themselves: {', '.join(shared)}"


def edp_gap(results: Sequence[Result]) -> float:
    """The share by which the product of sums is above what no choice for each kind can beat."""
    total = sum(r.latency_s for r in results) * sum(r.energy_pj for r in results)
    least = sum(sqrt(r.latency_s * r.energy_pj) for r in results) ** 2
    gap = total / least - 1
    return gap if gap > ABOVE else 0.0


def notes_of_sum(whole: Workload, edp_gap: float) -> list[str]:
    """Words about an answer that all kinds add up to; edp_gap: 0 of other objectives."""
    notes = [reread_note(whole)]
    if edp_gap:
        notes.append(
            f"each {'length' if whole.sequences else 'kind of layers'} has the mapping of its "
            "own least edp: no choice of mappings for all of them together is better by more than "
            f"{units.percent(edp_gap, 3)}"
        )
    return list(filter(None, notes))


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


def kinds_text(whole: Workload, kinds: Sequence[Workload], total: Document) -> str:
    """A table of the kinds: what all layers of each cost, and all of them together."""
    rows, ragged = [], bool(whole.sequences)
    for workload, found in zip(kinds, total["layers"], strict=True):
        length = (f"{found['sequences']}", f"{found['keys']}") if ragged else ()
        _, latency, _, energy, _, *rest = comparison_row("", found)
        share = units.percent(found["latency_s"] / total["latency_s"])
        spent = units.percent(found["energy_pj"] / (total["energy_pj"] or 1.0))
        mask = str(workload.mask or NO_MASK)
        rows.append((*length, f"{found['repeat']}", mask, latency, share, energy, spent, *rest))
    head, shift = (*(("sequences", "length") if ragged else ()), *_HEAD), 2 * ragged
    return grid(rows, head=head, right=[*range(shift + 1), *range(shift + 2, shift + 9)])
