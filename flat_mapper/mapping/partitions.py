"""The groups that a cascade may be partitioned into: connected, convex, and legal.

A *unit* is what no partition cuts: an Einsum, or a declared operator as far as it runs at a stretch
(`flat_mapper.mapping.space`); where partial results are corrected, all that takes part in that. A
*cut* of the cascade is a set of units that holds whatever its members wait for, as a bit mask. What
lies between two cuts is convex, and every convex set lies between two cuts; so the partitions into
convex groups, with an order to run them in, are the paths over the cuts from nothing to everything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from math import inf

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.mapping.order import execution_order
from flat_mapper.mapping.space import (
    ANY_SCHEDULE,
    AnyGroups,
    GroupSpace,
    Mapspace,
    corrects,
    forms_of,
    pieces,
)
from flat_mapper.workload.einsum import Einsum
from flat_mapper.workload.graph import Workload, waits_for_all

MOST_CUTS = 20_000  # chosen: of one cascade; a layer of Llama has 70, ten parallel chains 59,049


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionGraph:
    """The cuts of one form of a cascade, and the groups between them."""

    names: tuple[str, ...]  # the form's Einsums, in execution order
    units: tuple[tuple[str, ...], ...]  # in execution order of their first members
    cuts: tuple[int, ...]  # ascending in size
    groups: tuple[tuple[str, ...], ...]
    steps: dict[int, tuple[tuple[int, int], ...]]  # of a cut: the next ones, by which group


def forms(workload: Workload) -> list[list[str]]:
    """The Einsums with those that correct partial results, where there are some, and without."""
    return forms_of(workload, list(execution_order(workload)))


def fusion_graph(
    workload: Workload,
    names: list[str],
    limits: AnyGroups,
    check: Callable[[], None] = lambda: None,
) -> FusionGraph:
    """The cuts of a form of a cascade, and all groups that the limits leave.

    check: is called now and then, as there may be thousands of cuts.

    raises: SpecError where the cascade has more than MOST_CUTS cuts.
    """
    units = units_of(workload, names)
    cuts = _cuts(workload, _waits(workload, units))
    joined = _joined(workload, units)
    found: dict[int, int] = {}
    groups: list[tuple[str, ...]] = []
    steps: dict[int, tuple[tuple[int, int], ...]] = {}
    for low in cuts:
        check()
        nexts = []
        for high in [cut for cut in cuts if cut & low == low and cut != low]:
            inside = high & ~low
            if inside not in found:
                check()
                chosen = [unit for i, unit in enumerate(units) if inside >> i & 1]
                whole = _reached(joined, inside) == inside
                group = _group(workload, names, chosen, limits) if whole else None
                found[inside] = len(groups) if group else -1
                groups += [group] if group else []
            if found[inside] >= 0:
                nexts.append((high, found[inside]))
        steps[low] = tuple(nexts)
    return FusionGraph(
        names=tuple(names), units=units, cuts=cuts, groups=tuple(groups), steps=steps
    )


def chain(names: Sequence[tuple[str, ...]]) -> FusionGraph:
    """The one path of groups that are listed, by their Einsums."""
    cuts = tuple((1 << i) - 1 for i in range(len(names) + 1))
    steps = {low: ((high, i),) for i, (low, high) in enumerate(pairwise(cuts))}
    return FusionGraph(
        names=tuple(n for own in names for n in own),
        units=tuple(names),
        cuts=cuts,
        groups=tuple(names),
        steps={**steps, cuts[-1]: ()},
    )


def group_spaces(
    workload: Workload, mapspace: Mapspace, names: tuple[str, ...]
) -> tuple[GroupSpace, ...]:
    """The ways to run a group: under each schedule; an operator alone also in sequence."""
    if len(names) == 1:
        single = GroupSpace(names=names, fused=False, schedule="sequential", declared=False)
        return (single,)
    schedule = mapspace.fusion.schedule
    schedules = ANY_SCHEDULE if schedule == "any" else (schedule,)
    found = [GroupSpace(names=names, fused=True, schedule=s, declared=True) for s in schedules]
    if any(set(names) <= set(members) for members in workload.operators.values()):
        found.append(GroupSpace(names=names, fused=True, schedule="sequential", declared=False))
    return tuple(found)


def units_of(workload: Workload, names: list[str]) -> tuple[tuple[str, ...], ...]:
    """The sets of Einsums that no partition cuts, in execution order."""
    unit_of: dict[str, tuple[str, ...]] = {}
    for members in workload.operators.values():
        left = [n for n in names if n in members]
        for piece in pieces(workload, left, names):
            unit_of |= dict.fromkeys(piece, piece)
    core = _corrected(workload, names)
    whole = {*core, *(m for n in core for m in unit_of.get(n, ()))}
    corrected = tuple(n for n in names if n in whole)
    unit_of |= dict.fromkeys(corrected, corrected)
    return tuple(dict.fromkeys(unit_of.get(n, (n,)) for n in names))


def _joined(workload: Workload, units: Sequence[tuple[str, ...]]) -> list[int]:
    """Of each unit, a mask of itself and of those that it shares a tensor with."""
    tensors = [{a.tensor for n in unit for a in workload.einsum(n).accesses} for unit in units]
    return [
        sum(1 << i for i, other in enumerate(tensors) if not own.isdisjoint(other))
        for own in tensors
    ]


def _reached(joined: Sequence[int], inside: int) -> int:
    """Those of some units that shared tensors join to the first of them."""
    met, new = 0, inside & -inside
    while new:
        met |= new
        near = 0
        for i in range(new.bit_length()):
            near |= joined[i] if new >> i & 1 else 0
        new = near & inside & ~met
    return met


def _corrected(workload: Workload, names: list[str]) -> set[str]:
    """All that corrects partial results, what they are, and who takes them; and what lies between.

    Nothing where the form has no corrections.
    """
    each = [n for n in names if workload.einsum(n).each]
    if not each:
        return set()
    updated, einsums = workload.made_by(each), workload.named(names)
    ranks = set[str]().union(*(e.each for e in workload.named(each)))
    core = {e.name for e in einsums if _takes_part(e, ranks, updated)}
    taken = set[str]().union(*(e.so_far for e in einsums))
    core |= {workload.producers[t] for t in taken if t in workload.producers}
    before = set[str]().union(*map(workload.ancestors.__getitem__, core))
    return core | {n for n in before if not core.isdisjoint(workload.ancestors[n])}


def _takes_part(einsum: Einsum, ranks: set[str], updated: set[str]) -> bool:
    """True where an Einsum makes or takes what is corrected in the passes over some ranks."""
    takes = bool(einsum.so_far) or not ranks.isdisjoint(einsum.after)
    return takes or einsum.output.tensor in updated


def _waits(workload: Workload, units: Sequence[tuple[str, ...]]) -> list[int]:
    """Of each unit, a mask of the others that hold what it waits for."""
    member = {n: i for i, unit in enumerate(units) for n in unit}
    waits = [0] * len(units)
    for name, i in member.items():
        for before in workload.ancestors[name]:
            if member.get(before, i) != i:
                waits[i] |= 1 << member[before]
    return waits


def _cuts(workload: Workload, waits: list[int]) -> tuple[int, ...]:
    """Every set of units that holds what its members wait for; ascending in size."""
    found, layer = {0}, [0]
    while layer:
        layer = list(
            dict.fromkeys(
                cut | 1 << i
                for cut in layer
                for i, before in enumerate(waits)
                if not cut >> i & 1 and not before & ~cut
            )
        )
        found.update(layer)
        if len(found) > MOST_CUTS:
            condition = f"at most {MOST_CUTS} cuts of the cascade for groups: any"
            change = "say which may fuse, within: [...], or map a part, --scope"
            raise SpecError(expected(workload.name, condition, f"over {MOST_CUTS}", change))
    return tuple(sorted(found, key=lambda cut: (cut.bit_count(), cut)))


def _group(
    workload: Workload, order: list[str], units: list[tuple[str, ...]], limits: AnyGroups
) -> tuple[str, ...] | None:
    """The Einsums of some units in execution order; None where they may be no group."""
    members = {name for unit in units for name in unit}
    names = tuple(name for name in order if name in members)
    if len(units) > 1 and _limited(workload, names, limits):
        return None
    return None if len(names) > 1 and refusal(workload, names) else names


def _limited(workload: Workload, names: tuple[str, ...], limits: AnyGroups) -> bool:
    """True if a limit of the mapspace forbids a group of several units."""
    operators = workload.operators
    within = {m for n in limits.within for m in operators.get(n, (n,))}
    products = sum(workload.einsum(n).unit == "matrix" for n in names)
    return (
        (bool(limits.within) and not within.issuperset(names))
        or 0 < limits.at_most < len(names)
        or 0 < limits.products < products
        or any(
            sum(bool(set(operators.get(n, (n,))) & set(names)) for n in one) > 1
            for one in limits.never
        )
    )


def refusal(workload: Workload, names: tuple[str, ...]) -> str:
    """Reason against some Einsums in one group, naming the tensor or Einsum; empty if none."""
    lone = _lone(workload, names)
    if lone:
        return f"{lone} shares no tensor with the others of {', '.join(names)}"
    try:
        workload.shareable_ranks(names)
    except SpecError as error:
        return str(error).partition(": ")[2]
    one = GroupSpace(names=names, fused=True, schedule="interleaved", declared=True)
    if not corrects(workload, one):
        each = [n for n in names if workload.einsum(n).each]
        ranks = ", ".join(dict.fromkeys(r for n in each for r in workload.einsum(n).each))
        why = "; ".join(f"{r}: {w}" for r, w in unshared(workload, names).items() if r in ranks)
        return f"{', '.join(each)} run in every pass over {ranks}, which they cannot share: {why}"
    return ""


def _lone(workload: Workload, names: tuple[str, ...]) -> str:
    """The first Einsum that no chain of shared tensors joins to the first of all."""
    tensors = {n: {a.tensor for a in workload.einsum(n).accesses} for n in names}
    joined, met = [names[0]], set(tensors[names[0]])
    while True:
        more = [n for n in names if n not in joined and tensors[n] & met]
        if not more:
            return next((n for n in names if n not in joined), "")
        joined += more
        met.update(*(tensors[n] for n in more))


def unshared(workload: Workload, names: tuple[str, ...]) -> dict[str, str]:
    """By rank of a group that its shared loops may not cut, why."""
    shared = workload.shareable_ranks(names)
    group = workload.named(names)
    own = [r for r in workload.rank_sizes if any(r in e.ranks for e in group)]
    return {rank: _why(workload, names, rank) for rank in own if rank not in shared}


def _why(workload: Workload, names: tuple[str, ...], rank: str) -> str:
    group = workload.named(names)
    makers = [e for e in group if rank in e.own_ranks - {*e.output.ranks}]
    for maker, reader in product(makers, group):
        if waits_for_all(reader, maker, rank):
            tensor = maker.output.tensor
            return f"{maker.name} reduces it, and {reader.name} needs all of {tensor}"
    lacking = [e.name for e in group if rank not in (*e.ranks, *e.after)]
    if lacking:
        return f"{', '.join(lacking)} {'has' if len(lacking) == 1 else 'have'} no such rank"
    left = [e.name for e in workload.einsums if rank in e.each and e.name not in names]
    return f"what corrects partial results is not in the group: {', '.join(left)}"


def _distances(graph: FusionGraph, weights: Sequence[float]) -> tuple[dict[int, float], ...]:
    """Of every cut, the least weight of groups up to it, and from it on."""
    forward = dict.fromkeys(graph.cuts, inf)
    backward = dict.fromkeys(graph.cuts, inf)
    forward[graph.cuts[0]], backward[graph.cuts[-1]] = 0.0, 0.0
    for low in graph.cuts:
        for high, group in graph.steps[low]:
            forward[high] = min(forward[high], forward[low] + weights[group])
    for low in reversed(graph.cuts):
        for high, group in graph.steps[low]:
            backward[low] = min(backward[low], weights[group] + backward[high])
    return forward, backward


def through(graph: FusionGraph, weights: Sequence[float], number: int) -> float:
    """Least weight of all that is beside a group in a partition with it."""
    forward, backward = _distances(graph, weights)
    return min(
        forward[low] + backward[high]
        for low, nexts in graph.steps.items()
        for high, group in nexts
        if group == number
    )


def shortest(graph: FusionGraph, weights: Sequence[float]) -> tuple[float, tuple[int, ...]]:
    """The least weight of a partition, and its groups in order; none where it is infinite."""
    _, backward = _distances(graph, weights)
    cut, groups = graph.cuts[0], list[int]()
    if backward[cut] == inf:
        return inf, ()
    while cut != graph.cuts[-1]:
        cut, group = min(
            graph.steps[cut], key=lambda step: (weights[step[1]] + backward[step[0]], step)
        )
        groups.append(group)
    return backward[graph.cuts[0]], tuple(groups)


def partition_count(graph: FusionGraph) -> int:
    """Partitions of a form of a cascade, each in the orders it may run in."""
    count = dict.fromkeys(graph.cuts, 0)
    count[graph.cuts[0]] = 1
    for low in graph.cuts:
        for high, _ in graph.steps[low]:
            count[high] += count[low]
    return count[graph.cuts[-1]]
