"""The groups of a search, on one array or on the cores of a chip: what each takes at least.

A group is asked under a goal, for mappings that cost less than is wanted of it. What is found, and
what is proven of the rest, stays known under every goal. Groups that are one question under other
names are one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import floor, inf, prod
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from flat_mapper.arch.values import Platform
from flat_mapper.base.budget import Budget
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.base.tolerance import EQUAL
from flat_mapper.cost_model.candidates import Floats
from flat_mapper.cost_model.chip.tile import tile_cost
from flat_mapper.cost_model.result import Infeasible, least_refused
from flat_mapper.energy.tables import Ert, operation_cycles
from flat_mapper.mapper.bounds.border import BorderBounds
from flat_mapper.mapper.bounds.boxes import boxes_of_any_size
from flat_mapper.mapper.bounds.candidate_set import CandidateCache
from flat_mapper.mapper.chip.assignments import cascades
from flat_mapper.mapper.group.group import GroupSearch
from flat_mapper.mapper.group.incumbent import (
    NO_BAR,
    Bar,
    CyclesPj,
    EinsumNames,
    FrontIncumbent,
    Goal,
    GoalIncumbent,
    beside_weights,
    best_index,
    better_pair,
    costs_of,
    goal_value,
    least_value,
    undominated,
)
from flat_mapper.mapper.group.picks import GroupCounters, GroupSolution
from flat_mapper.mapper.group.reconstruct import group_mapping
from flat_mapper.mapper.solve.symmetry import group_question
from flat_mapper.mapper.space.execution import execution_orders
from flat_mapper.mapper.space.group import GroupProblem, group_problem
from flat_mapper.mapper.space.pareto import nondominated
from flat_mapper.mapping.cores import CoreQuestion
from flat_mapper.mapping.order import overlaps
from flat_mapper.mapping.partitions import forms
from flat_mapper.mapping.sharing import shared_level
from flat_mapper.mapping.space import Fusion, GroupSpace, Mapspace, handed_over
from flat_mapper.mapping.values import GroupMapping
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.softmax import SPLIT, alternatives

if TYPE_CHECKING:  # at run time what is of cores or handed over is imported where it is asked for
    from flat_mapper.mapper.chip.question import Laid, Question
    from flat_mapper.mapper.solve.tile_search import GroupOnTiles
    from flat_mapper.mapper.space.handover import InsideQuestion

MOST_KEPT = 1_000_000  # chosen: candidates that are kept for other groups, 1 GB or so
MOST_ROOTS = 1_000_000  # chosen: outer choices that are kept for other goals, 0.3 GB or so

Mapped = tuple[CyclesPj, GroupMapping]  # cycles and dynamic pJ, and what takes them


@dataclass(slots=True)
class ArrayAnswer:
    """An array's group under a goal, or a mapping that was found, beside which nothing is left."""

    best: Mapped | None = None
    bound: float = inf  # of what was left out; 0 where nobody has looked
    done: bool = True  # whether no more is looked for, whatever is proven
    refused: Infeasible | None = None  # why nothing fits


@dataclass(slots=True)
class GroupFront:
    """Mappings of which none dominates another, and lower bounds on those not looked for."""

    found: list[Mapped]
    left: Floats  # (cycles, dynamic pJ); [n, 2]


