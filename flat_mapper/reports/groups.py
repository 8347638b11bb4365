"""The parts of a result that pictures need: groups with their tiles, and the chip's peaks."""

from __future__ import annotations

from math import prod

from flat_mapper.arch.cores import ErrorBand, error_bands, phase_kernels
from flat_mapper.arch.values import Platform
from flat_mapper.cost_model.occupancy import tile_occupancies
from flat_mapper.cost_model.residence import private_needs
from flat_mapper.cost_model.result import BufferUse, EinsumStats, GroupStats, Result
from flat_mapper.mapping.cores.question import one_core
from flat_mapper.mapping.sharing import whole_group
from flat_mapper.mapping.values import GroupMapping, Policy
from flat_mapper.reports.group_table import group_cost
from flat_mapper.reports.tree import tree_tile_words
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.notation import format_einsum


def platform_dict(platform: Platform, result: Result) -> dict[str, object]:
    """Peaks of the chip: computes of each unit and off-chip bytes, both per cycle."""
    paths = {"matrix": platform.matrix, "vector": platform.vector}
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
            if path is not None
        },
        "levels": {
            level.name: {"capacity_words": level.usable_words, "word_bits": level.word_bits}
            for path in paths.values()
            if path is not None
            for level in path.levels
        },
    }


def group_dicts(workload: Workload, platform: Platform, result: Result) -> list[dict[str, object]]:
    """The groups in execution order; cycles and words are of one run of the cascade."""
    return [
        _group_dict(workload, platform, result, mapping, stats)
        for mapping, stats in zip(result.mapping.groups, result.groups, strict=True)
    ]


def _group_dict(
    workload: Workload,
    platform: Platform,
    result: Result,
    mapping: GroupMapping,
    stats: GroupStats,
) -> dict[str, object]:
    core = one_core(workload, platform, mapping)
    policy = result.mapping.policy
    held = tile_occupancies(core.workload, core.platform, core.group, policy)
    shared = mapping.shared if len(mapping.einsums) > 1 else ()
    return {
        "einsums": list(stats.names),
        "schedule": stats.schedule,
        "granularity": mapping.granularity,
        "shared": [f"{loop.rank}={loop.factor}" for loop in shared],
        "flat_tiles": prod(loop.factor for loop in shared),
        "staged": list(mapping.staged),
        "level": stats.buffer.level,
        "given_out": [f"{loop.rank}={loop.factor}" for loop in mapping.given_out],
        **(stats.cores.to_dict() if stats.cores else {}),
        "cycles": stats.cycles,
        "cold_start_cycles": stats.cold_start_cycles,
        "compute_cycles": dict(stats.compute_cycles),
        "transfer_cycles": dict(stats.transfer_cycles),
        "bottleneck": stats.bottleneck,
        **group_cost(workload, result, mapping, stats).to_dict(),
        "buffer": {
            "level": stats.buffer.level,
            "capacity_words": stats.buffer.capacity_words,
            "live_words": stats.buffer.live_words,
            "held": {
                h.tensor: {"words": h.words, "copies": h.copies, "first": h.first, "last": h.last}
                for h in held
                if h.level == stats.buffer.level
            },
        },
        "private": {
            use.level: use.to_dict()
            for use in private_use(core.workload, core.platform, core.group, policy)
        },
    }


def private_use(
    workload: Workload, platform: Platform, group: GroupMapping, policy: Policy
) -> tuple[BufferUse, ...]:
    """Words of the levels that a group's Einsums use in turn; none where there is one Einsum."""
    if len(group.einsums) < 2:
        return ()
    whole = whole_group(workload, group.names, policy)
    return private_needs(workload, platform, group, whole, policy)


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
