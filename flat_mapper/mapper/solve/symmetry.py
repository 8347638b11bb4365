"""Symmetry: groups that are one problem under other names, as the projections of Q, K and V."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from flat_mapper.arch.values import MemoryLevel, Platform
from flat_mapper.mapping.sharing import crosses_dram
from flat_mapper.mapping.space import GroupSpace, Mapspace
from flat_mapper.mapping.values import GroupMapping, Loop
from flat_mapper.workload.einsum import nameless
from flat_mapper.workload.graph import Workload


def group_question(
    workload: Workload, platform: Platform, mapspace: Mapspace, ways: Sequence[GroupSpace]
) -> object:
    """All that the best mapping of a group depends on, without names.

    ways: in which the group may run. Where a mapspace or a chip has rules about ranks, tensors or
    Einsums, each group is a question of its own.
    """
    names, fusion = ways[0].names, mapspace.fusion
    fused = len(names) > 1
    free = fused and mapspace.policy.softmax == "free"  # Einsums beside it count
    named = mapspace.slots, mapspace.keeps, fusion.tiles, fusion.orders, fusion.intermediates
    own = free or not isinstance(fusion.staging, str) or any(way.phases for way in ways)
    if own or any(named) or _names(platform):
        einsums = tuple(workload.einsum(n) for n in names)
        return einsums, tuple(workload.rank_sizes.items()), workload.softmax, tuple(ways)
    does, tensors, ranks = nameless(map(workload.einsum, names))
    of_loops = [workload.shareable_ranks(names), workload.inner_ranks(names)] if fused else []
    corrected = {r for e in workload.einsums for r in (*e.each, *e.after)}
    cut = fusion.granularity != "any" and any(way.declared for way in ways)
    told = workload.roles.declared if workload.mask is not None or cut else {}
    roles = {rank: role for role, rank in told.items()}
    return (
        does,
        tuple((workload.every_width(t), crosses_dram(workload, names, t)) for t in tensors),
        tuple(
            (
                workload.rank_sizes[r],
                *(r in some for some in (*of_loops, corrected)),
                roles.get(r, ""),
            )
            for r in ranks
        ),
        tuple(ranks[r] for r in workload.rank_sizes if r in ranks),  # as loops are listed
        str(workload.mask),
        tuple((way.fused, way.schedule, way.declared) for way in ways),
    )


def _names(platform: Platform) -> bool:
    """True if constraints of a chip's nodes name ranks or tensors, and not just all of them."""
    nodes = [node for path in platform.paths for node in path.nodes]
    bodies = (body for node in nodes for body in node.constraints.values())
    said = (value for body in bodies if isinstance(body, Mapping) for value in body.values())
    only = (node.keeps_only for node in nodes if isinstance(node, MemoryLevel))
    return any(one not in (None, False, True, "", [], "*", ["*"]) for one in (*said, *only))


def renamed_group(
    mapping: GroupMapping,
    of: Workload,
    workload: Workload,
    listed: Sequence[str],
    names: Sequence[str],
) -> GroupMapping:
    """The mapping of one group as that of another which is the same question.

    of: the workload of the first. listed, names: the Einsums of either, each like the other's.
    """
    word = dict(zip(listed, names, strict=True))
    for old, new in zip(listed, names, strict=True):
        pairs = zip(of.einsum(old).accesses, workload.einsum(new).accesses, strict=True)
        for own, other in pairs:
            word[own.tensor] = other.tensor
            word |= dict(zip(own.ranks, other.ranks, strict=True))

    def loops(some: tuple[Loop, ...]) -> tuple[Loop, ...]:
        return tuple(replace(loop, rank=word[loop.rank]) for loop in some)

    def tensors(some: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(word[tensor] for tensor in some)

    return replace(
        mapping,
        einsums=tuple(
            replace(
                nest,
                einsum=word[nest.einsum],
                loops=tuple((slot, loops(own)) for slot, own in nest.loops),
                keep=tuple((level, tensors(own)) for level, own in nest.keep),
                stay=tensors(nest.stay),
            )
            for nest in mapping.einsums
        ),
        shared=loops(mapping.shared),
        cores=tuple((level, loops(own)) for level, own in mapping.cores),
        staged=tensors(mapping.staged),
        phases=tuple(tensors(phase) for phase in mapping.phases),
    )
