"""The best partition of a cascade into fused groups: shortest paths with lazily found weights.

Partitions are the paths over the cuts of a cascade (`flat_mapper.mapping.partitions`); latency,
energy and any weighted sum of them add up over groups. So a group's weight is first a lower bound,
and on a shortest path that of its outer choices. The groups on it are then searched one by one,
each for what it may cost at most if a path through it is to improve on the best known, and no
further than another path is shorter. The energy-delay product has its minimum at a corner of the
convex hull, the best of a weighted sum, each a shortest path.

Groups are of two kinds: those of one array, and those whose tiles are given out to the cores of a
chip (`flat_mapper.mapper.solve.on_cores`), which are questions with a bound of their own.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf, prod
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from flat_mapper.arch.values import Platform
from flat_mapper.base.budget import Budget, Progress, shortened
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.base.tolerance import EQUAL, LOST
from flat_mapper.cost_model.candidates import Floats
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.cost_model.widths import check_widths
from flat_mapper.energy.tables import Ert, operation_cycles
from flat_mapper.mapper.bounds.border import BorderBounds
from flat_mapper.mapper.bounds.candidate_set import CandidateCache
from flat_mapper.mapper.group.group import GroupSearch
from flat_mapper.mapper.group.incumbent import (
    OBJECTIVES,
    Costs,
    Goal,
    Names,
    Objective,
    beside_weights,
    costs_of,
    goal_value,
    least_value,
    pair_of,
)
from flat_mapper.mapper.group.picks import GroupSolution
from flat_mapper.mapper.group.reconstruct import group_mapping
from flat_mapper.mapper.solve.alternatives import Tally, Task, least_refused
from flat_mapper.mapper.solve.certificate import Solution, certified, of_all_runs
from flat_mapper.mapper.solve.solve import least_of, solve_group
from flat_mapper.mapper.solve.symmetry import group_question, renamed_group
from flat_mapper.mapper.solve.weighted_sum import best_product, quick_mapping, staged_mapping
from flat_mapper.mapper.space.execution import execution_orders
from flat_mapper.mapper.space.group import GroupProblem, group_problem
from flat_mapper.mapper.space.pareto import nondominated
from flat_mapper.mapping.arch_rules import with_arch_rules
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
from flat_mapper.mapping.space import AnyGroups, GroupSpace, Mapspace
from flat_mapper.mapping.values import FusedMapping, GroupMapping
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.softmax import alternatives

if TYPE_CHECKING:  # at run time what is of cores alone is imported where it is asked for
    from flat_mapper.mapper.chip.question import Question
    from flat_mapper.mapper.solve.tile_search import GroupOnTiles

MOST_KEPT = 1_000_000  # chosen: candidates that are kept for other groups, 1 GB or so
MOST_ROOTS = 1_000_000  # chosen: outer choices that are kept for other goals, 0.3 GB or so
STEP = 1e-3  # chosen: of a partition's cost, by which a group's bound is raised at least
ENOUGH = 16_000  # chosen: mappings of a group that are priced before the search of tiles may end

Mapped = tuple[Costs, GroupMapping]  # cycles and dynamic pJ, and what takes them


@dataclass(slots=True)
class _Asked:
    """An array's group under a goal, or a mapping that was found, beside which nothing is left."""

    best: Mapped | None = None
    bound: float = inf  # of what was left out; 0 where nobody has looked
    done: bool = True  # whether no more is looked for, whatever is proven
    refused: Infeasible | None = None  # why nothing fits


