"""A fused mapping's cost in the native model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import ceil

from flat_mapper.arch.values import Platform
from flat_mapper.base.errors import MappingError, expected
from flat_mapper.cost_model.einsum import einsum_costs
from flat_mapper.cost_model.group import crosses_dram, group_stats, shared_level
from flat_mapper.cost_model.result import Bound, BufferUse, EinsumStats, Infeasible, Result
from flat_mapper.cost_model.widths import check_widths
from flat_mapper.energy.operations import operation_cycles, operation_energy
from flat_mapper.energy.tables import Ert
from flat_mapper.mapping.sharing import carried_tensors, visited_tiles, with_unmapped
from flat_mapper.mapping.values import FusedMapping, GroupMapping, Policy, check_mapping
from flat_mapper.workload.graph import Workload


def evaluate(
    workload: Workload, platform: Platform, mapping: FusedMapping, ert: Ert
) -> Result | Infeasible:
    """Counts, cycles and energy of a mapping, or why it does not fit.

    Raises MappingError where the mapping contradicts the workload or the platform.
    """
    check_fused(workload, platform, mapping)
    check_widths(workload, platform)
    stats: dict[str, EinsumStats] = {}
    shared = shared_level(platform).name
    for group in mapping.groups:
        visited = visited_tiles(workload, group)
        for nest in group.einsums:
            arch = platform.path(workload.einsum(nest.einsum).unit)
            costs = einsum_costs(workload, arch, [nest], ert, visited)
            # What the shared level holds is the group's affair: copies, and buffers in common.
            refused = costs.infeasible(0, apart=shared)
            if refused is not None:
                return refused
            stats[nest.einsum] = costs.stats(0)
    return combine(workload, platform, mapping, ert, stats, backend="native")


def combine(
    workload: Workload,
    platform: Platform,
    mapping: FusedMapping,
    ert: Ert,
    stats: Mapping[str, EinsumStats],
    *,
    backend: str,
) -> Result | Infeasible:
    """Add up the Einsums of a mapping, whoever counted them, under the shared buffer."""
    groups = []
    for group in mapping.groups:
        found = group_stats(workload, platform, group, mapping.policy, stats)
        use = found.buffer
        if use.spilled and mapping.policy.overflow == "reject":
            return overflowed(group, use)
        groups.append(found)
    dram = platform.dram
    read, write, _ = ert.actions(dram.name)
    return Result(
        workload=workload.name,
        arch=platform.name,
        backend=backend,
        energy_source=ert.source,
        mapping=mapping,
        groups=tuple(groups),
        einsums=tuple(stats[n] for g in mapping.groups for n in g.names),
        cycle_seconds=platform.matrix.cycle_seconds,
        dram=dram.name,
        word_bytes=dram.word_bits / 8,
        bound=bound(workload, platform, mapping, ert),
        spill_pj_per_word=(read + write) / 2 / dram.row_words,
        repeat=workload.repeat,
    )


def overflowed(group: GroupMapping, use: BufferUse) -> Infeasible:
    """The shared buffer's refusal of a group."""
    assert use.capacity_words is not None
    biggest = max(use.terms, key=lambda term: term[1])[0]
    hint = f"choose a smaller tile, or stream {biggest}"
    return Infeasible(
        level=use.level,
        needs=use.live_words,
        has=use.capacity_words,
        terms=use.terms,
        where=" + ".join(group.names),
        hint=hint,
    )


def bound(workload: Workload, platform: Platform, mapping: FusedMapping, ert: Ert) -> Bound:
    """What no mapping of these Einsums beats: each outside tensor moved once, units at peak.

    Per unit the computes at full array; they add up unless some group overlaps them.
    """
    names = [n for g in mapping.groups for n in g.names]
    outside: dict[str, float] = {}
    energy, peaks = 0.0, {"matrix": 0.0, "vector": 0.0}
    # What a free softmax does after the loops counts as the group's own output.
    everything = [e.name for e in workload.einsums if e.name in names or not e.after]
    for name in names:
        einsum = workload.einsum(name)
        arch, computes = platform.path(einsum.unit), workload.unmasked_iterations(einsum)
        cycles = computes * operation_cycles(arch, einsum.operation)
        peaks[einsum.unit] += cycles / arch.compute.instances
        energy += computes * operation_energy(arch, ert, einsum.operation)
        for access in einsum.accesses:
            if crosses_dram(workload, everything, access.tensor):
                values = workload.tensor_words(access.tensor)
                outside[access.tensor] = values * workload.share(access.tensor)
    dram = platform.dram
    words = sum(outside.values())
    read, _, update = ert.actions(dram.name)
    energy += ceil(words / dram.row_words) * min(read, update)
    rates = [r for r in (dram.shared_words_per_cycle,) if r is not None]
    overlap = any(g.schedule == "overlapped" for g in mapping.groups)
    compute = max(peaks.values()) if overlap else sum(peaks.values())
    longest = max(compute, *(words / r for r in rates), 0.0)
    return Bound(
        cycles=workload.repeat * longest,
        energy_pj=workload.repeat * energy,
        offchip_bytes=workload.repeat * words * dram.word_bits / 8,
    )


