"""The search on a chip of many cores: at which level to fuse, and which tiles to give out.

Groups run one after another, so each is given out for itself. For given tiles the problem of one
core is an ordinary one: a tile of the workload, with all that serves it while the others do as
much (`mapper.chip.floors.core_view`). Its costs bound those of the chip from below, so the most
promising tiles are searched one after another, and what may be better by these bounds is laid over
the cores in every way (`lifted`) and priced by the model. The least bound of all that is left is
part of the certificate.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import floor, inf

from flat_mapper.arch.cores import CoreFacts, core_facts
from flat_mapper.arch.values import Platform
from flat_mapper.base.budget import Budget, Limits, Progress
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.base.tolerance import EQUAL
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.energy.tables import Ert
from flat_mapper.mapper.chip.assignments import (
    cascades,
    deaf_inside,
    every_assignment,
    fusion_levels,
)
from flat_mapper.mapper.chip.floors import at_border, at_peak, least_pj
from flat_mapper.mapper.chip.question import Question, Tiles
from flat_mapper.mapper.group.incumbent import Costs, Goal, Objective, better_pair
from flat_mapper.mapper.solve.alternatives import binding_limit, least_refused, limited_goal
from flat_mapper.mapper.solve.certificate import Solution, certified, of_all_runs
from flat_mapper.mapper.solve.solve import best_mapping
from flat_mapper.mapper.solve.tile_search import ENOUGH, GroupOnTiles
from flat_mapper.mapper.space.execution import execution_orders
from flat_mapper.mapping.cores.view import core_count, core_platform
from flat_mapper.mapping.space import GroupSpace, Mapspace, partitions
from flat_mapper.mapping.values import FusedMapping, GroupMapping
from flat_mapper.workload.graph import Workload


def best_on_cores(
    workload: Workload,
    platform: Platform,
    mapspace: Mapspace,
    ert: Ert,
    *,
    objective: Objective = "edp",
    progress: Progress | None = None,
    budget: Budget | None = None,
    alone: Callable[..., Solution | Infeasible | None] = best_mapping,
) -> Solution | Infeasible:
    """The best mapping on the cores of a chip that was found, and how far any other may be.

    alone: the search where the chip has one core.
    budget: what may be spent; without one the search ends after some tiles.

    raises: SpecError where the mapspace names a level that is not on every path.
    """
    if mapspace.policy.softmax == "free":
        where = f"{mapspace.name}: policy.softmax"
        raise SpecError(expected(where, "charged, where tiles are given out to cores", "free"))
    what = workload, platform, mapspace, ert
    levels = fusion_levels(platform, mapspace)
    outermost = levels == [platform.matrix.levels[1].name]
    if outermost and core_count(platform.matrix, levels[0]) == 1 and _is_free(platform):
        return _on_one_core(alone, *what, objective, progress, budget)
    begin, budget = time.perf_counter(), budget or Budget()
    goal = Goal(kind=objective, leak=sum(ert.leak_per_cycle(platform).values()))
    if budget.limits:
        _check_limits(*what[:3], budget.limits)
        goal = limited_goal(goal, budget.limits, workload, platform)
    question = Question(
        platform=platform,
        mapspace=mapspace,
        ert=ert,
        goal=goal,
        budget=budget,
        progress=progress,
        enough=inf if budget.ends else ENOUGH,
    )
    chosen, bound = _searched(question, workload)
    if budget.limits and not isinstance(chosen, tuple):

        def solved(objective: Objective, limits: Limits) -> Solution | Infeasible:
            within = Budget(limits=limits)
            return best_on_cores(*what, objective=objective, budget=within, alone=alone)

        return binding_limit(budget.limits, solved)
    if isinstance(chosen, Infeasible):
        return chosen
    assert chosen is not None
    return _solution(question, workload, *_evaluated(question, *chosen), bound, begin)


@dataclass(frozen=True, slots=True, kw_only=True)
class Within:
    """The fastest mapping of at most so many seconds, and seconds that no other mapping beats."""

    found: Solution | None
    bound_s: float


def fastest_within(
    workload: Workload,
    platform: Platform,
    mapspace: Mapspace,
    ert: Ert,
    seconds: float,
    progress: Progress | None = None,
) -> Within:
    """A mapping of at most so many seconds, if any is found: slower ones are not looked for."""
    begin = time.perf_counter()
    question = Question(
        platform=platform,
        mapspace=mapspace,
        ert=ert,
        goal=Goal(kind="latency", leak=sum(ert.leak_per_cycle(platform).values())),
        budget=Budget(),
        progress=progress,
        enough=ENOUGH,
    )
    cycle = platform.matrix.cycle_seconds * workload.repeat
    most = floor(seconds / cycle * (1 + EQUAL)) + 0.5  # cycles are whole
    chosen, bound = _searched(question, workload, most)
    if chosen is None or isinstance(chosen, Infeasible):
        return Within(found=None, bound_s=bound * cycle)
    found = _solution(question, workload, *_evaluated(question, *chosen), bound, begin)
    return Within(found=found, bound_s=found.certificate.proven_bound)


def least_seconds(workload: Workload, platform: Platform, mapspace: Mapspace) -> float:
    """Seconds that no mapping beats, units of all cores at peak; more cores never need more."""
    least = inf
    for cascade in cascades(workload, platform, mapspace):
        for groups in partitions(cascade, mapspace):
            every = (every_assignment(cascade, platform, mapspace, group) for group in groups)
            cycles = sum(min(at_peak(platform, one) for one in some) for some in every)
            least = min(least, cycles)
    return least * platform.matrix.cycle_seconds * workload.repeat


def most_tiles(workload: Workload, platform: Platform, mapspace: Mapspace) -> int:
    """Cores that can have a tile of their own, at most."""
    return max(
        one.count
        for cascade in cascades(workload, platform, mapspace)
        for groups in partitions(cascade, mapspace)
        for group in groups
        for one in every_assignment(cascade, platform, mapspace, group)
    )


def _evaluated(
    question: Question, cascade: Workload, groups: tuple[GroupMapping, ...]
) -> tuple[Workload, Result]:
    """The cascade that was mapped, and the model's result."""
    platform, mapspace = question.platform, question.mapspace
    mapping = FusedMapping(groups=groups, policy=mapspace.policy)
    result = evaluate(cascade, platform, mapping, question.ert)
    assert isinstance(result, Result), f"the search chose a mapping that does not fit: {result}"
    return cascade, _noted(result, platform, mapspace)