@dataclass(slots=True)
class _Group[Own: _Asked | GroupOnTiles]:
    """A group, or several that are one question under other names: its costs at least and most.

    Either kind has `first`, some mapping soon; and `run`, which raises what no mapping beats to so
    much, if there are mappings below it, with `room`, from which on a mapping is of no use.
    """

    workload: Workload  # of the first, as its names
    names: Names
    floor: Floats  # (cycles, dynamic pJ) of its parts at least; [n, 2]
    begun: dict[Goal, list[Own]] = field(default_factory=dict)  # what is known from searches
    sharp: bool = True  # whether nothing but a search raises its bound
    floors: dict[Goal, float] = field(default_factory=dict)  # the least of `floor`

    def begin(self, goal: Goal) -> None:
        """Some mapping before its bound is sharpened, which may take long."""

    def sharpen(self) -> None:
        """Bound it better, as far as no search is needed."""

    def rest(self, goal: Goal) -> None:
        """Forget what can be made again, of what was asked under a goal."""

    @property
    def every(self) -> list[Own]:
        """Searches under whatever goal."""
        return [one for some in self.begun.values() for one in some]

    @property
    def known(self) -> list[Mapped]:
        """Mappings that are known."""
        return [one.best for one in self.every if one.best]

    def most(self, goal: Goal) -> float:
        """The least that a known mapping takes."""
        return min((goal_value(goal, costs) for costs, _ in self.known), default=inf)

    def bound(self, goal: Goal) -> float:
        """Cost of what searches under a goal have left out, at least; 0 where there are none."""
        return min((one.bound for one in self.begun.get(goal, ())), default=0.0)

    def least(self, goal: Goal) -> float:
        """Lower bound of all mappings; of a weighted sum, also by what is known of other ones."""
        floor, bound = self._floor(goal), self.bound(goal)
        if not bound and goal.kind == "weighted":
            others = [g for g in self.begun if g.kind == "weighted" and self.bound(g)]
            lines = [(g.weight, self.least(g)) for g in others]
            alone = (self._floor(replace(goal, kind=k)) for k in ("latency", "energy"))
            bound = float(beside_weights(goal.weight, lines, *alone))
        return max(floor, min(self.most(goal), bound))

    def _floor(self, goal: Goal) -> float:
        if goal not in self.floors:
            self.floors[goal] = least_value(goal, self.floor)
        return self.floors[goal]

    def settled(self, goal: Goal) -> bool:
        """True if no more is to be known."""
        done = goal in self.begun and all(one.done for one in self.begun[goal])
        return done or self.least(goal) >= self.most(goal) * (1 - EQUAL)


@dataclass(slots=True)
class _Kind:
    """Groups of one kind: how they are made, and what a search of partitions does otherwise."""

    platform: Platform
    mapspace: Mapspace
    ert: Ert
    budget: Budget  # of all groups' searches
    early: ClassVar[bool]  # whether units have a mapping first; else a product has the fastest
    growth: ClassVar[float]  # of the step, each time that a group's bound is raised
    loose: ClassVar[float]  # times its bound from which a known mapping is improved first
    ties: ClassVar[int]  # of equal groups the first on a path comes first, or the last: -1
    unproven: ClassVar[str]  # what ends a search that proves less, if the budget does not

    def cascades(self, workload: Workload) -> Sequence[Workload]:
        """The forms of a workload that may be mapped."""
        return alternatives(workload)

    def question(self, cascade: Workload, names: Names) -> object:
        """All that the best mapping of a group depends on, without names."""
        return group_question(cascade, self.mapspace, group_spaces(cascade, self.mapspace, names))


