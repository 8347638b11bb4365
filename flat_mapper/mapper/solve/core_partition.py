"""The best partition of a cascade on a chip of many cores, to which tiles of a group are given out.

As in `flat_mapper.mapper.solve.partition`, partitions are paths over the cuts of a cascade, and
cycles add up over groups. A group is a question of its own to `flat_mapper.mapper.solve.on_cores`,
which answers with a mapping and a bound; before it is asked, computes at peak and the words over
the group's border are its bound. Where every group on the path of least bounds was asked about,
that path is the bound of all partitions, and the certificate has the gap to it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf

from flat_mapper.arch.values import Platform
from flat_mapper.base.budget import Budget, Stopped
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.base.progress import Progress, shortened
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.energy.operations import operation_cycles
from flat_mapper.energy.tables import Ert
from flat_mapper.mapper.chip.floors import at_border
from flat_mapper.mapper.group.objective import Goal, Objective
from flat_mapper.mapper.solve.alternatives import least_refused
from flat_mapper.mapper.solve.on_cores import tiles_on_cores
from flat_mapper.mapper.solve.result import Certificate, Solution
from flat_mapper.mapper.solve.solve import floor_of, of_all_runs
from flat_mapper.mapper.solve.symmetry import group_question, renamed_group
from flat_mapper.mapper.solve.tile_search import GroupOnTiles, Question
from flat_mapper.mapping.order import overlaps
from flat_mapper.mapping.partitions import (
    FusionGraph,
    forms,
    fusion_graph,
    group_spaces,
    partition_count,
    shortest,
)
from flat_mapper.mapping.space import AnyGroups, Mapspace
from flat_mapper.mapping.values import FusedMapping, GroupMapping
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.softmax import alternatives

ENOUGH = 4000  # chosen: mappings of a group that are priced before the search of tiles may end
TIGHT = 1e-12  # sums that should be equal differ in their last bits
_STEP = 1e-3  # chosen: of a partition's cost, by which a group's bound is raised at least,
LOOSE = 1.1  # chosen: times its bound from which a mapping that is known is improved first
_GROWTH = 4  # and so many times as much each time that it is raised again


@dataclass(slots=True)
class _Group:
    """A group on the cores, or several that are one question: cycles at least and at most."""

    names: tuple[str, ...]  # of the first
    floor: float
    begin: Callable[[tuple[str, ...]], list[GroupOnTiles]]
    begun: list[GroupOnTiles] | None = None  # one for each way to run it
    asked: int = 0

    @property
    def searches(self) -> list[GroupOnTiles]:
        """Those of all ways, the most promising first."""
        if self.begun is None:
            self.begun = self.begin(self.names)
        return sorted(self.begun, key=lambda one: one.bound)

    @property
    def best(self) -> GroupOnTiles | None:
        """The search with the best mapping that is known."""
        found = [one for one in self.begun or () if one.best]
        return min(found, key=lambda one: one.most, default=None)

    @property
    def most(self) -> float:
        """Cycles of the best mapping that is known."""
        return self.best.most if self.best else inf

    @property
    def least(self) -> float:
        """Cycles that no mapping beats."""
        if self.begun is None:
            return self.floor
        return max(self.floor, min(self.most, *(one.bound for one in self.begun)))

    @property
    def settled(self) -> bool:
        """True if no more is to be known."""
        done = self.begun is not None and all(one.done for one in self.begun)
        return done or self.least >= self.most * (1 - TIGHT)

    def first(self) -> None:
        """Some mapping soon."""
        for one in self.searches:
            if self.best is None:
                one.first()

    def run(self, until: float) -> None:
        """Raise what no mapping beats to so many cycles, if there are mappings below it."""
        self.asked += 1
        for one in self.searches:
            one.below = self.most
            one.run(until)


@dataclass(slots=True)
class _Form:
    """One form of a cascade, and its groups."""

    workload: Workload
    graph: FusionGraph
    groups: list[_Group]

    def path(self, weights: Sequence[float]) -> tuple[float, tuple[int, ...], _Form]:
        """The partition of least weight."""
        return *shortest(self.graph, weights), self


@dataclass(slots=True)
class _Search:
    """The search over all forms."""

    platform: Platform
    mapspace: Mapspace
    ert: Ert
    budget: Budget
    progress: Progress | None = None
    all_forms: list[_Form] = field(default_factory=list)
    known: dict[object, _Group] = field(default_factory=dict)  # by question

    def form(self, cascade: Workload, names: list[str]) -> _Form:
        """A form with a bound of each of its groups."""
        limits = self.mapspace.fusion.anything or AnyGroups()
        graph = fusion_graph(cascade, names, limits)
        return _Form(cascade, graph, [self.group(cascade, names) for names in graph.groups])

    def group(self, cascade: Workload, names: tuple[str, ...]) -> _Group:
        """A group, which may be one question with an earlier one."""
        question = self.question(cascade, names)
        if question not in self.known:
            floor, begin = self.floor(cascade, names), partial(self.searches, cascade)
            self.known[question] = _Group(names, floor, begin)
        return self.known[question]

    def question(self, cascade: Workload, names: tuple[str, ...]) -> object:
        """All that the best mapping of a group depends on, without names."""
        mapspace, roles = self.mapspace, cascade.roles.declared
        question = group_question(cascade, mapspace, group_spaces(cascade, mapspace, names))
        if mapspace.fusion.cores != "any":
            return names, question
        ranks = dict.fromkeys(r for n in names for r in cascade.einsum(n).ranks)
        return question, tuple(role for r in ranks for role in roles if roles[role] == r)

    def floor(self, cascade: Workload, names: tuple[str, ...]) -> float:
        """Cycles of a group at least: units at peak on all cores, and the words over its border."""
        part, busy = cascade.subset(names), dict[str, float]()
        for einsum in (e for e in part.einsums if not e.each):
            arch = self.platform.path(einsum.unit)
            cycles = operation_cycles(arch, einsum, part.widths) / arch.compute.instances
            points = part.unmasked_iterations(einsum) * cycles
            busy[einsum.unit] = busy.get(einsum.unit, 0.0) + points
        schedule = self.mapspace.fusion.schedule
        at_once = schedule == "any" or overlaps(schedule)
        peak = max(busy.values()) if at_once else sum(busy.values())
        return max(peak, at_border(self.platform, cascade, names))

    def searches(self, cascade: Workload, names: tuple[str, ...]) -> list[GroupOnTiles]:
        """The searches of a group on the cores, one for each way to run it."""
        fusion, keys = self.mapspace.fusion, cascade.roles.keys
        cores = tuple(r for r in cascade.rank_sizes if r != keys)
        own = replace(fusion, cores=cores) if fusion.cores == "any" else fusion
        question = Question(
            platform=self.platform,
            mapspace=replace(self.mapspace, fusion=own),
            ert=self.ert,
            goal=Goal(kind="latency"),
            budget=self.budget,
            progress=None,
            enough=ENOUGH,
        )
        whole = replace(cascade, repeat=1)
        return [
            GroupOnTiles(
                question=question, workload=whole, every=tiles_on_cores(question, whole, way)
            )
            for way in group_spaces(whole, self.mapspace, names)
        ]

    def through(self) -> tuple[_Form | None, tuple[int, ...], float]:
        """The best partition, and what no partition is below."""
        if self.budget.ends:
            self.first()
        while True:
            bound, groups, form = self.shortest(lambda one: one.least)
            best, chosen, of = self.shortest(lambda one: one.most)
            doubt = [form.groups[g] for g in groups if not form.groups[g].settled]
            if not doubt or bound >= best * (1 - TIGHT):
                return (of if best < inf else None), chosen, min(bound, best)
            known = [of.groups[g] for g in chosen if not of.groups[g].settled]
            group = self.next(doubt, known)
            if self.progress:
                self.progress(bound / best, shortened(group.names))
            self.budget.answered |= best < inf
            try:
                self.budget.step()
            except Stopped:
                return of, chosen, bound
            group.run(self.wanted(group, bound))

    def first(self) -> None:
        """Some mapping of every unit of a form, and of those of the others while there is time."""
        for form in self.all_forms:
            for group, names in zip(form.groups, form.graph.groups, strict=True):
                if names in form.graph.units:
                    try:
                        self.budget.step()
                    except Stopped:
                        return
                    group.first()
            self.budget.answered |= form.path([group.most for group in form.groups])[0] < inf

    def next(self, doubt: list[_Group], known: list[_Group]) -> _Group:
        """The group to search next, of those on the path of least bounds and on the best one.

        The largest first; where the time is short, before it what may be much better.
        """
        loose = [one for one in known if one.most > LOOSE * one.least]
        if self.budget.ends and loose:
            return max(loose, key=lambda one: one.most - one.least)
        return max(doubt, key=lambda one: len(one.names))

    def shortest(self, weight: Callable[[_Group], float]) -> tuple[float, tuple[int, ...], _Form]:
        """The partition of least weight of all forms."""
        weights = {id(one): weight(one) for one in self.known.values()}
        paths = (form.path([weights[id(g)] for g in form.groups]) for form in self.all_forms)
        return min(paths, key=lambda one: one[0])

    def wanted(self, group: _Group, total: float) -> float:
        """Cycles of a group on the shortest path from which on another path is shorter."""
        beside = self.shortest(lambda one: inf if one is group else one.least)[0]
        raised = _STEP * float(_GROWTH) ** group.asked * total
        return group.least + max(beside - total, raised)


def best_core_partition(
    workload: Workload,
    platform: Platform,
    mapspace: Mapspace,
    ert: Ert,
    *,
    objective: Objective = "edp",
    progress: Progress | None = None,
    budget: Budget | None = None,
) -> Solution | Infeasible:
    """The partition of least latency that is found on the cores of a chip, and its bound.

    raises: SpecError for another objective: bounds of a group on cores are cycles.
    """
    if objective != "latency":
        condition = "--objective latency, where groups: any are given out to cores"
        raise SpecError(expected(mapspace.name, condition, objective))
    begin, budget = time.perf_counter(), budget or Budget()
    search = _Search(platform, mapspace, ert, budget, progress)
    for cascade in alternatives(workload):
        search.all_forms += [search.form(cascade, names) for names in forms(cascade)]
    form, chosen, bound = search.through()
    begun = [one for group in search.known.values() for one in group.begun or ()]
    if form is None:
        refused = least_refused(*(one.refused for one in begun))
        assert refused is not None, "no group has a mapping, and none says why"
        return refused
    mapping = FusedMapping(
        groups=tuple(_mapping(form, number) for number in chosen), policy=mapspace.policy
    )
    result = evaluate(form.workload, platform, mapping, ert)
    assert isinstance(result, Result), "groups that fit one by one fit one after another"
    seconds = of_all_runs(result, objective, bound)
    proven = max(floor_of(result, objective), min(seconds, result.latency_s))
    unasked = sum(group.begun is None for group in search.known.values())
    gap = max(result.latency_s / proven - 1, 0.0)
    return Solution(
        workload=form.workload,
        result=result,
        mapspace=mapspace.name,
        objective=objective,
        certificate=Certificate(
            mapspace_size=sum(partition_count(f.graph) for f in search.all_forms),
            evaluated=sum({id(o.question): o.question.count.evaluated for o in begun}.values()),
            pruned={"groups: bound": unasked},
            optimal=gap < TIGHT,
            lower_bound=floor_of(result, objective),
            proven_bound=proven,
            gap=gap,
            stopped=budget.stopped or ("" if gap < TIGHT else "tiles"),
            seconds=time.perf_counter() - begin,
        ),
    )


def _mapping(form: _Form, number: int) -> GroupMapping:
    """The best mapping of a group of a form, under its own names."""
    group, names = form.groups[number], form.graph.groups[number]
    found = group.best
    assert found is not None
    assert found.best is not None
    mapping = found.best[1]
    if names == group.names:
        return mapping
    return renamed_group(mapping, found.workload, form.workload, names)