def _check_limits(
    workload: Workload, platform: Platform, mapspace: Mapspace, limits: Limits
) -> None:
    """Refuse limits that this search has not: of a buffer, or of groups one after another."""
    if limits.buffer_bytes < inf:
        condition = "none beside fusion.level or cores; a lower depth of the level is a limit"
        raise SpecError(expected("--max-buffer", condition, f"{limits.buffer_bytes:,.0f} bytes"))
    every = cascades(workload, platform, mapspace)
    if any(len(groups) > 1 for one in every for groups in partitions(one, mapspace)):
        condition = "one fused group, where tiles are given out to cores"
        raise SpecError(expected("--max-latency, --max-energy", condition, "several"))


def _is_free(platform: Platform) -> bool:
    """True if a core costs nothing beside its units and levels."""
    return core_facts(platform.matrix) == CoreFacts()


def _on_one_core(
    alone: Callable[..., Solution | Infeasible | None],
    workload: Workload,
    platform: Platform,
    mapspace: Mapspace,
    ert: Ert,
    objective: Objective,
    progress: Progress | None,
    budget: Budget | None,
) -> Solution | Infeasible:
    """The answer of the chip without cores, of which all say that they are on its one."""
    level = platform.matrix.levels[1].name
    space = replace(mapspace, fusion=replace(mapspace.fusion, level="", cores=()))
    what = workload, core_platform(platform, level), space, ert
    found = alone(*what, objective=objective, progress=progress, budget=budget)
    if not isinstance(found, Solution):
        assert found is not None
        return found
    mapping = found.result.mapping
    whole = replace(mapping, groups=tuple(replace(g, level=level) for g in mapping.groups))
    result = evaluate(found.workload, platform, whole, ert)
    assert isinstance(result, Result), f"a core that does not do what a chip does: {result}"
    return replace(found, result=replace(result, bound=found.result.bound))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Alternative:
    """A cascade in groups, with the objective at least of each tile."""

    workload: Workload
    groups: tuple[Tiles, ...]

    @property
    def least(self) -> list[float]:
        """The objective of each group at least."""
        return [min(least for least, _ in group.tiles) for group in self.groups]