def check_fused(workload: Workload, platform: Platform, mapping: FusedMapping) -> None:
    """Raise MappingError where a fused mapping contradicts itself, the workload or the platform."""
    names = [n for g in mapping.groups for n in g.names]
    expected_names = [
        e.name
        for e in workload.ordered
        if e.unit == "matrix" or mapping.policy.softmax == "charged"
    ]
    # What runs in each pass of a loop may be left out where there is no such loop.
    omitted = [n for n in expected_names if n not in names and workload.einsum(n).each]
    if sorted([*names, *omitted]) != sorted(expected_names):
        raise MappingError(
            expected("groups", f"each of {', '.join(expected_names)} once", ", ".join(names))
        )
    for group in mapping.groups:
        for nest in group.einsums:
            check_mapping(workload, platform.path(workload.einsum(nest.einsum).unit), nest)
        for fault in _group_faults(workload, platform, group, mapping.policy):
            raise MappingError(fault)


def _group_faults(
    workload: Workload, platform: Platform, group: GroupMapping, policy: Policy
) -> Iterator[str]:
    where = " + ".join(group.names)
    if len(group.einsums) == 1:
        if workload.einsum(group.names[0]).each:
            yield expected(where, "a group with the loop in each of whose passes it runs", "none")
        return
    yield from _shared_faults(workload, group, policy, where)
    dram, level = platform.dram.name, shared_level(platform).name
    whole = _whole(workload, group, policy)
    inner = workload.inner_ranks(whole)
    cut = any(loop.rank in inner and loop.factor > 1 for loop in group.shared)
    carried = carried_tensors(workload, whole) if cut else ()
    inside = [t for t in workload.intermediates if not crosses_dram(workload, group.names, t)]
    for nest in group.einsums:
        loops = tuple(x for slot, ls in nest.loops if slot.node == dram for x in ls)
        ranks = workload.einsum(nest.einsum).ranks
        if loops != tuple(loop for loop in group.shared if loop.rank in ranks):
            yield expected(f"{nest.einsum}: {dram} loops", "the group's shared loops", loops)
        for tensor in (a.tensor for a in workload.einsum(nest.einsum).accesses):
            if tensor in inside and tensor in nest.kept_at(dram):
                yield expected(f"{nest.einsum}: {tensor}", f"a bypass of {dram}", "keep")
            if tensor not in nest.kept_at(dram) and tensor not in nest.kept_at(level):
                yield expected(f"{nest.einsum}: {tensor}", f"kept at {level}", "bypass")
            if tensor in carried and tensor not in nest.kept_at(level):
                condition = f"kept at {level}: the shared loops carry partial results in it"
                yield expected(f"{nest.einsum}: {tensor}", condition, "bypass")


def _whole(workload: Workload, group: GroupMapping, policy: Policy) -> tuple[str, ...]:
    """The Einsums of a group, with those that a free softmax leaves out of it."""
    return with_unmapped(workload, group.names) if policy.softmax == "free" else group.names


def _shared_faults(
    workload: Workload, group: GroupMapping, policy: Policy, where: str
) -> Iterator[str]:
    """What is wrong with the shared loops of a group."""
    whole = _whole(workload, group, policy)
    legal, inner = workload.shareable_ranks(whole), workload.inner_ranks(whole)
    for loop in group.shared:
        if loop.rank not in legal:
            change = "a tensor reduced over it must be complete before its reader runs"
            condition = f"shared loops over {', '.join(legal)}"
            yield expected(f"{where}: shared loop", condition, loop.rank, change)
    order = [loop.rank in inner for loop in group.shared if loop.factor > 1]
    if order != sorted(order):
        condition = f"loops over {', '.join(inner)}, which carry partial results, inside all others"
        got = ", ".join(loop.rank for loop in group.shared)
        yield expected(f"{where}: shared loops", condition, got)
    if workload.mask and any(
        p.final != p.factor for nest in group.einsums for _, at in nest.loops for p in at
    ):
        condition = "factors that divide their ranks: tiles under a mask are all of one size"
        yield expected(f"{where}: mask", condition, "a remainder")
    for name in group.names:
        if any(r not in inner for r in workload.einsum(name).each):
            condition = "a group with the loop in each of whose passes it runs"
            yield expected(f"{where}: {name}", condition, ", ".join(group.names))
