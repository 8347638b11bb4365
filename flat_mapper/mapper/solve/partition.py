"""The best partition of a cascade into fused groups: shortest paths with lazily found weights.

Partitions are the paths over the cuts of a cascade (`flat_mapper.mapping.partitions`); latency,
energy and any weighted sum of them add up over groups. So a group's weight is first a lower bound
(`flat_mapper.mapper.bounds.border`), and on a shortest path that of its outer choices. The groups
on it are then searched one by one, each for what it may cost at most if a path through it is to
improve on the best known, and no further than another path is shorter. The energy-delay product has
its minimum at a corner of the convex hull, the best of a weighted sum, each a shortest path.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import inf, prod

import numpy as np

from flat_mapper.arch.values import Platform
from flat_mapper.base.budget import Budget, Progress, shortened
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.base.tolerance import ABOVE, EQUAL
from flat_mapper.cost_model.result import Infeasible
from flat_mapper.cost_model.widths import check_widths
from flat_mapper.energy.tables import Ert
from flat_mapper.mapper.bounds.border import BorderBounds
from flat_mapper.mapper.bounds.candidate_set import CandidateCache
from flat_mapper.mapper.group.group import GroupSearch
from flat_mapper.mapper.group.incumbent import (
    OBJECTIVES,
    Costs,
    Goal,
    KnownGroup,
    Names,
    Objective,
    costs_of,
    goal_value,
    pair_of,
    raised,
)
from flat_mapper.mapper.group.picks import GroupSolution
from flat_mapper.mapper.solve.alternatives import Tally, Task, least_refused, reconstructed
from flat_mapper.mapper.solve.certificate import Solution, certified, of_all_runs
from flat_mapper.mapper.solve.solve import (
    least_of,
    solve_group,
    solved_within,
)
from flat_mapper.mapper.solve.symmetry import group_question, renamed
from flat_mapper.mapper.solve.weighted_sum import best_product, quick_mapping, staged_mapping
from flat_mapper.mapper.space.execution import execution_orders
from flat_mapper.mapper.space.group import GroupProblem, group_problem
from flat_mapper.mapper.space.pareto import nondominated
from flat_mapper.mapping.arch_rules import with_arch_rules
from flat_mapper.mapping.partitions import (
    FusionGraph,
    forms,
    fusion_graph,
    group_spaces,
    partition_count,
    shortest,
    through,
)
from flat_mapper.mapping.space import AnyGroups, GroupSpace, Mapspace
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.softmax import alternatives

MOST_KEPT = 1_000_000  # chosen: candidates that are kept for other groups, 1 GB or so
MOST_ROOTS = 1_000_000  # chosen: outer choices that are kept for other goals, 0.3 GB or so


@dataclass(slots=True)
class _Cascade:
    """One form of a cascade: its graph, and what is known of its groups."""

    workload: Workload
    graph: FusionGraph
    ways: list[tuple[GroupSpace, ...]]  # to run each group
    groups: list[KnownGroup]
    candidates: CandidateCache


@dataclass(frozen=True, slots=True)
class _Path:
    """A partition with what it costs under a goal, and the mappings that do."""

    total: float
    cascade: _Cascade | None = None
    groups: tuple[int, ...] = ()
    chosen: tuple[tuple[Names, GroupSolution], ...] = ()

    @property
    def costs(self) -> Costs:
        """Cycles and dynamic pJ."""
        return sum(s.cycles for _, s in self.chosen), sum(s.energy for _, s in self.chosen)


@dataclass(slots=True)
class PartitionSearch:
    """Shortest paths over the cuts of all forms of a cascade."""

    platform: Platform
    mapspace: Mapspace
    ert: Ert
    leak: float = 0.0  # pJ per cycle
    cascades: list[_Cascade] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    budget: Budget = field(default_factory=Budget)  # of all groups' searches
    progress: Progress | None = None
    searched: set[tuple[int, int]] = field(default_factory=set)  # groups, by cascade
    kept: dict[tuple[int, int], list[GroupSearch]] = field(default_factory=dict)  # not begun
    late: bool = False
    loose: bool = False  # whether some group was not searched to its end

    @classmethod
    def of(
        cls, workload: Workload, platform: Platform, mapspace: Mapspace, ert: Ert
    ) -> PartitionSearch:
        """The search over all partitions that a mapspace leaves."""
        leak = sum(ert.leak_per_cycle(platform).values())
        found = cls(platform=platform, mapspace=mapspace, ert=ert, leak=leak)
        known: dict[object, KnownGroup] = {}
        for cascade in alternatives(workload, charged=not workload.mask):
            for names in forms(cascade):
                graph = fusion_graph(cascade, names, mapspace.fusion.anything or AnyGroups())
                found.cascades.append(found._form(cascade, graph, known))
        return found

    def _form(
        self, workload: Workload, graph: FusionGraph, known: dict[object, KnownGroup]
    ) -> _Cascade:
        """A form of a cascade with bounds of all its groups."""
        spaces = {}
        for name in graph.names:
            alone = GroupSpace(names=(name,), fused=False, schedule="sequential", declared=False)
            problem = group_problem(workload, self.platform, self.ert, self.mapspace, alone)
            spaces[name] = problem.spaces[0]
        bounds = BorderBounds(
            workload=workload, platform=self.platform, mapspace=self.mapspace, spaces=spaces
        )
        groups = []
        ways = [group_spaces(workload, self.mapspace, names) for names in graph.groups]
        for way in ways:
            question = group_question(workload, self.mapspace, way)
            if question not in known:
                orders = dict.fromkeys(one.names for one in self._ordered(workload, way))
                least = np.array([bounds.least(o) for o in orders]).min(axis=0)
                known[question] = KnownGroup(least=least[None, :])
            groups.append(known[question])
        return _Cascade(workload, graph, ways, groups, CandidateCache())

    def goal(self, kind: Objective) -> Goal:
        """An objective on this chip."""
        return Goal(kind=kind, leak=self.leak)

    def under(self, goal: Goal, enough: float = inf) -> tuple[_Path, float]:
        """The best known partition under a goal that adds up, and a bound of any, or `enough`."""
        self._begin_all(goal)
        while True:
            best, lower = self._best(goal), self._lowest(goal)
            form, proven = lower.cascade, lower.total >= min(best.total * (1 - EQUAL), enough)
            each = form.groups if form else []
            doubt = [g for g in lower.groups if not proven and each[g].is_open(goal)]
            if self.late or form is None or not doubt:
                return best, min(lower.total, best.total)
            if not self.budget.late and not all(each[g].sharp for g in doubt):
                self._sharpen(form, doubt, goal)
                continue
            number = max((len(form.graph.groups[g]), g) for g in doubt)[1]
            with self.budget.until_stopped(best.total < inf):
                if self.progress:
                    self.progress(lower.total / best.total, shortened(form.graph.groups[number]))
                room = best.total - through(form.graph, [g.lower(goal) for g in each], number)
                lacks = each[number].lower(goal) + (enough - lower.total) * (1 + EQUAL)
                wanted = min(lacks, self._wanted(form, number, goal, lower.total))
                self._search(form, number, goal, room, wanted)
            self.late |= bool(self.budget.stopped)

    def _begin_all(self, goal: Goal) -> None:
        """Find some mapping of the smallest groups, and so of some partition."""
        for one in self.cascades:
            for number, names in enumerate(one.graph.groups):
                if names in one.graph.units and not one.groups[number].found:
                    self._begin(one, number, goal)

    def _begin(self, cascade: _Cascade, number: int, goal: Goal) -> None:
        """Find some mapping of a group: a good one early, or where that finds none, the best."""
        group, names = cascade.groups[number], cascade.graph.groups[number]
        for search in self._searches(cascade, number):
            found = quick_mapping(search, goal)
            group.found += [(names, found)] if found else []
        if not group.found:
            self._search(cascade, number, goal, inf)

    def _floor(self, goal: Goal) -> float:
        """Lower bound on any partition, by the outer choices of groups; none is searched."""
        while True:
            lower = self._lowest(goal)
            form = lower.cascade
            rough = [g for g in lower.groups if form and not form.groups[g].sharp]
            if form is None or not rough or self.late or self.budget.late:
                return lower.total
            self._sharpen(form, rough, goal)

    def _wanted(self, form: _Cascade, number: int, goal: Goal, total: float) -> float:
        """Cost of a group on the shortest path from which on another path is shorter."""
        group = form.groups[number]
        beside = min(
            shortest(one.graph, [inf if g is group else g.lower(goal) for g in one.groups])[0]
            for one in self.cascades
        )
        group.asked[goal] = times = group.asked.get(goal, 0) + 1
        return raised(group.lower(goal), total, beside, times)

    def _best(self, goal: Goal) -> _Path:
        """The best partition of groups with known mappings."""
        paths = (_shortest(c, [g.upper(goal) for g in c.groups]) for c in self.cascades)
        path = min(paths, key=lambda one: one.total)
        each = path.cascade.groups if path.cascade else []
        return replace(path, chosen=tuple(each[g].best(goal) for g in path.groups))

    def _lowest(self, goal: Goal) -> _Path:
        """The partition of least lower bound."""
        paths = (_shortest(c, [g.lower(goal) for g in c.groups]) for c in self.cascades)
        return min(paths, key=lambda one: one.total)

    def _sharpen(self, cascade: _Cascade, groups: Sequence[int], goal: Goal) -> None:
        """Bound groups by their outer choices; some mapping of each first if time is limited."""
        rough = {id(own): g for g in groups if not (own := cascade.groups[g]).sharp}.values()
        for g in rough if self.budget.ends else ():
            group = cascade.groups[g]
            for problem in () if group.found else self._each_schedule(cascade, g):
                known = staged_mapping(problem, cascade.candidates, self.budget, goal)
                group.found += [(cascade.graph.groups[g], known)] if known else []
        for g in rough:
            group, found = cascade.groups[g], [cascade.groups[g].least[:0]]
            with self.budget.until_stopped(True):  # choices may be very many
                for search in self._searches(cascade, g):
                    fits = search.bounds.fits(search.roots)
                    found.append(np.stack([search.roots.cycles, search.roots.energy])[:, fits].T)
                costs = np.maximum(np.concatenate(found), group.least)
                group.least, group.sharp = costs[nondominated(costs)], True
            self.late |= not group.sharp

    def _search(
        self, cascade: _Cascade, number: int, goal: Goal, budget: float, wanted: float = inf
    ) -> None:
        """Find the best mapping of a group, if it costs less than a budget and than is wanted."""
        group, names = cascade.groups[number], cascade.graph.groups[number]
        if goal in group.exact | group.stuck or inf > budget <= group.lower(goal) / (1 - EQUAL):
            return
        # Some mapping is found in any case, however late it is.
        if self.budget.late and (group.found or budget < inf):
            self.late = True
            return
        budget = min(budget, wanted)
        limit = min(group.upper(goal), budget)
        best, left = None if limit == inf else pair_of(goal, limit), inf
        for search in self._searches(cascade, number, goal):
            found, own = solve_group(search, goal, best)
            left = min(left, own)
            if isinstance(found, Infeasible):
                group.infeasible = least_refused(group.infeasible, found)
            elif found:
                group.found.append((names, found[0]))
                best = costs_of(found[0])
            self.tally.add(Task(cascade.workload, [search]))
        self.searched.add((id(cascade), number))
        proven = min(left, budget, group.upper(goal))
        if proven < min(budget, group.upper(goal)) * (1 - EQUAL):
            self.loose = True  # some mappings were left out for their number, or for the time
            group.stuck.add(goal)
        elif group.upper(goal) <= budget:
            group.exact.add(goal)
        group.over[goal] = max(proven, group.over.get(goal, 0.0))
        self.late |= bool(self.budget.stopped)
        if sum(t.count for t in cascade.candidates.candidate_sets.values()) > MOST_KEPT:
            cascade.candidates = CandidateCache()

    def _searches(
        self, cascade: _Cascade, number: int, goal: Goal | None = None
    ) -> list[GroupSearch]:
        """The searches of a group, one for each way to run it; of a goal, the best bound first.

        Their outer choices are bounded once, as far as there is room to keep them.
        """
        key = id(cascade), number
        kept = self.kept.pop(key, None)
        if kept is None:
            problems = self._problems(cascade, number)
            kept = [GroupSearch.of(p, CandidateCache(), self.budget) for p in problems]
            kept = [one for one in kept if one.bounds.stagings] or kept
        self.kept[key], found = kept, [one.again(cascade.candidates) for one in kept]
        while sum(len(s.roots.staging) for some in self.kept.values() for s in some) > MOST_ROOTS:
            del self.kept[next(iter(self.kept))]
        return sorted(found, key=lambda s: least_of([s], goal)) if goal and found[1:] else found

    def _problems(self, cascade: _Cascade, number: int) -> list[GroupProblem]:
        """The problems of a group, one for each way to run it."""
        inputs = (cascade.workload, self.platform, self.ert, self.mapspace)
        ways = self._ordered(cascade.workload, cascade.ways[number])
        return [group_problem(*inputs, way) for way in ways]

    def _ordered(self, workload: Workload, ways: Sequence[GroupSpace]) -> list[GroupSpace]:
        """The ways to run a group, in each execution order that may be the best."""
        what = workload, self.platform, self.mapspace
        return [one for way in ways for one in execution_orders(*what, way)]

    def _each_schedule(self, cascade: _Cascade, number: int) -> list[GroupProblem]:
        """The problems of a group in one order each."""
        every = reversed(self._problems(cascade, number))
        return list({(p.group.schedule, p.group.declared): p for p in every}.values())

    def product(self) -> tuple[_Path, float]:
        """The partition of least product of summed cycles and summed energy, and its bound."""
        latency, energy = self.goal("latency"), self.goal("energy")
        cycles = self._lowest(latency).total  # floors take seconds: some mapping first
        self._begin_all(self._weight(self._lowest(energy).total / cycles if cycles < inf else 1.0))
        least = self._floor(latency), self._floor(energy)
        best, bound = best_product(
            least, lambda w, n: self.under(self._weight(w), n), self._costs, lambda: self.late
        )
        self.loose |= bound < prod(self._costs(best)) * (1 - EQUAL)
        return best, bound

    def _weight(self, weight: float) -> Goal:
        return Goal(kind="weighted", weight=weight, leak=self.leak)

    def _costs(self, path: _Path) -> Costs:
        """Cycles, and pJ with leakage; infinite where there is no path."""
        cycles, energy = path.costs
        return (cycles, energy + self.leak * cycles) if path.groups else (inf, inf)

    def solutions(self, path: _Path, goal: Goal) -> list[GroupSolution]:
        """A path's mappings, each under the names of its own group."""
        cascade = path.cascade
        assert cascade is not None

        def own(number: int, names: Names, found: GroupSolution) -> bool:
            """True if it has not only its Einsums' names, but their tensors' as well."""
            einsums = [pick.space.einsum for pick in found.picks]
            same = all(cascade.workload.einsum(e.name) == e for e in einsums)
            return names == cascade.graph.groups[number] and same

        return [
            found if own(g, names, found) else self._again(cascade, g, found, goal)
            for g, (names, found) in zip(path.groups, path.chosen, strict=True)
        ]

    def _again(
        self, cascade: _Cascade, number: int, other: GroupSolution, goal: Goal
    ) -> GroupSolution:
        """The solution of a group from that of one which is the same question."""
        if len(other.picks) == 1:
            return renamed(other, *self._problems(cascade, number))
        cycles, energy = costs_of(other)
        kind = goal if goal.kind != "edp" else self._weight(energy / cycles + self.leak)
        most = pair_of(kind, goal_value(kind, costs_of(other)) * (1 + ABOVE))
        return solved_within(self._searches(cascade, number, kind), kind, most)


