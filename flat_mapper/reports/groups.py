"""Groups of an answer: their tiles, where they live, what each costs and what it saves; peaks."""

from __future__ import annotations

from collections.abc import Iterator
from math import fsum, prod
from typing import Any

from flat_mapper.arch.cores import ErrorBand, error_bands, phase_kernels
from flat_mapper.arch.values import Platform
from flat_mapper.base import units
from flat_mapper.base.table import grid, wrapped
from flat_mapper.cost_model.residence import private_needs, tile_occupancies
from flat_mapper.cost_model.result import LEAKAGE, EinsumStats, Result, offchip_words
from flat_mapper.energy.tables import UNPRICED
from flat_mapper.mapping.cores import one_core
from flat_mapper.mapping.values import GroupMapping
from flat_mapper.reports.tree import tree_tile_words
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.notation import format_einsum

_WIDE = 48  # chosen: characters of a line of names; a table with two such columns fits a screen


def platform_dict(platform: Platform, result: Result) -> dict[str, object]:
    """Peaks of the chip: computes of each unit and off-chip bytes, both per cycle."""
    both = {"matrix": platform.matrix, "vector": platform.vector}
    paths = {name: path for name, path in both.items() if path is not None}
    rate = platform.dram.words_per_cycle
    return {
        "cycle_seconds": result.cycle_seconds,
        "offchip": platform.dram.name,
        "offchip_bytes_per_cycle": None if rate is None else rate * result.word_bytes,
        "units": {
            path.compute.name: {
                "path": name,
                "computes_per_cycle": path.compute.instances,
                "nodes": list(dict.fromkeys(node.name for node in path.nodes)),
            }
            for name, path in paths.items()
        },
        "levels": {
            level.name: {"capacity_words": level.usable_words, "word_bits": level.word_bits}
            for path in paths.values()
            for level in path.levels
        },
    }


def group_dicts(workload: Workload, platform: Platform, result: Result) -> list[dict[str, object]]:
    """The groups in execution order; cycles and words are of one run of the cascade."""
    policy = result.mapping.policy
    found: list[dict[str, object]] = []
    costs = group_costs(workload, result)
    for mapping, stats, cost in zip(result.mapping.groups, result.groups, costs, strict=True):
        core = one_core(workload, platform, mapping)
        shared = mapping.shared if len(mapping.einsums) > 1 else ()
        buffer = stats.buffer
        group = {
            "einsums": list(stats.names),
            "schedule": stats.schedule,
            "granularity": mapping.granularity,
            "shared": [f"{loop.rank}={loop.factor}" for loop in shared],
            "flat_tiles": prod(loop.factor for loop in shared),
            "staged": list(mapping.staged),
            "level": buffer.level,
            "given_out": [f"{loop.rank}={loop.factor}" for loop in mapping.given_out],
            **(stats.cores.to_dict() if stats.cores else {}),
            "cycles": stats.cycles,
            "cold_start_cycles": stats.cold_start_cycles,
            "compute_cycles": dict(stats.compute_cycles),
            "transfer_cycles": dict(stats.transfer_cycles),
            "bottleneck": stats.bottleneck,
            **cost,
            "buffer": {
                "level": buffer.level,
                "capacity_words": buffer.capacity_words,
                "live_words": buffer.live_words,
                "held": {
                    h.tensor: {
                        "words": h.words,
                        "copies": h.copies,
                        "first": h.first,
                        "last": h.last,
                    }
                    for h in tile_occupancies(core, policy)
                    if h.level == buffer.level
                },
            },
            "private": {use.level: use.to_dict() for use in private_needs(core, policy)},
        }
        found.append(group)
    return found


def einsum_dict(
    workload: Workload, platform: Platform, result: Result, stats: EinsumStats, nest: object
) -> dict[str, object]:
    """One run of one Einsum on its own; its loops run outermost first."""
    einsum = workload.einsum(stats.einsum)
    dram = stats.level(result.dram)
    mapping = result.mapping.einsum_mappings[stats.einsum]
    return {
        "notation": format_einsum(einsum),
        "cycles": stats.cycles,
        "compute_cycles": stats.compute_cycles,
        "computes": stats.computes,
        "energy_pj": stats.energy_pj,
        "utilization": stats.utilization,
        "unit": stats.unit,
        "offchip_words": {t.tensor: t.moved_words for t in dram.tensors} if dram else {},
        "mapping": nest,
        "stay": list(mapping.stay),
        "levels": {lv.level: lv.to_dict() for lv in stats.levels},
        **({"network": [n.to_dict() for n in stats.network]} if stats.network else {}),
        "tiles": tree_tile_words(workload, platform.path(einsum.unit), mapping),
    }


def bands(workload: Workload, platform: Platform, result: Result) -> tuple[ErrorBand, ...]:
    """Errors of the times of a mapping's kernels where they were measured.

    Of a mapping of attention that is no kernel's: those of the kernels of its phase, as none nearer
    to it was measured.
    """
    names = [group.kernel for group in result.mapping.groups if group.kernel]
    if names or workload.roles.masked is None:
        return error_bands(platform.matrix, names)
    queries = workload.rank_sizes[workload.roles.queries]
    near = phase_kernels(platform.matrix, masked=workload.mask is not None, queries=queries)
    return error_bands(platform.matrix, near, counted=False)