@dataclass(slots=True)
class Arrays(_Kind):
    """Groups on one array: a first mapping comes cheap, and every search begins anew."""

    tally: Tally = field(default_factory=Tally)
    bounds: dict[int, BorderBounds] = field(default_factory=dict)  # by cascade
    candidates: defaultdict[int, CandidateCache] = field(
        default_factory=lambda: defaultdict(CandidateCache)
    )
    kept: dict[int, list[GroupSearch]] = field(default_factory=dict)  # not begun, by group
    early: ClassVar = True
    growth: ClassVar = 8.0  # chosen
    loose: ClassVar = inf
    ties: ClassVar = -1  # measured: a tenth less time for two products
    unproven: ClassVar = ""

    def cascades(self, workload: Workload) -> Sequence[Workload]:
        """The forms of a workload; under a mask no keys are read in two passes."""
        return alternatives(workload, charged=not workload.mask)

    def group(self, cascade: Workload, names: Names) -> ArrayGroup:
        """A group with the bound of its border."""
        if id(cascade) not in self.bounds:
            self.bounds[id(cascade)] = self._bounds(cascade)
        orders = dict.fromkeys(one.names for one in self._ways(cascade, names))
        floor = np.array([self.bounds[id(cascade)].least(one) for one in orders]).min(axis=0)
        return ArrayGroup(cascade, names, floor[None, :], sharp=False, kind=self)

    def _bounds(self, workload: Workload) -> BorderBounds:
        spaces = {}
        for name in forms(workload)[0]:
            alone = GroupSpace(names=(name,), fused=False, schedule="sequential", declared=False)
            problem = group_problem(workload, self.platform, self.ert, self.mapspace, alone)
            spaces[name] = problem.spaces[0]
        return BorderBounds(
            workload=workload, platform=self.platform, mapspace=self.mapspace, spaces=spaces
        )

    def _ways(self, cascade: Workload, names: Names) -> list[GroupSpace]:
        """The ways to run a group, in each execution order that may be the best."""
        what, ways = (cascade, self.platform, self.mapspace), list[GroupSpace]()
        for way in group_spaces(cascade, self.mapspace, names):
            ways += execution_orders(*what, way)
        return ways

    def problems(self, cascade: Workload, names: Names) -> list[GroupProblem]:
        """The problems of all ways to run a group."""
        inputs = cascade, self.platform, self.ert, self.mapspace
        return [group_problem(*inputs, way) for way in self._ways(cascade, names)]

    def counts(self) -> tuple[int, Mapping[str, int]]:
        """Mappings that were priced, and choices of all groups that were left out, by rule."""
        return self.tally.evaluated, self.tally.pruned


@dataclass(slots=True, kw_only=True)
class ArrayGroup(_Group[_Asked]):
    """A group on one array."""

    kind: Arrays

    def first(self, goal: Goal) -> None:
        """A good mapping, or where the quick way finds none, the best."""
        for search in self._searches():
            self._take(goal, quick_mapping(search, goal))
        if not self.known:
            self.run(goal, inf, inf)

    def begin(self, goal: Goal) -> None:
        """Some mapping in which all is staged: outer choices may be very many."""
        problems = () if self.known else self.kind.problems(self.workload, self.names)
        every = {(p.group.schedule, p.group.declared): p for p in reversed(problems)}
        for problem in every.values():
            candidates, budget = self.kind.candidates[id(self.workload)], self.kind.budget
            self._take(goal, staged_mapping(problem, candidates, budget, goal))

    def _take(self, goal: Goal, found: GroupSolution | None) -> None:
        if found:
            mapping = group_mapping(found, dict(self.workload.rank_sizes))
            self._under(goal).append(_Asked((costs_of(found), mapping)))

    def _under(self, goal: Goal) -> list[_Asked]:
        return self.begun.setdefault(goal, [_Asked(bound=0.0, done=False)])

    def sharpen(self) -> None:
        """Bound it by its outer choices."""
        found = [self.floor[:0]]
        for search in self._searches():
            fits = search.bounds.fits(search.roots)
            found.append(np.stack([search.roots.cycles, search.roots.energy])[:, fits].T)
        costs = np.maximum(np.concatenate(found), self.floor)
        self.floor, self.sharp, self.floors = costs[nondominated(costs)], True, {}

    def run(self, goal: Goal, until: float, room: float) -> None:
        """Find the best mapping, if it costs less than is wanted and than there is room for."""
        own, wanted, left = self._under(goal)[0], min(until, room), inf
        limit = min(self.most(goal), wanted)
        best = None if limit == inf else pair_of(goal, limit)
        for search in self._searches(goal):
            found, beside = solve_group(search, goal, best)
            left = min(left, beside)
            if isinstance(found, Infeasible):
                own.refused = least_refused(own.refused, found)
            elif found:
                self._take(goal, found[0])
                best = costs_of(found[0])
            self.kind.tally.add(Task(self.workload, [search]))
        most = self.most(goal)
        own.done = left < min(wanted, most) * (1 - EQUAL)
        proven = inf if most <= wanted and not own.done else min(left, wanted)
        own.bound = max(own.bound, proven)
        every = self.kind.candidates[id(self.workload)].candidate_sets.values()
        if sum(one.count for one in every) > MOST_KEPT:
            del self.kind.candidates[id(self.workload)]

    def _searches(self, goal: Goal | None = None) -> list[GroupSearch]:
        """The searches of all ways to run it; under a goal, the best bound first.

        Their outer choices are bounded once, as far as there is room to keep them.
        """
        every, candidates = self.kind.kept, self.kind.candidates[id(self.workload)]
        kept = every.pop(id(self), None)
        if kept is None:
            problems = self.kind.problems(self.workload, self.names)
            kept = [GroupSearch.of(p, CandidateCache(), self.kind.budget) for p in problems]
            kept = [one for one in kept if one.bounds.stagings] or kept
        every[id(self)], found = kept, [one.again(candidates) for one in kept]
        while sum(len(s.roots.staging) for some in every.values() for s in some) > MOST_ROOTS:
            del every[next(iter(every))]
        return sorted(found, key=lambda s: least_of([s], goal)) if goal and found[1:] else found


