"""Residence: private levels that a group's Einsums use in turn, and what stays there meanwhile.

What is handed over at such a level is there all the while, for whoever has its turn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from flat_mapper.arch.values import Platform
from flat_mapper.cost_model.einsum import returning
from flat_mapper.cost_model.nest import factors_of, nest_of, tile_words
from flat_mapper.cost_model.occupancy import tile_occupancies
from flat_mapper.cost_model.result import BufferUse, Infeasible
from flat_mapper.cost_model.transfers import SHARED
from flat_mapper.mapping.cores.check import handed_inside
from flat_mapper.mapping.order import SharedLoop, innermost_run, overlaps
from flat_mapper.mapping.values import GroupMapping, Policy, sized_ranks
from flat_mapper.workload.graph import Workload

STAYS = "which stays"  # said of a tile


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateUse:
    """Words of one Einsum in one instance of a private level, by tensor."""

    einsum: str
    unit: str
    stays: Mapping[str, int]  # over the turns of other Einsums
    turn: Mapping[str, int]  # in its own turn alone


def private_uses(
    workload: Workload, platform: Platform, group: GroupMapping, names: Sequence[str]
) -> dict[str, list[PrivateUse]]:
    """Words that Einsums of a group hold at each private level, by its name; in execution order.

    names: the Einsums of the group, those of a free softmax among them.
    """
    found: dict[str, list[PrivateUse]] = {}
    inside = handed_inside(workload, platform, group)
    for mapping in group.einsums:
        einsum = workload.einsum(mapping.einsum)
        arch, returns = platform.path(einsum.unit), returning(workload, names, mapping)
        nest = nest_of(arch, einsum, mapping, returns)
        factors = factors_of(nest, [mapping])
        sizes = sized_ranks(workload, mapping)
        tiles = tile_words(nest, factors, tuple(sizes[r] for r in nest.ranks))
        real = factors.factors[:, :, 0] > 1
        loops = [
            SharedLoop(rank=nest.ranks[r], factor=int(factors.factors[0, r, 0]))
            for r in reversed(nest.orders[0])
            if real[0, r]
        ]
        ranks = {a.tensor: frozenset(a.ranks) for a in einsum.accesses}
        for level in range(SHARED + 1, len(nest.keep)):
            stays: dict[str, int] = {}
            turn: dict[str, int] = {}
            name = arch.levels[level].name
            for tensor in (a.tensor for a in einsum.accesses if a.tensor in nest.keep[level]):
                if inside.get(tensor) == name:
                    continue
                over = tensor not in nest.returns and innermost_run(loops, ranks[tensor])
                here = stays if over and not nest.replaced(real, tensor, level) else turn
                share = workload.share(tensor, name)
                here[tensor] = ceil(int(tiles[level, tensor][0]) * share)
            use = PrivateUse(einsum=einsum.name, unit=einsum.unit, stays=stays, turn=turn)
            found.setdefault(name, []).append(use)
    return found


def private_needs(
    workload: Workload,
    platform: Platform,
    group: GroupMapping,
    names: Sequence[str],
    policy: Policy,
) -> tuple[BufferUse, ...]:
    """Words of one instance of each private level: all that stays there, and the largest turn.

    Where units overlap, each has a turn of its own at the same time.
    """
    archs = [platform.path(workload.einsum(name).unit) for name in group.names]
    capacity = {lv.name: lv.usable_words for arch in archs for lv in arch.levels}
    held = tile_occupancies(workload, platform, group, policy)
    found = []
    for level, uses in private_uses(workload, platform, group, names).items():
        worst: dict[str, PrivateUse] = {}
        for use in uses:
            unit = use.unit if overlaps(group.schedule) else ""
            if unit not in worst or sum(use.turn.values()) > sum(worst[unit].turn.values()):
                worst[unit] = use
        terms = [(h.tensor, h.total_words) for h in held if h.level == level]
        terms += [(f"{t} of {u.einsum}, {STAYS}", n) for u in uses for t, n in u.stays.items()]
        terms += [(f"{t} of {u.einsum}", n) for u in worst.values() for t, n in u.turn.items()]
        found.append(BufferUse(level=level, capacity_words=capacity[level], terms=tuple(terms)))
    return tuple(found)


def private_overflow(
    workload: Workload,
    platform: Platform,
    group: GroupMapping,
    names: Sequence[str],
    policy: Policy,
) -> Infeasible | None:
    """The private level of a group that cannot hold all that stays there beside any one turn."""
    if len(group.einsums) == 1:
        return None
    for use in private_needs(workload, platform, group, names, policy):
        if use.capacity_words is not None and use.live_words > use.capacity_words:
            return Infeasible(
                level=use.level,
                needs=use.live_words,
                has=use.capacity_words,
                terms=use.terms,
                where=" + ".join(group.names),
                hint="let a tensor return to the shared level with each turn, or cut its tile",
            )
    return None