@dataclass(slots=True)
class Group[Own: ArrayAnswer | GroupOnTiles]:
    """A group, or several that are one question under other names: its costs at least and most.

    Either kind has `first`, some mapping soon; `run`, which raises what no mapping beats to so
    much, if there are mappings below it, with `room`, from which on a mapping is of no use; and
    `front`, all mappings that none dominates.
    """

    workload: Workload  # of the first, as its names
    ways: tuple[GroupSpace, ...]  # to run it
    floor: Floats  # (cycles, dynamic pJ) of its parts at least; [n, 2]
    begun: dict[Goal, list[Own]] = field(default_factory=dict)  # what is known from searches
    sharp: bool = True  # whether nothing but a search raises its bound
    floors: dict[Goal, float] = field(default_factory=dict)  # the least of `floor`

    @property
    def names(self) -> EinsumNames:
        """Its Einsums."""
        return self.ways[0].names

    def run(
        self,
        goal: Goal,
        until: float = inf,
        room: float = inf,
        below: Bar = NO_BAR,
        gap: float = 0.0,
    ) -> None:
        """Raise what no mapping beats to so much, if there are mappings below it."""
        raise NotImplementedError

    def begin(self, goal: Goal) -> None:
        """Some mapping before its bound is sharpened, which may take long."""

    def sharpen(self) -> None:
        """Bound it better, as far as no search is needed."""

    def rest(self, goal: Goal) -> None:
        """Forget what can be made again, of what was asked under a goal."""

    def size(self) -> int:
        """Combinations of outer and inner choices that its searches went through."""
        return 0

    def least_of_any_size(self, goal: Goal, most: int, look: float) -> tuple[float, CyclesPj]:
        """The least of mappings whose factors need not divide: in a goal, and in cycles and pJ."""
        cycles, energy = self.floor.min(axis=0).tolist()
        return float(goal.first(*self.floor.T).min()), (cycles, energy)

    def promising(self, goal: Goal, most: int) -> Iterable[tuple[float, dict[str, int]]]:
        """Sizes at which tiles that need not divide would be divisors, with their bounds."""
        return ()

    @property
    def every(self) -> list[Own]:
        """Searches under whatever goal."""
        return [one for some in self.begun.values() for one in some]

    @property
    def is_asked(self) -> bool:
        """True if searches have raised its bound."""
        return any(map(self.bound, self.begun))

    @property
    def known(self) -> list[Mapped]:
        """Mappings that are known."""
        return [one.best for one in self.every if one.best]

    @property
    def refused(self) -> Infeasible | None:
        """Reason why nothing fits, if that is known."""
        return None if self.known else least_refused(*(one.refused for one in self.every))

    @property
    def is_empty(self) -> bool:
        """True if its bounds say that nothing fits."""
        return self.sharp and not np.isfinite(self.floor).all(axis=1).any()

    def why(self) -> Infeasible | None:
        """Reason why nothing fits, where no search was needed to know."""
        return None

    def best(self, goal: Goal) -> Mapped:
        """The best of the known mappings."""
        known = self.known
        cycles, energy = np.array([costs for costs, _ in known]).T
        return known[best_index(goal, cycles, energy)]

    def most(self, goal: Goal) -> float:
        """The least that a known mapping takes."""
        return min((goal_value(goal, costs) for costs, _ in self.known), default=inf)

    def so_far(self, goal: Goal) -> tuple[float, float]:
        """The least that a known mapping takes, and that any does, while it is searched."""
        return self.most(goal), self.least(goal)

    def bound(self, goal: Goal) -> float:
        """Cost of what searches under a goal have left out, at least; 0 where there are none."""
        return min((one.bound for one in self.begun.get(goal, ())), default=0.0)

    def least(self, goal: Goal) -> float:
        """Lower bound of all mappings; of a weighted sum, also by what is known of other ones."""
        least, bound = self._floor(goal), self.bound(goal)
        if not bound and goal.kind == "weighted":
            others = [g for g in self.begun if g.kind == "weighted" and self.bound(g)]
            lines = [(g.weight, self.least(g)) for g in others]
            alone = (self._floor(replace(goal, kind=k)) for k in ("latency", "energy"))
            bound = float(beside_weights(goal.weight, lines, *alone))
        return max(least, min(self.most(goal), bound))

    def _floor(self, goal: Goal) -> float:
        if goal not in self.floors:
            self.floors[goal] = least_value(goal, self.floor)
        return self.floors[goal]

    def done(self, goal: Goal) -> bool:
        """True if searches under a goal look for no more."""
        return goal in self.begun and all(one.done for one in self.begun[goal])

    def tie(self, goal: Goal, below: Bar, gap: float) -> None:
        """Look for what is better than known costs under a goal that they limit."""
        self.run(goal, below=below, gap=gap)

    def settled(self, goal: Goal, gap: float = 0.0) -> bool:
        """True if no more is to be known; gap: relative, that is near enough."""
        return self.done(goal) or self.least(goal) * (1 + gap) >= self.most(goal) * (1 - EQUAL)


