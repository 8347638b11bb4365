"""The search of one group over all tiles that may be given out to the cores of a chip."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from heapq import heapify, heappop, heappush, heapreplace
from itertools import accumulate, groupby
from math import inf
from operator import mul
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from flat_mapper.arch.values import Platform
from flat_mapper.base.budget import Budget
from flat_mapper.base.tolerance import EQUAL
from flat_mapper.cost_model.candidates import Floats
from flat_mapper.cost_model.chip.cores import GroupOnCores, group_on_cores
from flat_mapper.cost_model.chip.tile import KnownTiles
from flat_mapper.cost_model.chip.totals import chip_group, chip_stats
from flat_mapper.cost_model.result import Infeasible, least_refused
from flat_mapper.energy.tables import Ert
from flat_mapper.mapper.bounds.candidate_set import CandidateCache
from flat_mapper.mapper.chip.assignments import Assignment, every_assignment, key_rank
from flat_mapper.mapper.chip.floors import (
    at_border,
    at_least,
    at_peak,
    computes_pj,
    core_energies,
    core_rows,
    core_view,
    keeps_inputs,
    lane_cycles,
    largest_tiles,
    least_pj,
    outside_of,
    shared_pj,
)
from flat_mapper.mapper.chip.fullest import Fullest
from flat_mapper.mapper.chip.question import (
    ChipFront,
    ChipIncumbent,
    Laid,
    OuterCosts,
    Question,
    Tiles,
)
from flat_mapper.mapper.chip.ways import Way
from flat_mapper.mapper.group.group import GroupSearch
from flat_mapper.mapper.group.incumbent import (
    CyclesPj,
    FrontIncumbent,
    GoalIncumbent,
    beside_weights,
    better_pair,
)
from flat_mapper.mapper.group.picks import GroupSolution
from flat_mapper.mapper.group.reconstruct import group_mapping
from flat_mapper.mapper.space.execution import execution_orders
from flat_mapper.mapper.space.group import group_problem, group_ranks
from flat_mapper.mapping.arch_rules import with_arch_rules
from flat_mapper.mapping.cores import core_platform, levels_between, lifted
from flat_mapper.mapping.space import GroupSpace, Mapspace, handed_over
from flat_mapper.mapping.values import GroupMapping
from flat_mapper.workload.graph import Workload

if TYPE_CHECKING:  # at run time it is imported where it is asked for
    from flat_mapper.mapper.space.handover import InsideQuestion

# A first mapping is looked for under bounds of so many times the least, of the most promising of
# so few tiles, for so many pieces of work: chosen, a tenth of a second.
NEAR, FEW, FIRST = 1.3, 32, 10
MANY = 2**18  # chosen: tiles that are laid out in some tenths of a second; more come last
KEPT = 16  # chosen: searches of tiles that are kept while others are looked at, some MB
# Of a tile: of all cores at peak, of the fullest one, of its words, and of all outer choices.
BOUNDS = 4


class _Waiting(NamedTuple):
    """Tiles that may be given out, with their best bound so far; of equals the most advanced."""

    least: float  # of the objective
    left: int  # bounds that are not taken yet
    idle: float  # less is more cores at work
    tiles: int
    number: int
    one: Assignment
    search: GroupSearch | None = None


@dataclass(slots=True)
class GroupOnTiles:
    """The search of one group over all that may be given out."""

    question: Question
    workload: Workload
    every: Tiles
    below: float = inf  # the objective of an answer has to stay below
    gap: float = 0.0  # relative; what is better by less need not be found
    best: tuple[CyclesPj, GroupMapping] | None = None
    searched: float = inf  # bound of what is not known better of the tiles that were searched
    refused: Infeasible | None = None
    size: int = 0  # combinations of outer and inner choices, of tiles that were searched
    known: dict[object, CandidateCache] = field(default_factory=dict)
    laid: dict[GroupMapping, CyclesPj | None] = field(default_factory=dict)  # of one tile, for what
    stairs: FrontIncumbent[Laid] | None = None  # that is asked for, in place of the best
    crowded: bool = False  # whether what a tile hands over inside left no room for the rest
    tried: bool = False  # whether some mapping is known, or was looked for
    _queue: list[_Waiting] = field(default_factory=list)
    _apart: bool = False  # whether the search of a tile in any way was in vain
    _last: Fullest | None = None  # of the tile that was asked about last
    _reached: dict[int, float] = field(default_factory=dict)  # by tile, bounds of what was searched
    _fronts: dict[int, OuterCosts] = field(default_factory=dict)  # by tile, of all weights

    def __post_init__(self) -> None:
        self._queue = [
            _Waiting(least, BOUNDS, -one.at_work, one.count, number, one)
            for number, (least, one) in enumerate(self.every.tiles)
        ]
        heapify(self._queue)

    @property
    def most(self) -> float:
        """The objective that a mapping has to stay below to be of use."""
        return min(self.below, self.question.value(*self.best[0])) if self.best else self.below

    @property
    def bound(self) -> float:
        """The objective of all that was left out, at least."""
        return min(self.searched, self._ahead)

    @property
    def done(self) -> bool:
        """True if nothing that is left can be better."""
        return self._ahead >= self._wanted

    @property
    def _wanted(self) -> float:
        """The objective from which on nothing is of use."""
        return self.most * (1 - EQUAL) / (1 + self.gap)

    @property
    def _ahead(self) -> float:
        """The objective of the tiles that were not searched, at least."""
        return self._queue[0].least if self._queue else inf

    @property
    def least(self) -> Floats:
        """The objective of each tile, at least; float64[n]."""
        found = self._reached | {item.number: item.least for item in self._queue}
        return np.array([found[number] for number in range(len(found))])

    def learn(self, others: Sequence[GroupOnTiles]) -> None:
        """Take what searches under other goals know of the same tiles.

        That is for one under a weight, and for cycles where pJ may be less than for others, or are
        what a limit of cycles leaves.
        """
        goal, cycles = self.question.goal, np.zeros(len(self._queue))
        alike = [one for one in others if len(one.least) == len(self._queue)]
        each = [(one.question.goal, one.least) for one in alike]
        wider = (least for other, least in each if other.kind == "latency" and goal.within(other))
        for own in wider:
            cycles = np.maximum(cycles, own)
        with np.errstate(invalid="ignore"):  # of what has no mapping all are infinite
            energy = np.full(len(cycles), self.every.energy)
            known = goal.first(cycles, energy)
            if goal.kind == "weighted":
                lines = [(other.weight, least) for other, least in each if other.kind == "weighted"]
                known = beside_weights(goal.weight, lines, cycles, goal.whole(cycles, energy))
        for one in alike:
            self._fronts = one._fronts or self._fronts
        every = (item._replace(least=max(item.least, known[item.number])) for item in self._queue)
        self._queue = [self._known(item) for item in every]
        heapify(self._queue)

    def _known(self, item: _Waiting) -> _Waiting:
        """An assignment with the bound of its outer choices, if another weight left them."""
        found = self._fronts.get(item.number)
        if found is None:
            return item
        return item._replace(least=max(item.least, found.least(self.question)), left=0)

    def again(self) -> GroupOnTiles:
        """The same, with nothing searched yet."""
        return GroupOnTiles(question=self.question, workload=self.workload, every=self.every)

    def rest(self, kept: int = 0) -> None:
        """Forget what can be made again, but for so many searches that come next."""
        every = sorted(self._queue)  # which is a heap too
        rest = (one if one.search is None else one._replace(search=None) for one in every[kept:])
        self._queue = [*every[:kept], *rest]
        if not kept:
            self.known.clear()

    def first(self) -> None:
        """Some mapping soon: of few tiles, of which no core has much more than its share.

        Once the budget is over, of one tile with all its tensors staged: few outer choices.
        """
        self.tried, order = True, _promising(self._queue)
        with self.question.budget.until_stopped(True):
            near = [self._bounded(one) if one.left == BOUNDS else one for one in order[:FEW]]
            self._queue = _promising(near) + order[FEW:]
            self._first_of_few()
        if self.best is None and self.question.budget.over and order:
            self._first_of(self._of_core(order[0].one, staged=True), order[0].one)
            if self.best is None:  # there is no room for all of them
                with self._until_stopped():
                    self._first_of_few()
        heapify(self._queue)

    def _first_of_few(self) -> None:
        """Some mapping of the tiles that come first."""
        least, seen = min((item.least for item in self._queue), default=inf), set[object]()
        for number, item in enumerate(self._queue):
            if self.best and (item.one.level, item.one.tile) in seen:  # in another order
                continue
            while item.left and item.least < inf:
                item = self._queue[number] = self._bounded(item)
            if item.least < inf:
                best, one = self.best, item.one
                seen.add((one.level, one.tile))
                self._first_of(item.search or self._of_core(one), one)
                if self.best and (self.best is best or self.most <= least):
                    return

    def _first_of(self, search: GroupSearch, one: Assignment) -> None:
        """Some mapping of a tile, for a few pieces of work; any that fits, where time is over.

        None then where another is known already.
        """
        time = self.question.budget
        own = Budget(steps=FIRST, seconds=time.seconds, begin=time.begin, clock=time.clock)
        own.holders.append(lambda: time.over and time.answered)
        search, self.laid = replace(search.again(search.known), budget=own), {}
        self._solve(search, one, self._fullest(one), self._shared_pj(one), fresh=True)
        if own.stopped == "Ctrl-C":
            self.question.budget.stopped = own.stopped

    def refuse(self, why: Infeasible) -> None:
        """Note why something does not fit: what asks for least is told."""
        self.refused = least_refused(self.refused, why)

    def _until_stopped(self) -> AbstractContextManager[None]:
        return self.question.budget.until_stopped(lambda: self.best is not None)

    def run(self, until: float = inf) -> None:
        """Search the most promising tiles until nothing that is left may be below so much.

        Bounds are taken one after another, as needed.
        """
        question, queue = self.question, self._queue
        with self._until_stopped():
            while queue and queue[0].least < min(self._wanted, until * (1 - EQUAL)):
                question.budget.step()
                item = queue[0]
                if item.left:
                    heapreplace(queue, self._bounded(item))
                    continue
                if self.best is None and not self.tried:
                    self.first()
                    queue = self._queue
                    continue
                self.crowded = False
                self._reached[item.number] = self._search(item)
                heappop(queue)
                if self.crowded:
                    self._by_tile(item)
            question.count.pruned += len(queue)
            if question.budget.cuts is not None and queue:
                where, bounds = "+".join(queue[0].one.group.names), [item.least for item in queue]
                question.budget.log(where, "tiles: bound", str(question.goal), bounds)
            self.rest(KEPT)
            return
        question.count.left += len(queue)

    def _fullest(self, one: Assignment) -> Fullest:
        if self._last is None or self._last.one is not one:
            self._last = Fullest.of(self.question.platform, one, self.question.buffering)
        return self._last

    def _bounded(self, item: _Waiting) -> _Waiting:
        """An assignment with its next bound; see `BOUNDS`."""
        question, one, left = self.question, item.one, item.left - 1
        if left >= BOUNDS - 2:
            where, peak = (question.platform, one, question.buffering), left == BOUNDS - 1
            cycles = at_least(*where) if peak else self._fullest(one).cycles()
            least = max(item.least, question.value(cycles, self.every.energy))
            few = not (peak or question.goal.has_energy)  # words say little of cycles
            return item._replace(least=least, left=left - few)
        fullest = self._fullest(one)
        search, beside_pj = item.search or self._of_core(one), self._shared_pj(one)
        if left:
            energy = fullest.counted * search.prepare()[1] + beside_pj + self._first_pj(fullest)
            own = question.value(fullest.cycles(), energy)
            return item._replace(least=max(item.least, own), left=left, search=search)
        found = self._outer_costs(search, fullest, beside_pj)
        self._fronts[item.number] = found.front
        least = found.least(question)
        if least == inf and self.most == inf:
            self.refuse(search.infeasibility())
        return item._replace(least=max(item.least, least), left=left, search=search)

    def _shared_pj(self, one: Assignment) -> float:
        question = self.question
        return shared_pj(question.platform, question.ert, one, kept=self._kept(one))

    def _kept(self, one: Assignment) -> bool:
        return keeps_inputs(self.question.platform, one, self.question.buffering)

    def _first_pj(self, fullest: Fullest) -> float:
        """pJ at least of what all tiles take beside so many as see all keys: their computes."""
        if not self.question.goal.has_energy or not fullest.short:
            return 0.0
        one = fullest.one
        once = one.core_workload.with_ranks({key_rank(one.workload): one.keys})
        where = self.question.platform, self.question.ert
        return fullest.short * computes_pj(*where, once, one.group.names)

    def _outer_costs(self, search: GroupSearch, fullest: Fullest, beside_pj: float) -> OuterCosts:
        """All tiles with each outer choice of a core that fits, at least."""
        roots = search.roots
        fullest = _knowing(fullest, search)
        beside_pj += self._first_pj(fullest)
        fits = search.bounds.fits(roots)
        energy = fullest.counted * roots.energy[fits] + beside_pj
        fewest = fullest.cycles(float(roots.cycles[fits].min(initial=inf)))
        return OuterCosts(fullest.line(roots.cycles[fits]), energy, fewest)

    def _inside(
        self,
        one: Assignment,
        core: Platform | None = None,
        space: Mapspace | None = None,
        ert: Ert | None = None,
    ) -> InsideQuestion:
        """The question of a core that hands something over inside."""
        from flat_mapper.mapper.space.handover import InsideQuestion

        question, fusion = self.question, self.question.mapspace.fusion
        tensors = handed_over(one.core_workload, question.mapspace, one.group)
        assert one.spread is not None
        return InsideQuestion(
            workload=one.core_workload,
            platform=core or core_platform(question.platform, one.level),
            mapspace=space or one.inner(question.mapspace),
            ert=ert or question.ert,
            order=one.group,
            level=fusion.intermediates[tensors[0]],
            tensors=tensors,
            spread=one.spread,
            held=one.held,
        )

    def _by_tile(self, item: _Waiting) -> None:
        """Look at a tile again, for each tile of the shared loops with the room beside it."""
        for inside in self._inside(item.one).by_tile():
            known = dict(item.one.tile)
            shared = {r: n for r, (n, *_) in inside.mapspace.fusion.tiles.items() if r not in known}
            one = replace(item.one, shared=tuple(shared.items()), held=inside.held)
            number = len(self._reached | {other.number: 0.0 for other in self._queue})
            heappush(self._queue, _Waiting(item.least, BOUNDS, item.idle, item.tiles, number, one))

    def _of_core(
        self, one: Assignment, way: Way | None = None, *, staged: bool = False
    ) -> GroupSearch:
        """The search of one core's tile; way: in which tiles are given out, None: any.

        staged: all tensors, if the mapspace leaves it open.
        """
        question, mapspace = self.question, self.question.mapspace
        where, kept = (question.ert, question.platform, one), self._kept(one)
        rows = core_rows(*where, kept=kept) if way is None else None
        core = core_view(question.platform, one, question.buffering, way, rows)
        space = with_arch_rules(one.inner(mapspace), core, one.core_workload)
        ert = core_energies(*where, way, kept=kept)
        workload = one.core_workload
        if one.spread is not None:
            workload, core, space, ert = self._inside(one, core, space, ert).asked()
        if staged and space.fusion.staging == "any":
            space = replace(space, fusion=replace(space.fusion, staging="all"))
        problem = group_problem(workload, core, ert, space, one.group)
        problem = replace(problem, buffer_words=question.most_words(one.level))
        if question.goal.has_energy:
            problem = replace(problem, firsts=self._fullest(one).firsts)
        known = CandidateCache()
        if way is None:
            key = one.level, one.tile, repr(one.spread), one.shared
            known = self.known.setdefault(key, known)
        return GroupSearch.of(problem, known, question.budget)

    def _search(self, item: _Waiting) -> float:
        """All mappings of a tile that may be of use, laid out on the chip.

        The objective of all of them, at least.
        """
        question, one, search = self.question, item.one, item.search or self._of_core(item.one)
        self.laid, fullest = {}, self._fullest(item.one)
        self.size += len(search.roots.staging) and search.space_size()
        ways, left = self._ways(one, search) if self._apart and one.count > 1 else [], 0.0
        if not ways or not all(self._differs(one, way) for way in ways):
            left = self._solve(search, one, fullest, self._shared_pj(one))
            ways = self._ways(one)
        if left < self._wanted and not question.budget.stopped:
            # What is best by the least that each input may take in some way may be in none of them.
            every = (self._in_way(one, fullest, way, left) for way in ways)
            least = min(every, default=left)
            self._apart, left = self._apart or least > left, max(left, least)
        # Nobody has looked for more than that.
        left = max(item.least, min(left, self.below, self.most / (1 + self.gap)))
        self.searched = min(self.searched, left)
        return min(left, self.most)

    def _ways(self, one: Assignment, search: GroupSearch | None = None) -> list[Way]:
        """All ways to give a tile out; none where no mapping was laid out.

        search: of a core, to lay out some mapping first.
        """
        if search is not None:
            some, few = GoalIncumbent(self.question.goal.free), Budget(steps=1)
            search.prepare()
            with few.until_stopped(lambda: not some.open):
                replace(search, budget=few).warm(some)
            if some.solution is not None:
                self._lay_out(one, some.solution)
        where, found = (self.workload, self.question.platform), list[Way]()
        policy, ert = self.question.mapspace.policy, self.question.ert
        priced, known = ert if self.question.goal.has_energy else None, KnownTiles()
        first = next(iter(self.laid), None)
        for whole in lifted(*where, first, one.level, dict(one.tile)) if first else ():
            on = group_on_cores(*where, whole, policy, ert, known)
            if not isinstance(on, Infeasible):
                way = Way.of(on, priced, largest_tiles(one))
                found += [way] if way not in found else []
        return found

    def _differs(self, one: Assignment, way: Way) -> bool:
        """True if a core sees one way to give a tile out otherwise than any."""
        where = self.question.platform, one, self.question.buffering
        return bool(way.rows) or outside_of(*where, way) != outside_of(*where)

    def front(self, stairs: FrontIncumbent[Laid]) -> list[CyclesPj]:
        """Offer all mappings to a front; lower bounds on (cycles, pJ) of those not looked at."""
        left, self.stairs, todo = list[CyclesPj](), stairs, _to_pop(self._queue)
        while todo:
            item, self.crowded = todo.pop(), False
            rest: list[CyclesPj] | None = None
            with self._until_stopped():
                self.question.budget.step()
                rest = self._front_of(item.one, stairs)
            if rest is None:  # nor are the others looked at
                left.append((0.0, self.every.energy))
                break
            left += rest
            if self.crowded:
                self._queue = []
                self._by_tile(item)
                todo += _to_pop(self._queue)
        self._queue = []
        return left

    def _front_of(self, one: Assignment, stairs: FrontIncumbent[Laid]) -> list[CyclesPj]:
        """Offer the mappings of a tile; see `front`."""
        search, fullest, beside_pj = self._of_core(one), self._fullest(one), self._shared_pj(one)
        outer = self._outer_costs(search, fullest, beside_pj)
        if not stairs.can_improve(np.maximum(outer.cycles, outer.fewest), outer.energy).any():
            return []
        self.laid = {}
        left = _useful(self._front_in(search, one, fullest, beside_pj), stairs)
        if left and not self.question.budget.stopped:
            # What is on the front by the least of each input in some way may be so in none of them.
            ways, every = self._ways(one), list[CyclesPj]()
            for way in ways:
                if self._differs(one, way):
                    of_core = self._of_core(one, way)
                    every += self._front_in(of_core, one, fullest, way.brought_pj)
                else:
                    every += left
            left = _useful(every, stairs) if ways else left
        return left

    def _front_in(
        self, search: GroupSearch, one: Assignment, fullest: Fullest, beside_pj: float
    ) -> list[CyclesPj]:
        """The same of a core's search; beside_pj: of all tiles, that no core sees."""
        assert self.stairs is not None
        fullest = _knowing(fullest, search)
        incumbent = ChipFront(
            goal=self.question.goal,
            fullest=fullest,
            beside_pj=beside_pj + self._first_pj(fullest),
            price=lambda found: self._lay_out(one, found),
            stairs=self.stairs,
        )
        search.prepare()
        search.solve(incumbent)
        self.question.count.evaluated += search.counters.evaluated
        self.size += len(search.roots.staging) and search.space_size()
        if self.best is None:
            self.refuse(search.infeasibility())
        left = [
            (fullest.cycles(cycles), fullest.counted * energy + incumbent.beside_pj)
            for cycles, energy in search.left_out().tolist()
        ]
        return left + incumbent.missed

    def _in_way(self, one: Assignment, fullest: Fullest, way: Way, left: float) -> float:
        """The search of a tile in one way to give it out; see `_solve`.

        left: of the search in any way, which may have seen no less.
        """
        if not self._differs(one, way):
            return left
        search = self._of_core(one, way)
        least = self._outer_costs(search, fullest, way.brought_pj).least(self.question)
        if least >= self._wanted:
            return least
        return max(least, self._solve(search, one, fullest, way.brought_pj))

    def _solve(
        self,
        search: GroupSearch,
        one: Assignment,
        fullest: Fullest,
        beside_pj: float,
        *,
        fresh: bool = False,
    ) -> float:
        """Lay out the mappings of a core that may be better than the best; fresh: than none.

        The objective at least of what is not known to be no better.
        """
        question, fullest = self.question, _knowing(fullest, search)
        incumbent = self._incumbent(one, fullest, beside_pj, inf if fresh else self.most)
        search.prepare()
        search.solve(incumbent)
        question.count.evaluated += search.counters.evaluated
        if not incumbent.offered and incumbent.open:
            self.refuse(search.infeasibility())
        return min(search.proven(incumbent), incumbent.loose)

    def _incumbent(
        self, one: Assignment, fullest: Fullest, beside_pj: float, most: float
    ) -> ChipIncumbent:
        """The bar that mappings of a core have to be better than; most: the objective of that."""
        question = self.question
        found = ChipIncumbent(
            goal=question.goal,
            fullest=fullest,
            beside_pj=beside_pj + self._first_pj(fullest),
            price=lambda mapping: self._lay_out(one, mapping),
            gap=self.gap,
        )
        if most < inf:
            goal = question.goal
            own = self.best is not None and question.value(*self.best[0]) <= self.below
            found.bar = goal.bar(self.best[0]) if self.best and own else goal.bar_at(most)
        return found

    def _lay_out(self, one: Assignment, found: GroupSolution) -> CyclesPj | None:
        """Price a tile's mapping in every way to give tiles out; the least, None: none fits."""
        question, goal = self.question, self.question.goal
        mapping = group_mapping(found, dict(one.core_workload.rank_sizes))
        if one.spread is not None:
            mapping = self._inside(one).group(mapping)
        if mapping in self.laid:  # as the searches of several ways to give tiles out find the same
            return self.laid[mapping]
        where, known, least = (self.workload, question.platform), KnownTiles(), None
        for whole in lifted(*where, mapping, one.level, dict(one.tile)):
            own = self._on_chip(one, whole, known)
            question.budget.step()  # after it: what comes first is taken however late it is
            if own is not None and (least is None or better_pair(goal, own, goal.bar(least))):
                least = own
        self.laid[mapping] = least
        return least

    def _on_chip(self, one: Assignment, whole: GroupMapping, known: KnownTiles) -> CyclesPj | None:
        """Price a mapping of a tile with its place on the cores; None: it does not fit."""
        question, goal = self.question, self.question.goal
        where, policy = (self.workload, question.platform), question.mapspace.policy
        on = group_on_cores(*where, whole, policy, question.ert, known)
        if isinstance(on, Infeasible):
            self.refuse(on)
            self.crowded = one.spread is not None and not one.shared
            return None
        question.count.evaluated += 1
        own = _costs(on, question.ert)
        if self.stairs is not None and _useful([own], self.stairs):
            self.stairs.take(Laid(*own, whole))
        if self.best is None or better_pair(goal, own, goal.bar(self.best[0])):
            self.best = own, whole
        return own


