"""The search of one group over all tiles that may be given out to the cores of a chip."""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from math import inf
from typing import NamedTuple

import numpy as np

from flat_mapper.arch.values import Platform
from flat_mapper.base.budget import Budget, Stopped
from flat_mapper.base.progress import Progress
from flat_mapper.cost_model.chip.cores import GroupOnCores
from flat_mapper.cost_model.chip.group import group_on_cores
from flat_mapper.cost_model.chip.totals import chip_stats
from flat_mapper.cost_model.result import Infeasible
from flat_mapper.energy.operations import operation_energy
from flat_mapper.energy.tables import Ert
from flat_mapper.mapper.chip.assignments import (
    Assignment,
)
from flat_mapper.mapper.chip.floors import at_least, core_energies, core_view
from flat_mapper.mapper.chip.fullest import Fullest
from flat_mapper.mapper.chip.incumbent import CYCLES, ChipIncumbent
from flat_mapper.mapper.cost.candidate_set import CandidateCache
from flat_mapper.mapper.group.group import GroupSearch
from flat_mapper.mapper.group.incumbent import pair_of
from flat_mapper.mapper.group.objective import Goal, better_pair
from flat_mapper.mapper.group.picks import GroupSolution
from flat_mapper.mapper.group.reconstruct import group_mapping
from flat_mapper.mapper.solve.alternatives import least_refused
from flat_mapper.mapper.space.group import group_problem
from flat_mapper.mapping.arch_rules import with_arch_rules
from flat_mapper.mapping.cores.lift import lifted
from flat_mapper.mapping.cores.view import levels_between
from flat_mapper.mapping.space import Mapspace
from flat_mapper.mapping.values import GroupMapping
from flat_mapper.workload.graph import Workload

EXACT = 1e-12  # rounding of float64
# Where no budget is given the search ends after so many tiles that are no better than the best, but
# not before so many mappings are priced: chosen, some CPU seconds.
PATIENCE = 2
ENOUGH = 40_000
Costs = tuple[float, float]  # cycles and dynamic pJ


@dataclass(slots=True)
class Counters:
    """Counts of what was looked at, of all groups."""

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
class Question:
    """Question that is asked, of all cascades and groups."""

    platform: Platform
    mapspace: Mapspace
    ert: Ert
    goal: Goal
    budget: Budget
    progress: Progress | None
    enough: int = ENOUGH  # mappings priced before tiles in vain end the search
    count: Counters = field(default_factory=Counters)

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
        """True if what is minimised is a sum over groups."""
        return self.goal.kind != "edp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiles:
    """All that may be given out of a group, with the objective at least, and pJ of its computes."""

    energy: float
    tiles: list[tuple[float, Assignment]]


class _Waiting(NamedTuple):
    """Tiles that may be given out, with their best bound so far."""

    least: float  # of the objective
    idle: int  # less is more cores at work
    tiles: int
    number: int
    one: Assignment
    search: GroupSearch | None = None
    bounded: bool = False  # by all of its outer choices


@dataclass(slots=True)
class GroupOnTiles:
    """The search of one group over all that may be given out."""

    question: Question
    workload: Workload
    every: Tiles
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
            search = self._of_core(one)
            cycles = at_least(question.platform, one, question.buffering)
            own = question.value(max(cycles, fullest.cycles()), self.every.energy)
            least = max(item.least, own)
            return item._replace(least=least, search=search)
        roots = item.search.roots
        fits = item.search.bounds.fits(roots)
        if not fits.any() and self.best is None:
            item.search.prepare()
            self.refused = least_refused(self.refused, item.search.infeasibility())
        costs = fullest.line(roots.cycles[fits]), fullest.largest * roots.energy[fits]
        least = float(question.goal.first(*costs).min(initial=inf))
        if question.goal.kind == "latency":
            least = max(least, fullest.cycles(float(roots.cycles[fits].min(initial=inf))))
        return item._replace(least=max(item.least, least), bounded=True)

    def _of_core(self, one: Assignment, *, dearest: bool = False) -> GroupSearch:
        """The search of one core's tile; dearest: words from outside cost the most they may."""
        question, mapspace = self.question, self.question.mapspace
        core = core_view(question.platform, one, question.buffering)
        space = with_arch_rules(one.inner(mapspace), core, one.core_workload)
        ert = core_energies(question.ert, question.platform, one, question.goal, dearest=dearest)
        problem = group_problem(one.core_workload, core, ert, space, one.group)
        known = self.known.setdefault((one.level, one.tile, dearest), CandidateCache())
        return GroupSearch.of(problem, known)

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
        incumbent = self._solve(search, one, fullest)
        question.count.size += len(search.roots.staging) and search.space_size()
        if question.goal.kind != "latency" and levels_between(question.platform.matrix, one.level):
            # What is best where words come cheaply may not be where they come from DRAM.
            self._solve(self._of_core(one, dearest=True), one, fullest)
        if not incumbent.offered and incumbent.open:
            self.refused = least_refused(self.refused, search.infeasibility())
        left = search.proven(CYCLES)
        if left < inf:
            left = question.value(fullest.cycles(left), self.every.energy)
        self.bound = min(self.bound, max(item.least, min(left, incumbent.loose)))

    def _solve(self, search: GroupSearch, one: Assignment, fullest: Fullest) -> ChipIncumbent:
        """Lay out the mappings of a core that may be better than the best."""
        question = self.question
        incumbent = ChipIncumbent(
            goal=question.goal,
            fullest=fullest,
            price=lambda found: self._lay_out(one, found),
        )
        if self.most < inf:
            incumbent.best = self.best[0] if self.best else question.costs(self.most)
        search.prepare()
        search.solve(incumbent)
        question.count.evaluated += search.counters.evaluated
        return incumbent

    def _lay_out(self, one: Assignment, found: GroupSolution) -> Costs | None:
        """Price a tile's mapping in every way to give tiles out; the least, None: none fits."""
        question = self.question
        mapping = group_mapping(found, dict(one.core_workload.rank_sizes))
        where, least = (self.workload, question.platform), None
        for whole in lifted(*where, mapping, one.level, dict(one.tile)):
            on = group_on_cores(*where, whole, question.mapspace.policy, question.ert)
            if isinstance(on, Infeasible):
                self.refused = least_refused(self.refused, on)
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
