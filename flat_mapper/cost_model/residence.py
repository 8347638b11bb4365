"""Residence: private levels that a group's Einsums use in turn, and what stays there meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flat_mapper.cost_model.einsum import EinsumCosts
from flat_mapper.cost_model.result import Infeasible
from flat_mapper.cost_model.reuse import SHARED
from flat_mapper.mapping.passes import SharedLoop, innermost_run
from flat_mapper.mapping.values import GroupMapping
from flat_mapper.workload.graph import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateUse:
    """Words of one Einsum in one instance of a private level, by tensor."""

    einsum: str
    unit: str
    stays: Mapping[str, int]  # over the turns of other Einsums
    turn: Mapping[str, int]  # in its own turn alone


def private_uses(
    workload: Workload, group: GroupMapping, costs: Sequence[EinsumCosts]
) -> dict[str, list[PrivateUse]]:
    """What Einsums of a group hold at each private level, by its name; in execution order."""
    found: dict[str, list[PrivateUse]] = {}
    for mapping, one in zip(group.einsums, costs, strict=True):
        nest, real = one.nest, one.factors.factors[:, :, 0] > 1
        loops = [
            SharedLoop(rank=nest.ranks[r], factor=int(one.factors.factors[0, r, 0]))
            for r in reversed(nest.orders[0])
            if real[0, r]
        ]
        ranks = {a.tensor: frozenset(a.ranks) for a in nest.einsum.accesses}
        for level in range(SHARED + 1, len(nest.keep)):
            stays: dict[str, int] = {}
            turn: dict[str, int] = {}
            for tensor in (a.tensor for a in nest.einsum.accesses if a.tensor in nest.keep[level]):
                over = tensor not in nest.returns and innermost_run(loops, ranks[tensor])
                here = stays if over and not nest.replaced(real, tensor, level) else turn
                here[tensor] = int(one.tile(level, tensor)[0])
            use = PrivateUse(einsum=mapping.einsum, unit=nest.einsum.unit, stays=stays, turn=turn)
            found.setdefault(nest.arch.levels[level].name, []).append(use)
    return found


def private_overflow(
    workload: Workload, group: GroupMapping, costs: Sequence[EinsumCosts]
) -> Infeasible | None:
    """The private level of a group that cannot hold all that stays there beside any one turn.

    Where units overlap, each has a turn of its own at the same time.
    """
    if len(group.einsums) == 1:
        return None
    capacity = {lv.name: lv.usable_words for one in costs for lv in one.nest.arch.levels}
    for level, uses in private_uses(workload, group, costs).items():
        has = capacity[level]
        worst: dict[str, PrivateUse] = {}
        for use in uses:
            unit = use.unit if group.schedule == "overlapped" else ""
            if unit not in worst or sum(use.turn.values()) > sum(worst[unit].turn.values()):
                worst[unit] = use
        terms = [(f"{t} of {u.einsum}, which stays", n) for u in uses for t, n in u.stays.items()]
        terms += [(f"{t} of {u.einsum}", n) for u in worst.values() for t, n in u.turn.items()]
        needs = sum(words for _, words in terms)
        if has is not None and needs > has:
            return Infeasible(
                level=level,
                needs=needs,
                has=has,
                terms=tuple(terms),
                where=" + ".join(group.names),
                hint="let a tensor return to the shared level with each turn, or cut its tile",
            )
    return None