@dataclass(slots=True)
class Kind:
    """Groups of one kind: how they are made, and what a search of partitions does otherwise."""

    platform: Platform
    mapspace: Mapspace
    ert: Ert
    budget: Budget  # of all groups' searches
    early: ClassVar[bool]  # whether units have a mapping first; else a product has the fastest
    loose: ClassVar[float]  # times its bound from which a known mapping is improved first

    @property
    def listed(self) -> bool:
        """True if the mapspace lists its groups."""
        return self.mapspace.fusion.anything is None

    def cascades(self, workload: Workload) -> Sequence[Workload]:
        """The forms of a workload that may be mapped."""
        return alternatives(workload)

    def question(self, cascade: Workload, ways: Sequence[GroupSpace]) -> object:
        """All that the best mapping of a group depends on, without names."""
        return group_question(cascade, self.platform, self.mapspace, ways)

    def check_mask(self, cascade: Workload, groups: Sequence[GroupSpace]) -> None:
        """Refuse groups that a mask has no meaning for."""

    def forget_all(self) -> None:
        """Forget what can be made again, of all groups."""

    def buffer_words(self, level: str) -> int | None:
        """Words of a level that a limit of the answer leaves; None: all."""
        limit = self.budget.limits.buffer_bytes
        if limit == inf:
            return None
        return floor(limit * 8 / self.platform.matrix.level(level).word_bits)


@dataclass(frozen=True, slots=True)
class OrderSearch:
    """One execution order of a group under one schedule; and what is handed over inside, if any."""

    search: GroupSearch
    inside: InsideQuestion | None = None

    def again(self, known: CandidateCache) -> OrderSearch:
        """The same, with nothing searched yet."""
        return replace(self, search=self.search.again(known))

    def mapped(self, found: GroupSolution) -> Mapped:
        """A solution as a mapping of the chip."""
        mapping = group_mapping(found, dict(found.problem.workload.rank_sizes))
        return costs_of(found), mapping if self.inside is None else self.inside.group(mapping)


