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
from heapq import heapify, heappop, heappush
from math import inf
from typing import NamedTuple

import numpy as np

from flat_mapper.arch.cores import CoreFacts, core_facts
from flat_mapper.arch.values import Platform
from flat_mapper.base.budget import Budget, Stopped
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.base.progress import Progress
from flat_mapper.cost_model.chip.cores import GroupOnCores
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.chip.group import group_on_cores
from flat_mapper.cost_model.chip.totals import chip_stats
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.energy.operations import operation_energy
from flat_mapper.energy.tables import Ert
from flat_mapper.mapper.chip.assignments import (
    Assignment,
    cascades,
    deaf_inside,
    every_assignment,
    fusion_levels,
)
from flat_mapper.mapper.chip.floors import Fullest, at_least, at_peak, core_energies, core_view
from flat_mapper.mapper.chip.incumbent import CYCLES, ChipIncumbent
from flat_mapper.mapper.cost.candidate_set import CandidateCache
from flat_mapper.mapper.group.group import GroupSearch
from flat_mapper.mapper.group.incumbent import pair_of
from flat_mapper.mapper.group.objective import Goal, Objective, better_pair
from flat_mapper.mapper.group.picks import GroupSolution
from flat_mapper.mapper.group.reconstruct import group_mapping
from flat_mapper.mapper.solve.result import Certificate, Solution
from flat_mapper.mapper.solve.solve import best_mapping, floor_of, value_of
from flat_mapper.mapper.space.group import group_problem
from flat_mapper.mapping.arch_rules import with_arch_rules
from flat_mapper.mapping.cores.lift import lifted
from flat_mapper.mapping.cores.view import core_count, core_platform
from flat_mapper.mapping.space import Mapspace, partitions
from flat_mapper.mapping.values import FusedMapping, GroupMapping
from flat_mapper.workload.graph import Workload

EXACT = 1e-12  # rounding of float64
# Where no budget is given the search ends after so many tiles that are no better than the best, but
# not before so many mappings are priced: chosen, some CPU seconds.
PATIENCE = 2
ENOUGH = 40_000
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
    enough: int = ENOUGH  # mappings priced before tiles in vain end the search
    count: _Counters = field(default_factory=_Counters)

    @property
    def buffering(self) -> float:
        """Copies of what crosses DRAM."""
        return self.mapspace.policy.buffering

    def value(self, cycles: float, energy: float = 0.0) -> float:
        """The objective at some costs."""
        return float(self.goal.first(np.array(cycles), np.array(energy)))

    def costs(self, value: float) -> Costs:
        """Costs that come to a value of the objective, and lose every tie but for latency."""
        if self.goal.kind == "edp":
            return 1.0, value - self.goal.leak
        return pair_of(self.goal, value)

    def computes_pj(self, workload: Workload, names: tuple[str, ...]) -> float:
        """pJ of the computes of a group, which no mapping is below."""
        return sum(
            workload.unmasked_iterations(e)
            * operation_energy(self.platform.path(e.unit), self.ert, e, workload.widths)
            for e in map(workload.einsum, names)
            if not e.each
        )

    @property
    def adds_up(self) -> bool:
        """Whether what is minimised is a sum over groups."""
        return self.goal.kind != "edp"


class _Waiting(NamedTuple):
    """Tiles that may be given out, with their best bound so far."""

    least: float  # of the objective
    idle: int  # less is more cores at work
    count: int
    number: int
    one: Assignment
    search: GroupSearch | None = None
    bounded: bool = False  # by all of its outer choices


