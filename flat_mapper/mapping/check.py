"""Legality: where a mapping contradicts its Einsum, its group or its platform."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from flat_mapper.arch.values import Architecture, Fanout, MemoryLevel, Platform
from flat_mapper.base.errors import BackendError, MappingError, expected
from flat_mapper.mapping.cores import CoreView, core_faults, one_core
from flat_mapper.mapping.order import check_phases, turns_fault
from flat_mapper.mapping.sharing import (
    carried_tensors,
    copied_from,
    crosses_dram,
    may_stay,
    shared_level,
    whole_group,
)
from flat_mapper.mapping.values import (
    EinsumMapping,
    FusedMapping,
    GroupMapping,
    Loop,
    Policy,
    Slot,
    pieces,
    rank_extent,
    slots_of,
)
from flat_mapper.spec.document import unknown_word
from flat_mapper.workload.einsum import Einsum
from flat_mapper.workload.graph import Workload

if TYPE_CHECKING:  # at run time records are imported where one is read
    from flat_mapper.mapping.record import MappingRecord


def read_checked_record(path: Path, platform: Platform | None = None) -> MappingRecord:
    """A record from its file, checked against its workload and its architecture.

    platform: the architecture to check it against; by default the files that the record names.
    raises:   SpecError for what cannot be read, MappingError for what contradicts itself.
    """
    from flat_mapper.mapping.record import read_record

    record = read_record(path, platform)
    check_record(record, str(path))
    return record


def check_record(record: MappingRecord, where: str) -> None:
    """Raise MappingError where a mapping contradicts its workload or its architecture."""
    try:
        check_fused(record.workload, record.platform, record.mapping)
    except MappingError as error:
        raise MappingError(f"{where}: {error}") from error


def check_mapping(workload: Workload, arch: Architecture, mapping: EinsumMapping) -> None:
    """Raise MappingError where a loop nest contradicts its Einsum or its architecture."""
    einsum = workload.einsum(mapping.einsum)
    for fault in _loop_faults(einsum, arch, mapping):
        raise MappingError(fault)
    for rank in einsum.ranks:
        size, got = workload.rank_sizes[rank], rank_extent(mapping, rank)
        own = [loop for _, loop in mapping.placed if loop.rank == rank]
        if any(loop.extent for loop in own) and rank not in einsum.each:
            for fault in _piece_faults(f"{einsum.name}.{rank}", size, own):
                raise MappingError(fault)
        elif rank not in einsum.each and got != size:
            parts = " x ".join(f"{s.node} {p.factor}" for s, p in mapping.placed if p.rank == rank)
            raise MappingError(
                f"{einsum.name}.{rank}: expected factors that cover {size}, got {got} "
                f"({parts or 'no loops'}); change one of them"
            )
    for fault in _keep_faults(einsum, arch, mapping):
        raise MappingError(fault)


def _piece_faults(where: str, size: int, loops: Sequence[Loop]) -> Iterator[str]:
    """Faults of the extents of one rank's loops, outermost first."""
    for loop, extent in zip(loops, pieces(loops), strict=True):
        if loop.factor != -(-size // extent) or extent >= size:
            condition = f"pieces of fewer than {size}, in as many passes as that takes"
            yield expected(where, condition, f"{loop.factor} of {extent}")
        size = extent
    if size != 1:
        yield expected(where, "pieces of one in the end", size, "cut it once more")


def _loop_faults(einsum: Einsum, arch: Architecture, mapping: EinsumMapping) -> Iterator[str]:
    limits = {Slot(fanout.name, "x"): fanout.fanout_x for fanout in arch.fanouts}
    limits |= {Slot(fanout.name, "y"): fanout.fanout_y for fanout in arch.fanouts}
    slots = slots_of(arch)
    for slot, loops in mapping.loops:
        where = f"{einsum.name}: {slot.node} ({slot.axis})"
        if slot not in slots:
            nodes = ", ".join(n.name for n in arch.nodes)
            yield expected(where, f"a node of {arch.name} ({nodes})", slot.node)
        for loop in loops:
            yield from _one_loop_faults(einsum, loop, where, outermost=slot == slots[0])
        used = prod(loop.factor for loop in loops)
        if used > limits.get(slot, used):
            condition = f"spatial factors of at most {limits[slot]}"
            yield expected(where, condition, used, "move a factor to a temporal loop")


def _one_loop_faults(einsum: Einsum, loop: Loop, where: str, *, outermost: bool) -> Iterator[str]:
    if loop.rank not in einsum.ranks:
        yield unknown_word(where, "a rank among", loop.rank, einsum.ranks)
    if loop.rank in einsum.each and not outermost:
        why = f"{einsum.name} runs once in each pass of the shared loop over it"
        yield expected(where, f"no loop over {loop.rank}: {why}", loop.factor)
    if loop.factor < 1 or not 1 <= loop.final <= loop.factor:
        got = f"factor {loop.factor} and last {loop.final}"
        yield expected(f"{where}: {loop.rank}", "1 <= last <= factor", got)


def _keep_faults(einsum: Einsum, arch: Architecture, mapping: EinsumMapping) -> Iterator[str]:
    tensors, levels = {*einsum.tensors}, [level.name for level in arch.levels]
    listed = (("stay", mapping.stay), *((f"keep at {at}", names) for at, names in mapping.keep))
    for key, names in listed:
        for name in names:
            if name not in tensors:
                yield unknown_word(f"{einsum.name}: {key}", "tensors among", name, sorted(tensors))
    for level, _ in mapping.keep:
        if level not in levels:
            yield unknown_word(f"{einsum.name}: keep", "a level among", level, levels)
    for tensor in sorted(tensors.difference(*(names for _, names in mapping.keep))):
        where, change = f"{einsum.name}: {tensor}", f"keep it at {levels[0]}"
        yield expected(where, "a level that keeps it", "none", change)


def check_fused(workload: Workload, platform: Platform, mapping: FusedMapping) -> None:
    """Raise MappingError where a fused mapping contradicts itself, the workload or the platform."""
    workload.one_kind(workload.name)
    for fault in _order_faults(workload, mapping):
        raise MappingError(fault)
    for group in mapping.groups:
        if fault := turns_fault(platform.matrix, group.schedule):
            raise MappingError(f"{' + '.join(group.names)}: {fault}")
        for fault in core_faults(workload, platform, group, mapping.policy):
            raise MappingError(fault)
        core = CoreView(workload=workload, platform=platform, group=group).question()
        for fault in _group_faults(*core, mapping.policy):
            raise MappingError(fault)


def _order_faults(workload: Workload, mapping: FusedMapping) -> Iterator[str]:
    """Einsums that are not mapped once, and those that come before what they wait for."""
    names, charged = mapping.names, mapping.policy.softmax == "charged"
    wanted = [e.name for e in workload.ordered if charged or e.unit == "matrix"]
    # What runs in each pass of a loop may be left out where there is no such loop.
    omitted = [n for n in wanted if n not in names and workload.einsum(n).each]
    if sorted([*names, *omitted]) != sorted(wanted):
        yield expected("groups", f"each of {', '.join(wanted)} once", ", ".join(names))
        return
    for place, name in enumerate(names):
        for late in sorted({*workload.ancestors[name]} & {*names[place:]}, key=names.index):
            condition = f"a place after {late} in execution order: it waits for it"
            yield expected(name, condition, "one before", "list them in order")


def _group_faults(
    workload: Workload, platform: Platform, group: GroupMapping, policy: Policy
) -> Iterator[str]:
    for nest in group.einsums:
        check_mapping(workload, platform.path(workload.einsum(nest.einsum).unit), nest)
    if group.schedule == "phases" or group.phases:
        level, inside = shared_level(platform).name, handed_inside(workload, platform, group)
        named = group.names, group.phases, " + ".join(group.names)
        check_phases(workload, *named, level, inside)
    yield from _part_faults(platform, group)
    if len(group.einsums) == 1:
        yield from _each_faults(workload, group, ())
        return
    whole = whole_group(workload, group.names, policy)
    inner = workload.inner_ranks(whole)
    yield from _shared_faults(workload, group, whole, inner)
    yield from _each_faults(workload, group, inner)
    yield from handover_faults(workload, platform, group)
    for nest in group.einsums:
        yield from _nest_faults(workload, platform, group, whole, nest)
    carried = carried_tensors(workload, whole) if group.cut.intersection(inner) else ()
    yield from _kept_faults(workload, platform, group, carried)


def _nest_faults(
    workload: Workload,
    platform: Platform,
    group: GroupMapping,
    whole: tuple[str, ...],
    nest: EinsumMapping,
) -> Iterator[str]:
    """Faults of a nest beside the others; whole: the group with what a free softmax leaves out."""
    dram, einsum = platform.dram.name, workload.einsum(nest.einsum)
    may = may_stay(workload, whole, einsum)
    for tensor in (tensor for tensor in nest.stay if tensor not in may):
        condition = "tensors that no other Einsum of the group makes, reads or writes"
        yield expected(f"{nest.einsum}: stay", condition, tensor)
    loops = tuple(loop for slot, loop in nest.placed if slot.node == dram)
    if loops != tuple(loop for loop in group.shared if loop.rank in einsum.ranks):
        yield expected(f"{nest.einsum}: {dram} loops", "the group's shared loops", loops)


def _each_faults(workload: Workload, group: GroupMapping, inner: tuple[str, ...]) -> Iterator[str]:
    """Einsums that run in each pass of a loop that is none of the group's inner ones."""
    for einsum in workload.named(group.names):
        if not {*einsum.each} <= {*inner}:
            condition = "a group with the loop in each of whose passes it runs"
            yield expected(einsum.name, condition, ", ".join(group.names))


def _part_faults(platform: Platform, group: GroupMapping) -> Iterator[str]:
    """Faults of what a part of a memory keeps: tiles of what streams past it, and no others."""
    shared = shared_level(platform).name
    levels = {level.name: level for arch in platform.paths for level in arch.levels}
    for part in (level for level in levels.values() if level.part_of):
        if part.part_of != shared or group.given_out:
            condition = f"a group fused at {part.part_of}, a part of which is {part.name}"
            got = f"at {shared}" + " of several cores" * bool(group.given_out)
            yield expected(" + ".join(group.names), condition, got)
        for nest in group.einsums:
            for tensor in {*nest.kept_at(part.name)} & {*nest.kept_at(shared)}:
                change = f"keep it at {shared} or at {part.name}, a part of it"
                where = f"{nest.einsum}: {tensor}"
                yield expected(where, "one level of a memory that keeps it", "both", change)


def _kept_faults(
    workload: Workload, platform: Platform, group: GroupMapping, carried: Sequence[str]
) -> Iterator[str]:
    """Faults of where nests keep tensors that are not handed over inside the shared level."""
    dram, level = platform.dram.name, shared_level(platform).name
    inside = handed_inside(workload, platform, group)
    accesses = [(m, t) for m in group.einsums for t in workload.einsum(m.einsum).tensors]
    for nest, tensor in accesses:
        if tensor in inside:
            continue
        where, maker = f"{nest.einsum}: {tensor}", workload.producers.get(tensor)
        if tensor in nest.kept_at(dram):
            if not crosses_dram(workload, group.names, tensor):
                yield expected(where, f"a bypass of {dram}", "keep")
            if maker in group.names and maker != nest.einsum:
                yield expected(where, f"a bypass of {dram}, where {maker} sends it", "keep")
        elif tensor not in nest.kept_at(level):
            yield expected(where, f"kept at {level}", "bypass")
        if tensor in carried and tensor not in nest.kept_at(level):
            condition = f"kept at {level}: the shared loops carry partial results in it"
            yield expected(where, condition, "bypass")


def _shared_faults(
    workload: Workload, group: GroupMapping, whole: tuple[str, ...], inner: tuple[str, ...]
) -> Iterator[str]:
    """Faults of the shared loops of a group."""
    where, legal = " + ".join(group.names), workload.shareable_ranks(whole)
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


def handed_inside(workload: Workload, platform: Platform, group: GroupMapping) -> dict[str, str]:
    """The level of each intermediate that is handed over inside the shared level, by tensor.

    platform: as one core sees it. What its maker keeps at the shared level is handed over there.
    """
    outer = {platform.dram.name, shared_level(platform).name}
    found: dict[str, str] = {}
    for nest in group.einsums if len(group.einsums) > 1 else ():
        einsum = workload.einsum(nest.einsum)
        tensor = einsum.output.tensor
        if einsum.unit == "vector" and platform.vector is None:
            continue  # it is accounted as costing nothing
        if tensor in found or crosses_dram(workload, group.names, tensor):
            continue
        kept = nest.keepers(tensor, platform.path(einsum.unit))
        if kept and not outer & set(kept):
            found[tensor] = kept[0]
    return found


def all_handed_inside(
    workload: Workload, platform: Platform, mapping: FusedMapping
) -> dict[str, str]:
    """The level at which each intermediate of a mapping is handed over inside the shared one."""
    inside: dict[str, str] = {}
    for group in mapping.groups:
        inside |= handed_inside(*one_core(workload, platform, group))
    return inside


def refuse_inside(workload: Workload, platform: Platform, mapping: FusedMapping, who: str) -> None:
    """Raise BackendError where intermediates are handed over inside the shared level."""
    if inside := all_handed_inside(workload, platform, mapping):
        said = ", ".join(f"{tensor} at {level}" for tensor, level in inside.items())
        condition = "intermediates handed over at the fusion level"
        raise BackendError(expected(who, condition, said, "use the native or the timeloop backend"))


def handover_faults(workload: Workload, platform: Platform, group: GroupMapping) -> Iterator[str]:
    """Reasons why what is handed over inside the shared level cannot be; a line each."""
    inside, shared = handed_inside(workload, platform, group), shared_level(platform).name
    for tensor, level in inside.items():
        touching = [m for m in group.einsums if workload.einsum(m.einsum).touches(tensor)]
        yield from _nodes_faults(workload, platform, touching, tensor, level)
        yield from _parts_faults(workload, platform, touching, tensor, level)
    for einsum in workload.named(group.names):
        old, new = copied_from(workload, einsum), einsum.output.tensor
        if old and inside.get(old) != inside.get(new):
            got = f"{inside.get(old, shared)} and {inside.get(new, shared)}"
            condition = f"{old} and {new} at one level: the old {old} is copied to {new}"
            yield expected(f"{einsum.name}: keep", condition, got)


def _nodes_faults(
    workload: Workload,
    platform: Platform,
    touching: Sequence[EinsumMapping],
    tensor: str,
    level: str,
) -> Iterator[str]:
    """Einsums that look for a tensor elsewhere, or whose path to its level is another."""
    ways: dict[str, list[tuple[str, int, int]]] = {}
    if any(tensor in einsum.windowed for einsum in workload.einsums):
        condition = f"a handover at {shared_level(platform).name}, as its tiles overlap"
        yield expected(f"{tensor}: keep", condition, level)
    for nest in touching:
        arch = platform.path(workload.einsum(nest.einsum).unit)
        kept = nest.keepers(tensor, arch)
        if kept[:1] != [level]:
            change = f"keep it at {level} and at no level outside, or at the fusion level"
            where, condition = f"{nest.einsum}: {tensor}", f"{level} to be the outermost that keeps"
            yield expected(where, f"{condition} it, where it is made", kept[:1], change)
        else:
            way = (*arch.outside(level)[1:], arch.level(level))
            ways[arch.name] = [_mesh(node) for node in way]
    first, *others = ways.values() or [[]]
    if any(way != first for way in others):
        names = " and ".join(", ".join(name for name, _, _ in way) for way in ways.values())
        condition = f"the same nodes down to {level} on both paths"
        yield expected(f"{tensor}: keep", condition, names, "hand it over at the fusion level")


def _mesh(node: MemoryLevel | Fanout) -> tuple[str, int, int]:
    """A node's name, and its copies on both axes."""
    return (
        (node.name, node.fanout_x, node.fanout_y) if isinstance(node, Fanout) else (node.name, 1, 1)
    )


def _parts_faults(
    workload: Workload,
    platform: Platform,
    touching: Sequence[EinsumMapping],
    tensor: str,
    level: str,
) -> Iterator[str]:
    """Loops between the shared level and a tensor's that give its instances other words of it."""
    ranks, shared = workload.tensor_ranks[tensor], shared_level(platform).name
    parts: dict[str, list[str]] = {}
    for nest in touching:
        arch = platform.path(workload.einsum(nest.einsum).unit)
        own = parts.setdefault(nest.einsum, [])
        for slot, loop, words in _between(arch, nest, shared, level):
            space = slot.axis != "temporal"
            at = f"{slot.node}.{slot.axis}" if space else slot.node
            text = f"{at} {loop.rank}={loop.factor} of {words}"
            own += [text] if space else []
            if space == (loop.rank in ranks):
                continue
            condition = f"no loop over {', '.join(ranks)} outside {level}"
            change = f"all of a pass of {tensor} is there: cut it by shared loops"
            if space:
                condition = f"loops in space over {', '.join(ranks)} alone outside {level}"
                change = f"each instance of {level} has a part of {tensor} of its own"
            yield expected(f"{nest.einsum}: {tensor}", condition, text, change)
    maker, *readers = parts or [""]
    for name in readers:
        if parts[name] != parts[maker]:
            condition = f"the loops in space of {maker} outside {level}, which hands {tensor} over"
            yield expected(f"{name}: {tensor}", condition, ", ".join(parts[name]) or "none")


def _between(
    arch: Architecture, nest: EinsumMapping, first: str, level: str
) -> Iterator[tuple[Slot, Loop, int]]:
    """Loops of more than one pass from one level's own to another's, innermost first.

    returns: each with where it stands, and the words of its rank in one pass of it.
    """
    slots = slots_of(arch)
    if Slot(level, "temporal") not in slots:
        return
    low, high = (slots.index(Slot(name, "temporal")) for name in (first, level))
    words: dict[str, int] = {}
    for n in reversed(range(low, len(slots))):
        for loop in reversed(nest.at(slots[n])):
            inside = words.get(loop.rank, 1)
            if n < high and loop.factor > 1:
                yield slots[n], loop, inside
            words[loop.rank] = inside * loop.factor
