"""The search: a question in, an answer with its certificate out.

A rank such as 197 has no factor that fills an array. Timeloop's remainders (`P=32,5`) help: a loop
makes fewer passes in the last pass of the loops above it. Such mappings are found by way of larger
sizes: the best mapping of 200 = 8 x 25, cut back to 197, is a mapping with remainders, whose counts
the model takes as timeloop-model does. So are tiles that cores are given, the last one smaller. On
cores what cannot be cut (parts of the keys, passes under a mask), or is slower cut, as tiles that
differ share no reads, stays as it is: padded, and the answer says so.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import product
from math import inf, prod

import numpy as np

from flat_mapper.arch.cores import CoreFacts, core_facts, units_at_once
from flat_mapper.arch.values import Fanout, Platform
from flat_mapper.base import units
from flat_mapper.base.budget import Budget, Limits, Progress, part_of
from flat_mapper.base.errors import MappingError, SpecError, expected
from flat_mapper.base.tolerance import EQUAL
from flat_mapper.cost_model.candidates import Floats
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.cost_model.widths import check_widths
from flat_mapper.energy.tables import Ert
from flat_mapper.mapper.chip.assignments import (
    check_one_array,
    deaf_inside,
    fusion_levels,
)
from flat_mapper.mapper.group.incumbent import (
    FRONT,
    NO_BAR,
    OBJECTIVES,
    Bar,
    CyclesPj,
    Goal,
    Objective,
    better_pair,
    goal_value,
)
from flat_mapper.mapper.solve.certificate import (
    Certificate,
    Solution,
    ended,
    floor,
    gap_warning,
    of_all_runs,
    value_of,
)
from flat_mapper.mapper.solve.groups import Arrays, Cores, front_of
from flat_mapper.mapper.solve.known import Known, admitted, divides
from flat_mapper.mapper.solve.loop import FormSearch, Path
from flat_mapper.mapper.space.factors import divisors
from flat_mapper.mapping.arch_rules import with_arch_rules
from flat_mapper.mapping.cores import core_count, core_platform
from flat_mapper.mapping.resize import resized_mapping
from flat_mapper.mapping.sharing import shared_level
from flat_mapper.mapping.space import Mapspace
from flat_mapper.mapping.values import FusedMapping
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.softmax import SPLIT

USEFUL = 32  # a rank is awkward if no divisor up to this is at least half of it
GRANULES = (8, 16, 32)  # larger sizes that are tried are the next multiples of these
TILES = (*GRANULES, 64)  # of tiles of cores: measured, with these 197 takes less than 256 on h100
FEWEST = 4  # lanes of a core for which a rank may be awkward too
# Chosen: cut back, a best mapping loses this power of the share in cycles and in energy each, where
# both count; measured: in their product at most the power 1.16, not 2.
SAVED = 0.75
MISSES = 8  # chosen: sizes in a row that are no better, for tiles that do not divide
NEAREST = 1e-6  # chosen: the gap of what a limit is held against, where one is allowed
FEW_BOXES = 2_000  # chosen: of what every answer says about tiles that it has not searched


@dataclass(frozen=True, slots=True)
class Question:
    """Question that is asked: a workload, a chip, a mapspace and prices, under a budget."""

    workload: Workload
    platform: Platform
    mapspace: Mapspace
    ert: Ert
    budget: Budget
    known: Sequence[Known] = ()  # that may be answers: see `mapper.solve.known`

    @property
    def inputs(self) -> tuple[Workload, Platform, Mapspace, Ert]:
        """Without the budget."""
        return self.workload, self.platform, self.mapspace, self.ert

    def goal(self, objective: Objective) -> Goal:
        """An objective under the limits of the answer, in cycles and pJ of one run."""
        limits, repeat = self.budget.limits, self.workload.repeat
        return Goal(
            kind=objective,
            leak=sum(self.ert.leak_per_cycle(self.platform).values()),
            most_cycles=limits.latency_s / self.platform.matrix.cycle_seconds / repeat,
            most_pj=limits.energy_j * 1e12 / repeat,
        )

    def opened(self) -> FormSearch:
        """The search of its forms and groups; if there is no time to list them, of units alone.

        raises: SpecError where the mapspace and the chip, or the cascade, do not go together.
        """
        workload, platform, mapspace, ert = self.inputs
        fusion, free = mapspace.fusion, mapspace.policy.softmax == "free"
        if free and fusion.anything is not None:
            condition = "a softmax that is charged: free Einsums belong to no group of their own"
            raise SpecError(expected(f"{mapspace.name}: groups: any", condition, "softmax: free"))
        check_widths(workload, platform)
        for level in (lv for arch in platform.paths for lv in arch.levels if lv.part_of):
            if fusion.on_cores or level.part_of != shared_level(platform).name:
                condition = f"{level.part_of}, the outermost level on chip, on one array"
                where, got = f"{mapspace.name}: fusion.level", fusion.level or "of several cores"
                change = f"or leave out {level.name}, a part of {level.part_of}"
                raise SpecError(expected(where, condition, got, change))
        if fusion.intermediates:
            from flat_mapper.mapper.space.handover import check_inside

            levels = fusion_levels(platform, mapspace) if fusion.on_cores else [""]
            chips = [core_platform(platform, level) if level else platform for level in levels]
            check_inside(workload, chips, mapspace)
        if fusion.on_cores:
            if free:
                where = f"{mapspace.name}: policy.softmax"
                condition = "charged, where tiles are given out to cores"
                raise SpecError(expected(where, condition, "free"))
            kind: Arrays | Cores = Cores(platform, mapspace, ert, self.budget)
        else:
            ruled = with_arch_rules(mapspace, platform, workload)
            kind = Arrays(platform, ruled, ert, self.budget)
        if fusion.anything is None:
            return FormSearch.of(workload, kind)
        with self.budget.until_stopped(True):
            return FormSearch.of(workload, kind)
        return FormSearch.of(workload, kind, alone=True)

    def on_core(self) -> Question | None:
        """The same question about the one core of a chip; None where it is not one, or not free."""
        fusion, arch = self.mapspace.fusion, self.platform.matrix
        if not fusion.on_cores or fusion_levels(self.platform, self.mapspace) != [
            arch.levels[1].name
        ]:
            return None
        level = arch.levels[1].name
        if core_count(arch, level) > 1 or core_facts(arch) != CoreFacts():
            return None

        return replace(self._at_level(level), known=[(w, with_level(m, "")) for w, m in self.known])

    def _at_level(self, level: str) -> Question:
        """The same question on the array of which a level is the outermost on chip."""
        fusion = replace(self.mapspace.fusion, level="", cores=())
        space = replace(self.mapspace, fusion=fusion)
        return replace(self, platform=core_platform(self.platform, level), mapspace=space, known=())

    def arrays(self) -> dict[str, Question]:
        """The same question on each array that has all that is inside a level to fuse at.

        By level; by no name where nothing is given out.
        """
        if not self.mapspace.fusion.on_cores:
            return {"": self}
        levels, arch = fusion_levels(self.platform, self.mapspace), self.platform.matrix
        return {lv: self._at_level(lv) for lv in levels if core_count(arch, lv) == 1}

    def evaluated(self, path: Path) -> tuple[Workload, Result]:
        """The cascade that a path maps, and the model's result."""
        return path.form.workload, self._result(path.form.workload, self.mapping(path))

    def mapping(self, path: Path) -> FusedMapping:
        """The mapping that a path is."""
        return FusedMapping(groups=path.mappings, policy=self.mapspace.policy)

    def _result(self, cascade: Workload, mapping: FusedMapping) -> Result:
        result = evaluate(cascade, self.platform, mapping, self.ert)
        assert isinstance(result, Result), f"the search chose a mapping that does not fit: {result}"
        return result

    def answers(
        self, objective: str, progress: Progress | None = None
    ) -> list[Solution] | Infeasible:
        """The best mapping; of latency and energy, all that are on their front."""
        begin, core, fusion = time.perf_counter(), self.on_core(), self.mapspace.fusion
        if not fusion.on_cores and fusion.anything is None:
            check_one_array(self.platform, self.mapspace)
        asked, front = core or self, objective == FRONT
        kind: Objective = "edp" if front else objective  # type: ignore[assignment]
        found = _Found(asked, front, kind)
        larger = asked.larger()
        found.price_known()
        steps = [(sizes, ", ".join(f"{r} as {n}" for r, n in sizes.items())) for sizes in larger]
        # Last, since little of it is left once a larger size has an answer; but limits are about
        # the sizes as they are.
        own: list[tuple[dict[str, int], str]] = [({}, "no larger size")]
        every = own + steps if self.budget.limits else steps + own
        least, enough = None, 0.0  # what nothing of any size is below, and what is near it
        if larger and self.budget.gap and not front:
            least = asked.opened().least_of_any_size(found.goal)
            enough = least * (1 + self.budget.gap)
        for number, (sizes, name) in enumerate(every):
            if number and found.best and (self.budget.stopped or found.value <= enough):
                break
            step = part_of(progress, number, len(every), name)
            self.budget.at = name if sizes else ""
            if sizes:
                found.search_larger(sizes, step)
            else:
                found.search(step)
        if not found.best:
            if min(self.budget.limits.latency_s, self.budget.limits.energy_j) == inf:
                assert found.refused is not None, "no group has a mapping, and none says why"
                return found.refused
            last = _binding_limit(self)
            if isinstance(last, Infeasible):
                return last
            found.best, found.bound = [(last.workload, last.result)], 0.0
        if larger or not found.divides:
            found.bound_any_size(least)
        return [
            self._solution(found, kind, cascade, result, begin) for cascade, result in found.best
        ]

    def within(self, most: float, progress: Progress | None = None) -> Solution | float:
        """The fastest mapping of less than so many cycles; or where there is none, the least."""
        begin, found = time.perf_counter(), _Found(self, False, "latency")
        found.search(progress, found.goal.bar_at(most))
        if not found.best:
            return found.bound
        return self._solution(found, "latency", *found.best[0], begin)

    def larger(self) -> list[dict[str, int]]:
        """Larger sizes to map as well."""
        workload, space, chips, lanes = self.workload, self.mapspace, [self.platform], list[int]()
        if space.fusion.on_cores:
            lanes, levels = _awkward_lanes(self.platform), fusion_levels(self.platform, space)
            chips = [core_platform(self.platform, level) for level in levels]
        if not larger_sizes(workload, space, (), lanes):
            return []
        return larger_sizes(workload, space, self.fixed(chips), lanes)

    def fixed(self, chips: Sequence[Platform]) -> set[str]:
        """Ranks of which a rule fixes a factor, which a cut may lessen."""
        rules = (r for c in chips for r in with_arch_rules(self.mapspace, c, self.workload).slots)
        return {rank for rule in rules for rank, factor in rule.factors.items() if factor > 1}

    def _solution(
        self,
        found: _Found,
        objective: Objective,
        cascade: Workload,
        result: Result,
        begin: float,
    ) -> Solution:
        """An answer with its certificate."""
        if found.question is not self:  # its one core's
            level = self.platform.matrix.levels[1].name
            result = self._result(cascade, with_level(result.mapping, level))
        elif self.mapspace.fusion.on_cores:
            result = self._noted(result)
        if padded := self._padded(cascade):
            result = replace(result, notes=(*result.notes, f"padded: {padded}"))
        at_once, budget = units_at_once(self.platform.matrix), self.budget
        least, own = (floor(*self.inputs, at_once=some) for some in (at_once, None))
        result = replace(result, bound=least)
        reached, cycle_s = value_of(result, objective), result.cycle_seconds
        lowest = least.of(objective, cycle_s)
        proven = of_all_runs(objective, found.bound, cycle_s, result.repeat)
        known = min(max(own.of(objective, cycle_s), proven), reached)
        optimal = known >= reached * (1 - EQUAL)
        known = reached if optimal else known
        whatever = of_all_runs(objective, found.any_size, result.cycle_seconds, result.repeat)
        whole = max(self.workload.rank_sizes.values()) <= 2  # whatever is smaller divides it
        gap = 0.0 if optimal else reached / known - 1 if known > 0 else inf
        if found.front:
            gap, optimal = found.gap, not found.gap
        stopped = ended(gap, budget, found.unproven)
        if warning := gap_warning(gap, stopped, self._awkward()):
            result = replace(result, notes=(*result.notes, warning))
        by_groups = "groups: bound" in found.pruned  # partitions are counted, not mappings
        certificate = Certificate(
            mapspace_size=max(found.size, 1 if by_groups else found.evaluated, 1),
            evaluated=found.evaluated,
            pruned=found.pruned,
            optimal=optimal,
            lower_bound=lowest,
            proven_bound=known,
            gap=gap,
            stopped=stopped,
            seconds=time.perf_counter() - begin,
            asked_gap=budget.gap,
            time_limit_s=budget.limit_s,
            infeasible=found.infeasible,
            any_tiles_bound=known if whole else min(max(lowest, whatever), known),
        )
        return Solution(
            workload=cascade,
            result=result,
            mapspace=self.mapspace.name,
            objective=FRONT if found.front else objective,
            certificate=certificate,
        )

    def _awkward(self) -> list[str]:
        """Ranks without a useful divisor, each with the next size that has one: `M 197 -> 200`."""
        sizes, every = self.workload.rank_sizes, self.larger()
        return [f"{r} {sizes[r]} -> {n}" for r, n in (every[0] if every else {}).items()]

    def _padded(self, cascade: Workload) -> str:
        """Ranks that are mapped longer than asked: `M 8191 -> 8192`."""
        sizes = self.whole_sizes(cascade)
        pairs = ((r, n, sizes[r]) for r, n in self.workload.rank_sizes.items())
        return ", ".join(f"{r} {n} -> {more}" for r, n, more in pairs if n != more)

    def whole_sizes(self, cascade: Workload) -> dict[str, int]:
        """Sizes of a cascade's ranks, of keys in parts those of all parts."""
        sizes, keys = dict(cascade.rank_sizes), cascade.roles.keys
        parts = 1 if SPLIT in self.workload.rank_sizes else sizes.pop(SPLIT, 1)
        return {r: n * parts if r == keys else n for r, n in sizes.items()}

    def _noted(self, result: Result) -> Result:
        """The result with a line on levels that were left out."""
        searched = fusion_levels(self.platform, self.mapspace)
        names = [lv.name for lv in self.platform.matrix.levels[1:]]
        left_out = [name for name in deaf_inside(self.platform, names) if name not in searched]
        if self.mapspace.fusion.level != "any" or not left_out:
            return result
        note = (
            f"not fused at {', '.join(left_out)}: inside, every instance reads for itself; "
            f"fusion: {{level: {left_out[0]}}} searches it"
        )
        return replace(result, notes=(*result.notes, note))