@dataclass(slots=True)
class Arrays(Kind):
    """Groups on one array: a first mapping comes cheap, and every search begins anew."""

    evaluated: int = 0  # mappings that were priced
    pruned: Counter[str] = field(default_factory=Counter)  # choices that were left out, by rule
    bounds: dict[int, BorderBounds] = field(default_factory=dict)  # by cascade
    candidates: defaultdict[int, CandidateCache] = field(
        default_factory=lambda: defaultdict(CandidateCache)
    )
    kept: dict[int, ArrayGroup] = field(default_factory=dict)  # those with ways that are kept
    early: ClassVar = True
    loose: ClassVar = inf

    def cascades(self, workload: Workload) -> Sequence[Workload]:
        """The forms of a workload; under a mask no keys are read in two passes."""
        charged = self.mapspace.policy.softmax == "charged" and not workload.mask
        return alternatives(workload, charged=charged)

    def group(self, cascade: Workload, ways: tuple[GroupSpace, ...]) -> ArrayGroup:
        """A group with a first bound: of its ways, or where groups are many that of its border."""
        found = ArrayGroup(cascade, ways, np.zeros((0, 2)), sharp=False, kind=self)
        if self.listed or any(self.is_inside(cascade, way) for way in ways):
            found.floor = np.array([one.search.prepare() for one in found.opened()])
            return found
        if id(cascade) not in self.bounds:
            self.bounds[id(cascade)] = self._bounds(cascade)
        orders = dict.fromkeys(order.names for way in ways for order in self.orders(cascade, way))
        least = np.array([self.bounds[id(cascade)].least(one) for one in orders]).min(axis=0)
        found.floor = least[None, :]
        return found

    def _bounds(self, workload: Workload) -> BorderBounds:
        spaces, mapspace = {}, replace(self.mapspace, fusion=self._outside)
        for name in forms(workload)[0]:
            alone = GroupSpace(names=(name,), fused=False, schedule="sequential", declared=False)
            problem = group_problem(workload, self.platform, self.ert, mapspace, alone)
            spaces[name] = problem.spaces[0]
        return BorderBounds(
            workload=workload, platform=self.platform, mapspace=mapspace, spaces=spaces
        )

    def orders(self, cascade: Workload, way: GroupSpace) -> tuple[GroupSpace, ...]:
        """The execution orders of a way that may be the best."""
        return execution_orders(cascade, self.platform, self.mapspace, way)

    def ways(self, cascade: Workload, group: GroupSpace) -> Iterator[OrderSearch]:
        """All ways to run a group under one schedule."""
        if not self.is_inside(cascade, group):
            for order in self.orders(cascade, group):
                yield self._way(self.problem(cascade, order))
            return
        from flat_mapper.mapper.space.handover import inside_questions

        where = cascade, self.platform, self.mapspace, self.ert
        for order in self.orders(cascade, group):
            for question in inside_questions(*where, order):
                yield self.inside(question)

    def is_inside(self, cascade: Workload, group: GroupSpace) -> bool:
        """True if a group hands something over inside the fusion level."""
        return bool(handed_over(cascade, self.mapspace, group))

    def problem(self, cascade: Workload, order: GroupSpace) -> GroupProblem:
        """The search problem of a group in one order."""
        mapspace = replace(self.mapspace, fusion=self._outside)
        found = group_problem(cascade, self.platform, self.ert, mapspace, order)
        return replace(found, buffer_words=self.buffer_words(shared_level(self.platform).name))

    @property
    def _outside(self) -> Fusion:
        """The mapspace's choices, where nothing is handed over inside."""
        return replace(self.mapspace.fusion, intermediates={})

    def inside(self, question: InsideQuestion) -> OrderSearch:
        """The way that a question with one level more is about."""
        workload, platform, mapspace, ert = question.asked()
        problem = group_problem(workload, platform, ert, mapspace, question.order)
        words = self.buffer_words(shared_level(self.platform).name)
        return self._way(replace(problem, buffer_words=words), question)

    def _way(self, problem: GroupProblem, inside: InsideQuestion | None = None) -> OrderSearch:
        return OrderSearch(GroupSearch.of(problem, CandidateCache(), self.budget), inside)

    def by_tile(self, way: OrderSearch) -> list[OrderSearch]:
        """A way with something handed over inside, for each tile with the room beside it."""
        assert way.inside is not None
        return [self.inside(one) for one in way.inside.by_tile()]

    def staged(self, problem: GroupProblem) -> OrderSearch:
        """A group in which all its tensors are staged: few outer choices, however many Einsums."""
        fusion = replace(problem.mapspace.fusion, staging="all")
        mapspace = replace(problem.mapspace, fusion=fusion)
        return self._way(replace(problem, mapspace=mapspace))

    def keep(self, group: ArrayGroup) -> None:
        """Keep the outer choices of groups that were asked last, as far as there is room."""
        self.kept.pop(id(group), None)
        self.kept[id(group)] = group
        if self.listed:
            return

        def roots() -> int:
            every = (way.search for one in self.kept.values() for way in one.kept or ())
            return sum(len(search.roots.staging) for search in every)

        while len(self.kept) > 1 and roots() > MOST_ROOTS:
            self.kept.pop(next(iter(self.kept))).kept = None

    def forget(self, cascade: Workload) -> None:
        """Forget candidates, where they are too many."""
        every = self.candidates[id(cascade)].candidate_sets.values()
        if sum(one.count for one in every) > MOST_KEPT:
            del self.candidates[id(cascade)]

    def forget_all(self) -> None:
        """Forget what can be made again, of all groups."""
        for group in self.kept.values():
            group.kept = None
        self.kept.clear()
        self.candidates.clear()

    def refused(self, cascade: Workload, mapping: GroupMapping) -> Infeasible | None:
        """Reason why a mapping with something handed over inside does not fit; None: it does."""
        core = CoreQuestion(workload=cascade, platform=self.platform, group=mapping)
        found = tile_cost(core, self.mapspace.policy, self.ert)
        return found if isinstance(found, Infeasible) else None

    def check_mask(self, cascade: Workload, groups: Sequence[GroupSpace]) -> None:
        """Refuse several groups that cut queries and keys under a mask, or hand on what it masks.

        raises: SpecError.
        """
        if cascade.mask is None or len(groups) == 1:
            return
        problems = [self.problem(cascade, self.orders(cascade, group)[0]) for group in groups]
        masked, ranks = [p for p in problems if p.masked_pair], cascade.tensor_ranks
        pair = set(cascade.roles.masked or ())
        if len(masked) > 1 or any(pair <= set(ranks[t]) for p in masked for t in p.external):
            condition = "a cascade whose keys are cut in one pass, such as softmax online"
            where = f"{cascade.name}: mask {cascade.mask}"
            raise SpecError(expected(where, condition, f"{cascade.softmax}, in several groups"))

    def add(self, done: GroupCounters) -> None:
        """Count what a search of a group did, for the certificate."""
        self.evaluated += done.evaluated
        self.pruned["outer: does not fit"] += done.outer_infeasible
        self.pruned["outer: bound"] += done.outer_bounded
        self.pruned["inner: bound"] += done.candidates_bounded

    def counts(self) -> tuple[int, Mapping[str, int]]:
        """Mappings that were priced, and choices of all groups that were left out, by rule."""
        return self.evaluated, self.pruned


