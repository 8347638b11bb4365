"""The one loop: the best of all forms, partitions and groups of a question.

A form of a cascade in groups is a graph of cuts, and its partitions are the paths
(`flat_mapper.mapping.partitions`): one path where a mapspace lists the groups. Latency, energy and
any weighted sum of them add up over groups. So a group's weight is first a lower bound, and on a
shortest path that of its outer choices. The groups on it are then searched one by one, each for
what it may cost at most if a path through it is to improve on the best known, and no further than
another path is shorter. The energy-delay product has its minimum at a corner of the convex hull,
the best of a weighted sum, each a shortest path. Under limits, and of fronts, what groups come to
is a sum of their fronts. Of a path with one group each of these is a question about the group.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import inf, prod, sqrt

import numpy as np

from flat_mapper.base.budget import Budget, shortened
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.base.tolerance import EQUAL, LOST
from flat_mapper.cost_model.candidates import Floats
from flat_mapper.cost_model.result import Infeasible, least_refused
from flat_mapper.mapper.bounds.boxes import MOST
from flat_mapper.mapper.group.incumbent import (
    NO_BAR,
    Bar,
    CyclesPj,
    FrontIncumbent,
    Goal,
    Objective,
    best_index,
    better,
    better_pair,
    goal_value,
)
from flat_mapper.mapper.group.picks import GroupSolution
from flat_mapper.mapper.solve.groups import (
    ArrayGroup,
    Arrays,
    Cores,
    CoresGroup,
    GroupFront,
    Mapped,
    front_of,
)
from flat_mapper.mapper.solve.product import best_product
from flat_mapper.mapper.solve.symmetry import renamed_group
from flat_mapper.mapping.partitions import (
    FusionGraph,
    chain,
    forms,
    fusion_graph,
    group_spaces,
    partition_count,
    shortest,
    through,
    units_of,
)
from flat_mapper.mapping.space import GroupSpace, partitions
from flat_mapper.mapping.values import GroupMapping
from flat_mapper.workload.graph import Workload

# Chosen: of its cost, by which a group's bound is raised at least, and each time as much again.
STEP, GROWTH = 1e-3, 2.0
TIES = 32  # chosen: steps at least for what breaks ties, some tenths of a second
_FEW = 3  # chosen: groups that a line of progress names

_Group = ArrayGroup | CoresGroup


@dataclass(slots=True)
class CascadeForm:
    """One form of a cascade, and its groups."""

    workload: Workload
    graph: FusionGraph
    groups: list[_Group]

    @property
    def name(self) -> str:
        """Its groups; of any groups, its Einsums."""
        if not self.is_path:
            return "+".join(self.graph.names)
        return " | ".join("+".join(names) for names in self.graph.groups)

    @property
    def alone(self) -> bool:
        """True if all is one group."""
        return len(self.graph.cuts) == 2

    @property
    def units(self) -> list[_Group]:
        """Groups of what no partition cuts."""
        every = zip(self.groups, self.graph.groups, strict=True)
        return [group for group, names in every if names in self.graph.units]

    def beside(self, goal: Goal, number: int) -> float:
        """Lower bound on all that is beside a group in a partition with it."""
        return through(self.graph, [one.least(goal) for one in self.groups], number)

    def least(self, goal: Goal, number: int) -> float:
        """Lower bound on partitions with a group."""
        return self.beside(goal, number) + self.groups[number].least(goal)

    @property
    def is_path(self) -> bool:
        """True if there is one partition."""
        return all(len(steps) <= 1 for steps in self.graph.steps.values())

    def renamed(self, number: int, mapping: GroupMapping) -> GroupMapping:
        """A mapping of a group under its own names: it may be that of an equal question."""
        first, own, names = self.groups[number], self.workload, self.graph.groups[number]
        if names == first.names and all(first.workload.einsum(n) == own.einsum(n) for n in names):
            return mapping
        return renamed_group(mapping, first.workload, own, first.names, names)


@dataclass(frozen=True, slots=True)
class Path:
    """A partition with what it costs under a goal; no groups where that is infinite."""

    total: float
    form: CascadeForm
    groups: tuple[int, ...]
    chosen: tuple[Mapped, ...] = ()  # where mappings cost so much

    @property
    def each(self) -> list[_Group]:
        """Its groups."""
        return [self.form.groups[number] for number in self.groups]

    @property
    def costs(self) -> CyclesPj:
        """Cycles and dynamic pJ."""
        return sum(c for (c, _), _ in self.chosen), sum(e for (_, e), _ in self.chosen)

    @property
    def mappings(self) -> tuple[GroupMapping, ...]:
        """Those of its groups, in their own names."""
        every = zip(self.groups, self.chosen, strict=True)
        return tuple(self.form.renamed(number, found) for number, (_, found) in every)


@dataclass(slots=True)
class FormSearch:
    """A question: the forms of its cascade, and what is known of their groups."""

    kind: Arrays | Cores
    leak: float = 0.0  # pJ per cycle
    forms: list[CascadeForm] = field(default_factory=list)
    known: dict[object, _Group] = field(default_factory=dict)  # by question
    alone: bool = False  # whether it knows of no groups but the units alone, so of no bound
    asked: Counter[tuple[int, Goal]] = field(default_factory=Counter)  # by group, how often
    now: tuple[Goal, Sequence[CascadeForm], Bar] | None = None  # what is searched
    anew: bool = False  # whether some mapping is looked for first, though costs are known

    @classmethod
    def of(cls, workload: Workload, kind: Arrays | Cores, *, alone: bool = False) -> FormSearch:
        """The search over all that a mapspace leaves.

        alone: of any groups, each unit alone: groups may take long to list, and to bound.

        raises: SpecError where the cascade has nothing to map, or its mask more than one group.
        """
        leak = sum(kind.ert.leak_per_cycle(kind.platform).values())
        found, limits, check = cls(kind, leak), kind.mapspace.fusion.anything, kind.budget.check
        for cascade in kind.cascades(workload):
            if limits is None:
                for groups in partitions(cascade, kind.mapspace):
                    kind.check_mask(cascade, groups)
                    one = chain([group.names for group in groups])
                    found._add(cascade, one, [(group,) for group in groups])
                continue
            for names in forms(cascade):
                if alone:
                    graph, found.alone = chain(units_of(cascade, names)), True
                else:
                    graph = fusion_graph(cascade, names, limits, check)
                ways = [group_spaces(cascade, kind.mapspace, own) for own in graph.groups]
                found._add(cascade, graph, ways)
        if not any(form.groups for form in found.forms):
            condition = "an Einsum that costs something"
            raise SpecError(expected(workload.name, condition, "a free softmax alone"))
        return found

    def _add(
        self, cascade: Workload, graph: FusionGraph, ways: Sequence[tuple[GroupSpace, ...]]
    ) -> None:
        """A form; of its groups some may be one question with earlier ones of other names."""
        groups = []
        for own in ways:
            self.budget.check()
            question = self.kind.question(cascade, own)
            if question not in self.known:
                self.known[question] = self.kind.group(cascade, own)
            groups.append(self.known[question])
        if groups:
            self.forms.append(CascadeForm(cascade, graph, groups))

    @property
    def budget(self) -> Budget:
        """That of all groups' searches."""
        return self.kind.budget

    def goal(self, kind: Objective) -> Goal:
        """An objective on this chip."""
        return Goal(kind=kind, leak=self.leak)

    @property
    def late(self) -> bool:
        """True once the budget is spent."""
        with self.budget.until_stopped(True):
            self.budget.check()
        return bool(self.budget.stopped)

    def best(self, goal: Goal, below: Bar = NO_BAR) -> tuple[Path | None, float]:
        """The best of all forms under a goal, if it is better than what is known; and the bound.

        That is what no mapping is below that is not known; infinite where nothing is left.
        """
        found, left = None, inf
        for some in self._parts(goal):
            known = goal.bar(found.costs) if found else below
            one, bound = None, self._least(some, goal)
            self.now = goal, some, known
            if known == NO_BAR or self._may_improve(some, goal, known):
                with self.budget.until_stopped(known != NO_BAR):
                    one, bound = self._best(some, goal, known)
            else:
                self.budget.log(some[0].name, "form: bound", str(goal), [bound])
                if bound >= known[0] * (1 - EQUAL):
                    bound = inf
            left = min(left, bound)
            if one is not None and better_pair(goal, one.costs, known):
                found = one
        if not self.kind.listed and self.budget.cuts is not None:
            self._log_groups(goal)
        return found, 0.0 if self.alone else left

    def tied(self, goal: Goal, path: Path) -> Path:
        """The same with groups that take no more of what is minimised, and less of the other.

        Of their latency the least energy, of their energy the least latency, as far as so many
        steps find it as were taken so far.
        """
        found, budget = dict[int, Mapped](), self.budget
        if goal.kind == "edp" or budget.over:  # equal products are rare
            return path
        for group, (costs, _) in zip(path.each, path.chosen, strict=True):
            if id(group) in found:
                continue
            cycles, energy = self._whole(costs)
            aim = replace(goal, kind="energy", most_cycles=cycles)
            if goal.kind == "energy":
                aim = replace(goal, kind="latency", most_pj=energy)
            self.now = aim, [path.form], aim.bar(costs)
            with budget.no_longer(TIES + budget.spent):
                group.tie(aim, aim.bar(costs), budget.gap)
            found[id(group)] = group.best(aim)
        return replace(path, chosen=tuple(found[id(group)] for group in path.each))

    def _log_groups(self, goal: Goal) -> None:
        """Write down groups that were not searched: what partitions with them come to at least."""
        for form in self.forms:
            for number, group in enumerate(form.groups):
                if group.is_asked:
                    continue
                ends = replace(goal.free, kind="latency"), replace(goal.free, kind="energy")
                each = ends if goal.kind == "edp" else (goal.free,)
                bound = prod(form.least(one, number) for one in each)
                names = form.graph.groups[number]
                self.budget.log("+".join(names), "groups: bound", str(goal), [bound])

    def _parts(self, goal: Goal) -> list[list[CascadeForm]]:
        """The forms, those that are one path each alone, the most promising first."""
        if not all(form.is_path for form in self.forms):
            return [self.forms]
        for form in self.forms:
            if form.alone:
                with self.budget.until_stopped(True):
                    self.sharpen(form.groups, goal)
        return [[form] for form in sorted(self.forms, key=lambda one: self._least([one], goal))]

    def _corner(self, some: Sequence[CascadeForm], goal: Goal) -> CyclesPj:
        """Cycles at least, and dynamic pJ at least."""
        cycles = self.lowest(Goal(kind="latency"), some).total
        return cycles, self.lowest(Goal(kind="energy"), some).total

    def _least(self, some: Sequence[CascadeForm], goal: Goal) -> float:
        """Lower bound on a goal, as far as it is known."""
        if (goal.kind != "edp" and not goal.is_limited) or _is_group(some):
            return self.lowest(goal, some).total
        return goal_value(goal, self._corner(some, goal))

    def _may_improve(self, some: Sequence[CascadeForm], goal: Goal, known: Bar) -> bool:
        """True if bounds leave room for better than known costs, in what breaks ties too."""
        if _is_group(some):
            cycles, energy = some[0].groups[0].floor.T
            return bool(better(goal, cycles, energy, known).any())
        return better_pair(goal, self._corner(some, goal), known)

    def _best(
        self, some: Sequence[CascadeForm], goal: Goal, below: Bar
    ) -> tuple[Path | None, float]:
        """The best of some forms; see `best`."""
        if _is_group(some):
            return self._of_group(some[0], goal, below)
        if goal.is_limited:
            aim = replace(goal, kind="edp")
            every, left = self.fronts(some, aim, gap=0.0)  # what is nearly as good may be over one
            if not every and below == NO_BAR and self.budget.stopped:
                with self.budget.suspended():  # before there is an answer no end counts
                    every, left = self.fronts(some, aim, gap=0.0)
            costs = [path.costs for path in every]
            least = min((goal_value(goal, (c, e)) for c, e in left), default=inf)
            best = every[best_index(goal, *np.array(costs).T)] if every else None
            return best, least
        if goal.kind == "edp":
            return self.product(some, below)
        return self.under(goal, some, below=below, gap=self.budget.gap)

    def _of_group(self, form: CascadeForm, goal: Goal, below: Bar) -> tuple[Path | None, float]:
        """The best of a form that is one group."""
        (group,) = form.groups
        if self.budget.ends and (self.anew or (self.kind.early is False and below == NO_BAR)):
            self.anew = False
            group.first(goal)
        group.run(goal, below=below, gap=self.budget.gap)
        if group.most(goal) == inf:
            return None, group.least(goal)
        mapped = group.best(goal)
        return Path(goal_value(goal, mapped[0]), form, (0,), (mapped,)), group.bound(goal)

    def under(
        self,
        goal: Goal,
        some: Sequence[CascadeForm],
        enough: float = inf,
        below: Bar = NO_BAR,
        gap: float = 0.0,
    ) -> tuple[Path | None, float]:
        """The best known partition under a goal that adds up, and a bound of any, or `enough`.

        below: known from elsewhere. gap: relative, that is near enough.
        """
        top = below[0]
        one = _Sum(self, goal, some, enough, top, gap, begun=self.kind.early or self.budget.ends)
        if one.begun:
            self.first(goal, some)
        while True:
            lower, best = self.lowest(goal, some), self.found(goal, some)
            if one.is_proven(lower, best):
                return one.better(best), min(best.total, top)
            if one.is_enough(lower, best):
                return one.better(best), min(lower.total, best.total, top)
            one.step(lower, best)

    def product(
        self, some: Sequence[CascadeForm], below: Bar = NO_BAR
    ) -> tuple[Path | None, float]:
        """The partition of the least product of cycles and energy that is found, and its bound."""
        fast, lean, known = self.goal("latency"), self.goal("energy"), list[Path]()
        gap = self.budget.gap
        each = sqrt(1 + gap) - 1  # of a sum: of a product it is twice as much

        def weighted(weight: float) -> Goal:
            return replace(lean, kind="weighted", weight=weight)

        def once(goal: Goal, enough: float = inf) -> tuple[Path | None, float]:
            found = self.under(goal, some, enough, gap=each)
            for group in self.known.values():
                group.rest(goal)
            return found

        if self.kind.early or not _is_path(some):  # floors take seconds: some mapping first
            cycles = self.lowest(fast, some).total
            weight = self.lowest(lean, some).total / cycles if 0 < cycles < inf else 1.0
            self.first(weighted(weight), some)
            cycles = self._floor(fast, some)
        else:
            fastest, cycles = once(fast)
            known = [fastest] if fastest else []
        least = cycles, self._floor(lean, some)
        if least[0] == inf:
            return None, inf
        return best_product(
            least,
            lambda w, n: once(weighted(w), n),
            lambda path: self._whole(path.costs),
            lambda: self.late,
            known,
            below[0],
            gap,
        )

    def _whole(self, costs: CyclesPj) -> CyclesPj:
        """Cycles, and pJ with leakage."""
        return costs[0], costs[1] + self.leak * costs[0]

    def _floor(self, goal: Goal, some: Sequence[CascadeForm]) -> float:
        """Lower bound on any partition, as sharp as can be; none of its groups is searched."""
        while True:
            lower = self.lowest(goal, some)
            if all(one.sharp for one in lower.each) or self.late:
                return lower.total
            self.sharpen(lower.each, goal)

    def sharpen(self, groups: Sequence[_Group], goal: Goal) -> None:
        """Sharpen the bounds of groups; some mapping of each first if time is limited."""
        rough = {id(one): one for one in groups if not one.sharp}.values()
        for one in rough if self.budget.ends and not self.kind.listed else ():
            one.begin(goal)
        for one in rough:
            with self.budget.until_stopped(True):
                one.sharpen()

    def first(self, goal: Goal, some: Sequence[CascadeForm]) -> None:
        """Some mapping of every unit of a form, and of those of the others while there is time.

        Those of most Einsums last: the more is left of the time, the longer they look.
        """
        for form in some:
            units = form.units
            if form.is_path:
                units.sort(key=lambda one: len(one.names))
            with self.budget.until_stopped(bool(self.found(goal, some).groups)):
                for group in self.budget.each(units):
                    if not group.known:
                        self.budget.step()
                        group.first(goal)

    def found(self, goal: Goal, some: Sequence[CascadeForm]) -> Path:
        """The best partition of groups with known mappings."""
        path = self._shortest(lambda one: one.most(goal), some)
        return replace(path, chosen=tuple(group.best(goal) for group in path.each))

    def lowest(self, goal: Goal, some: Sequence[CascadeForm]) -> Path:
        """The partition of least lower bound."""
        return self._shortest(lambda one: one.least(goal), some)

    def _shortest(self, weight: Callable[[_Group], float], some: Sequence[CascadeForm]) -> Path:
        """The partition of least weight of some forms."""
        found, weights = list[Path](), dict[int, float]()
        for form in some:
            for group in form.groups:
                if id(group) not in weights:
                    weights[id(group)] = weight(group)
            total, groups = shortest(form.graph, [weights[id(g)] for g in form.groups])
            found.append(Path(total, form, groups))
        return min(found, key=lambda one: one.total)

    def next_group(self, goal: Goal, doubt: list[_Group], known: list[_Group]) -> _Group:
        """The group to search next, of those on the path of least bounds and on the best one.

        The largest first; where the time is short, before it what may be much
        better, if its search goes on where it was. Late, what has no mapping: without it there is
        no answer, and the others look for no more.
        """
        loose = [one for one in known if one.most(goal) > self.kind.loose * one.least(goal)]
        if self.budget.ends and loose:
            return max(loose, key=lambda one: one.most(goal) - one.least(goal))
        lacking = [one for one in doubt if one.most(goal) == inf] if self.late else []
        return max(lacking or doubt or known, key=lambda one: len(one.names))

    def beside(self, goal: Goal, group: _Group) -> float:
        """Lower bound on all that is beside a group in a partition with it."""
        return min(
            form.beside(goal, number)
            for form in self.forms
            for number, own in enumerate(form.groups)
            if own is group
        )

    def wanted(
        self, goal: Goal, group: _Group, total: float, enough: float, some: Sequence[CascadeForm]
    ) -> float:
        """The cost to which the bound of a group on the shortest path is raised next.

        From there on another path is shorter, or a step that grows each time: nearly equal paths
        would take turns else. enough: for the path to cost, whatever others do.
        """
        beside = self._shortest(lambda one: inf if one is group else one.least(goal), some).total
        self.asked[id(group), goal] += 1
        step, least = STEP * GROWTH ** self.asked[id(group), goal], group.least(goal)
        lacks = (enough - total) * (1 + EQUAL)
        return least + min(lacks, max(beside - total, step * (least or total)))

    def front(self, goal: Goal) -> tuple[list[Path], Floats]:
        """All that no other one dominates, the fastest first; and bounds of what is left."""
        found, left = list[Path](), [np.zeros((0, 2))]
        for some in self._parts(goal):
            self.now, known = (goal, some, NO_BAR), [path.costs for path in found]
            corner = self._corner(some, goal)
            if not _may_be_on_front(corner, goal, known):
                continue
            own, rest = list[Path](), np.array([corner])
            with self.budget.until_stopped(bool(found)):
                own, rest = self.fronts(some, goal, known, self.budget.gap)
            left.append(rest)
            every = found + own
            found = front_of(every, [path.costs for path in every], goal)
        return found, np.concatenate(left + [np.zeros((1, 2))] * self.alone)

    def fronts(
        self,
        some: Sequence[CascadeForm],
        goal: Goal,
        known: Sequence[CyclesPj] = (),
        gap: float = 0.0,
    ) -> tuple[list[Path], Floats]:
        """The same of some forms: a front of sums consists of sums of fronts.

        known: costs from elsewhere; what they dominate is of no use. gap: relative, of each point.
        """
        if self.budget.ends and not (known or self.kind.early) and _is_path(some):
            self.first(goal, some)  # else there is nothing to end with
        if _is_group(some):
            (group,) = some[0].groups
            front = group.front(goal, known, gap)
            paths = [Path(goal_value(goal, one[0]), some[0], (0,), (one,)) for one in front.found]
            return paths, front.left
        known = [*known]
        if not _is_path(some):
            path, _ = self.product(some)  # something to beat: groups are many
            known += [path.costs] if path else []
        fronts: dict[int, GroupFront] = {}
        for form in some:
            for number, group in enumerate(form.groups):
                if id(group) in fronts:
                    continue
                least = form.least(Goal(kind="energy"), number) * (1 - EQUAL)
                corner = form.least(Goal(kind="latency"), number), least
                if _may_be_on_front(corner, goal, known):
                    fronts[id(group)] = group.front(goal, gap=gap)
        found, left = list[Path](), [np.zeros((0, 2))]
        for form in some:
            own = [fronts.get(id(group), _NOTHING) for group in form.groups]
            found += _sums(form, own, goal)
            if any(len(front.left) for front in own):
                lower = [np.concatenate([_costs(one.found), one.left]) for one in own]
                every = [costs for costs, _, _ in _labels(form, lower, goal)]
                left.append(np.array(every, np.float64).reshape(-1, 2))
        return front_of(found, [path.costs for path in found], goal), np.concatenate(left)

    def report(self, said: Callable[[float], str]) -> tuple[float, str]:
        """(share that is proven, phase with best, bound and gap), for who waits; said: in units."""
        if self.now is None:
            return 0.0, "bounds"
        goal, some, below = self.now
        value = below[0]
        if goal.kind != "edp" or _is_group(some):
            value = min(value, self._shortest(lambda one: one.so_far(goal)[0], some).total)
            bound = self._shortest(lambda one: one.so_far(goal)[1], some).total
        else:
            path, bound = self.found(Goal(kind="energy"), some), self._least(some, goal)
            value = min(value, goal_value(goal, path.costs) if path.groups else inf)
        number = self.forms.index(some[0]) + 1
        names = [shortened(own) for own in some[0].graph.groups]
        phase = " | ".join(names) if len(names) <= _FEW else f"{len(names)} groups"
        phase = f"{number} of {len(self.forms)}, {phase}"
        if value == inf:
            return 0.0, f"{phase}: no mapping yet, bound {said(bound)}"
        bound = min(bound, value)
        gap = 100 * (value / bound - 1) if bound > 0 else inf
        return bound / value, f"{phase}: best {said(value)}, bound {said(bound)}, gap {gap:.2f} %"

    def least_of_any_size(self, goal: Goal, most: int = MOST, look: float = 0.0) -> float:
        """Lower bound on a goal over mappings whose factors need not divide; 0: not known.

        most: boxes of tiles that are bounded, see `boxes_of_any_size`. look: a bound up to which
        they are looked into.
        """
        if not self.kind.listed:
            return 0.0
        found = [self._of_any_size(form, goal, most, 0.0) for form in self.forms]
        for i in np.argsort(found, kind="stable").tolist():
            form = self.forms[i]
            # No other form has less.
            if found[i] == min(found) < look and len(form.groups) == 1:
                found[i] = self._of_any_size(form, goal, most, look)
        return min(found)

    def _of_any_size(self, form: CascadeForm, goal: Goal, most: int, look: float) -> float:
        parts = [group.least_of_any_size(goal, most, look) for group in form.groups]
        corner = np.array([own for _, own in parts]).sum(axis=0)[:, None]
        return parts[0][0] if len(parts) == 1 else float(goal.first(*corner)[0])

    def promising(self, goal: Goal, most: int = MOST) -> list[tuple[float, dict[str, int]]]:
        """Larger sizes of groups that are a form each, with their bounds."""
        alone = [form.groups[0] for form in self.forms if len(form.groups) == 1]
        found = (one for group in alone for one in group.promising(goal, most))
        return [one for one in found if one[1]]

    def refused(self) -> Infeasible | None:
        """Reason why nothing fits, by the form that asks for least."""
        return least_refused(*(self.refusal(form, whole=True) for form in self.forms))

    def refusal(self, form: CascadeForm, *, whole: bool = False) -> Infeasible | None:
        """Reason why no mapping of a form fits, as far as that is known; None: one may.

        whole: look for it, if it is not known.
        """
        if self.found(Goal(kind="latency"), [form]).groups:
            return None
        units = [one for one in form.units if not one.known and (whole or one.is_empty)]
        known = least_refused(*(group.refused for group in form.groups))
        return known if known is not None else least_refused(*(one.why() for one in units))

    def size(self) -> int:
        """Combinations of outer and inner choices; of any groups, partitions."""
        if self.kind.listed:
            return sum(group.size() for form in self.forms for group in form.groups)
        return sum(partition_count(form.graph) for form in self.forms)

    def counts(self) -> tuple[int, dict[str, int]]:
        """Mappings that were priced, and what was left out, by rule."""
        evaluated, pruned = self.kind.counts()
        own = {}
        if not self.kind.listed:
            own = {"groups: bound": sum(not group.is_asked for group in self.known.values())}
        return evaluated, {**own, **pruned}


