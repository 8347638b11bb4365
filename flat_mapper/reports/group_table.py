"""The groups of an answer side by side: what each fuses, where that lives, and what it saves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import fsum

from flat_mapper.base import units
from flat_mapper.base.table import grid, wrapped
from flat_mapper.cost_model.result import GroupStats, Result, offchip_words
from flat_mapper.mapping.values import GroupMapping
from flat_mapper.reports.energy import energy_text
from flat_mapper.workload.graph import Workload

_WIDE = 48  # chosen: characters of a line of names; a table with two such columns fits a screen


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupCost:
    """One group's part of one run of a cascade.

    energy_pj: of its Einsums, and the leakage of its cycles.
    kept: of each level the intermediates that live there and never see DRAM.
    saved_bytes: what each Einsum on its own moves at least and the group does not: an intermediate
        goes to DRAM once, and comes back once for each Einsum that reads it.
    """

    names: tuple[str, ...]
    latency_s: float
    energy_pj: float
    offchip_bytes: float
    saved_bytes: float
    kept: dict[str, tuple[str, ...]]

    def to_dict(self) -> dict[str, object]:
        """The names that a group of an answer has beside its cycles."""
        kept = {level: list(tensors) for level, tensors in self.kept.items()}
        return {
            "energy_pj": self.energy_pj,
            "offchip_bytes": self.offchip_bytes,
            "saved_offchip_bytes": self.saved_bytes,
            "kept": kept,
        }


def group_costs(workload: Workload, result: Result) -> list[GroupCost]:
    """The groups in execution order; their latency and energy add up to those of one run."""
    pairs = zip(result.mapping.groups, result.groups, strict=True)
    return [group_cost(workload, result, mapping, stats) for mapping, stats in pairs]


def group_cost(
    workload: Workload, result: Result, mapping: GroupMapping, stats: GroupStats
) -> GroupCost:
    """One group's part of one run of the cascade."""
    einsums = [e for e in result.einsums if e.einsum in stats.names]
    leak = fsum(result.leak_pj_per_cycle.values())
    kept: dict[str, tuple[str, ...]] = {}
    saved = 0.0
    for tensor, level in _inside(workload, result, mapping):
        kept[level] = (*kept.get(level, ()), tensor)
        readers = sum(workload.einsum(name).reads(tensor) for name in stats.names)
        words = workload.tensor_words(tensor) * workload.share(tensor, level)
        saved += (1 + readers) * words
    return GroupCost(
        names=stats.names,
        latency_s=stats.cycles * result.cycle_seconds,
        energy_pj=fsum((*(e.energy_pj for e in einsums), leak * stats.cycles)),
        offchip_bytes=offchip_words(einsums, result.dram) * result.word_bytes,
        saved_bytes=saved * result.word_bytes,
        kept=kept,
    )


def _inside(workload: Workload, result: Result, mapping: GroupMapping) -> Iterator[tuple[str, str]]:
    """The tensors that a group makes and DRAM never sees, each with the outermost level it has."""
    stats = {e.einsum: e for e in result.einsums}
    makers = {workload.einsum(m.einsum).output.tensor: m for m in mapping.einsums}
    for tensor, maker in makers.items():
        users = [n for n in mapping.names if workload.einsum(n).touches(tensor)]
        levels = [level for n in users if (level := stats[n].level(result.dram)) is not None]
        seen = any(t.tensor == tensor and t.moved_words for lv in levels for t in lv.tensors)
        homes = [name for name, held in maker.keep if tensor in held and name != result.dram]
        if not seen and homes:
            yield tensor, homes[0]


def groups_text(workload: Workload, result: Result) -> str:
    """A row for each group, in execution order; empty where there is one group alone."""
    rows = []
    energy = result.energy_pj or 1.0
    for cost in group_costs(workload, result) if len(result.groups) > 1 else ():
        share = result.repeat * cost.latency_s / result.latency_s
        kept = "\n".join(
            wrapped([*held[:-1], f"{held[-1]} in {level}"], ", ", _WIDE)
            for level, held in cost.kept.items()
        )
        rows.append(
            (
                wrapped(cost.names, "+", _WIDE),
                units.si(cost.latency_s, "s"),
                units.percent(share),
                energy_text(cost.energy_pj, result.energy_source),
                units.percent(result.repeat * cost.energy_pj / energy),
                units.size(cost.offchip_bytes),
                units.size(cost.saved_bytes) if cost.saved_bytes else "-",
                kept or "-",
            )
        )
    head = ("group", "latency", "of all", "energy", "of all", "off-chip", "saved", "kept on chip")
    return grid(rows, head=head, right=tuple(range(1, 7))) if rows else ""