@dataclass(slots=True)
class _Found:
    """Answers to a question so far, at its own sizes and at larger ones."""

    question: Question
    front: bool  # whether all mappings are asked for that none dominates, or the best
    kind: Objective  # of the goal
    goal: Goal = field(init=False)
    best: list[tuple[Workload, Result]] = field(default_factory=list)
    refused: Infeasible | None = None  # why nothing fits at its own sizes
    infeasible: dict[str, str] = field(default_factory=dict)  # by form
    bound: float = inf  # of one run, of what was left out; an EDP for a front
    gap: float = 0.0  # of a front
    size: int = 0
    evaluated: int = 0
    pruned: dict[str, int] = field(default_factory=dict)
    unproven: str = ""  # what ended the search where no budget did
    any_size: float = 0.0  # the objective of mappings whose factors need not divide, at least

    def __post_init__(self) -> None:
        self.goal = self.question.goal(self.kind)

    @property
    def costs(self) -> list[CyclesPj]:
        """Cycles and dynamic pJ of one run of the best so far."""
        return [_costs(result) for _, result in self.best]

    @property
    def value(self) -> float:
        """The objective of the best."""
        return min((goal_value(self.goal, own) for own in self.costs), default=inf)

    @property
    def divides(self) -> bool:
        """True if all is of tiles that divide sizes as they are, of which every search is."""
        padded = any(self.question._padded(cascade) for cascade, _ in self.best)
        return not padded and all(divides((own, result.mapping)) for own, result in self.best)

    def price_known(self) -> None:
        """Known mappings at the sizes that are asked, as far as they may be answers."""
        if not self.question.known or self.question.budget.limits.buffer_bytes < inf:
            return  # what a mapping takes of the level is limited, not what it has
        opened = self.question.opened()
        for cascade, mapping in self.question.known:
            sizes = self.question.whole_sizes(cascade)
            if sizes.keys() == self.question.workload.rank_sizes.keys():
                cut = self._cut_back(cascade, mapping, sizes)
                self._priced(one for one in cut if admitted(opened, one))

    @property
    def bar(self) -> Bar:
        """The cost that has to be beaten."""
        return min((self.goal.bar(own) for own in self.costs), default=NO_BAR)

    def search(self, progress: Progress | None = None, below: Bar = NO_BAR) -> None:
        """Search the sizes as they are; below: what has to be beaten as well."""
        opened, known = self.question.opened(), min(below, self.bar)
        # What is known from elsewhere may be poor: the search begins as it would without.
        opened.anew = bool(self.question.known)
        self.unproven = "tiles" if self.question.mapspace.fusion.on_cores else ""
        paths, self.bound, self.gap = self._asked(opened, progress, known)
        if opened.alone and not paths and known == NO_BAR:  # fused there may be some
            with self.question.budget.suspended():
                opened = self.question.opened()
                paths, self.bound, self.gap = self._asked(opened, progress, known)
        if not self.front and below == NO_BAR:
            paths = [opened.tied(self.goal, path) for path in paths]
        if below == NO_BAR:
            self.any_size = opened.least_of_any_size(self.goal.free, FEW_BOXES)
        self._count(opened)
        self._take([self.question.evaluated(path) for path in paths])
        if not self.best and below == NO_BAR:
            self.refused = opened.refused()
        why = {form.name: opened.refusal(form) for form in opened.forms}
        self.infeasible = {name: str(one) for name, one in why.items() if one is not None}
        if below == NO_BAR and not self.question.larger():
            self.try_any_tiles()

    def search_larger(
        self, sizes: Mapping[str, int], progress: Progress | None = None, level: str = ""
    ) -> None:
        """The best mapping at larger sizes, cut back, if it may be better.

        level: the one to fuse at, where only the array inside it is searched.

        Every count has each rank at most once as a factor, so cut back it is no less than its
        share; of a product of two it is taken to be no less than `SAVED` says.
        """
        workload = self.question.workload
        scale = prod(workload.rank_sizes[r] / n for r, n in sizes.items())
        saved = scale ** (SAVED if self.goal.kind == "edp" else 1.0)
        each = ((c / saved, e / saved) for c, e in self.costs)  # limits are for what is cut back
        known = min((self.goal.free.bar(costs) for costs in each), default=NO_BAR)
        question = self.question.arrays()[level] if level else self.question
        opened = replace(question, workload=workload.with_ranks(sizes)).opened()
        paths, _, _ = self._asked(opened, progress, known)
        self._count(opened)
        for one in paths:
            if self.front and self.best and self.question.budget.over:
                break  # its points take long to price
            mapping = self.question.mapping(one)
            if level:
                mapping = with_level(mapping, level)
            self._priced(self._cut_back(one.form.workload, mapping, sizes))

    def try_any_tiles(self) -> None:
        """Look for shared tiles that need not divide, as sizes of which they are divisors.

        Where bounds promise most; not where all has to be proven, and not on several cores yet.
        """
        question, tried, arrays = self.question, list[object](), self.question.arrays()
        some = self.best or question.budget.limits
        if self.front or not (some and question.budget.gap):
            return
        chips, left = [one.platform for one in arrays.values()], MISSES
        ruled = question.fixed(chips) | _ruled(question.mapspace)
        best, wanted = self.best, self.value / (1 + question.budget.gap)
        every = [
            (bound, prod(sizes.values()), level, _with_keys(question.workload, sizes))
            for level, one in arrays.items()
            for bound, sizes in one.opened().promising(self.goal.free)
        ]
        for bound, _, level, sizes in sorted(every, key=lambda one: one[:2]):
            value = self.value
            if bound >= min(wanted, value) or question.budget.over or not left:
                break
            if (level, sizes) not in tried and ruled.isdisjoint(sizes):
                tried.append((level, sizes))
                self.search_larger(sizes, level=level)
                left = MISSES if self.value < value else left - 1
        if self.value >= wanted:  # for so little no proof is given up
            self.best = best

    def bound_any_size(self, bound: float | None) -> None:
        """Bound mappings whose factors need not divide, which no search has looked at.

        bound: on the objective of all of them, where it is known; never of a front.
        """
        self.unproven = "remainders"
        opened = self.question.opened()
        goal, wanted = self.goal, 0.0
        if not self.front:
            goal, wanted = goal.free, self.value / (1 + self.question.budget.gap)
        if bound is None or bound < wanted:
            bound = max(bound or 0.0, opened.least_of_any_size(goal, look=wanted))
        self.bound = bound
        self.any_size = max(self.any_size, 0.0 if self.front else self.bound)
        if self.front:
            least = floor(*self.question.inputs).cycles / self.question.workload.repeat
            cycles = opened.least_of_any_size(Goal(kind="latency"))
            corner = max(cycles, least), opened.least_of_any_size(Goal(kind="energy"))
            self.gap = max(self.gap, _gap(self.goal, self.costs, np.array([corner])))

    def _asked(
        self, opened: FormSearch, progress: Progress | None, known: Bar
    ) -> tuple[list[Path], float, float]:
        """Paths that are better than what is known, with the bound and the gap of what is left."""
        budget, goal = self.question.budget, self.goal
        if progress:
            asked = self.question
            runs = asked.platform.matrix.cycle_seconds, asked.workload.repeat

            def said(value: float) -> str:
                return units.of_objective(self.kind, of_all_runs(self.kind, value, *runs))

            budget.report = lambda: progress(*opened.report(said))
        try:
            if not self.front:
                path, bound = opened.best(goal, known)
                return [path] if path else [], bound, 0.0
            paths, left = opened.front(goal)
            costs = [path.costs for path in paths]
            bound = min((goal_value(goal, (c, e)) for c, e in left.tolist()), default=inf)
            return paths, bound, max(_gap(goal, costs, left), budget.gap)
        finally:
            budget.report = None  # which holds all candidates of this search, and they the budget

    def _cut_back(
        self, cascade: Workload, mapping: FusedMapping, sizes: Mapping[str, int]
    ) -> Iterator[Known]:
        """A mapping of larger sizes as those of the sizes that are asked.

        Keys in parts are cut to parts of one length. On cores also some ranks alone are cut, or
        none: equal tiles are read once for several cores, and not everything has a meaning cut.
        """
        own, asked = cascade.rank_sizes, self.question.workload.rank_sizes
        cut = {r: -(-asked[r] * own[r] // n) for r, n in sizes.items()}
        cut = {r: n for r, n in cut.items() if n < own[r]}
        cores = self.question.mapspace.fusion.on_cores
        partly = cores or cascade.mask is not None
        for some in dict.fromkeys([(*cut,), *((r,) for r in cut), ()]) if partly else [(*cut,)]:
            less = mapping
            for rank in some:
                less = resized_mapping(less, cascade, rank, cut[rank])
            with suppress(SpecError):  # of a mask, and of few keys for many queries
                yield cascade.with_ranks({r: cut[r] for r in some}), less

    def _priced(self, every: Iterable[Known]) -> None:
        """Take what fits of some mappings, within limits."""
        question = self.question
        for cascade, mapping in every:
            try:
                result = evaluate(cascade, question.platform, mapping, question.ert)
            except (MappingError, SpecError):  # not everything has a meaning cut
                continue
            if isinstance(result, Result) and not _is_over(result, question.budget.limits):
                self._take([(cascade, result)])

    def _take(self, every: list[tuple[Workload, Result]]) -> None:
        """Answers, as far as they are better."""
        if self.front:
            every = self.best + every
            self.best = front_of(every, [_costs(result) for _, result in every], self.goal)
            return
        for one in every:
            if not self.best or better_pair(self.goal, _costs(one[1]), self.bar):
                self.best = [one]

    def _count(self, opened: FormSearch) -> None:
        """Add up what was searched, and forget it: of several sizes each takes much room."""
        evaluated, pruned = opened.counts()
        for rule, count in pruned.items():
            self.pruned[rule] = self.pruned.get(rule, 0) + count
        self.size, self.evaluated = self.size + opened.size(), self.evaluated + evaluated
        opened.kind.forget_all()


def _with_keys(workload: Workload, sizes: Mapping[str, int]) -> dict[str, int]:
    """Larger sizes under a mask: no query is behind the last key."""
    pair, mask, found = workload.roles.masked, workload.mask, dict(sizes)
    if mask and pair:
        queries, keys = (sizes.get(r, workload.rank_sizes[r]) for r in pair)
        if queries > keys * mask.parts:
            found[pair[1]] = -(-queries // (TILES[-1] * mask.parts)) * TILES[-1]
    return found


def with_level(mapping: FusedMapping, level: str) -> FusedMapping:
    """A mapping whose groups are fused at a level."""
    return replace(mapping, groups=tuple(replace(g, level=level) for g in mapping.groups))


def _costs(result: Result) -> CyclesPj:
    """Cycles and dynamic pJ of one run of the cascade, as the search counts them."""
    return result.cycles / result.repeat, result.dynamic_pj / result.repeat


def _is_over(result: Result, limits: Limits) -> bool:
    """True if a result takes more than a limit of latency or energy."""
    return result.latency_s > limits.latency_s or result.energy_pj > limits.energy_j * 1e12


def _gap(goal: Goal, found: Sequence[CyclesPj], left: Floats) -> float:
    """The share by which costs may be better, in cycles and in pJ, than every point of a front."""
    if not len(left):
        return 0.0
    if not found or not (left > 0).all():
        return inf
    points, least = np.array(found), left
    cycles = points[:, None, 0] / least[None, :, 0]
    whole = [goal.whole(own[:, 0], own[:, 1]) for own in (points, least)]
    energy = whole[0][:, None] / whole[1][None, :]
    return max(0.0, float(np.maximum(cycles, energy).min(axis=0).max()) - 1)


def search(
    workload: Workload,
    platform: Platform,
    mapspace: Mapspace,
    ert: Ert,
    *,
    objective: Objective = "edp",
    progress: Progress | None = None,
    budget: Budget | None = None,
    known: Sequence[Known] = (),
) -> Solution | Infeasible:
    """The mapping of least objective in a mapspace, or why there is none.

    Among mappings whose factors divide the ranks it is the best, and the certificate says so. Where
    a rank has no useful divisor, mappings with remainders are looked at as well: the best of each
    larger size, cut back. Then it is proven only where it meets the bound of all sizes.

    objective: latency, energy or edp; of equal latency the least energy that little work finds is
               taken, and of equal energy the least latency.
    progress:  called with the part that is proven and what is being searched.
    budget:    what may be spent, and limits of the answer; where it ends, the best so far is
               returned with its gap.
    known:     mappings of its cascades, maybe of other sizes or chips: those that the mapspace has
               are first answers.
    """
    if objective not in OBJECTIVES:
        raise SpecError(expected("objective", f"one of {', '.join(OBJECTIVES)}", objective))
    question = Question(workload, platform, mapspace, ert, budget or Budget(), known)
    found = question.answers(objective, progress)
    return found if isinstance(found, Infeasible) else found[0]


def best_known(
    workload: Workload,
    platform: Platform,
    mapspace: Mapspace,
    ert: Ert,
    known: Sequence[Known],
) -> Result | None:
    """The fastest of known mappings that a mapspace has, as `search` takes them; None: none is."""
    question = Question(workload, platform, mapspace, ert, Budget(), known)
    found = _Found(question, False, "latency")
    found.price_known()
    return found.best[0][1] if found.best else None


def frontier(
    workload: Workload,
    platform: Platform,
    mapspace: Mapspace,
    ert: Ert,
    *,
    progress: Progress | None = None,
    budget: Budget | None = None,
) -> tuple[Solution, ...] | Infeasible:
    """All mappings on the front of latency and energy, the fastest first, or why there is none.

    Of mappings that cost the same one is given. Every solution has the same certificate but for its
    bound, which is that of its energy-delay product. Where the budget ends first, the gap is the
    share by which some mapping may be better than every point, in latency and in energy.
    """
    question = Question(workload, platform, mapspace, ert, budget or Budget())
    found = question.answers(FRONT, progress)
    return found if isinstance(found, Infeasible) else tuple(found)


def space_size(workload: Workload, platform: Platform, mapspace: Mapspace, ert: Ert) -> int:
    """Combinations in a mapspace, as the certificate of a search counts them."""
    opened = Question(workload, platform, mapspace, ert, Budget()).opened()
    for form in opened.forms:
        for group in form.groups:
            group.sharpen()
    return opened.size()


def _binding_limit(question: Question) -> Infeasible | Solution:
    """The limit that no mapping keeps, by the least that mappings take which keep the others.

    Or a mapping that keeps all: of sizes without useful divisors not every search finds one.
    """
    limits = question.budget.limits
    room = Limits(buffer_bytes=limits.buffer_bytes)
    least: tuple[tuple[Objective, float], ...]
    least = ("latency", limits.latency_s), ("energy", limits.energy_j)
    tries = [(objective, room) for objective, most in least if most < inf]
    if len(tries) > 1:
        tries.append(("latency", replace(limits, latency_s=inf)))
    last: Infeasible | Solution | None = None
    for objective, own in tries:
        few = Budget(limits=own, gap=min(question.budget.gap, NEAREST))
        found = replace(question, budget=few).answers(objective)
        if isinstance(found, Infeasible):
            return found
        fault = _over(found[0].result, limits, objective)
        last = found[0] if fault is None else fault
        if isinstance(last, Infeasible):
            return last
    assert last is not None
    return last


def _over(result: Result, limits: Limits, objective: Objective) -> Infeasible | None:
    """The fault of a mapping that is the least in an objective, where it is over a limit."""
    if objective == "latency" and result.latency_s > limits.latency_s:
        needs, has, unit = result.latency_s * 1e9, limits.latency_s * 1e9, "ns"
    elif objective == "energy" and result.energy_pj > limits.energy_j * 1e12:
        needs, has, unit = result.energy_pj, limits.energy_j * 1e12, "pJ"
    else:
        return None
    beside = limits.energy_j < inf and objective == "latency"
    hint = "allow more" + (", or more energy" if beside else "")
    if limits.buffer_bytes < inf:
        hint += f", or more than {limits.buffer_bytes:,.0f} bytes of buffer"
    return Infeasible(
        level=f"--max-{objective}",
        needs=-int(-needs // 1),
        has=int(has),
        terms=(),
        hint=hint,
        unit=unit,
    )


def _ruled(mapspace: Mapspace) -> set[str]:
    """Ranks whose factors or tiles a mapspace declares."""
    named = {m for rule in mapspace.slots for m in (*rule.factors, *rule.at_most)}
    return named | {*mapspace.fusion.tiles}


def larger_sizes(
    workload: Workload,
    mapspace: Mapspace,
    fixed: Collection[str] = (),
    lanes: Sequence[int] = (),
) -> list[dict[str, int]]:
    """Sizes of awkward ranks to map as well, the most promising first; fixed: of which none.

    First those that leave no rank as it is, and of these the one with least work.

    lanes: of a chip's cores. There a size takes seconds, and ranks of one size grow together.
    """
    ruled = _ruled(mapspace) | {*fixed}
    sizes, granules = workload.rank_sizes, (*lanes, *TILES) if lanes else GRANULES
    used = {r for e in workload.einsums for r in e.ranks} - ruled
    awkward = [
        r for r in sizes if r in used and any(is_awkward(sizes[r], n) for n in lanes or (USEFUL,))
    ]
    first = {sizes[r]: r for r in awkward[::-1]}
    as_one = {r: first[sizes[r]] if lanes else r for r in awkward}
    choices = {
        r: [n, *dict.fromkeys(-(-n // g) * g for g in granules if g < 2 * n)]
        for r, n in ((r, sizes[r]) for r in awkward if as_one[r] == r)
    }
    every = (dict(zip(choices, some, strict=True)) for some in product(*choices.values()))
    found = [{r: some[as_one[r]] for r in awkward} for some in every]
    found = [some for some in found if any(n != sizes[r] for r, n in some.items())]
    if workload.mask and (pair := workload.roles.masked):
        each = ([some.get(r, sizes[r]) for r in pair] for some in found)
        most = workload.mask.parts  # a query stands before no key
        found = [some for some, (p, m) in zip(found, each, strict=True) if p <= m * most]
    return sorted(
        found, key=lambda some: (sum(n == sizes[r] for r, n in some.items()), prod(some.values()))
    )


def _awkward_lanes(platform: Platform) -> list[int]:
    """The lanes for which a rank of a chip with cores may be awkward: of every axis, and USEFUL."""
    nodes = [node for path in platform.paths for node in path.nodes if isinstance(node, Fanout)]
    axes = {n for node in nodes for n in (node.fanout_x, node.fanout_y)}
    return sorted({USEFUL, *(n for n in axes if FEWEST <= n < USEFUL)})


def is_awkward(size: int, lanes: int = USEFUL) -> bool:
    """True if a rank of this size has no useful divisor."""
    return size > lanes // 2 and max(d for d in divisors(size) if d <= lanes) < lanes // 2