@dataclass(slots=True)
class _Sum:
    """The search of some forms under a goal that adds up over groups."""

    search: FormSearch
    goal: Goal
    some: Sequence[CascadeForm]
    enough: float  # a bound that is enough
    top: float  # what a partition has to stay below
    gap: float  # relative, that is near enough
    begun: bool  # whether every unit has some mapping

    def better(self, path: Path) -> Path | None:
        """A partition, if it stays below the top."""
        return path if path.groups and path.total <= self.top * (1 + EQUAL) else None

    def _open(self, path: Path) -> list[_Group]:
        """Groups on a path that may be improved, or whose bounds may be raised."""
        return [group for group in path.each if not group.settled(self.goal, self.gap)]

    def is_proven(self, lower: Path, best: Path) -> bool:
        """True if no partition is better."""
        if lower.total > self.top:
            return True
        return lower.total >= min(best.total, self.top) * (1 - EQUAL - LOST)

    def is_enough(self, lower: Path, best: Path) -> bool:
        """True if the search may or has to end, though a better one may be left."""
        most, budget = min(best.total, self.top), self.search.budget
        near = self.gap and most < inf and lower.total * (1 + self.gap) >= most * (1 - EQUAL)
        if near or lower.total >= self.enough:
            return True
        if self.search.late and (best.groups or budget.answered):
            return True
        return self.begun and not (self._open(lower) or self._open(best))

    def step(self, lower: Path, best: Path) -> None:
        """Search the group that comes next, or bound those in doubt better."""
        search, goal, some = self.search, self.goal, self.some
        doubt, known, late = self._open(lower), self._open(best), search.late
        if not (doubt or self.begun):  # no bound can be raised, but what is known improved
            search.first(goal, some)
            self.begun = True
            return
        if not late and not all(one.sharp for one in doubt):
            search.sharpen(doubt, goal)
            return
        group, most = search.next_group(goal, doubt, known), min(best.total, self.top)
        with search.budget.until_stopped(bool(best.groups)):
            search.budget.step()
            until = inf  # late there is no answer yet
            if doubt and not late and (not _is_path(some) or goal.kind == "weighted"):
                until = search.wanted(goal, group, lower.total, self.enough, some)
            # Of all forms, as a search on cores goes on where it was and looks for no more again.
            room = most / (1 + self.gap) - search.beside(goal, group) if most < inf else inf
            group.run(goal, until, room, gap=self.gap)


