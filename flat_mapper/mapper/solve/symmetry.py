"""Symmetry: groups that are one problem under other names, as the projections of Q, K and V."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from flat_mapper.mapper.group.picks import GroupSolution, Pick
from flat_mapper.mapper.space.group import GroupProblem
from flat_mapper.mapper.space.outer import Staging, stagings


def symmetric_groups(problems: Sequence[GroupProblem]) -> list[int]:
    """For every group, the position of the first one that is the same problem; often its own."""
    first: dict[object, int] = {}
    return [first.setdefault(_question(p, i), i) for i, p in enumerate(problems)]


def _question(problem: GroupProblem, position: int) -> object:
    """All that a single Einsum's best mapping depends on, without names.

    Where a mapspace has rules about ranks, tensors or Einsums, each group is a question of its own.
    """
    mapspace = problem.mapspace
    named = mapspace.slots or mapspace.keeps or mapspace.fusion.tiles
    if len(problem.spaces) != 1 or named or not isinstance(mapspace.fusion.staging, str):
        return position
    space = problem.spaces[0]
    ranks = space.einsum.ranks
    workload = problem.workload
    return (
        space.einsum.unit,
        space.einsum.operation,
        space.sizes,
        tuple(space.relevant[t] for t in space.tensors),
        tuple(workload.bits(t) for t in space.tensors),
        tuple(s.roles[space.einsum.name] for s in stagings(problem)),
        tuple(workload.rank_sizes[r] for r in ranks),
        problem.group.fused,
        problem.group.schedule,
    )


def renamed(solution: GroupSolution, problem: GroupProblem) -> GroupSolution:
    """The solution of one group as that of a symmetric one."""
    pick, space = solution.picks[0], problem.spaces[0]
    name = dict(zip(pick.space.tensors, space.tensors, strict=True))
    keep = {lv: frozenset(name[t] for t in kept) for lv, kept in pick.candidates.keep.items()}
    staging = Staging(
        staged=tuple(name[t] for t in solution.staging.staged),
        roles={space.einsum.name: pick.outer.roles},
    )
    candidates = replace(
        pick.candidates,
        keep=keep,
        transfers={name[t]: transfers for t, transfers in pick.candidates.transfers.items()},
    )
    return replace(
        solution,
        problem=problem,
        staging=staging,
        picks=(Pick(space=space, candidates=candidates, outer=pick.outer),),
    )