def _shortest(cascade: _Cascade, weights: Sequence[float]) -> _Path:
    """The partition of least weight; one without a cascade where every one is infinite."""
    total, groups = shortest(cascade.graph, weights)
    return _Path(total) if total == inf else _Path(total, cascade, groups)


def best_partition(
    workload: Workload,
    platform: Platform,
    mapspace: Mapspace,
    ert: Ert,
    *,
    objective: Objective = "edp",
    progress: Progress | None = None,
    budget: Budget | None = None,
) -> Solution | Infeasible:
    """The best mapping over all partitions of a cascade, or why there is none.

    budget: once it is spent nothing else is searched, and the certificate says what is proven.
    """
    if objective not in OBJECTIVES:
        raise SpecError(expected("objective", f"one of {', '.join(OBJECTIVES)}", objective))
    if mapspace.policy.softmax != "charged" and mapspace.fusion.anything is not None:
        condition = "a softmax that is charged: free Einsums belong to no group of their own"
        raise SpecError(expected(f"{mapspace.name}: groups: any", condition, "softmax: free"))
    check_widths(workload, platform)
    begin, mapspace = time.perf_counter(), with_arch_rules(mapspace, platform, workload)
    search = PartitionSearch.of(workload, platform, mapspace, ert)
    search.budget, search.progress = budget or Budget(), progress
    goal = search.goal(objective)
    path, bound = search.product() if objective == "edp" else search.under(goal)
    if path.cascade is None:
        tightest = least_refused(*(g.infeasible for c in search.cascades for g in c.groups))
        assert tightest is not None, "no group has a mapping, and none says why"
        return tightest
    solutions = search.solutions(path, goal)
    result = reconstructed(solutions, path.cascade.workload, platform, mapspace, ert)
    groups = sum(len(c.groups) for c in search.cascades)
    left = search.late or search.loose  # else only sums that differ in their last bits
    return certified(
        (workload, platform, mapspace, ert),
        path.cascade.workload,
        result,
        objective,
        proven=of_all_runs(result, objective, bound) if left else inf,
        mapspace_size=sum(partition_count(c.graph) for c in search.cascades),
        evaluated=search.tally.evaluated,
        pruned={"groups: bound": groups - len(search.searched), **search.tally.pruned},
        stopped=search.budget.stopped,
        seconds=time.perf_counter() - begin,
    )