@dataclass(slots=True)
class _Group:
    """The search of one group over all that may be given out."""

    question: _Question
    workload: Workload
    every: _Tiles
    below: float = inf  # the objective of an answer has to stay below
    best: tuple[Costs, GroupMapping] | None = None
    bound: float = inf  # that no mapping beats
    refused: Infeasible | None = None
    known: dict[object, CandidateCache] = field(default_factory=dict)

    @property
    def most(self) -> float:
        """The objective that a mapping has to stay below to be of use."""
        return min(self.below, self.question.value(*self.best[0])) if self.best else self.below

    def run(self) -> None:
        """Search the most promising tiles first; bounds are taken one after another, as needed."""
        queue = [
            _Waiting(least, -one.at_work, one.count, number, one)
            for number, (least, one) in enumerate(self.every.tiles)
        ]
        heapify(queue)
        question, done = self.question, 0
        while queue:
            item = heappop(queue)
            if item.least >= self.most * (1 - EXACT):
                question.count.pruned += len(queue) + 1
                self.bound = min(self.bound, item.least)
                return
            if item.search is None or not item.bounded:
                heappush(queue, self._bounded(item))
                continue
            if question.progress:
                question.progress(done / len(self.every.tiles), str(item.one))
            done += 1
            try:
                self._search(item)
            except Stopped:
                question.count.left += len(queue) + 1
                self.bound = min(self.bound, item.least)
                return

    def _bounded(self, item: _Waiting) -> _Waiting:
        """An assignment with its next bound: of a core at peak, then of all outer choices."""
        question, one = self.question, item.one
        fullest = Fullest.of(question.platform, one, question.buffering)
        if item.search is None:
            core = core_view(question.platform, one, question.buffering)
            space = with_arch_rules(one.inner(question.mapspace), core, one.core_workload)
            ert = core_energies(question.ert, question.platform, one, question.goal)
            problem = group_problem(one.core_workload, core, ert, space, one.group)
            known = self.known.setdefault((one.level, one.tile), CandidateCache())
            search = GroupSearch.of(problem, known)
            cycles = at_least(question.platform, one, question.buffering)
            own = question.value(max(cycles, fullest.cycles()), self.every.energy)
            least = max(item.least, own)
            return item._replace(least=least, search=search)
        roots = item.search.roots
        fits = item.search.bounds.fits(roots)
        if not fits.any() and self.best is None:
            item.search.prepare()
            self.refused = _least_refused([self.refused, item.search.infeasibility()])
        costs = fullest.line(roots.cycles[fits]), fullest.largest * roots.energy[fits]
        least = float(question.goal.first(*costs).min(initial=inf))
        if question.goal.kind == "latency":
            least = max(least, fullest.cycles(float(roots.cycles[fits].min(initial=inf))))
        return item._replace(least=max(item.least, least), bounded=True)

    def _search(self, item: _Waiting) -> None:
        """All mappings of a tile that may be of use, laid out on the chip."""
        question, one, search = self.question, item.one, item.search
        assert search is not None
        question.budget.step(known=self.best is not None)
        spends = min(question.budget.seconds, question.budget.steps) < inf
        in_vain, priced = question.count.in_vain, question.count.evaluated
        if self.best and not spends and in_vain >= PATIENCE and priced >= question.enough:
            question.budget.stopped = question.budget.stopped or "tiles"
            raise Stopped
        question.count.in_vain += 1
        fullest = Fullest.of(question.platform, one, question.buffering)
        incumbent = ChipIncumbent(
            goal=question.goal,
            fullest=fullest,
            price=lambda found: self._lay_out(one, found),
        )
        if self.most < inf:
            incumbent.best = self.best[0] if self.best else question.costs(self.most)
        search.prepare()
        search.solve(incumbent)
        question.count.size += len(search.roots.staging) and search.space_size()
        question.count.evaluated += search.counters.evaluated
        if not incumbent.offered and incumbent.open:
            self.refused = _least_refused([self.refused, search.infeasibility()])
        left = search.proven(CYCLES)
        if left < inf:
            left = question.value(fullest.cycles(left), self.every.energy)
        self.bound = min(self.bound, max(item.least, min(left, incumbent.loose)))

    def _lay_out(self, one: Assignment, found: GroupSolution) -> Costs | None:
        """Price a tile's mapping in every way to give tiles out; the least, None: none fits."""
        question = self.question
        mapping = group_mapping(found, dict(one.core_workload.rank_sizes))
        where, least = (self.workload, question.platform), None
        for whole in lifted(*where, mapping, one.level, dict(one.tile)):
            on = group_on_cores(*where, whole, question.mapspace.policy, question.ert)
            if isinstance(on, Infeasible):
                self.refused = _least_refused([self.refused, on])
                continue
            question.count.evaluated += 1
            own = _costs(on, question.ert)
            if least is None or better_pair(question.goal, own, least):
                least = own
            if self.best is None or better_pair(question.goal, own, self.best[0]):
                self.best = own, whole
                question.count.in_vain = 0
        return least


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
    enough: int = ENOUGH,
) -> Solution | Infeasible:
    """The best mapping on the cores of a chip that was found, and how far any other may be.

    budget: what may be spent; without one the search ends after some tiles, but not before
            `enough` mappings are priced.

    raises: SpecError where the mapspace names a level that is not on every path.
    """
    if mapspace.policy.softmax == "free":
        where = f"{mapspace.name}: policy.softmax"
        raise SpecError(expected(where, "charged, where tiles are given out to cores", "free"))
    what = workload, platform, mapspace, ert
    levels = fusion_levels(platform, mapspace)
    alone = levels == [platform.matrix.levels[1].name]
    if alone and core_count(platform.matrix, levels[0]) == 1 and _is_free(platform):
        return _on_one_core(*what, objective, progress, budget)
    begin = time.perf_counter()
    question = _Question(
        platform=platform,
        mapspace=mapspace,
        ert=ert,
        goal=Goal(kind=objective, leak=sum(ert.leak_per_cycle(platform).values())),
        budget=budget or Budget(),
        progress=progress,
        enough=enough,
    )
    chosen, bound = _searched(question, workload)
    if isinstance(chosen, Infeasible):
        return chosen
    cascade, groups = chosen
    mapping = FusedMapping(groups=groups, policy=mapspace.policy)
    result = evaluate(cascade, platform, mapping, ert)
    assert isinstance(result, Result), f"the search chose a mapping that does not fit: {result}"
    return _solution(question, cascade, _noted(result, platform, mapspace), bound, begin)


