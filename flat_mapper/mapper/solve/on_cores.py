"""The search on a chip of many cores: at which level to fuse, and which tiles to give out.

Groups run one after another, so each is given out for itself. For given tiles the problem of one
core is an ordinary one: a tile of the workload, with DRAM as one core sees it while the others do
as much (`MemoryLevel.weight`). It is solved first under the least that DRAM may have to move: what
is given out in any way takes as long, or longer. So the most promising tiles are searched one after
another, and those are left out that this bound rules out. Under a mask tiles differ: one of fewer
passes over keys takes its part of the largest one's cycles, or more, and the bound is what the
fullest core is given. What comes of a tile is laid over the cores in every way (`lifted`), and
priced by the model. The least bound of all tiles is part of the certificate.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from math import inf

from flat_mapper.arch.values import Platform
from flat_mapper.base.budget import Budget, Stopped
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.base.progress import Progress
from flat_mapper.cost_model.chip.cores import GroupOnCores
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.chip.group import group_on_cores
from flat_mapper.cost_model.chip.totals import chip_stats
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.energy.tables import Ert
from flat_mapper.mapper.chip.assignments import (
    Assignment,
    cascades,
    deaf_inside,
    every_assignment,
    fusion_levels,
)
from flat_mapper.mapper.chip.floors import at_least, core_views, on_fullest
from flat_mapper.mapper.cost.candidate_set import CandidateCache
from flat_mapper.mapper.group.group import GroupSearch
from flat_mapper.mapper.group.objective import Goal, Objective, better_pair
from flat_mapper.mapper.group.reconstruct import group_mapping
from flat_mapper.mapper.solve.result import Certificate, Solution
from flat_mapper.mapper.solve.solve import best_mapping, floor_of, solve_group, value_of
from flat_mapper.mapper.space.group import group_problem
from flat_mapper.mapping.arch_rules import with_arch_rules
from flat_mapper.mapping.cores.lift import lifted
from flat_mapper.mapping.cores.view import core_count, core_platform, served
from flat_mapper.mapping.space import Mapspace, partitions
from flat_mapper.mapping.values import FusedMapping, GroupMapping
from flat_mapper.workload.graph import Workload

EXACT = 1e-12  # rounding of float64
# Where no budget is given the search ends after so many tiles that are no better than the best, but
# not before so many mappings are priced: chosen, some CPU seconds.
PATIENCE = 2
ENOUGH = 4000
ANY_PJ = 1e300
Costs = tuple[float, float]  # cycles and dynamic pJ


@dataclass(slots=True)
class _Counters:
    """What was looked at, of all groups."""

    size: int = 0
    evaluated: int = 0
    in_vain: int = 0  # tiles that were searched since one was better
    pruned: int = 0
    left: int = 0

    def of(self) -> dict[str, int]:
        """Tiles left out, by why."""
        named = {"tiles": self.pruned, "tiles left": self.left}
        return {name: n for name, n in named.items() if n}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """What is asked, of all cascades and groups."""

    platform: Platform
    mapspace: Mapspace
    ert: Ert
    goal: Goal
    budget: Budget
    progress: Progress | None
    count: _Counters = field(default_factory=_Counters)

    @property
    def buffering(self) -> float:
        """Copies of what crosses DRAM."""
        return self.mapspace.policy.buffering

    def least(self, one: Assignment) -> float:
        """Cycles that no mapping beats, before any search."""
        return at_least(self.platform, one, self.buffering)

    @property
    def bounds(self) -> bool:
        """Whether what is minimised adds up over tiles as bounds have it."""
        return self.goal.kind == "latency"


@dataclass(slots=True)
class _Group:
    """The search of one group over all that may be given out."""

    question: _Question
    workload: Workload
    tiles: list[tuple[float, Assignment]]  # with cycles that no mapping beats
    below: float = inf  # cycles that an answer has to stay below
    best: tuple[Costs, GroupMapping] | None = None
    bound: float = inf  # cycles that no mapping beats
    refused: Infeasible | None = None
    known: dict[object, CandidateCache] = field(default_factory=dict)

    @property
    def most(self) -> float:
        """Cycles that a mapping has to stay below to be of use."""
        return min(self.below, self.best[0][0]) if self.best else self.below

    def run(self) -> None:
        """Search the most promising tiles first."""
        question = self.question
        order = sorted(self.tiles, key=lambda item: (item[0], -item[1].at_work, item[1].count))
        for number, (least, one) in enumerate(order):
            left = len(order) - number
            if question.bounds and least >= self.most:
                question.count.pruned += left
                self.bound = min(self.bound, least)
                return
            if question.progress:
                question.progress(number / len(order), str(one))
            try:
                self._try(one, least)
            except Stopped:
                question.count.left += left
                self.bound = min(self.bound, least)
                return

    def _try(self, one: Assignment, least: float) -> None:
        """One assignment: its bound, and the best mappings that are found."""
        question = self.question
        least = max(least, on_fullest(question.platform, one))
        if question.bounds and least >= self.most:
            question.count.pruned += 1
            self.bound = min(self.bound, least)
            return
        question.budget.step(known=self.best is not None)
        spends = min(question.budget.seconds, question.budget.steps) < inf
        in_vain, priced = question.count.in_vain, question.count.evaluated
        if self.best and not spends and in_vain >= PATIENCE and priced >= ENOUGH:
            question.budget.stopped = question.budget.stopped or "tiles"
            raise Stopped
        question.count.in_vain += 1
        plain = served(core_platform(question.platform, one.level), one.at_work, {}, {})
        views = core_views(question.platform, one, question.buffering)
        for view in views:
            cycles = self._solved(one, view)
            least = max(least, on_fullest(question.platform, one, cycles))
            if question.bounds and least >= self.most:
                break
        else:
            if len(views) == 1 and views[0] != plain:
                self._solved(one, plain)
        self.bound = min(self.bound, least)

    def _solved(self, one: Assignment, chip: Platform) -> float:
        """Cycles that no mapping of the largest tile beats; its best mapping is laid out.

        chip: what one core of all at work has.
        """
        question = self.question
        workload = one.core_workload
        space = with_arch_rules(one.inner(question.mapspace), chip, workload)
        problem = group_problem(workload, chip, question.ert, space, one.group)
        known = self.known.setdefault((one.level, one.tile), CandidateCache())
        search = GroupSearch.of(problem, known)
        share = on_fullest(question.platform, one, 1e9) / 1e9  # of the fullest core in tiles
        cutoff = self.most / share if question.bounds else inf
        found, left = solve_group(
            search, question.goal, (cutoff, ANY_PJ) if cutoff < inf else None, question.budget.gap
        )
        question.count.size += len(search.roots.staging) and search.space_size()
        question.count.evaluated += search.counters.evaluated
        if isinstance(found, Infeasible):
            self.refused = _least_refused([self.refused, found])
            return inf
        if not found:
            return min(cutoff, left)
        mapping = group_mapping(found[0], dict(workload.rank_sizes))
        self._lay_out(one, mapping)
        return min(found[0].cycles, left)

    def _lay_out(self, one: Assignment, mapping: GroupMapping) -> None:
        """Price a tile's mapping in every way to give tiles out."""
        question = self.question
        where = self.workload, question.platform
        for whole in lifted(*where, mapping, one.level, dict(one.tile)):
            on = group_on_cores(*where, whole, question.mapspace.policy, question.ert)
            if isinstance(on, Infeasible):
                self.refused = _least_refused([self.refused, on])
                continue
            question.count.evaluated += 1
            own = _costs(on, question.ert)
            if self.best is None or better_pair(question.goal, own, self.best[0]):
                self.best = own, whole
                question.count.in_vain = 0


