"""Intermediates that a group hands over at a level inside the one where it is fused.

An intermediate passes from the Einsum that makes it to those that read it in one level. It is the
fusion level, unless no Einsum of the group keeps it there: then the outermost one that does, as
scores in the registers of a core whose group is fused in its shared memory. There the tile of a
pass stays whole, each instance with its own part, from its maker's turn to the last reader's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flat_mapper.arch.values import Architecture, Fanout, Platform
from flat_mapper.base.errors import BackendError, expected
from flat_mapper.mapping.cores.view import CoreQuestion
from flat_mapper.mapping.sharing import copied_from, crosses_dram, shared_level
from flat_mapper.mapping.values import (
    EinsumMapping,
    FusedMapping,
    GroupMapping,
    Loop,
    Slot,
    slots_of,
)
from flat_mapper.workload.graph import Workload


def one_core(workload: Workload, platform: Platform, group: GroupMapping) -> CoreQuestion:
    """The problem of a core with the largest tile; of a group on one core, all of it."""
    if not group.on_cores:
        return CoreQuestion(workload=workload, platform=platform, group=group)
    from flat_mapper.mapping.cores.tiles import fullest_core  # most mappings give out nothing

    return fullest_core(workload, platform, group)


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
        kept = _keepers(platform.path(einsum.unit), nest, tensor)
        if kept and not outer & set(kept):
            found[tensor] = kept[0]
    return found


def all_handed_inside(
    workload: Workload, platform: Platform, mapping: FusedMapping
) -> dict[str, str]:
    """The level at which each intermediate of a mapping is handed over inside the shared one."""
    inside: dict[str, str] = {}
    for group in mapping.groups:
        core = one_core(workload, platform, group)
        inside |= handed_inside(core.workload, core.platform, core.group)
    return inside


def refuse_inside(workload: Workload, platform: Platform, mapping: FusedMapping, who: str) -> None:
    """Raise BackendError where intermediates are handed over inside the shared level."""
    if inside := all_handed_inside(workload, platform, mapping):
        said = ", ".join(f"{tensor} at {level}" for tensor, level in inside.items())
        condition = "intermediates handed over at the fusion level"
        raise BackendError(expected(who, condition, said, "use the native or the timeloop backend"))


def _keepers(arch: Architecture, nest: EinsumMapping, tensor: str) -> list[str]:
    """The levels that keep a tensor, outermost first."""
    return [level.name for level in arch.levels if tensor in nest.kept_at(level.name)]


def handover_faults(workload: Workload, platform: Platform, group: GroupMapping) -> Iterator[str]:
    """Reasons why what is handed over inside the shared level cannot be; a line each."""
    inside, shared = handed_inside(workload, platform, group), shared_level(platform).name
    for tensor, level in inside.items():
        touching = [m for m in group.einsums if workload.einsum(m.einsum).touches(tensor)]
        yield from _nodes_faults(workload, platform, touching, tensor, level)
        yield from _parts_faults(workload, platform, touching, tensor, level)
    for einsum in map(workload.einsum, group.names):
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
    if any(a.sums for e in workload.einsums for a in e.accesses if a.tensor == tensor):
        condition = f"a handover at {shared_level(platform).name}, as its tiles overlap"
        yield expected(f"{tensor}: keep", condition, level)
    for nest in touching:
        arch = platform.path(workload.einsum(nest.einsum).unit)
        kept = _keepers(arch, nest, tensor)
        if kept[:1] != [level]:
            change = f"keep it at {level} and at no level outside, or at the fusion level"
            where, condition = f"{nest.einsum}: {tensor}", f"{level} to be the outermost that keeps"
            yield expected(where, f"{condition} it, where it is made", kept[:1], change)
        elif arch.name not in ways:
            way = (*arch.outside(level)[1:], arch.level(level))
            meshes = ((n.fanout_x, n.fanout_y) if isinstance(n, Fanout) else (1, 1) for n in way)
            ways[arch.name] = [(n.name, *mesh) for n, mesh in zip(way, meshes, strict=True)]
    if len({tuple(way) for way in ways.values()}) > 1:
        names = " and ".join(", ".join(name for name, _, _ in way) for way in ways.values())
        condition = f"the same nodes down to {level} on both paths"
        yield expected(f"{tensor}: keep", condition, names, "hand it over at the fusion level")


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
