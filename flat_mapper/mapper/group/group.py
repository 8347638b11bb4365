"""The best mapping of one group of Einsums: branch and bound over the outer choices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np

from flat_mapper.base.budget import Budget
from flat_mapper.base.grouping import distinct_columns
from flat_mapper.cost_model.candidates import Bools, Floats
from flat_mapper.cost_model.result import Infeasible
from flat_mapper.mapper.bounds.candidate_set import CandidateCache, CandidateSet, enumerated
from flat_mapper.mapper.bounds.occupancy import SharedOccupancy
from flat_mapper.mapper.bounds.outer import OuterBounds, Outers
from flat_mapper.mapper.bounds.tiles import CandidateTiles
from flat_mapper.mapper.group.beside import improving
from flat_mapper.mapper.group.fused import Fused
from flat_mapper.mapper.group.fused_bounds import FusedBounds
from flat_mapper.mapper.group.incremental import Beam, narrowest
from flat_mapper.mapper.group.incumbent import FrontIncumbent, Goal, Incumbent
from flat_mapper.mapper.group.picks import GroupCounters, GroupSolution
from flat_mapper.mapper.space.enumerate import TooMany, Wanted
from flat_mapper.mapper.space.group import GroupProblem
from flat_mapper.mapper.space.orders import dram_orders
from flat_mapper.mapper.space.outer import stagings
from flat_mapper.mapper.space.tile_index import MOST_OUTER
from flat_mapper.mapping.sharing import shared_level

MOST_CANDIDATES = 200_000  # candidates of an Einsum that are kept at once
MOST_LATE = 2_000  # chosen: the same once the time is over
MOST_UNDER_FEW = 60_000  # chosen: under a few outer tiles; beyond, partial ones are bounded first
# Of those that the budget lets an Einsum keep at a node so many at first, and times as many again
NARROW, WIDER = 1 / 8, 8
NEAR = 1.2  # chosen: times the least bound up to which a known mapping is good: then all at once
FEW = 100  # candidates of each Einsum of which a first mapping is made
_REFINED = 256  # chosen: outer choices that are bounded by their tiles in one go
FEW_OUTERS = 100  # chosen: outer choices so few that all are searched about as soon as tried


@dataclass(slots=True)
class GroupSearch:
    """Branch and bound over the outer choices of one group."""

    problem: GroupProblem
    bounds: OuterBounds
    known: CandidateCache = field(default_factory=CandidateCache)  # candidates of earlier searches
    counters: GroupCounters = field(default_factory=GroupCounters)
    incumbent: Incumbent[GroupSolution] = field(default_factory=FrontIncumbent[GroupSolution])
    budget: Budget = field(default_factory=Budget)
    _found_roots: Outers | None = None  # the outer choices, bounded whatever the candidates
    _left: list[Outers] | None = None  # outer choices still to be searched; None: not begun
    _least: dict[Goal, float] = field(default_factory=dict)  # least values of them
    # Parts of them with candidates left out for their number, and the least bound of these
    _dropped: dict[int, tuple[float, Outers]] = field(default_factory=dict)
    _width: float = NARROW  # times as many candidates as the budget says

    @classmethod
    def of(
        cls, problem: GroupProblem, known: CandidateCache, budget: Budget | None = None
    ) -> GroupSearch:
        """The search of a group. `known` keeps candidates for other groups of the same Einsums."""
        bounds = OuterBounds(
            problem=problem,
            occupancy=SharedOccupancy.of(problem),
            stagings=stagings(problem, budget.check if budget else None),
            orders=dram_orders(problem),
        )
        return cls(problem=problem, bounds=bounds, known=known, budget=budget or Budget())

    def again(self, known: CandidateCache) -> GroupSearch:
        """A search of the same outer choices; known: see `of`."""
        roots = self.roots  # which counts
        count = replace(self.counters)
        return replace(self, known=known, counters=count, _found_roots=roots, _dropped={})

    def prepare(self) -> tuple[float, float]:
        """The least (cycles, energy) of the group."""
        return self.bounds.least()

    def _built(self, least: list[int], outers: Outers, *, whole: bool) -> list[CandidateSet]:
        """Candidates of every Einsum that use at least so many compute units.

        Where they are too many to be kept, only those that can improve under some outer choices.
        whole: whether all of these are wanted, or `TooMany` is raised: else the most promising.
        """
        every = self._whole(least, outers)
        found = [t for t in every if t is not None]
        if len(found) < len(every):
            beam, before = self._beam(outers), self.counters.partial_bounded
            found = replace(beam, drop=None if whole else self._drop).filtered(every)
            few = self.counters.partial_bounded - before
            self._log_bounds("partial candidates: bound", np.zeros(few))
        self.counters.candidates = max(self.counters.candidates, sum(t.count for t in found))
        return found

    def _drop(self, cycles: Floats, energy: Floats) -> None:
        """Remember the least bound of candidates that are left out for their number."""
        assert self._left is not None
        least = self.incumbent.first(cycles, np.maximum(energy, 0.0)).min(initial=np.inf)
        part = self._left[-1]
        known, _ = self._dropped.get(id(part), (np.inf, part))
        self._dropped[id(part)] = min(known, float(least)), part

    def proven(self, incumbent: Incumbent[GroupSolution]) -> float:
        """Lower bound on the objective of all mappings that its search has left out."""
        parts = [self.roots] if self._left is None else self._left
        left = [least for least, _ in self._dropped.values()]
        least = min(left + [self._lowest(incumbent.first, one) for one in parts], default=np.inf)
        return max(least, self._lowest(incumbent.first, self.roots))  # what bounds all of them

    def left_out(self) -> Floats:
        """Lower bounds on (cycles, pJ) of all mappings that were not searched; float64[n, 2]."""
        found = [np.zeros((0, 2))]
        for outers in [self.roots] if self._left is None else self._left:
            fits = self.bounds.fits(outers)
            found.append(np.stack([outers.cycles, outers.energy])[:, fits].T)
        if self._dropped:
            found.append(np.array([self.floor()]))
        return np.concatenate(found)

    def _whole(self, least: list[int], outers: Outers | None) -> list[CandidateSet | None]:
        """All candidates of every Einsum with so many units; None where they are too many.

        Of few outer tiles those alone whose tile divides one, if they are few: of a row of queries
        7,500 in place of 230,000 (BERT-base at 4,096 on cloud). outers: None: any.
        """
        most = MOST_LATE if self.budget.hurried else MOST_CANDIDATES
        every, found = min(most, 2 * self.budget.candidates), list[CandidateSet | None]()
        for space, roles, units in zip(self.problem.spaces, self.bounds.roles, least, strict=True):
            step: Callable[[], None] | None = self.budget.step
            ways = [(np.array(space.sizes)[:, None], every, step)]
            if outers is not None and self.problem.group.fused:
                tiles, _, _ = distinct_columns(outers.tile[self.problem.index(space)])
                # It takes milliseconds: no piece of work of its own.
                few = tiles, min(every, MOST_UNDER_FEW), None
                ways[:0] = [few] * (tiles.shape[1] <= MOST_OUTER)
            for tiles, most, step in ways:
                wanted = Wanted(tiles=tiles, least=units, most=2 * most)
                some = enumerated(space, roles, self.known, wanted, most, step)
                if some is not None:
                    break
            found.append(some)
        return found

    def _beam(self, outers: Outers) -> Beam:
        return Beam(
            bounds=self.bounds,
            incumbent=self.incumbent,
            outers=outers,
            step=self.budget.step,
            most=int(self._width * self.budget.candidates),
            late=lambda: self.budget.over or self.budget.hurried,
            deep=self._width >= 1,
            counters=self.counters,
        )

    @property
    def roots(self) -> Outers:
        """All outer choices that may fit, bounded whatever the candidates."""
        if self._found_roots is None:
            self._found_roots, self.counters.outer = self.bounds.roots(self.budget.check)
            fits = int(self.bounds.fits(self._found_roots).sum())
            self.counters.outer_infeasible = self.counters.outer - fits
            where, refused = "+".join(self.problem.group.names), self.counters.outer_infeasible
            self.budget.log(where, "outer: does not fit", "", [np.inf] * refused)
        return self._found_roots

    def floor(self) -> tuple[float, float]:
        """The least (cycles, energy) over all outer choices that fit; more than `prepare` knows."""
        least = self.least(Goal(kind="latency")), self.least(Goal(kind="energy"))
        return least if least[0] < np.inf else self.bounds.least()

    def least(self, goal: Goal) -> float:
        """Lower bound on the objective over all outer choices; infinite if none fits."""
        known = self._least.get(goal)
        return known or self._least.setdefault(goal, self._lowest(goal.first, self.roots))

    def _lowest(self, first: Callable[[Floats, Floats], Floats], outers: Outers) -> float:
        """The least value of outer choices that fit; infinite if none does."""
        fits = self.bounds.fits(outers)
        return float(first(outers.cycles[fits], outers.energy[fits]).min(initial=np.inf))

    def solve(self, incumbent: Incumbent[GroupSolution], *, warmed: bool = False) -> None:
        """Let every mapping of the group that can improve take part in a incumbent.

        Where the budget ends first, `proven` bounds what was not searched.
        warmed: whether the incumbent knows a good mapping of the group already.
        """
        self._left, self._dropped, self._width = None, {}, NARROW
        with self.budget.until_stopped(lambda: not incumbent.open):
            if not warmed and incumbent.open:
                self.warm(incumbent)
            self.incumbent = incumbent
            alive = self._alive_roots()
            count, roots = self.counters, self.roots
            count.outer_bounded = count.outer - len(alive.staging) - count.outer_infeasible
            if self.budget.cuts is not None:
                good = incumbent.can_improve(roots.cycles, roots.energy)
                self._log("outer: bound", roots, self.bounds.fits(roots) & ~good)
            again = [alive] if len(alive.staging) else []
            if incumbent.value <= NEAR * self._lowest(incumbent.first, alive):
                self._width = 1.0
            while again:
                self._left = [Outers.joined(again)]
                for part in again:
                    self._dropped.pop(id(part), None)
                while self._left:
                    self._search(self._left[-1])
                # What was left out may be better, or all that fits.
                wider = self._width < 1
                again = [
                    part
                    for least, part in self._dropped.values()
                    if incumbent.open or (wider and not least >= incumbent.value > 0)
                ]
                self._width *= WIDER

    def _search(self, outers: Outers) -> None:
        """Search the outer choices that come next, in parts where their candidates are too many."""
        assert self._left is not None
        least = narrowest(self.bounds, self.incumbent, outers)
        parts = _halves(self.incumbent, outers)
        try:
            # Under no name of its own, so that what `_descend` drops is gone.
            self._descend(self._built(least, outers, whole=bool(parts)), outers)
        except TooMany:
            self._left[-1:] = parts
            return
        self._left.pop()

    def warm(self, incumbent: Incumbent[GroupSolution]) -> None:
        """A good mapping early, from promising candidates under promising outer choices."""
        self.incumbent = incumbent
        alive = self._alive_roots()
        keys = self.incumbent.sort_keys(alive.cycles, alive.energy)
        # Of equal ones the largest tile keeps most; the smallest leaves room for what is handed
        # over inside.
        size = alive.needs if self.problem.workload.absent else -alive.needs
        best = np.lexsort((size, *keys[::-1]))
        _, firsts, _ = distinct_columns(alive.tile.take(best, axis=1))
        order, at, step = best[np.sort(firsts)], 0, 1
        while at < len(order):
            one, at = alive.take(order[at : at + 1]), at + step
            # Once the time is over ever farther from what promises most, as that had no room.
            step *= 2 if self.budget.hurried else 1
            left = self.incumbent.can_improve(alive.cycles, alive.energy)
            if not self.incumbent.open and np.count_nonzero(left) <= FEW_OUTERS:
                return
            self.budget.step()
            mark = self.incumbent.mark
            widest = [s.widest for s in self.problem.spaces]
            near = self._beam(one).near(self._whole(widest, one), widest)
            if all(t.count for t in near):
                self._fused(near).evaluate_one(one, FEW)
            if not self.incumbent.open and self.incumbent.mark == mark:
                return

    def _alive_roots(self) -> Outers:
        """Outer choices that can improve whatever the candidates."""
        roots = self.roots
        fits = self.bounds.fits(roots)
        good = fits & self.incumbent.can_improve(roots.cycles, roots.energy)
        return roots if good.all() else roots.take(np.flatnonzero(good))

    def _descend(self, kept: list[CandidateSet], outers: Outers) -> None:
        """Branch and bound over some candidates."""
        if not all(t.count for t in kept):
            self._bound_empty(outers)
            return
        step = self.budget.step
        outers = self._cut(self.bounds.bounded(outers, kept, step))
        masks = improving(self.bounds, self.incumbent, kept, outers, step)
        kept = [t if m.all() else t.keep(m) for t, m in zip(kept, masks, strict=True)]
        few = self.counters.candidates - sum(t.count for t in kept)
        self.counters.candidates_bounded = few
        self._log_bounds("candidates: bound", np.zeros(few))
        if not all(t.count for t in kept) or not len(outers.staging):
            self._bound_empty(outers)
            return
        inside, left = self._fused(kept), self._sorted(self.bounds.bounded(outers, kept, step))
        while len(left.staging):  # refined as they come up: what improves leaves fewer
            left = self._cut(left)
            some, left = left.parted(_REFINED)
            if self._left:
                self._left[-1:] = [left, some]
            some = self._sorted(inside.bounded.refined(some, step))
            while len(some.staging):
                some = self._cut(some)
                step()
                _, some = some.parted(inside.evaluate(some, step))
            if self._left:
                self._left.pop()

    def _sorted(self, outers: Outers) -> Outers:
        """Outer choices, the most promising first, and of equals what needs least."""
        keys = self.incumbent.sort_keys(outers.cycles, outers.energy)
        return outers.take(np.lexsort((outers.needs, *keys[::-1])))

    def _cut(self, outers: Outers) -> Outers:
        """Outer choices that fit and can improve; the others are counted and written down."""
        alive = self.bounds.fits(outers)
        alive &= self.incumbent.can_improve(outers.cycles, outers.energy)
        self.counters.outer_bounded += int((~alive).sum())
        self._log("outer: bound with its candidates", outers, ~alive)
        left = outers.take(np.flatnonzero(alive))
        if self._left:
            self._left[-1] = left
        return left

    def _log(self, rule: str, outers: Outers, cut: Bools) -> None:
        """Write down outer choices that are left out, if somebody asked."""
        if self.budget.cuts is not None:
            first, *_ = self.incumbent.sort_keys(outers.cycles[cut], outers.energy[cut])
            self._log_bounds(rule, first)

    def _log_bounds(self, rule: str, bounds: Floats) -> None:
        """Write down what is left out, by the least value of each, if somebody asked."""
        if self.budget.cuts is None:
            return
        # What cannot improve on the best is no better, whatever else is known of it.
        least = np.maximum(bounds, self.incumbent.value).tolist()
        self.budget.log("+".join(self.problem.group.names), rule, self.incumbent.name, least)

    def _bound_empty(self, outers: Outers) -> None:
        """Count and write down outer choices under which some Einsum has no candidate left."""
        self.counters.outer_bounded += len(outers.staging)
        self._log("outer: no candidate is left", outers, np.ones(len(outers.staging), np.bool_))

    def _fused(self, candidate_sets: list[CandidateSet]) -> Fused:
        """The evaluation of outer choices."""
        tiles = [CandidateTiles(t) for t in candidate_sets]
        return Fused(FusedBounds(self.bounds, tiles, self.incumbent), self.counters)

    @property
    def fits(self) -> bool:
        """True if some outer choice may fit, as far as is known without candidates."""
        return not len(self.roots.staging) or bool(self.bounds.fits(self.roots).any())

    def infeasibility(self) -> Infeasible:
        """Reason why nothing fits, without candidates where none could."""
        if not self.fits:
            return infeasibility(self.bounds, [], self.roots)
        outers, least = self.roots, [1] * len(self.problem.spaces)
        candidate_sets = self._beam(outers).first(self._whole(least, None), least)
        if all(t.count for t in candidate_sets) and len(outers.staging):
            outers = self.bounds.bounded(outers, candidate_sets)
        return infeasibility(self.bounds, candidate_sets, outers)

    def space_size(self) -> int:
        """Mappings in the group: outer choices times loop nests of each Einsum."""
        return self.counters.outer * prod(s.size() for s in self.problem.spaces)


def _halves(incumbent: Incumbent[GroupSolution], outers: Outers) -> list[Outers]:
    """Outer choices in two parts by their tiles, the more promising one last; or none."""
    tiles, _, which = distinct_columns(outers.tile)
    if tiles.shape[1] < 2:
        return []
    promise = np.full(tiles.shape[1], np.inf)
    keys = incumbent.sort_keys(outers.cycles, outers.energy)
    np.minimum.at(promise, which.ravel(), keys[0])
    better = np.zeros(tiles.shape[1], np.bool_)
    better[np.argsort(promise, kind="stable")[: max(1, tiles.shape[1] // 4)]] = True
    mask = better[which.ravel()]
    return [outers.take(np.flatnonzero(~mask)), outers.take(np.flatnonzero(mask))]


def infeasibility(
    bounds: OuterBounds, candidate_sets: list[CandidateSet], outers: Outers | None
) -> Infeasible:
    """Reason why nothing fits: the outer choice that asks for least.

    candidate_sets: of each Einsum, for the words of what is streamed; none: a word is too much.
    """
    problem = bounds.problem
    where = " + ".join(problem.group.names)
    for found in candidate_sets:
        if not found.count:
            einsum, nodes = found.space.einsum.name, [n.name for n in found.space.inner_nodes]
            *_, name = found.space.arch.compute.name, *nodes
            hint = "the mapspace's constraints leave no loop nest"
            return _ruled_out(problem, name, einsum, hint, [einsum], nodes)
    level = shared_level(problem.platform)
    names, capacity = problem.group.names, bounds.occupancy.capacity
    outside = [level.name, problem.platform.dram.name]
    if outers is None or len(outers.needs) == 0 or capacity is None:
        hint = "the mapspace's fusion section and its constraints leave no tile"
        return _ruled_out(problem, level.name, where, hint, names, outside)
    if _rules(problem) and outers.needs.min() <= capacity:
        hint = "the mapspace's constraints leave no mapping that fits"
        return _ruled_out(problem, level.name, where, hint, (), ())
    choice = int(outers.needs.argmin())
    staging, sets = outers.staging[choice], {t.space.einsum.name: t for t in candidate_sets}
    tile = outers.tile[:, choice, None]
    words = bounds.occupancy.least_terms([bounds.stagings[int(staging)]], tile, sets)
    terms = {place: int(np.ceil(own).max()) for place, own in words.items()}
    return Infeasible(
        level=level.name,
        needs=sum(terms.values()) or int(np.ceil(outers.needs[choice])),
        has=capacity,
        terms=tuple(terms.items()),
        where=where,
        hint=f"give {level.name} more words, shorten the sequence, or allow smaller tiles",
    )


def _ruled_out(
    problem: GroupProblem,
    level: str,
    where: str,
    hint: str,
    einsums: Sequence[str],
    nodes: Sequence[str],
) -> Infeasible:
    """A refusal that names the rules about some nodes."""
    rules = problem.mapspace.rules_about(einsums, nodes) or _rules(problem)
    named = f"relax one of: {'; '.join(rules)}" if rules else "relax it"
    return Infeasible(level=level, needs=1, has=0, terms=(), where=where, hint=f"{hint}; {named}")


def _rules(problem: GroupProblem) -> list[str]:
    """The rules about any node of the group."""
    nodes = [n.name for s in problem.spaces for n in s.arch.nodes]
    return problem.mapspace.rules_about(problem.group.names, nodes)