def _costs(on: GroupOnCores, ert: Ert) -> Costs:
    energy = sum(one.energy_pj for one in chip_stats(on, ert))
    return float(on.stats().cycles), energy


def best_on_cores(
    workload: Workload,
    platform: Platform,
    mapspace: Mapspace,
    ert: Ert,
    *,
    objective: Objective = "edp",
    progress: Progress | None = None,
    budget: Budget | None = None,
) -> Solution | Infeasible:
    """The best mapping on the cores of a chip that was found, and how far any other may be.

    budget: what may be spent; without one the search ends after some tiles.

    raises: SpecError where the mapspace names a level that is not on every path.
    """
    if mapspace.policy.softmax == "free":
        where = f"{mapspace.name}: policy.softmax"
        raise SpecError(expected(where, "charged, where tiles are given out to cores", "free"))
    what = workload, platform, mapspace, ert
    levels = fusion_levels(platform, mapspace)
    if levels == [platform.matrix.levels[1].name] and core_count(platform.matrix, levels[0]) == 1:
        return _on_one_core(*what, objective, progress, budget)
    begin = time.perf_counter()
    question = _Question(
        platform=platform,
        mapspace=mapspace,
        ert=ert,
        goal=Goal(kind=objective, leak=sum(ert.leak_per_cycle(platform).values())),
        budget=budget or Budget(),
        progress=progress,
    )
    chosen, bound = _searched(question, workload)
    if isinstance(chosen, Infeasible):
        return chosen
    cascade, groups = chosen
    mapping = FusedMapping(groups=groups, policy=mapspace.policy)
    result = evaluate(cascade, platform, mapping, ert)
    assert isinstance(result, Result), f"the search chose a mapping that does not fit: {result}"
    return _solution(question, cascade, _noted(result, platform, mapspace), bound, begin)