def _promising(queue: list[_Waiting]) -> list[_Waiting]:
    """Tiles, first those of which no core has much more than its share, and of them few."""
    near = NEAR * min((item.least for item in queue), default=0.0)
    return sorted(queue, key=lambda item: (item.least > near, item.tiles, item))


def _to_pop(queue: list[_Waiting]) -> list[_Waiting]:
    """Tiles to look at, the next one last: the most promising, of those that are not MANY."""
    return sorted(queue, key=lambda item: (item.tiles > MANY, item), reverse=True)


def tiles_on_cores(question: Question, workload: Workload, group: GroupSpace) -> Tiles:
    """All that may be given out of a group."""
    platform, names = question.platform, group.names
    energy = least_pj(platform, question.ert, workload, names)
    border = at_border(platform, workload, names)
    mapspace, check = question.mapspace, question.budget.check
    lanes = lane_cycles(platform, workload, names)
    tiles = [
        (question.value(max(at_peak(platform, own, lanes), border), energy), own)
        for order in execution_orders(workload, platform, mapspace, group, on_cores=True)
        for one in every_assignment(workload, platform, mapspace, order, check)
        for own in _spread(platform, mapspace, one)
    ]
    return Tiles(energy=energy, tiles=_different(question, tiles))


def _different(
    question: Question, tiles: list[tuple[float, Assignment]]
) -> list[tuple[float, Assignment]]:
    """Tiles without those that are others with ranks that count as one in each other's place.

    Of these a level between may keep what loops outside it bring: one covers another whose loops
    divide nowhere else.
    """
    kept: dict[object, list[tuple[list[frozenset[int]], int]]] = {}
    named: dict[object, list[list[str]]] = {}
    platform, mapspace = question.platform, question.mapspace
    for number, (_, one) in enumerate(tiles):
        question.budget.check()
        tile, sizes, where = dict(one.tile), one.workload.rank_sizes, (one.level, one.group)
        if where not in named:
            named[where] = _together(platform, mapspace, one)
        runs = [
            frozenset(accumulate((sizes[r] // tile[r] for r in own), mul, initial=1))
            for own in named[where]
        ]
        same = *where, one.keys, repr(one.spread), tuple(map(max, runs))
        if not levels_between(platform.matrix, one.level):
            runs = []
        others = kept.setdefault(same, [])
        if not any(_within(runs, own) for own, _ in others):
            others[:] = [(own, n) for own, n in others if not _within(own, runs)] + [(runs, number)]
    return [tiles[n] for n in sorted(number for some in kept.values() for _, number in some)]


def _within(runs: list[frozenset[int]], others: list[frozenset[int]]) -> bool:
    return all(own <= other for own, other in zip(runs, others, strict=True))


def _together(platform: Platform, mapspace: Mapspace, one: Assignment) -> list[list[str]]:
    """The ranks that are given out, those in a row that count as one together."""
    core = core_platform(platform, one.level)
    space = with_arch_rules(one.inner(mapspace), core, one.workload)
    every = group_ranks(one.workload, core, space, one.group)
    merged = {member: rank.name for rank in every for member in rank.members}
    queries = one.workload.roles.queries
    others = [r for r, _ in one.tile if r != queries]
    found = [[*own] for _, own in groupby(others, key=lambda r: merged.get(r, r))]
    return found + [[queries]] * (queries in dict(one.tile))


def _spread(platform: Platform, mapspace: Mapspace, one: Assignment) -> Iterator[Assignment]:
    """A tile in each way to spread what a core hands over inside; none where it cannot."""
    tensors = handed_over(one.core_workload, mapspace, one.group)
    level = mapspace.fusion.intermediates[tensors[0]] if tensors else one.level
    if level == one.level:
        yield one
        return
    from flat_mapper.mapper.space.handover import spreads

    core = core_platform(platform, one.level)
    if level in [lv.name for lv in core.matrix.levels[2:]]:
        for spread in spreads(one.core_workload, core, level, tensors):
            yield replace(one, spread=spread)


def _useful(costs: Sequence[CyclesPj], stairs: FrontIncumbent[Laid]) -> list[CyclesPj]:
    """Those that no known point dominates."""
    if not costs:
        return []
    cycles, energy = np.array(costs).T
    return [costs[i] for i in np.flatnonzero(stairs.can_improve(cycles, energy)).tolist()]


def _costs(on: GroupOnCores, ert: Ert) -> CyclesPj:
    stats = chip_stats(on, ert)
    return float(chip_group(on, stats).cycles), sum(one.energy_pj for one in stats)


def _knowing(fullest: Fullest, search: GroupSearch) -> Fullest:
    """Bounds of all tiles that know what the outer choices of a core stage."""
    if not fullest.outside.staying or fullest.one.alike:
        return fullest
    roots, some = search.roots, search.bounds.fits(search.roots)
    staged = [frozenset(one.staged) for one in search.bounds.stagings]
    return fullest.knowing([staged[i] for i in roots.staging[some].tolist()], roots.cycles[some])