def _is_free(platform: Platform) -> bool:
    """Whether a core costs nothing beside its units and levels."""
    return core_facts(platform.matrix) == CoreFacts()


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
class _Tiles:
    """All that may be given out of a group, with the objective at least, and pJ of its computes."""

    energy: float
    tiles: list[tuple[float, Assignment]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Alternative:
    """A cascade in groups, with the objective at least of each tile."""

    workload: Workload
    groups: tuple[_Tiles, ...]

    @property
    def least(self) -> list[float]:
        """The objective of each group at least."""
        return [min(least for least, _ in group.tiles) for group in self.groups]


def _searched(
    question: _Question, workload: Workload
) -> tuple[tuple[Workload, tuple[GroupMapping, ...]] | Infeasible, float]:
    """The best of all cascades and partitions; and cycles that no mapping beats."""
    best: tuple[Costs, Workload, tuple[GroupMapping, ...]] | None = None
    bound, refused = inf, None
    for one in _alternatives(question, workload):
        adds_up = question.adds_up or len(one.groups) == 1
        below = question.value(*best[0]) if best and adds_up else inf
        if sum(one.least) >= below:
            question.count.pruned += 1
            bound = min(bound, sum(one.least))
            continue
        groups, least = _alternative(question, one, below)
        bound = min(bound, sum(least) if adds_up else 0.0)
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
            own = []
            for group in groups:
                energy = question.computes_pj(cascade, group.names)
                every = every_assignment(*where, group)
                peaks = [(question.value(at_peak(platform, one), energy), one) for one in every]
                own.append(_Tiles(energy=energy, tiles=peaks))
            found.append(_Alternative(workload=cascade, groups=tuple(own)))
    return sorted(found, key=lambda one: sum(one.least))


def _alternative(
    question: _Question, one: _Alternative, below: float
) -> tuple[list[_Group], list[float]]:
    """The groups of an alternative as far as they may be of use, and cycles of each at least."""
    least, groups = one.least, []
    for i, every in enumerate(one.groups):
        others = sum(least) - least[i]
        search = _Group(question=question, workload=one.workload, every=every, below=below - others)
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
    units = {"latency": result.cycle_seconds, "energy": 1.0, "edp": 1e-12 * result.cycle_seconds}
    times = cascade.repeat ** (2 if objective == "edp" else 1)
    proven = max(floor, min(bound * times * units[objective], value_of(result, objective)))
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
