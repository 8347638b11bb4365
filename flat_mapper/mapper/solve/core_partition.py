"""The best partition of a cascade on a chip of many cores, to which tiles of a group are given out.

As in `flat_mapper.mapper.solve.partition`, partitions are paths over the cuts of a cascade, and
cycles, energy and any weighted sum of them add up over groups. A group is a question of its own to
`flat_mapper.mapper.solve.on_cores`, which answers with a mapping and a bound; before it is asked,
computes at peak and the words over the group's border are its bound. Where every group on the path
of least bounds was asked about, that path is the bound of all partitions, and the certificate has
the gap to it. For the energy-delay product that is done under one weight after another.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf

from flat_mapper.arch.values import Platform
from flat_mapper.base.budget import Budget, Progress, shortened
from flat_mapper.base.tolerance import EQUAL
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.energy.tables import Ert, operation_cycles
from flat_mapper.mapper.chip.floors import at_border, least_pj, whole
from flat_mapper.mapper.chip.question import Question
from flat_mapper.mapper.group.incumbent import (
    Costs,
    Goal,
    Objective,
    beside_weights,
    goal_value,
    raised,
)
from flat_mapper.mapper.solve.alternatives import least_refused
from flat_mapper.mapper.solve.certificate import Solution, certified, of_all_runs
from flat_mapper.mapper.solve.on_cores import tiles_on_cores
from flat_mapper.mapper.solve.symmetry import group_question, renamed_group
from flat_mapper.mapper.solve.tile_search import GroupOnTiles
from flat_mapper.mapper.solve.weighted_sum import best_product
from flat_mapper.mapping.order import overlaps
from flat_mapper.mapping.partitions import (
    FusionGraph,
    forms,
    fusion_graph,
    group_spaces,
    partition_count,
    shortest,
    through,
)
from flat_mapper.mapping.space import AnyGroups, Mapspace
from flat_mapper.mapping.values import FusedMapping, GroupMapping
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.softmax import alternatives

ENOUGH = 16_000  # chosen: mappings of a group that are priced before the search of tiles may end
DOUBLES = 2.0  # chosen: of steps; less than elsewhere, as a search of tiles goes on where it was
LOOSE = 1.1  # chosen: times its bound from which a mapping that is known is improved first


@dataclass(slots=True)
class _Group:
    """A group on the cores, or several that are one question: its costs at least and at most."""

    names: tuple[str, ...]  # of the first
    floor: Costs  # cycles and dynamic pJ
    begin: Callable[[tuple[str, ...], Goal], list[GroupOnTiles]]
    begun: dict[Goal, list[GroupOnTiles]] = field(default_factory=dict)  # one for each way to run
    asked: dict[Goal, int] = field(default_factory=dict)

    def searches(self, goal: Goal) -> list[GroupOnTiles]:
        """Those of all ways, the most promising first."""
        if goal not in self.begun:
            found = self.begin(self.names, goal)
            for way, one in enumerate(found):
                one.learn([some[way] for some in self.begun.values()])
            self.begun[goal] = found
        return sorted(self.begun[goal], key=lambda one: one.bound)

    def best(self, goal: Goal) -> GroupOnTiles | None:
        """The search, under whatever goal, with the best mapping that is known."""
        found = [one for some in self.begun.values() for one in some if one.best]
        return min(found, key=lambda one: _value(goal, one), default=None)

    def most(self, goal: Goal) -> float:
        """The least that a known mapping takes."""
        best = self.best(goal)
        return _value(goal, best) if best else inf

    def least(self, goal: Goal) -> float:
        """Lower bound of all mappings."""
        floor = goal_value(goal, self.floor)
        if goal in self.begun:
            return max(floor, min(self.most(goal), *(one.bound for one in self.begun[goal])))
        if goal.kind != "weighted":
            return floor
        lines = [(g.weight, self.least(g)) for g in self.begun if g.kind == "weighted"]
        fast, lean = (goal_value(replace(goal, kind=k), self.floor) for k in ("latency", "energy"))
        return max(floor, float(beside_weights(goal.weight, lines, fast, lean)))

    def settled(self, goal: Goal) -> bool:
        """True if no more is to be known."""
        done = goal in self.begun and all(one.done for one in self.begun[goal])
        return done or self.least(goal) >= self.most(goal) * (1 - EQUAL)

    def first(self, goal: Goal) -> None:
        """Some mapping soon."""
        for one in self.searches(goal):
            if self.best(goal) is None:
                one.first()

    def run(self, goal: Goal, until: float, room: float) -> None:
        """Raise what no mapping beats to so much, if there are mappings below it.

        room: from which on a mapping is of no use.
        """
        for one in self.searches(goal):
            one.below = min(self.most(goal), room)
            one.run(until)


def _value(goal: Goal, one: GroupOnTiles) -> float:
    """The best mapping of a search under some goal."""
    assert one.best is not None
    return goal_value(goal, one.best[0])


@dataclass(slots=True)
class _Form:
    """One form of a cascade, and its groups."""

    workload: Workload
    graph: FusionGraph
    groups: list[_Group]

    def path(self, weights: Sequence[float]) -> tuple[float, tuple[int, ...], _Form]:
        """The partition of least weight."""
        return *shortest(self.graph, weights), self


@dataclass(frozen=True, slots=True)
class _Path:
    """A partition with its mappings, and the cycles and dynamic pJ of all groups together."""

    form: _Form
    mappings: tuple[GroupMapping, ...]
    costs: Costs

    @classmethod
    def of(cls, form: _Form, groups: Sequence[int], goal: Goal) -> _Path:
        """Some groups, each with its best known mapping under a goal."""
        found = [(g, form.groups[g].best(goal)) for g in groups]
        chosen = [(g, one) for g, one in found if one is not None]
        costs = [one.best[0] for _, one in chosen if one.best is not None]
        total = sum(c for c, _ in costs), sum(e for _, e in costs)
        return cls(form, tuple(_mapping(form, g, one) for g, one in chosen), total)


@dataclass(slots=True)
class _Search:
    """The search over all forms."""

    platform: Platform
    mapspace: Mapspace
    ert: Ert
    budget: Budget
    progress: Progress | None = None
    leak: float = 0.0  # pJ per cycle
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

    def floor(self, cascade: Workload, names: tuple[str, ...]) -> Costs:
        """Cycles and dynamic pJ of a group at least: computes, and the words over its border.

        Units are at peak on all cores.
        """
        part, busy = cascade.subset(names), dict[str, float]()
        for einsum in (e for e in part.einsums if not e.each):
            arch = self.platform.path(einsum.unit)
            cycles = operation_cycles(arch, einsum, part.widths) / arch.compute.instances
            points = part.unmasked_iterations(einsum) * cycles
            busy[einsum.unit] = busy.get(einsum.unit, 0.0) + points
        schedule = self.mapspace.fusion.schedule
        at_once = schedule == "any" or overlaps(schedule)
        peak = max(busy.values()) if at_once else sum(busy.values())
        cycles = max(whole(peak), at_border(self.platform, cascade, names))
        return cycles, least_pj(self.platform, self.ert, cascade, names)

    def searches(self, cascade: Workload, names: tuple[str, ...], goal: Goal) -> list[GroupOnTiles]:
        """The searches of a group on the cores, one for each way to run it."""
        fusion, keys = self.mapspace.fusion, cascade.roles.keys
        cores = tuple(r for r in cascade.rank_sizes if r != keys)
        own = replace(fusion, cores=cores) if fusion.cores == "any" else fusion
        question = Question(
            platform=self.platform,
            mapspace=replace(self.mapspace, fusion=own),
            ert=self.ert,
            goal=goal,
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

    def goal(self, kind: Objective) -> Goal:
        """An objective on this chip."""
        return Goal(kind=kind, leak=self.leak)

    def under(self, goal: Goal, enough: float = inf) -> tuple[_Path | None, float]:
        """The best partition under a goal that adds up, and what none is below, or `enough`."""
        begun = self.budget.ends
        if begun:
            self.first(goal)
        while True:
            bound, groups, form = self.shortest(lambda one: one.least(goal))
            best, chosen, of = self.shortest(lambda one: one.most(goal))
            path = _Path.of(of, chosen, goal) if best < inf else None
            doubt = [form.groups[g] for g in groups if not form.groups[g].settled(goal)]
            proven = bound >= min(best * (1 - EQUAL), enough)
            if not (doubt or proven or begun):  # no bound can be raised, but what is known improved
                self.first(goal)
                begun = True
                continue
            known = [of.groups[g] for g in chosen if not of.groups[g].settled(goal)]
            if proven or not (doubt or known):
                return path, min(bound, best)
            group = self.next(goal, doubt, known)
            with self.budget.until_stopped(path is not None):
                if self.progress:
                    self.progress(bound / best, shortened(group.names))
                self.budget.step()
                lacks = group.least(goal) + (enough - bound) * (1 + EQUAL)
                until = min(lacks, self.wanted(goal, group, bound)) if doubt else inf
                group.run(goal, until, best - self.beside(goal, group) if path else inf)
                continue
            return path, bound

    def product(self) -> tuple[_Path | None, float]:
        """The partition of the least product of cycles and energy that is found, and its bound.

        The least latency comes first: its mappings are good ones under any weight.
        """
        lean, latency = self.goal("energy"), self.goal("latency")
        fastest, cycles = self.under(latency)
        self.rest(latency)
        energy = self.shortest(lambda one: one.least(lean))[0]

        def under(weight: float, enough: float) -> tuple[_Path | None, float]:
            goal = replace(lean, kind="weighted", weight=weight)
            found = self.under(goal, enough)
            self.rest(goal)
            return found

        def costs(path: _Path | None) -> Costs:
            cycles, energy = path.costs if path else (inf, inf)
            return cycles, energy + self.leak * cycles if path else inf

        known = [fastest] if fastest else []
        return best_product(
            (cycles, energy), under, costs, lambda: bool(self.budget.stopped), known
        )

    def rest(self, goal: Goal) -> None:
        """Forget what can be made again, of what was asked under a goal."""
        for group in self.known.values():
            for one in group.begun.get(goal, ()):
                one.rest()

    def first(self, goal: Goal) -> None:
        """Some mapping of every unit of a form, and of those of the others while there is time."""
        for form in self.all_forms:
            with self.budget.until_stopped(self.shortest(lambda one: one.most(goal))[0] < inf):
                for group, names in zip(form.groups, form.graph.groups, strict=True):
                    if names in form.graph.units and group.best(goal) is None:
                        self.budget.step()
                        group.first(goal)

    def next(self, goal: Goal, doubt: list[_Group], known: list[_Group]) -> _Group:
        """The group to search next, of those on the path of least bounds and on the best one.

        The largest first; where the time is short, before it what may be much better.
        """
        loose = [one for one in known if one.most(goal) > LOOSE * one.least(goal)]
        if self.budget.ends and loose:
            return max(loose, key=lambda one: one.most(goal) - one.least(goal))
        return max(doubt or known, key=lambda one: len(one.names))

    def shortest(self, weight: Callable[[_Group], float]) -> tuple[float, tuple[int, ...], _Form]:
        """The partition of least weight of all forms."""
        weights = {id(one): weight(one) for one in self.known.values()}
        paths = (form.path([weights[id(g)] for g in form.groups]) for form in self.all_forms)
        return min(paths, key=lambda one: one[0])

    def beside(self, goal: Goal, group: _Group) -> float:
        """Lower bound on all that is beside a group in a partition with it."""
        weights = {id(one): one.least(goal) for one in self.known.values()}
        return min(
            through(form.graph, [weights[id(g)] for g in form.groups], number)
            for form in self.all_forms
            for number, own in enumerate(form.groups)
            if own is group
        )

    def wanted(self, goal: Goal, group: _Group, total: float) -> float:
        """Cost of a group on the shortest path from which on another path is shorter."""
        beside = self.shortest(lambda one: inf if one is group else one.least(goal))[0]
        group.asked[goal] = times = group.asked.get(goal, 0) + 1
        return raised(group.least(goal), total, beside, times, DOUBLES)


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
    """The partition of least objective that is found on the cores of a chip, and its bound."""
    begin, budget = time.perf_counter(), budget or Budget()
    leak = sum(ert.leak_per_cycle(platform).values())
    search = _Search(platform, mapspace, ert, budget, progress, leak)
    for cascade in alternatives(workload):
        search.all_forms += [search.form(cascade, names) for names in forms(cascade)]
    path, bound = search.product() if objective == "edp" else search.under(search.goal(objective))
    every = [some for group in search.known.values() for some in group.begun.values()]
    begun = [one for some in every for one in some]
    if path is None:
        refused = least_refused(*(one.refused for one in begun))
        assert refused is not None, "no group has a mapping, and none says why"
        return refused
    form = path.form
    mapping = FusedMapping(groups=path.mappings, policy=mapspace.policy)
    result = evaluate(form.workload, platform, mapping, ert)
    assert isinstance(result, Result), "groups that fit one by one fit one after another"
    return certified(
        (workload, platform, mapspace, ert),
        form.workload,
        result,
        objective,
        proven=of_all_runs(result, objective, bound),
        mapspace_size=sum(partition_count(f.graph) for f in search.all_forms),
        evaluated=sum({id(o.question): o.question.count.evaluated for o in begun}.values()),
        pruned={"groups: bound": sum(not group.begun for group in search.known.values())},
        stopped=budget.stopped,
        unproven="tiles",
        seconds=time.perf_counter() - begin,
    )


def _mapping(form: _Form, number: int, found: GroupOnTiles) -> GroupMapping:
    """The best mapping of a search as that of a group of a form, under its own names."""
    group, names = form.groups[number], form.graph.groups[number]
    assert found.best is not None
    mapping = found.best[1]
    of = found.workload
    if names == group.names and all(of.einsum(n) == form.workload.einsum(n) for n in names):
        return mapping
    return renamed_group(mapping, found.workload, form.workload, group.names, names)
