"""A fused mapping's cost in the native model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil

from flat_mapper.arch.cores import intake_note, power_limit_w, units_at_once
from flat_mapper.arch.values import Platform
from flat_mapper.cost_model.chip.tile import tile_cost
from flat_mapper.cost_model.einsum import einsum_costs
from flat_mapper.cost_model.group import alone, group_terms
from flat_mapper.cost_model.network import FREE_NETWORKS, unpriced_networks
from flat_mapper.cost_model.result import (
    Bound,
    EinsumStats,
    GroupStats,
    Infeasible,
    Result,
)
from flat_mapper.cost_model.widths import check_widths
from flat_mapper.energy.tables import Ert, operation_cycles, operation_energy
from flat_mapper.mapping.check import check_fused
from flat_mapper.mapping.cores import (
    CoreQuestion,
    core_count,
    fusion_level,
    one_core,
    with_wide_parts,
)
from flat_mapper.mapping.sharing import crosses_dram, visited_tiles
from flat_mapper.mapping.values import FusedMapping, GroupMapping, Policy
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.notation import UNITS


def evaluate(
    workload: Workload, platform: Platform, mapping: FusedMapping, ert: Ert
) -> Result | Infeasible:
    """Counts, cycles and energy of a mapping, or why it does not fit.

    Raises MappingError where the mapping contradicts the workload or the platform.
    """
    check_fused(workload, platform, mapping)
    check_widths(workload, platform)
    stats: dict[str, EinsumStats] = {}
    groups: dict[tuple[str, ...], GroupStats] = {}
    wide = with_wide_parts(workload, platform, mapping)
    for group in mapping.groups:
        found = _group(wide, platform, group, mapping.policy, ert)
        if isinstance(found, Infeasible):
            return found
        groups[group.names], einsums = found
        stats |= {one.einsum: one for one in einsums}
    return combine(workload, platform, mapping, ert, stats, groups, backend="native")


def _group(
    workload: Workload, platform: Platform, group: GroupMapping, policy: Policy, ert: Ert
) -> tuple[GroupStats, Sequence[EinsumStats]] | Infeasible:
    """A group and its Einsums, on one core or on all of a chip, or why it does not fit."""
    if not group.on_cores:
        cost = tile_cost(one_core(workload, platform, group), policy, ert)
        if isinstance(cost, Infeasible):
            return cost
        return alone(cost.terms, platform), cost.stats
    # Imported here: most chips have one array, and no use for a third of this package.
    from flat_mapper.cost_model.chip.cores import group_on_cores
    from flat_mapper.cost_model.chip.totals import chip_group, chip_stats

    on = group_on_cores(workload, platform, group, policy, ert)
    if isinstance(on, Infeasible):
        return on
    found = chip_stats(on, ert)
    return chip_group(on, found), found


def stats_alone(
    workload: Workload,
    platform: Platform,
    mapping: FusedMapping,
    ert: Ert,
    *,
    padded: bool = False,
) -> dict[str, EinsumStats]:
    """Counts of every Einsum whose tiles stay wherever their loops let them: Timeloop's rule.

    In a group they differ from those of `evaluate` where a tile returns to the shared level while
    other Einsums have their turn, and where an old maximum is copied.
    padded: last passes too are counted as Timeloop does.
    """
    found: dict[str, EinsumStats] = {}
    for group in mapping.groups:
        visited = visited_tiles(workload, group)
        for nest in group.einsums:
            arch = platform.path(workload.einsum(nest.einsum).unit)
            costs = einsum_costs(workload, arch, [nest], ert, visited, padded=padded)
            found[nest.einsum] = costs.stats(0)
    return found


def combine(
    workload: Workload,
    platform: Platform,
    mapping: FusedMapping,
    ert: Ert,
    stats: Mapping[str, EinsumStats],
    known: Mapping[tuple[str, ...], GroupStats] | None = None,
    *,
    backend: str,
) -> Result | Infeasible:
    """Add up the Einsums of a mapping, whoever counted them, under the shared buffer.

    known: groups of which it is known what they take.
    """
    groups, names = [], [n for g in mapping.groups for n in g.names]
    for group in mapping.groups:
        found = (known or {}).get(group.names) or alone(
            group_terms(CoreQuestion(workload, platform, group), mapping.policy, stats), platform
        )
        use = found.buffer
        biggest = max(use.terms, key=lambda term: term[1], default=("", 0))[0]
        hint = f"choose a smaller tile, or stream {biggest}"
        overflow = use.overflow(" + ".join(group.names), hint)
        if overflow is not None:
            return overflow
        groups.append(found)
    dram, at_once = platform.dram, units_at_once(platform.matrix)
    networks, notes = unpriced_networks(platform), _intake_notes(platform, mapping)
    if backend != "native" and any(path.priced for path in platform.paths):
        networks = (FREE_NETWORKS,)
        free = f"{backend} knows no hop_energy_pj: the energy of networks is left out here"
        notes = (*notes, free)
    return Result(
        workload=workload.name,
        arch=platform.name,
        backend=backend,
        energy_source=ert.source,
        mapping=mapping,
        groups=tuple(groups),
        einsums=tuple(stats[n] for n in names),
        cycle_seconds=platform.matrix.cycle_seconds,
        dram=dram.name,
        word_bytes=dram.word_bits / 8,
        bound=bound(workload, platform, names, ert, at_once=at_once),
        products=tuple(  # on the matrix path; so is all that a Timeloop problem says
            e.name
            for e in workload.einsums
            if e.unit == "matrix" and (e.operation == "mul" or not e.states_operation)
        ),
        leak_pj_per_cycle=ert.leak_per_cycle(platform),
        unpriced_networks=networks,
        notes=notes,
        power_limit_w=power_limit_w(platform.matrix),
        repeat=workload.repeat,
        ert=ert,
    )


def _intake_notes(platform: Platform, mapping: FusedMapping) -> tuple[str, ...]:
    """Lines where no port of a core's boundary slows what it should: nothing is known of it, or a
    group is fused outside the cores.
    """
    arch = platform.matrix
    levels = {fusion_level(platform, g).name: g.on_cores for g in mapping.groups}
    unknown = intake_note(arch, platform.name)
    if unknown:
        given_out = (core_count(arch, level) > 1 for level, on_cores in levels.items() if on_cores)
        return unknown if any(given_out) else ()
    cores = [lv.name for lv in arch.levels if core_count(arch, lv.name) > 1]
    outer = [level for level in levels if cores and core_count(arch, level) == 1]
    note = f"fused at {', '.join(outer)}, outside the cores: what one core takes in slows nothing"
    return (note,) if outer else ()


def bound(
    workload: Workload, platform: Platform, names: Sequence[str], ert: Ert, *, at_once: bool
) -> Bound:
    """Cost that no mapping of these Einsums beats: each outside tensor moved once, units at peak.

    Per unit the computes at full array; of what corrects partial results none, for where nothing
    is cut nothing needs it. at_once: whether units may work at the same time; else they add up.
    """
    names = [n for n in names if not workload.einsum(n).each]
    outside: dict[str, float] = {}
    energy, peaks = 0.0, dict.fromkeys(UNITS, 0.0)
    # What a free softmax does after the loops counts as the group's own output.
    everything = [e.name for e in workload.einsums if e.name in names or not e.after]
    for name in names:
        einsum = workload.einsum(name)
        arch, computes = platform.path(einsum.unit), workload.unmasked_iterations(einsum)
        cycles = computes * operation_cycles(arch, einsum, workload.widths)
        peaks[einsum.unit] += cycles / arch.compute.instances
        energy += computes * operation_energy(arch, ert, einsum, workload.widths)
        for access in einsum.accesses:
            if crosses_dram(workload, everything, access.tensor):
                tensor = access.tensor
                share = workload.share(tensor, platform.dram.name)
                words = workload.seen_words(einsum, tensor) * share
                outside[tensor] = max(outside.get(tensor, 0.0), words)
    dram = platform.dram
    words = sum(outside.values())
    read, _, update = ert.actions(dram.name)
    energy += ceil(words / dram.row_words) * min(read, update)
    compute = max(peaks.values()) if at_once else sum(peaks.values())
    transfer = 0.0 if dram.words_per_cycle is None else words / dram.words_per_cycle
    longest = max(compute, transfer)
    energy += sum(ert.leak_per_cycle(platform).values()) * longest
    return Bound(
        cycles=workload.repeat * longest,
        energy_pj=workload.repeat * energy,
        offchip_bytes=workload.repeat * words * dram.word_bits / 8,
    )