def _searched(
    question: Question, workload: Workload, most: float = inf
) -> tuple[tuple[Workload, tuple[GroupMapping, ...]] | Infeasible | None, float]:
    """The best of all cascades and partitions; and cycles that no mapping beats.

    most: the objective below which a mapping is of use; None where there is none.
    """
    best: tuple[Costs, Workload, tuple[GroupMapping, ...]] | None = None
    bound, refused = inf, None
    for one in _alternatives(question, workload):
        adds_up = question.adds_up or len(one.groups) == 1
        below = min(most, question.value(*best[0]) if best and adds_up else inf)
        if sum(one.least) >= below:
            question.count.pruned += 1
            bound = min(bound, sum(one.least))
            continue
        groups, least = list[GroupOnTiles](), one.least
        with question.budget.until_stopped(best is not None):
            groups, least = _alternative(question, one, below)
        bound = min(bound, sum(least) if adds_up else 0.0)
        found = [group.best for group in groups if group.best]
        if len(found) < len(one.groups):
            refused = least_refused(refused, *(g.refused for g in groups))
            continue
        own = sum(c for (c, _), _ in found), sum(e for (_, e), _ in found)
        if best is None or better_pair(question.goal, own, best[0]):
            best = own, one.workload, tuple(mapping for _, mapping in found)
    if best is None:
        assert refused is not None or most < inf or question.goal.is_limited
        return refused, bound if most < inf else 0.0
    return best[1:], bound


def _alternatives(question: Question, workload: Workload) -> list[_Alternative]:
    """Cascades in groups, the most promising first."""
    mapspace, found = question.mapspace, []
    for cascade in cascades(workload, question.platform, mapspace):
        for groups in partitions(cascade, mapspace):
            own = tuple(tiles_on_cores(question, cascade, group) for group in groups)
            found.append(_Alternative(workload=cascade, groups=own))
    return sorted(found, key=lambda one: sum(one.least))


def tiles_on_cores(question: Question, workload: Workload, group: GroupSpace) -> Tiles:
    """All that may be given out of a group."""
    platform, names = question.platform, group.names
    energy = least_pj(platform, question.ert, workload, names)
    border = at_border(platform, workload, names)
    mapspace = question.mapspace
    every = [
        one
        for order in execution_orders(workload, platform, mapspace, group, on_cores=True)
        for one in every_assignment(workload, platform, mapspace, order)
    ]
    least = ((max(at_peak(platform, one), border), one) for one in every)
    tiles = [(question.value(cycles, energy), one) for cycles, one in least]
    return Tiles(energy=energy, tiles=tiles)


def _alternative(
    question: Question, one: _Alternative, below: float
) -> tuple[list[GroupOnTiles], list[float]]:
    """The groups of an alternative as far as they may be of use, and cycles of each at least."""
    least = one.least
    groups = [
        GroupOnTiles(question=question, workload=one.workload, every=every) for every in one.groups
    ]
    if below == inf and question.budget.ends:
        for search in groups:
            search.first()
    for i, search in enumerate(groups):
        search.below = below - sum(least) + least[i]
        search.run()
        if search.best is None:
            least[i] = max(least[i], search.bound)
            break
        # `bound` is that of what was left out, which may be worse than what was found.
        least[i] = max(least[i], min(search.bound, question.value(*search.best[0])))
    return groups, least


def _noted(result: Result, platform: Platform, mapspace: Mapspace) -> Result:
    """The result with a line on levels that were left out."""
    searched = fusion_levels(platform, mapspace)
    names = [lv.name for lv in platform.matrix.levels[1:]]
    left_out = [name for name in deaf_inside(platform, names) if name not in searched]
    if mapspace.fusion.level != "any" or not left_out:
        return result
    note = (
        f"not fused at {', '.join(left_out)}: inside, every instance reads for itself; "
        f"fusion: {{level: {left_out[0]}}} searches it"
    )
    return replace(result, notes=(*result.notes, note))


def _solution(
    question: Question,
    workload: Workload,
    cascade: Workload,
    result: Result,
    bound: float,
    begin: float,
) -> Solution:
    """The answer with its certificate.

    workload, cascade: that was asked about, and that was mapped. bound: of one run, what no mapping
                       beats.
    """
    objective, count = question.goal.kind, question.count
    assert objective != "weighted"
    return certified(
        (workload, question.platform, question.mapspace, question.ert),
        cascade,
        result,
        objective,
        proven=of_all_runs(result, objective, bound),
        mapspace_size=max(count.size, 1),
        evaluated=count.evaluated,
        pruned=count.of(),
        stopped=question.budget.stopped or count.ended,
        seconds=time.perf_counter() - begin,
    )
