"""A group on cores put together, and what the levels between DRAM and the cores can hold."""

from __future__ import annotations

from flat_mapper.arch.values import MemoryLevel, Platform
from flat_mapper.base.errors import MappingError, expected
from flat_mapper.cost_model.chip.cores import GroupOnCores
from flat_mapper.cost_model.chip.tile import KnownTiles, priced_tiles
from flat_mapper.cost_model.result import BufferUse, Infeasible
from flat_mapper.cost_model.widths import check_between
from flat_mapper.energy.tables import Ert
from flat_mapper.mapping.cores.tiles import CoreView, given_tiles
from flat_mapper.mapping.cores.view import fusion_level, words_held
from flat_mapper.mapping.values import GroupMapping, Policy
from flat_mapper.workload.graph import Workload


def group_on_cores(
    workload: Workload,
    platform: Platform,
    group: GroupMapping,
    policy: Policy,
    ert: Ert,
    known: KnownTiles | None = None,
) -> GroupOnCores | Infeasible:
    """A group with its tiles and their costs, or why a tile does not fit a core.

    known: costs of tiles that a search of such groups has asked for.

    raises: MappingError where a level between cannot keep what the mapping lets it keep.
    """
    check_between(workload, platform, fusion_level(platform, group).name)
    tiles = given_tiles(workload, platform, group)
    view = CoreView(workload=workload, platform=platform, group=group)
    priced = priced_tiles(view, policy, ert, tiles, [] if known is None else known)
    if isinstance(priced, Infeasible):
        return priced
    found = GroupOnCores(
        workload=workload,
        platform=platform,
        core=view.alone[0],
        group=group,
        policy=policy,
        tiles=tiles,
        priced=priced,
    )
    over = _between_overflow(found)
    return over if over is not None else found


def _between_overflow(on: GroupOnCores) -> Infeasible | None:
    """The level between DRAM and the cores that cannot hold what it keeps."""
    terms: dict[str, list[tuple[str, int]]] = {}
    for tensor, level in on.between.items():
        _check_between(on, tensor, level)
        words = words_held(
            on.words(tensor),
            on.tensors[tensor],
            on.outer_loops(level.name),
            on.tiles.count,
            on.at_work,
            on.policy.buffering,
        )
        terms.setdefault(level.name, []).append((tensor, words))
    for level in on.levels_between:
        held = tuple(terms.get(level.name, ()))
        use = BufferUse(level=level.name, capacity_words=level.usable_words, terms=held)
        hint = f"let a tensor bypass {level.name}, or let more loops stand outside it"
        overflow = use.overflow(" + ".join(on.group.names), hint)
        if overflow is not None:
            return overflow
    return None


def _check_between(on: GroupOnCores, tensor: str, level: MemoryLevel) -> None:
    where = f"{' + '.join(on.group.names)}: {tensor} at {level.name}"
    if tensor in {on.workload.einsum(n).output.tensor for n in on.group.names}:
        raise MappingError(expected(where, "an input of the group", "an output", "let it bypass"))
    names = [lv.name for lv in on.platform.matrix.levels]
    outside = names[: names.index(level.name)]
    for nest in on.group.einsums:
        for slot, loops in nest.loops:
            ranks = {p.rank for p in loops if slot.node in outside}
            if tensor in nest.kept_at(level.name) and ranks & set(on.tensors[tensor]):
                condition = f"loops in time over its ranks at {level.name} or further in"
                raise MappingError(expected(where, condition, f"one at {slot.node}"))
    loops = on.outer_loops(level.name) if tensor in on.group.resident else ()
    if any(p.rank in on.tensors[tensor] for p in loops):
        condition = "all of it there at once, as it is resident"
        raise MappingError(expected(where, condition, f"parts, by {loops}"))