@dataclass(slots=True)
class Cores(_Kind):
    """Groups whose tiles are given out to cores: a search goes on where it was.

    A first mapping costs as much as many bounds, so none is looked for at first; and mappings of
    the least latency are good ones under any weight.
    """

    questions: list[Question] = field(default_factory=list)
    early: ClassVar = False
    growth: ClassVar = 2.0  # chosen
    loose: ClassVar = 1.1  # chosen
    ties: ClassVar = 1  # measured: a twentieth less time for a layer
    unproven: ClassVar = "tiles"

    def question(self, cascade: Workload, names: Names) -> object:
        """All that the best mapping of a group depends on, without names."""
        roles, question = cascade.roles.declared, _Kind.question(self, cascade, names)
        if self.mapspace.fusion.cores != "any":
            return names, question
        ranks = dict.fromkeys(r for n in names for r in cascade.einsum(n).ranks)
        return question, tuple(role for r in ranks for role in roles if roles[role] == r)

    def group(self, cascade: Workload, names: Names) -> CoresGroup:
        """A group with its floor."""
        floor = np.array([self.floor(cascade, names)])
        return CoresGroup(cascade, names, floor, kind=self)

    def floor(self, cascade: Workload, names: Names) -> Costs:
        """Cycles and dynamic pJ of a group at least: computes, and the words over its border.

        Units are at peak on all cores.
        """
        from flat_mapper.mapper.chip.floors import at_border, least_pj, whole

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

    def searches(self, cascade: Workload, names: Names, goal: Goal) -> list[GroupOnTiles]:
        """The searches of a group on the cores, one for each way to run it."""
        from flat_mapper.mapper.chip.question import Question
        from flat_mapper.mapper.solve.on_cores import tiles_on_cores
        from flat_mapper.mapper.solve.tile_search import GroupOnTiles

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
        self.questions.append(question)
        once = replace(cascade, repeat=1)
        ways = group_spaces(once, self.mapspace, names)
        every = [tiles_on_cores(question, once, way) for way in ways]
        return [GroupOnTiles(question=question, workload=once, every=tiles) for tiles in every]

    def counts(self) -> tuple[int, Mapping[str, int]]:
        """Mappings that were priced."""
        return sum(question.count.evaluated for question in self.questions), {}