@dataclass(slots=True, kw_only=True)
class ArrayGroup(Group[ArrayAnswer]):
    """A group on one array."""

    kind: Arrays
    kept: list[OrderSearch] | None = None  # not begun
    live: tuple[GoalIncumbent, GroupSearch] | None = None  # that is searched

    def so_far(self, goal: Goal) -> tuple[float, float]:
        """The least that a known mapping takes, and that any does, while it is searched."""
        most, least = self.most(goal), self.least(goal)
        if self.live is None or self.live[0].goal != goal:
            return most, least
        incumbent, search = self.live
        known = incumbent.bar[0]
        alone = search.proven(incumbent) if self.kept and len(self.kept) == 1 else 0.0
        return min(most, known), max(least, min(most, alone, known))

    def first(self, goal: Goal) -> None:
        """A good mapping, or where the quick way finds none, the best."""
        with self.kind.budget.until_stopped(True):
            for way in self.every_way():
                self._offer(goal, way, quick_mapping(way.search, goal))
        if not self.known:
            self.run(goal)

    def _begun(self, goal: Goal) -> list[OrderSearch]:
        """Its ways; none where the budget is over before they are listed, and some mapping known.

        One in which all is staged, if there is such: it needs no list of all outer choices.
        """
        with self.kind.budget.until_stopped(True):
            return self.every_way(goal)
        self.kind.budget.check()  # for whoever else has an answer
        self.begin(goal)
        return [] if self.known else self.every_way(goal)

    def begin(self, goal: Goal) -> None:
        """Some mapping in which all is staged: outer choices may be very many."""
        fusion = self.kind.mapspace.fusion
        if self.known or fusion.intermediates or fusion.staging != "any":
            return
        for group in {(way.schedule, way.declared): way for way in reversed(self.ways)}.values():
            problem = self.kind.problem(self.workload, self.kind.orders(self.workload, group)[0])
            way, candidates = self.kind.staged(problem), self.kind.candidates[id(self.workload)]
            self._offer(goal, way, quick_mapping(way.again(candidates).search, goal))

    def _offer(self, goal: Goal, way: OrderSearch, found: GroupSolution | None) -> bool:
        """Take a mapping; False where what it hands over inside does not fit there."""
        if found is None:
            return True
        mapped = way.mapped(found)
        if way.inside is not None:
            refused = self.kind.refused(self.workload, mapped[1])
            if refused is not None:
                self._under(goal)[0].refused = least_refused(self._under(goal)[0].refused, refused)
                return False
        self._under(goal).append(ArrayAnswer(mapped))
        return True

    def _under(self, goal: Goal) -> list[ArrayAnswer]:
        return self.begun.setdefault(goal, [ArrayAnswer(bound=0.0, done=False)])

    def sharpen(self) -> None:
        """Bound it by its outer choices."""
        found = [self.floor[:0]]
        for search in (way.search for way in self.every_way()):
            fits = search.bounds.fits(search.roots)
            found.append(np.stack([search.roots.cycles, search.roots.energy])[:, fits].T)
        costs = np.maximum(np.concatenate(found), self.floor.min(axis=0))
        self.floor, self.sharp, self.floors = costs[nondominated(costs)], True, {}

    def run(
        self,
        goal: Goal,
        until: float = inf,
        room: float = inf,
        below: Bar = NO_BAR,
        gap: float = 0.0,
    ) -> None:
        """Find the best mapping, if it costs less than is wanted and than there is room for.

        below: known from elsewhere: it has to be better, by what breaks ties too.
        gap:   relative; what is better by less need not be found.
        """
        own, left, todo = self._under(goal)[0], inf, self._begun(goal)[::-1]
        if not todo:
            return
        bar, wanted = self._to_beat(goal, min(until, room), below, gap)
        while todo:
            way = todo.pop()
            incumbent = GoalIncumbent(goal, bar, gap)
            self.live = incumbent, way.search
            found, beside = solve_group(way.search, incumbent)
            self.live = None
            self.kind.add(way.search.counters)
            if isinstance(found, Infeasible):
                own.refused = least_refused(own.refused, found)
            elif found is not None and not self._offer(goal, way, found):
                todo += self.kind.by_tile(way)  # there is no room beside what is handed over
                continue
            elif found is not None:
                bar = goal.bar(costs_of(found))
            left = min(left, beside)
        sought = min(wanted, self.most(goal) / (1 + gap))  # what is below it was looked for
        own.done = left < sought * (1 - EQUAL)
        proven = inf if sought == self.most(goal) and not own.done else min(left, sought)
        own.bound = max(own.bound, self._floor(goal) if gap else 0.0, proven)
        self.kind.forget(self.workload)

    def _to_beat(self, goal: Goal, wanted: float, below: Bar, gap: float) -> tuple[Bar, float]:
        """The cost that a mapping has to beat by the gap; and the most that is of use."""
        wanted = min(wanted, below[0] / (1 + gap))
        bar = min(below, *(goal.bar(costs) for costs, _ in self.known), NO_BAR)
        if bar[0] <= wanted * (1 + gap):
            return bar, wanted
        return goal.bar_at(wanted * (1 + gap)), wanted

    def front(self, goal: Goal, known: Sequence[CyclesPj] = (), gap: float = 0.0) -> GroupFront:
        """All mappings that no other one dominates, nor what is known from elsewhere."""
        found, left, todo = list[Mapped](), [np.zeros((0, 2))], self.every_way()[::-1]
        while todo:
            way = todo.pop()
            others = [*known, *(costs for costs, _ in found)]
            incumbent = FrontIncumbent[GroupSolution](goal=goal, known=others, gap=gap)
            way.search.solve(incumbent)
            self.kind.add(way.search.counters)
            own = [way.mapped(one) for one in incumbent.solutions]
            why = [self.kind.refused(self.workload, m) for _, m in own if way.inside is not None]
            if not own and incumbent.open:
                why = [way.search.infeasibility()]
            elif any(one is not None for one in why):
                todo += self.kind.by_tile(way)
            else:
                found = kept(found + own, goal)
                left.append(way.search.left_out())
            asked = self._under(goal)[0]
            asked.refused = least_refused(asked.refused, *why)
        return GroupFront(found, np.concatenate(left))

    def every_way(self, goal: Goal | None = None) -> list[OrderSearch]:
        """The searches of all ways to run it; under a goal, the best bound first.

        Their outer choices are bounded once, as far as there is room to keep them.
        """
        candidates = self.kind.candidates[id(self.workload)]
        found = [one.again(candidates) for one in self.opened()]
        self.kind.keep(self)
        if goal and found[1:]:
            found.sort(key=lambda way: way.search.least(goal))
        return found

    def why(self) -> Infeasible | None:
        """Reason why nothing fits, where no outer choice does."""
        every = [way.search for way in self.every_way()]
        return least_refused(*(one.infeasibility() for one in every if not one.fits))

    def opened(self) -> list[OrderSearch]:
        """The ways to run it, with nothing searched yet."""
        if self.kept is None:
            self.kept = [one for group in self.ways for one in self.kind.ways(self.workload, group)]
        return self.kept

    def least_of_any_size(self, goal: Goal, most: int, look: float) -> tuple[float, CyclesPj]:
        """The same, by boxes; see `boxes_of_any_size`."""
        ways = (way.search.bounds for way in self.opened())

        def price(cycles: float, energy: float) -> float:
            """pJ of a cycle where both count as much, in two digits, as boxes ask alike."""
            return 0.0 if goal.kind == "energy" else float(f"{energy / cycles:.1e}")

        def enough(value: float) -> bool:
            return value >= look or self.kind.budget.over

        inside = (price, enough) if look and goal.kind != "latency" else ()
        every = [boxes_of_any_size(b, goal.first, most, *inside) for b in ways]
        least = min(float(own.value.min(initial=inf)) for own in every)
        corners = np.concatenate([own.corners for own in every], axis=1)
        cycles, energy = corners.min(axis=1, initial=inf).tolist()
        return least, (cycles, energy)

    def promising(self, goal: Goal, most: int) -> Iterator[tuple[float, dict[str, int]]]:
        """Sizes of which tiles that need not divide are divisors; of which bounds, the least first.

        Each with what no mapping is below that has such tiles.
        """
        for way in self.opened():
            problem = way.search.bounds.problem
            if not problem.group.fused:
                continue
            boxes = boxes_of_any_size(way.search.bounds, goal.first, most)
            for value, tile in zip(boxes.value.tolist(), boxes.low.T.tolist(), strict=True):
                each = zip(problem.ranks, tile, strict=True)
                cut = {r.members[0]: -(-r.size // n) * n for r, n in each if len(r.members) == 1}
                yield value, {r: n for r, n in cut.items() if n > self.workload.rank_sizes[r]}

    def size(self) -> int:
        """Combinations of outer and inner choices."""
        return sum(one.search.space_size() for one in self.kept or ())


def quick_mapping(search: GroupSearch, goal: Goal) -> GroupSolution | None:
    """A good mapping of a group, not the best one; None where the quick way finds none."""
    incumbent = GoalIncumbent(goal)
    with search.budget.until_stopped(lambda: not incumbent.open):
        search.warm(incumbent)
    return incumbent.solution


def solve_group(
    search: GroupSearch, incumbent: GoalIncumbent
) -> tuple[GroupSolution | Infeasible | None, float]:
    """The best mapping of one group, if it improves on what its incumbent knows.

    returns: the solution, None where there is none better, or why there is none at all; and the
             lower bound of what was left out or not searched, infinite where nothing was.
    """
    least, goal, bar = search.prepare(), incumbent.goal, incumbent.bar
    if not incumbent.can_improve(np.array([least[0]]), np.array([least[1]]))[0]:
        return None, inf
    search.solve(incumbent)
    left, one = search.proven(incumbent), incumbent.solution
    if one is None:
        return search.infeasibility() if bar == NO_BAR or not search.fits else None, left
    return one if better_pair(goal, costs_of(one), bar) else None, left


@dataclass(slots=True)
class Cores(Kind):
    """Groups whose tiles are given out to cores: a search goes on where it was.

    A first mapping costs as much as many bounds, so none is looked for at first; and mappings of
    the least latency are good ones under any weight.
    """

    questions: dict[Goal, list[Question]] = field(default_factory=dict)
    early: ClassVar = False
    loose: ClassVar = 1.1  # chosen

    def cascades(self, workload: Workload) -> Sequence[Workload]:
        """The forms of a workload; with keys in parts, of any groups for cores without a row."""
        every, roles = list(cascades(workload, self.platform, self.mapspace)), workload.roles
        rows = prod(workload.rank_sizes[r] for r in roles.declared.values() if r != roles.keys)
        most = max((one.rank_sizes.get(SPLIT, 0) for one in every), default=0)
        return every if self.listed or rows < most else alternatives(workload)

    def question(self, cascade: Workload, ways: Sequence[GroupSpace]) -> object:
        """All that the best mapping of a group depends on, without names."""
        roles, question = cascade.roles.declared, Kind.question(self, cascade, ways)
        if self.mapspace.fusion.cores != "any":
            return ways[0].names, question, cascade.rank_sizes.get(SPLIT)
        ranks = dict.fromkeys(r for n in ways[0].names for r in cascade.einsum(n).ranks)
        return question, tuple(role for r in ranks for role in roles if roles[role] == r)

    def group(self, cascade: Workload, ways: tuple[GroupSpace, ...]) -> CoresGroup:
        """A group with its floor."""
        floor = np.array([self.floor(cascade, ways)])
        return CoresGroup(cascade, ways, floor, kind=self)

    def floor(self, cascade: Workload, ways: Sequence[GroupSpace]) -> CyclesPj:
        """Cycles and dynamic pJ of a group at least: computes, and the words over its border.

        Units are at peak on all cores, at once if some way to run it has them so.
        """
        from flat_mapper.mapper.chip.floors import at_border, least_pj, whole

        names, busy = ways[0].names, dict[str, float]()
        part = cascade.subset(names)
        for einsum in (e for e in part.einsums if not e.each):
            arch = self.platform.path(einsum.unit)
            cycles = operation_cycles(arch, einsum, part.widths) / arch.compute.instances
            points = part.unmasked_iterations(einsum) * cycles
            busy[einsum.unit] = busy.get(einsum.unit, 0.0) + points
        at_once = any(overlaps(way.schedule) for way in ways)
        peak = max(busy.values()) if at_once else sum(busy.values())
        cycles = max(whole(peak), at_border(self.platform, cascade, names))
        return cycles, least_pj(self.platform, self.ert, cascade, names)

    def searches(self, group: CoresGroup, goal: Goal) -> list[GroupOnTiles]:
        """The searches of a group on the cores, one for each way to run it."""
        from flat_mapper.mapper.solve.tile_search import GroupOnTiles, tiles_on_cores

        question, once = self._question(group.workload, goal), replace(group.workload, repeat=1)
        every = [tiles_on_cores(question, once, way) for way in group.ways]
        return [GroupOnTiles(question=question, workload=once, every=tiles) for tiles in every]

    def _question(self, cascade: Workload, goal: Goal) -> Question:
        """The question that a group's tiles answer; that of groups that are listed is one."""
        from flat_mapper.mapper.chip.question import Question

        known = self.questions.setdefault(goal, [])
        if self.listed and known:
            return known[0]
        fusion = self.mapspace.fusion
        if fusion.cores == "any" and not self.listed:
            cores = tuple(r for r in cascade.rank_sizes if r != cascade.roles.keys)
            fusion = replace(fusion, cores=cores)
        known.append(
            Question(
                platform=self.platform,
                mapspace=replace(self.mapspace, fusion=fusion),
                ert=self.ert,
                goal=goal,
                budget=self.budget,
                most_words=self.buffer_words,
            )
        )
        return known[-1]

    def counts(self) -> tuple[int, Mapping[str, int]]:
        """Mappings that were priced, and tiles that were left out."""
        every = [one.count for some in self.questions.values() for one in some]
        pruned = sum((Counter(count.of()) for count in every), Counter[str]())
        return sum(count.evaluated for count in every), pruned


@dataclass(slots=True, kw_only=True)
class CoresGroup(Group["GroupOnTiles"]):
    """A group on the cores, by one search for each way to run it."""

    kind: Cores

    def first(self, goal: Goal) -> None:
        """Some mapping soon."""
        for one in self._searches(goal):
            if not self.known:
                one.first()

    def run(
        self,
        goal: Goal,
        until: float = inf,
        room: float = inf,
        below: Bar = NO_BAR,
        gap: float = 0.0,
    ) -> None:
        """Raise what no mapping beats to so much, if there are mappings below it."""
        room = min(room, below[0] / (1 + gap))
        for one in self._searches(goal):
            one.below, one.gap = min(self.most(goal), room * (1 + gap)), gap
            one.tried |= bool(self.known)
            one.run(until)

    def tie(self, goal: Goal, below: Bar, gap: float) -> None:
        """The same as soon as it can be had: to search all tiles may take many times as long."""
        for one in self._searches(goal):
            one.below, one.gap = self.most(goal), gap
            one.first()

    def rest(self, goal: Goal) -> None:
        """Forget candidates, and searches of tiles."""
        for one in self.begun.get(goal, ()):
            one.rest()

    def size(self) -> int:
        """Combinations of the tiles that were searched."""
        return sum(one.size for one in self.every)

    def front(self, goal: Goal, known: Sequence[CyclesPj] = (), gap: float = 0.0) -> GroupFront:
        """All mappings that no other one dominates, nor what is known from elsewhere."""
        stairs: FrontIncumbent[Laid] = FrontIncumbent(goal=goal, known=[*known], gap=gap)
        self.rest(goal)
        left, every = self.floor.tolist(), self.begun.get(goal, [])
        with self.kind.budget.until_stopped(bool(known or self.known)):  # as they are listed too
            # A search of a front goes through its tiles once.
            every = [one.again() for one in every or self.kind.searches(self, goal)]
            left = [one for search in every for one in search.front(stairs)]
        found = [((one.cycles, one.energy), one.mapping) for one in stairs.solutions]
        if not found and not known:
            self.begun.setdefault(goal, every)  # which say why nothing fits
        found = found or self.known  # what came first, where the time ended before more was found
        costs = np.maximum(np.array(left).reshape(-1, 2), self.floor.min(axis=0))
        return GroupFront(kept(found, goal), costs)

    def _searches(self, goal: Goal) -> list[GroupOnTiles]:
        """Those of all ways, the most promising first."""
        if goal not in self.begun:
            found = self.kind.searches(self, goal)
            for way, one in enumerate(found):
                one.learn([some[way] for some in self.begun.values()])
            self.begun[goal] = found
        return sorted(self.begun[goal], key=lambda one: one.bound)


def kept(every: Sequence[Mapped], goal: Goal) -> list[Mapped]:
    """Mappings that no others dominate, the fastest first; of equals the first."""
    return front_of(every, [costs for costs, _ in every], goal)


def front_of[Own](every: Sequence[Own], costs: Sequence[CyclesPj], goal: Goal) -> list[Own]:
    """Those of some things that cost so much that no others dominate; see `undominated`."""
    if not every:
        return []
    return [every[i] for i in undominated(goal, *np.array(costs, np.float64).T)]