def _is_path(some: Sequence[CascadeForm]) -> bool:
    """True if forms are one partition."""
    return len(some) == 1 and some[0].is_path


def _is_group(some: Sequence[CascadeForm]) -> bool:
    """True if forms are one group."""
    return len(some) == 1 and some[0].alone


def _may_be_on_front(least: CyclesPj, goal: Goal, known: Sequence[CyclesPj]) -> bool:
    """True if no known costs dominate what costs so much at least."""
    aim = FrontIncumbent[GroupSolution](goal=goal, known=[*known])
    return bool(aim.can_improve(*np.array([least]).T)[0])


_NOTHING = GroupFront([], np.zeros((0, 2)))


def _costs(found: Sequence[Mapped]) -> Floats:
    return np.array([costs for costs, _ in found], np.float64).reshape(-1, 2)


def _sums(form: CascadeForm, fronts: Sequence[GroupFront], goal: Goal) -> list[Path]:
    """The front of a form, by those of its groups."""
    found = []
    for costs, numbers, picks in _labels(form, [_costs(one.found) for one in fronts], goal):
        chosen = tuple(fronts[n].found[i] for n, i in zip(numbers, picks, strict=True))
        found.append(Path(goal_value(goal, costs), form, numbers, chosen))
    return found


_Label = tuple[CyclesPj, tuple[int, ...], tuple[int, ...]]  # costs; groups, and which of each


def _labels(form: CascadeForm, costs: Sequence[Floats], goal: Goal) -> list[_Label]:
    """Sums that no others dominate, over all partitions; costs: of each group's choices."""
    graph = form.graph
    labels: dict[int, list[_Label]] = {cut: [] for cut in graph.cuts}
    labels[graph.cuts[0]] = [((0.0, 0.0), (), ())]
    for low in graph.cuts:
        own = labels[low] = front_of(labels[low], [costs for costs, _, _ in labels[low]], goal)
        for high, number in graph.steps[low]:
            for (cycles, energy), numbers, picks in own:
                labels[high] += [
                    ((cycles + c, energy + e), (*numbers, number), (*picks, i))
                    for i, (c, e) in enumerate(costs[number].tolist())
                ]
    return labels[graph.cuts[-1]]