def _on_one_core(
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
    found = best_mapping(*what, objective=objective, progress=progress, budget=budget)
    if not isinstance(found, Solution):
        assert found is not None
        return found
    mapping = found.result.mapping
    whole = replace(mapping, groups=tuple(replace(g, level=level) for g in mapping.groups))
    result = evaluate(found.workload, platform, whole, ert)
    assert isinstance(result, Result), f"a core that does not do what a chip does: {result}"
    return replace(found, result=result)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Alternative:
    """A cascade in groups, with cycles that no mapping of each tile beats."""

    workload: Workload
    groups: tuple[list[tuple[float, Assignment]], ...]  # all that may be given out

    @property
    def least(self) -> list[float]:
        """Cycles of each group that no mapping beats."""
        return [min(least for least, _ in tiles) for tiles in self.groups]


def _searched(
    question: _Question, workload: Workload
) -> tuple[tuple[Workload, tuple[GroupMapping, ...]] | Infeasible, float]:
    """The best of all cascades and partitions; and cycles that no mapping beats."""
    best: tuple[Costs, Workload, tuple[GroupMapping, ...]] | None = None
    bound, refused = inf, None
    for one in _alternatives(question, workload):
        below = best[0][0] if best and question.bounds else inf
        if sum(one.least) >= below:
            question.count.pruned += 1
            bound = min(bound, sum(one.least))
            continue
        groups, least = _alternative(question, one, below)
        bound = min(bound, sum(least))
        found = [group.best for group in groups if group.best]
        if len(found) < len(one.groups):
            refused = _least_refused([refused, *(g.refused for g in groups)])
            continue
        own = sum(c for (c, _), _ in found), sum(e for (_, e), _ in found)
        if best is None or better_pair(question.goal, own, best[0]):
            best = own, one.workload, tuple(mapping for _, mapping in found)
    if best is None:
        assert refused is not None
        return refused, 0.0
    return best[1:], bound


def _least_refused(found: Iterable[Infeasible | None]) -> Infeasible | None:
    """Of several reasons why nothing fits, the one that asks for least."""
    return min((one for one in found if one is not None), key=lambda one: one.needs, default=None)


def _alternatives(question: _Question, workload: Workload) -> list[_Alternative]:
    """Cascades in groups, the most promising first."""
    platform, mapspace = question.platform, question.mapspace
    found = []
    for cascade in cascades(workload, platform, mapspace):
        where = cascade, platform, mapspace
        for groups in partitions(cascade, mapspace):
            own = tuple(
                [(question.least(one), one) for one in every_assignment(*where, group)]
                for group in groups
            )
            found.append(_Alternative(workload=cascade, groups=own))
    return sorted(found, key=lambda one: sum(one.least))


def _alternative(
    question: _Question, one: _Alternative, below: float
) -> tuple[list[_Group], list[float]]:
    """The groups of an alternative as far as they may be of use, and cycles of each at least."""
    least, groups = one.least, []
    for i, tiles in enumerate(one.groups):
        search = _Group(
            question=question,
            workload=one.workload,
            tiles=tiles,
            below=below - sum(least) + least[i],
        )
        search.run()
        groups.append(search)
        least[i] = max(least[i], search.bound)
        if search.best is None:
            break
    return groups, least


def _noted(result: Result, platform: Platform, mapspace: Mapspace) -> Result:
    """The result with a line on levels that were left out."""
    left_out = deaf_inside(platform, [lv.name for lv in platform.matrix.levels[1:]])
    if mapspace.fusion.level != "any" or not left_out:
        return result
    note = f"not fused at {', '.join(left_out)}: inside, every instance reads for itself"
    return replace(result, notes=(*result.notes, note))


def _solution(
    question: _Question, cascade: Workload, result: Result, bound: float, begin: float
) -> Solution:
    """The answer with its certificate; bound: cycles that no mapping beats."""
    objective, count = question.goal.kind, question.count
    assert objective != "weighted"
    floor = proven = floor_of(result, objective)
    if question.bounds:
        proven = max(floor, min(bound * cascade.repeat, result.cycles) * result.cycle_seconds)
    gap = value_of(result, objective) / proven - 1
    return Solution(
        workload=cascade,
        result=result,
        mapspace=question.mapspace.name,
        objective=objective,
        certificate=Certificate(
            mapspace_size=max(count.size, 1),
            evaluated=count.evaluated,
            pruned=count.of(),
            optimal=gap < EXACT,
            lower_bound=floor,
            proven_bound=proven,
            gap=max(gap, 0.0),
            stopped=question.budget.stopped,
            seconds=time.perf_counter() - begin,
        ),
    )