def group_costs(workload: Workload, result: Result) -> list[dict[str, Any]]:
    """Each group's part of one run of the cascade, in execution order, as its JSON has it.

    energy_pj: of its Einsums, and the leakage of its cycles.
    kept: of each level the intermediates that live there and never see DRAM.
    saved_offchip_bytes: what each Einsum on its own moves at least and the group does not: an
        intermediate goes to DRAM once, and comes back once for each Einsum that reads it.
    """
    leak = fsum(result.leak_pj_per_cycle.values())
    found = []
    for mapping, stats in zip(result.mapping.groups, result.groups, strict=True):
        einsums = [e for e in result.einsums if e.einsum in stats.names]
        kept: dict[str, list[str]] = {}
        saved = 0.0
        for tensor, level in _inside(workload, result, mapping):
            kept.setdefault(level, []).append(tensor)
            readers = sum(workload.einsum(name).reads(tensor) for name in stats.names)
            words = workload.tensor_words(tensor) * workload.share(tensor, level)
            saved += (1 + readers) * words
        cost = {
            "energy_pj": fsum((*(e.energy_pj for e in einsums), leak * stats.cycles)),
            "offchip_bytes": offchip_words(einsums, result.dram) * result.word_bytes,
            "saved_offchip_bytes": saved * result.word_bytes,
            "kept": kept,
        }
        found.append(cost)
    return found


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
    if len(result.groups) < 2:
        return ""
    rows = []
    for stats, cost in zip(result.groups, group_costs(workload, result), strict=True):
        seconds, pj = stats.cycles * result.cycle_seconds, cost["energy_pj"]
        kept = (
            wrapped([*held[:-1], f"{held[-1]} in {level}"], ", ", _WIDE)
            for level, held in cost["kept"].items()
        )
        rows.append(
            (
                wrapped(stats.names, "+", _WIDE),
                units.si(seconds, "s"),
                units.percent(result.repeat * seconds / result.latency_s),
                energy_text(pj, result.energy_source),
                units.percent(result.repeat * pj / (result.energy_pj or 1.0)),
                units.size(cost["offchip_bytes"]),
                units.size(cost["saved_offchip_bytes"]) if cost["saved_offchip_bytes"] else "-",
                "\n".join(kept) or "-",
            )
        )
    head = ("group", "latency", "of all", "energy", "of all", "off-chip", "saved", "kept on chip")
    return grid(rows, head=head, right=range(1, 7))


def power_w(result: Result) -> dict[str, float]:
    """Average power of each component in W, with what it leaks."""
    parts = {name: pj for name, pj in result.energy_by()["component"].items() if name != LEAKAGE}
    for name, pj in result.leakage_by.items():
        parts[name] = parts.get(name, 0.0) + pj
    return {name: units.joules_of(pj) / result.latency_s for name, pj in parts.items()}


def energy_rows(result: Result) -> list[tuple[str, ...]]:
    """Energy, its product with latency, and average power."""
    if result.energy_source == UNPRICED:
        return [("energy", "unknown", "")]
    by = sorted(power_w(result).items(), key=lambda part: -part[1])
    power = ", ".join(f"{name} {units.si(w, 'W')}" for name, w in by if w)
    joules = units.si(units.joules_of(result.energy_pj), "J")
    return [
        ("energy", joules, times(result.energy_pj, result.bound.energy_pj)),
        ("energy-delay product", units.si(result.edp_js, "J*s"), ""),
        ("average power", units.si(sum(power_w(result).values()), "W"), power),
    ]


def zero_energies(result: Result) -> list[str]:
    """Parts that the energy counts as zero, because nothing says what they cost."""
    if result.energy_source == UNPRICED:
        return []
    networks = {n.component for e in result.einsums for n in e.network}
    parts = [n for n in result.energy_by()["component"] if n not in {LEAKAGE, *networks}]
    tight = [name for name in parts if name not in result.leak_pj_per_cycle]
    leakage = [f"leakage of {', '.join(tight)}"] if tight else []
    return [*result.unpriced_networks, *leakage]


def power_warning(result: Result) -> str:
    """A line where the chip would draw more than it may; empty where it would not."""
    drawn, limit = sum(power_w(result).values()), result.power_limit_w
    if limit is None or drawn <= limit:
        return ""
    return (
        f"warning: {units.si(drawn, 'W')} on average exceed power_limit_w {limit:g} of "
        f"{result.arch}: the chip would be slowed down, or these energies are too high for it"
    )


def energy_text(pj: float, source: str) -> str:
    """Energy in J, or that nothing says it."""
    return "unknown" if source == UNPRICED else units.si(units.joules_of(pj), "J")


def times(value: float, bound: float) -> str:
    """A value over its lower bound."""
    return f"{value / bound:.3f} x the lower bound" if bound > 0 else ""
