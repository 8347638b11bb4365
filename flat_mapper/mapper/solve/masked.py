"""Groups under a mask: one search for each size of the tiles that the mask may leave out.

With the tile of queries x keys fixed, the share of tiles that is visited is one number. What moves
or computes once in each tile is multiplied by it; all else stays as it is.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product

from flat_mapper.arch.values import Platform
from flat_mapper.cost_model.latency import port_loads
from flat_mapper.energy.tables import Ert
from flat_mapper.mapper.group.incumbent import NONE, Costs, GoalIncumbent, MaskedIncumbent
from flat_mapper.mapper.group.objective import Goal
from flat_mapper.mapper.space.factors import divisors
from flat_mapper.mapper.space.group import GroupProblem, group_problem
from flat_mapper.mapper.space.outer import shared_extents
from flat_mapper.mapping.space import GroupSpace, Mapspace
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.mask import mask_tiles


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
        left = None
        if workload.mask and rows < sizes[queries] and columns < sizes[keys]:
            left = mask_tiles(workload.mask, sizes[queries], sizes[keys], rows, columns)
        found.append(replace(problem, mask_tiles=left))
    return found


def least_cycles(problem: GroupProblem) -> float:
    """Lower bound on compute cycles under a mask: units as wide as the tile lets them be."""
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
            cycles *= problem.visited
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


def incumbent_of(problem: GroupProblem, goal: Goal, best: Costs | None) -> GoalIncumbent:
    """The incumbent of a group: under a mask its bounds are of the dense work."""
    if problem.visited == 1:
        return GoalIncumbent.of((goal,), (best,))
    cycles, energy = _spared_by_no_mask(problem)
    return MaskedIncumbent(
        goals=(goal,),
        best=[best if best is not None else NONE],
        solutions=[None],
        visited=problem.visited,
        cycle_slack=cycles,
        energy_slack=energy,
    )


def _spared_by_no_mask(problem: GroupProblem) -> Costs:
    """Cycles and pJ of accumulators' first visits at most: a mask of tiles leaves them in full."""
    cycles = energy = 0.0
    for space in problem.spaces:
        if not all(r in space.einsum.output.ranks for r in pair_of(problem.workload)):
            words = (1 - problem.visited) * space.volume[space.output]
            for level in space.arch.levels:
                read, write, _ = space.prices[level.name]
                energy += words * level.instances * (read + write)
                for load in port_loads(level, 0, 0):
                    cycles += 2 * words / load.words_per_cycle
    return cycles, energy