@dataclass(slots=True, kw_only=True)
class CoresGroup(_Group["GroupOnTiles"]):
    """A group on the cores, by one search for each way to run it."""

    kind: Cores

    def first(self, goal: Goal) -> None:
        """Some mapping soon."""
        for one in self._searches(goal):
            if not self.known:
                one.first()

    def run(self, goal: Goal, until: float, room: float) -> None:
        """Raise what no mapping beats to so much, if there are mappings below it."""
        for one in self._searches(goal):
            one.below = min(self.most(goal), room)
            one.run(until)

    def rest(self, goal: Goal) -> None:
        """Forget candidates, and searches of tiles."""
        for one in self.begun.get(goal, ()):
            one.rest()

    def _searches(self, goal: Goal) -> list[GroupOnTiles]:
        """Those of all ways, the most promising first."""
        if goal not in self.begun:
            found = self.kind.searches(self.workload, self.names, goal)
            for way, one in enumerate(found):
                one.learn([some[way] for some in self.begun.values()])
            self.begun[goal] = found
        return sorted(self.begun[goal], key=lambda one: one.bound)


Group = ArrayGroup | CoresGroup


@dataclass(slots=True)
class _Form:
    """One form of a cascade, and its groups."""

    workload: Workload
    graph: FusionGraph
    groups: list[Group]

    def renamed(self, number: int, mapping: GroupMapping) -> GroupMapping:
        """A mapping of a group under its own names: it may be that of an equal question."""
        first, own, names = self.groups[number], self.workload, self.graph.groups[number]
        if names == first.names and all(first.workload.einsum(n) == own.einsum(n) for n in names):
            return mapping
        return renamed_group(mapping, first.workload, own, first.names, names)


@dataclass(frozen=True, slots=True)
class _Path:
    """A partition with what it costs under a goal; no groups where that is infinite."""

    total: float
    form: _Form
    groups: tuple[int, ...]
    chosen: tuple[Mapped, ...] = ()  # where mappings cost so much

    @property
    def each(self) -> list[Group]:
        """Its groups."""
        return [self.form.groups[number] for number in self.groups]

    @property
    def costs(self) -> Costs:
        """Cycles and dynamic pJ."""
        return sum(c for (c, _), _ in self.chosen), sum(e for (_, e), _ in self.chosen)


