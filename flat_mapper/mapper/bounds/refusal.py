"""Reasons why a group has no mapping: what does not fit, or the rules that rule everything out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flat_mapper.cost_model.result import Infeasible
from flat_mapper.mapper.bounds.occupancy import merged
from flat_mapper.mapper.bounds.outer import OuterBounds, Outers
from flat_mapper.mapper.cost.candidate_set import CandidateSet
from flat_mapper.mapper.space.group import FOLLOW, GroupProblem
from flat_mapper.mapping.sharing import shared_level


def infeasibility(
    bounds: OuterBounds, candidate_sets: list[CandidateSet], outers: Outers | None
) -> Infeasible:
    """Reason why nothing fits: the outer choice that asks for least.

    candidate_sets: of each Einsum, for the words of what is streamed; none: a word is too much.
    """
    problem = bounds.problem
    where = " + ".join(problem.group.names)
    for found in candidate_sets:
        if not found.count:
            inner = found.space.inner_nodes
            name = inner[-1].name if inner else found.space.arch.compute.name
            einsum, nodes = found.space.einsum.name, [n.name for n in inner]
            hint = "the mapspace's constraints leave no loop nest"
            return _ruled_out(problem, name, einsum, hint, [einsum], nodes)
    level = shared_level(problem.platform)
    names, capacity = problem.group.names, bounds.occupancy.capacity
    outside = [level.name, problem.platform.dram.name]
    if outers is None or len(outers.needs) == 0 or capacity is None:
        hint = "the mapspace's fusion section and its constraints leave no tile"
        return _ruled_out(problem, level.name, where, hint, names, outside)
    if _rules(problem) and outers.needs.min() <= capacity:
        hint = "the mapspace's constraints leave no mapping that fits"
        return _ruled_out(problem, level.name, where, hint, (), ())
    choice = int(outers.needs.argmin())
    staging = bounds.stagings[int(outers.staging[choice])]
    terms: dict[str, int] = {}
    tile = np.where(outers.tile[:, choice] == FOLLOW, 1, outers.tile[:, choice])
    smallest = {part.space.einsum.name: part.smallest for part in candidate_sets}
    for space in problem.spaces:
        tiles, streamed = tile[problem.index(space)], smallest.get(space.einsum.name, space.share)
        roles = staging.roles[space.einsum.name]
        needs = merged(
            bounds.occupancy.lower_term(
                space, tensor, role, tiles[:, None], streamed(tensor, level.name)
            )
            for tensor, role in zip(space.tensors, roles, strict=True)
        )
        for name, words in needs.items():
            terms[name] = max(terms.get(name, 0), int(np.ceil(words.max())))
    return Infeasible(
        level=level.name,
        needs=sum(terms.values()) or int(np.ceil(outers.needs[choice])),
        has=capacity,
        terms=tuple(terms.items()),
        where=where,
        hint=f"give {level.name} more words, shorten the sequence, or allow smaller tiles",
    )


def _ruled_out(
    problem: GroupProblem,
    level: str,
    where: str,
    hint: str,
    einsums: Sequence[str],
    nodes: Sequence[str],
) -> Infeasible:
    """A refusal that names the rules about some nodes."""
    rules = problem.mapspace.rules_about(einsums, nodes) or _rules(problem)
    named = f"relax one of: {'; '.join(rules)}" if rules else "relax it"
    return Infeasible(level=level, needs=1, has=0, terms=(), where=where, hint=f"{hint}; {named}")


def _rules(problem: GroupProblem) -> list[str]:
    """The rules about any node of the group."""
    nodes = [n.name for s in problem.spaces for n in s.arch.nodes]
    return problem.mapspace.rules_about(problem.group.names, nodes)
