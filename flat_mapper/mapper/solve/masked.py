"""Groups under a mask: one search for each size of the tiles that the mask may leave out.

With the tile of queries x keys fixed, the share of tiles that is visited is one number. What moves
or computes once in each tile is multiplied by it; all else stays as it is.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product

from flat_mapper.arch.values import Platform
from flat_mapper.energy.tables import Ert
from flat_mapper.mapper.group.incumbent import Contest, Costs, MaskedContest
from flat_mapper.mapper.group.objective import Goal
from flat_mapper.mapper.space.factors import divisors
from flat_mapper.mapper.space.group import GroupProblem, group_problem, shared_extents
from flat_mapper.mapping.space import GroupSpace, Mapspace
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.mask import tiles


def skips(problem: GroupProblem) -> bool:
    """Whether the shared loops of a group may cut queries and keys."""
    legal = {m for i in problem.shared_ranks for m in problem.ranks[i].members}
    pair = problem.workload.roles.masked
    return problem.workload.mask is not None and pair is not None and set(pair) <= legal


def masked_problems(
    workload: Workload, platform: Platform, ert: Ert, mapspace: Mapspace, group: GroupSpace
) -> list[GroupProblem]:
    """The search problems of a group, one per tile of queries x keys that the mapspace allows."""
    fusion, sizes = mapspace.fusion, workload.rank_sizes
    queries, keys = pair_of(workload)
    allowed = {
        rank: [d for d in divisors(sizes[rank]) if d in fusion.tiles.get(rank, (d,))]
        for rank in (queries, keys)
    }
    found = []
    for rows, columns in product(*allowed.values()):
        one = {**fusion.tiles, queries: (rows,), keys: (columns,)}
        space = replace(mapspace, fusion=replace(fusion, tiles=one))
        problem = group_problem(workload, platform, ert, space, group)
        share = 1.0
        if workload.mask and rows < sizes[queries] and columns < sizes[keys]:
            left = tiles(workload.mask, sizes[queries], sizes[keys], rows, columns)
            share = left.visited / left.total
        found.append(replace(problem, share=share))
    return found


def least_cycles(problem: GroupProblem) -> float:
    """Compute cycles of a group under a mask at least: units as wide as the tile lets them be."""
    extents = {
        rank.name: max(shared_extents(problem, i), default=1)
        for i, rank in enumerate(problem.ranks)
    }
    units: dict[str, float] = {}
    for space in problem.spaces:
        # What shared loops cut stands on one axis of an array: see Fused.
        ranks = tuple(
            r if extents[r.name] == r.size else replace(r, sizes=(extents[r.name],))
            for r in space.ranks
        )
        cycles = space.lane_cycles / replace(space, ranks=ranks).widest
        if problem.masked(space) is not None:
            cycles *= problem.share
        for rank in space.einsum.each:
            cycles *= problem.workload.rank_sizes[rank] / extents[rank]
        unit = space.einsum.unit
        units[unit] = units.get(unit, 0.0) + cycles
    parts = units.values()
    return max(parts) if problem.group.schedule == "overlapped" else sum(parts)


def pairs_in_tile(problem: GroupProblem) -> int:
    """Pairs of a query and a key in the tile that the problem fixes."""
    fixed = problem.mapspace.fusion.tiles
    queries, keys = pair_of(problem.workload)
    return fixed[queries][0] * fixed[keys][0]


def pair_of(workload: Workload) -> tuple[str, str]:
    """The ranks of queries and keys, which a workload with a mask has."""
    pair = workload.roles.masked
    assert pair is not None, f"{workload.name}: a mask without roles"
    return pair


def contest_of(problem: GroupProblem, goal: Goal, best: Costs | None) -> Contest:
    """The contest of a group: under a mask its bounds are of the dense work."""
    if problem.share == 1:
        return Contest.of((goal,), (best,))
    contest = MaskedContest.of((goal,), (best,))
    assert isinstance(contest, MaskedContest)
    contest.share = problem.share
    for space in problem.spaces:
        if not all(r in space.einsum.output.ranks for r in pair_of(problem.workload)):
            words = (1 - problem.share) * space.volume[space.output]
            for level in space.arch.levels:
                read, write, _ = space.prices[level.name]
                contest.energy_slack += words * level.instances * (read + write)
                for rate in (
                    level.read_words_per_cycle,
                    level.write_words_per_cycle,
                    level.shared_words_per_cycle,
                ):
                    contest.cycle_slack += 2 * words / rate if rate is not None else 0.0
    return contest