@dataclass(slots=True)
class PartitionSearch:
    """Shortest paths over the cuts of all forms of a cascade."""

    kind: Arrays | Cores
    budget: Budget
    progress: Progress | None = None
    leak: float = 0.0  # pJ per cycle
    all_forms: list[_Form] = field(default_factory=list)
    known: dict[object, Group] = field(default_factory=dict)  # by question
    asked: Counter[tuple[int, Goal]] = field(default_factory=Counter)  # by group, how often

    @classmethod
    def of(
        cls,
        workload: Workload,
        platform: Platform,
        mapspace: Mapspace,
        ert: Ert,
        budget: Budget | None = None,
        progress: Progress | None = None,
    ) -> PartitionSearch:
        """The search over all partitions that a mapspace leaves."""
        budget, kind = budget or Budget(), Cores if mapspace.fusion.on_cores else Arrays
        leak = sum(ert.leak_per_cycle(platform).values())
        found = cls(kind(platform, mapspace, ert, budget), budget, progress, leak)
        limits = mapspace.fusion.anything or AnyGroups()
        for cascade in found.kind.cascades(workload):
            for names in forms(cascade):
                graph = fusion_graph(cascade, names, limits)
                groups = [found._group(cascade, names) for names in graph.groups]
                found.all_forms.append(_Form(cascade, graph, groups))
        return found

    def _group(self, cascade: Workload, names: Names) -> Group:
        """A group, which may be one question with an earlier one of other names."""
        question = self.kind.question(cascade, names)
        if question not in self.known:
            self.known[question] = self.kind.group(cascade, names)
        return self.known[question]

    def goal(self, kind: Objective) -> Goal:
        """An objective on this chip."""
        return Goal(kind=kind, leak=self.leak)

    @property
    def late(self) -> bool:
        """True once the budget is spent."""
        with self.budget.until_stopped(True):
            self.budget.check()
        return bool(self.budget.stopped)

    def under(self, goal: Goal, enough: float = inf) -> tuple[_Path, float]:
        """The best known partition under a goal that adds up, and a bound of any, or `enough`."""
        begun = self.kind.early or self.budget.ends
        if begun:
            self.first(goal)
        while True:
            lower, best = self.lowest(goal), self.best(goal)
            if lower.total >= best.total * (1 - EQUAL - LOST):
                return best, best.total
            doubt = [one for one in lower.each if not one.settled(goal)]
            known = [one for one in best.each if not one.settled(goal)]
            late = self.late
            if lower.total >= enough or (late and best.groups) or not (doubt or known or not begun):
                return best, min(lower.total, best.total)
            if not (doubt or begun):  # no bound can be raised, but what is known improved
                self.first(goal)
                begun = True
                continue
            if not late and not all(one.sharp for one in doubt):
                self._sharpen(doubt, goal)
                continue
            group = self._next(goal, doubt, known)
            with self.budget.until_stopped(bool(best.groups)):
                self.budget.step()
                if self.progress:
                    self.progress(lower.total / best.total, shortened(group.names))
                part = doubt and not late  # late there is no answer yet
                until = self._wanted(goal, group, lower.total, enough) if part else inf
                room = best.total - self._beside(goal, group) if best.groups else inf
                group.run(goal, until, room)

    def product(self) -> tuple[_Path, float]:
        """The partition of the least product of cycles and energy that is found, and its bound."""
        fast, lean, known = self.goal("latency"), self.goal("energy"), list[_Path]()

        def weighted(weight: float) -> Goal:
            return replace(lean, kind="weighted", weight=weight)

        def once(goal: Goal, enough: float = inf) -> tuple[_Path, float]:
            found = self.under(goal, enough)
            for group in self.known.values():
                group.rest(goal)
            return found

        if self.kind.early:  # floors take seconds: some mapping first
            cycles = self.lowest(fast).total
            self.first(weighted(self.lowest(lean).total / cycles if cycles < inf else 1.0))
            cycles = self._floor(fast)
        else:
            fastest, cycles = once(fast)
            known = [fastest] if fastest.groups else []
        least = cycles, self._floor(lean)
        return best_product(
            least, lambda w, n: once(weighted(w), n), self.path_costs, lambda: self.late, known
        )

    def path_costs(self, path: _Path) -> Costs:
        """Cycles, and pJ with leakage; infinite where there is no path."""
        cycles, energy = path.costs
        return (cycles, energy + self.leak * cycles) if path.groups else (inf, inf)

    def _floor(self, goal: Goal) -> float:
        """Lower bound on any partition, as sharp as can be; none of its groups is searched."""
        while True:
            lower = self.lowest(goal)
            if all(one.sharp for one in lower.each) or self.late:
                return lower.total
            self._sharpen(lower.each, goal)

    def _sharpen(self, groups: Sequence[Group], goal: Goal) -> None:
        """Sharpen the bounds of groups; some mapping of each first if time is limited."""
        rough = {id(one): one for one in groups if not one.sharp}.values()
        for one in rough if self.budget.ends else ():
            one.begin(goal)
        for one in rough:
            with self.budget.until_stopped(True):
                one.sharpen()

    def first(self, goal: Goal) -> None:
        """Some mapping of every unit of a form, and of those of the others while there is time."""
        for form in self.all_forms:
            with self.budget.until_stopped(bool(self.best(goal).groups)):
                for group, names in zip(form.groups, form.graph.groups, strict=True):
                    if names in form.graph.units and not group.known:
                        self.budget.step()
                        group.first(goal)

    def best(self, goal: Goal) -> _Path:
        """The best partition of groups with known mappings."""
        path = self._shortest(lambda one: one.most(goal))
        each = (min(g.known, key=lambda one: goal_value(goal, one[0])) for g in path.each)
        return replace(path, chosen=tuple(each))

    def lowest(self, goal: Goal) -> _Path:
        """The partition of least lower bound."""
        return self._shortest(lambda one: one.least(goal))

    def _shortest(self, weight: Callable[[Group], float]) -> _Path:
        """The partition of least weight of all forms."""
        found, weights = list[_Path](), {id(one): weight(one) for one in self.known.values()}
        for form in self.all_forms:
            total, groups = shortest(form.graph, [weights[id(g)] for g in form.groups])
            found.append(_Path(total, form, groups))
        return min(found, key=lambda one: one.total)

    def _next(self, goal: Goal, doubt: list[Group], known: list[Group]) -> Group:
        """The group to search next, of those on the path of least bounds and on the best one.

        The largest first; where the time is short, before it what may be much
        better, if its search goes on where it was.
        """
        loose = [one for one in known if one.most(goal) > self.kind.loose * one.least(goal)]
        if self.budget.ends and loose:
            return max(loose, key=lambda one: one.most(goal) - one.least(goal))
        return max((doubt or known)[:: self.kind.ties], key=lambda one: len(one.names))

    def _beside(self, goal: Goal, group: Group) -> float:
        """Lower bound on all that is beside a group in a partition with it."""
        weights = {id(one): one.least(goal) for one in self.known.values()}
        return min(
            through(form.graph, [weights[id(g)] for g in form.groups], number)
            for form in self.all_forms
            for number, own in enumerate(form.groups)
            if own is group
        )

    def _wanted(self, goal: Goal, group: Group, total: float, enough: float) -> float:
        """The cost to which the bound of a group on the shortest path is raised next.

        From there on another path is shorter, or a step that grows each time: nearly equal paths
        would take turns else. enough: for the path to cost, whatever others do.
        """
        beside = self._shortest(lambda one: inf if one is group else one.least(goal)).total
        self.asked[id(group), goal] += 1
        step = STEP * self.kind.growth ** self.asked[id(group), goal]
        lacks = (enough - total) * (1 + EQUAL)
        return group.least(goal) + min(lacks, max(beside - total, step * total))


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
    begin, budget = time.perf_counter(), budget or Budget()
    if not mapspace.fusion.on_cores:
        if mapspace.policy.softmax != "charged" and mapspace.fusion.anything is not None:
            condition = "a softmax that is charged: free Einsums belong to no group of their own"
            raise SpecError(expected(f"{mapspace.name}: groups: any", condition, "softmax: free"))
        check_widths(workload, platform)
        mapspace = with_arch_rules(mapspace, platform, workload)
    search = PartitionSearch.of(workload, platform, mapspace, ert, budget, progress)
    path, bound = search.product() if objective == "edp" else search.under(search.goal(objective))
    every = search.known.values()
    if not path.groups:
        refused = least_refused(*(one.refused for group in every for one in group.every))
        assert refused is not None, "no group has a mapping, and none says why"
        return refused
    form = path.form
    chosen = zip(path.groups, path.chosen, strict=True)
    groups = tuple(form.renamed(number, found) for number, (_, found) in chosen)
    mapping = FusedMapping(groups=groups, policy=mapspace.policy)
    result = evaluate(form.workload, platform, mapping, ert)
    assert isinstance(result, Result), f"groups that fit one by one do not together: {result}"
    value = prod(search.path_costs(path)) if objective == "edp" else path.total
    evaluated, pruned = search.kind.counts()
    left = bound < value * (1 - EQUAL)  # else only sums that differ in their last bits
    return certified(
        (workload, platform, mapspace, ert),
        form.workload,
        result,
        objective,
        proven=of_all_runs(result, objective, bound) if left else inf,
        mapspace_size=sum(partition_count(one.graph) for one in search.all_forms),
        evaluated=evaluated,
        pruned={"groups: bound": sum(not any(map(g.bound, g.begun)) for g in every), **pruned},
        stopped=budget.stopped,
        unproven=search.kind.unproven,
        seconds=time.perf_counter() - begin,
    )
