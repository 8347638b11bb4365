"""The JSON of a mapping with its cost: what texts, notebooks, frames, figures and pages print."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from math import fsum, prod

from flat_mapper import __version__
from flat_mapper.arch.cores import ErrorBand, error_bands, phase_kernels
from flat_mapper.arch.values import Platform
from flat_mapper.base import units
from flat_mapper.cost_model.residence import private_needs, tile_occupancies
from flat_mapper.cost_model.result import LEAKAGE, EinsumStats, GroupStats, Result, offchip_words
from flat_mapper.energy.tables import UNPRICED
from flat_mapper.mapping.cores import one_core
from flat_mapper.mapping.sharing import visited_tiles, whole_group
from flat_mapper.mapping.values import GroupMapping, nest_document
from flat_mapper.reports.fields import CAVEATS, Document
from flat_mapper.reports.tree import flat_tile, tree_tile_words
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.notation import format_einsum


def result_document(workload: Workload, platform: Platform, result: Result) -> Document:
    """A result under the names of `flat-mapper map --json`."""
    group, policy = result.fused, result.mapping.policy
    fused = group.names if len(group.einsums) > 1 else ()  # nothing is shared by one alone
    tiled = workload.shareable_ranks(whole_group(workload, fused, policy)) if fused else ()
    return {
        "workload": result.workload,
        "softmax": workload.softmax,
        "latent": None if workload.latent == "none" else workload.latent,
        "ranks": dict(workload.rank_sizes),
        "repeat": result.repeat,
        "left_out": list(workload.left_out),
        "dropped": list(workload.dropped),
        "other_layers": [kind.to_dict() for kind in workload.other_layers],
        "arch": result.arch,
        "backend": result.backend,
        "energy_source": result.energy_source,
        "latency_s": result.latency_s,
        "error_bands": [band.to_dict() for band in _bands(workload, platform, result)],
        "cycles": result.cycles,
        "energy_pj": result.energy_pj,
        "edp_js": result.edp_js,
        "power_w": _power_w(result),
        "power_limit_w": result.power_limit_w,
        "zero_energies": _zero_energies(result),
        "utilization": result.utilization,
        "busy": dict(result.busy),
        "macs": result.macs,
        "offchip_bytes": result.offchip_bytes,
        "macs_per_offchip_byte": result.intensity if result.offchip_bytes else None,
        "area_mm2": result.area_mm2,
        "bottleneck": result.bottleneck,
        "granularity": group.granularity,
        "schedule": group.schedule,
        "flat_tile": flat_tile(workload, platform, group, tiled),
        "staged": list(group.staged),
        "policy": {
            "softmax": policy.softmax,
            "in_place": policy.in_place,
            "buffering": policy.buffering,
            **({} if policy.passing == "held" else {"passing": policy.passing}),
        },
        "buffer": {name: use.to_dict() for name, use in result.buffers().items()},
        "energy_by_pj": result.energy_by(),
        "einsums": {
            stats.einsum: _einsum(workload, platform, result, stats) for stats in result.einsums
        },
        "groups": [
            _group(workload, platform, result, mapping, stats)
            for mapping, stats in zip(result.mapping.groups, result.groups, strict=True)
        ],
        "platform": _platform(platform, result),
        "bound": asdict(result.bound),
        "mask": masked_work(workload, result),
        "caveats": CAVEATS,
        "notes": list(result.notes),
        "provenance": {"flat_mapper": __version__, **result.extra},
    }


def _platform(platform: Platform, result: Result) -> Document:
    """Peaks of the chip: computes of each unit and off-chip bytes, both per cycle."""
    paths = dict(zip(("matrix", "vector"), platform.paths, strict=False))
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


def _group(
    workload: Workload, platform: Platform, result: Result, mapping: GroupMapping, stats: GroupStats
) -> Document:
    """One group; its cycles, words and energy are of one run of the cascade.

    energy_pj: of its Einsums, and the leakage of its cycles.
    kept: of each level the intermediates that live there and never see DRAM.
    saved_offchip_bytes: what each Einsum on its own moves at least and the group does not: an
        intermediate goes to DRAM once, and comes back once for each Einsum that reads it.
    """
    policy, buffer = result.mapping.policy, stats.buffer
    core = one_core(workload, platform, mapping)
    shared = mapping.shared if len(mapping.einsums) > 1 else ()
    einsums = [e for e in result.einsums if e.einsum in stats.names]
    kept, saved = _kept(workload, result, mapping)
    leaked = fsum(result.leak_pj_per_cycle.values()) * stats.cycles
    return {
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
        "energy_pj": fsum((*(e.energy_pj for e in einsums), leaked)),
        "offchip_bytes": offchip_words(einsums, result.dram) * result.word_bytes,
        "saved_offchip_bytes": saved * result.word_bytes,
        "kept": kept,
        "buffer": {
            "level": buffer.level,
            "capacity_words": buffer.capacity_words,
            "live_words": buffer.live_words,
            "held": {
                h.tensor: {"words": h.words, "copies": h.copies, "first": h.first, "last": h.last}
                for h in tile_occupancies(core, policy)
                if h.level == buffer.level
            },
        },
        "private": {use.level: use.to_dict() for use in private_needs(core, policy)},
    }


def _kept(
    workload: Workload, result: Result, mapping: GroupMapping
) -> tuple[dict[str, list[str]], float]:
    """Intermediates of a group by the level that they stay at, and the words that this saves."""
    moved = [_offchip_words(e, result) for e in result.einsums if e.einsum in mapping.names]
    seen = {tensor for one in moved for tensor, words in one.items() if words}
    kept: dict[str, list[str]] = {}
    saved = 0.0
    for maker in mapping.einsums:
        tensor = workload.einsum(maker.einsum).output.tensor
        level = next((name for name, held in maker.keep if tensor in held), "")  # the outermost
        if level and tensor not in seen:
            kept.setdefault(level, []).append(tensor)
            readers = sum(workload.einsum(name).reads(tensor) for name in mapping.names)
            saved += (1 + readers) * workload.tensor_words(tensor) * workload.share(tensor, level)
    return kept, saved


def _offchip_words(stats: EinsumStats, result: Result) -> dict[str, float]:
    """Words of each tensor that one run of an Einsum moves to DRAM and from it."""
    dram = stats.level(result.dram)
    return {t.tensor: t.moved_words for t in dram.tensors} if dram else {}


def _einsum(workload: Workload, platform: Platform, result: Result, stats: EinsumStats) -> Document:
    """One run of one Einsum on its own; its loops run outermost first."""
    einsum = workload.einsum(stats.einsum)
    mapping = result.mapping.einsum_mappings[stats.einsum]
    return {
        "notation": format_einsum(einsum),
        "cycles": stats.cycles,
        "compute_cycles": stats.compute_cycles,
        "computes": stats.computes,
        "energy_pj": stats.energy_pj,
        "compute_energy_pj": stats.compute_energy_pj,
        "utilization": stats.utilization,
        "unit": stats.unit,
        "offchip_words": _offchip_words(stats, result),
        "mapping": nest_document(mapping),
        "stay": list(mapping.stay),
        "levels": {lv.level: lv.to_dict() for lv in stats.levels},
        **({"network": [n.to_dict() for n in stats.network]} if stats.network else {}),
        "tile_words": tree_tile_words(workload, platform.path(einsum.unit), mapping),
    }


def _bands(workload: Workload, platform: Platform, result: Result) -> tuple[ErrorBand, ...]:
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


def _power_w(result: Result) -> dict[str, float]:
    """Average power of each component in W, with what it leaks."""
    parts = {name: pj for name, pj in result.energy_by()["component"].items() if name != LEAKAGE}
    for name, pj in result.leakage_by.items():
        parts[name] = parts.get(name, 0.0) + pj
    return {name: units.joules_of(pj) / result.latency_s for name, pj in parts.items()}


def _zero_energies(result: Result) -> list[str]:
    """Parts that the energy counts as zero, because nothing says what they cost."""
    if result.energy_source == UNPRICED:
        return []
    networks = {n.component for e in result.einsums for n in e.network}
    parts = [n for n in result.energy_by()["component"] if n not in {LEAKAGE, *networks}]
    tight = [name for name in parts if name not in result.leak_pj_per_cycle]
    leakage = [f"leakage of {', '.join(tight)}"] if tight else []
    unknown = result.extra.get("unknown")
    lacking = list(unknown) if isinstance(unknown, Mapping) else []
    return [*lacking, *result.unpriced_networks, *leakage]


def masked_work(workload: Workload, result: Result) -> Document | None:
    """Tiles by what the mask leaves of them, and MACs done, unmasked and dense; None without one.

    Tiles are counted for one head of one batch element; of several kinds of layers, the first.
    """
    if workload.mask is None:
        return None
    matrix = [e for e in workload.einsums if e.unit == "matrix"]
    keys = str(workload.roles.keys)
    whole = workload.with_ranks({keys: workload.rank_sizes[keys] + workload.unseen})
    done = sum(e.computes for e in result.einsums if e.einsum in result.products)
    found: Document = {
        "mask": str(workload.mask),
        "unseen_keys": workload.unseen,
        "macs": result.repeat * done,
        "effective_macs": result.repeat * sum(workload.unmasked_iterations(e) for e in matrix),
        "dense_macs": result.repeat * sum(whole.iterations(e) for e in matrix),
    }
    for group in result.mapping.groups:
        tiles = visited_tiles(workload, group)
        if tiles is not None:
            found["tiles"] = {
                **{"queries": tiles.rows, "keys": tiles.keys, "whole": tiles.whole},
                **{"partial": tiles.partial, "skipped": tiles.skipped},
            }
    return found
