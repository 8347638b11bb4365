"""The best mapping of one group of Einsums: branch and bound over the outer choices."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

import numpy as np

from flat_mapper.cost_model.result import Infeasible
from flat_mapper.mapper.bounds.occupancy import SharedOccupancy
from flat_mapper.mapper.bounds.outer import OuterBounds, Outers
from flat_mapper.mapper.bounds.tiles import RowTiles
from flat_mapper.mapper.cost.candidate_set import Known, Table, table
from flat_mapper.mapper.group.beam import Crowd, narrowest
from flat_mapper.mapper.group.fused import Fused
from flat_mapper.mapper.group.incumbent import FrontContest, Incumbent
from flat_mapper.mapper.group.objective import Goal
from flat_mapper.mapper.group.picks import Counters
from flat_mapper.mapper.group.single import Single
from flat_mapper.mapper.space.candidates import Bools, Floats
from flat_mapper.mapper.space.group import GroupProblem, Staging, dram_orders, stagings
from flat_mapper.mapper.space.roles import Role

MOST_ROWS = 400_000  # rows of an Einsum that are kept at once
WARM_ROWS = 400  # rows per Einsum that the first, approximate pass looks at
WARM_OUTERS = 8  # and outer choices
WARM_ALONE = 1000  # the same of an Einsum on its own, where they come cheap


@dataclass(slots=True)
class GroupSearch:
    """Branch and bound over the outer choices of one group."""

    problem: GroupProblem
    bounds: OuterBounds
    known: Known = field(default_factory=Known)  # rows of earlier searches
    counters: Counters = field(default_factory=Counters)
    contest: Incumbent = field(default_factory=FrontContest)
    _frame: Outers | None = None  # the outer choices, bounded whatever the rows
    _roles: list[dict[str, tuple[Role, ...]]] = field(default_factory=list)

    @classmethod
    def of(cls, problem: GroupProblem, known: Known) -> GroupSearch:
        """The search of a group. `known` keeps rows for other groups of the same Einsums."""
        choices = stagings(problem)
        bounds = OuterBounds(
            problem=problem,
            occupancy=SharedOccupancy.of(problem),
            stagings=choices,
            orders=dram_orders(problem),
        )
        return cls(problem=problem, bounds=bounds, known=known)

    def prepare(self) -> tuple[float, float]:
        """The least (cycles, energy) of the group."""
        if not self._roles:
            for space in self.problem.spaces:
                options: dict[str, tuple[Role, ...]] = {}
                for i, tensor in enumerate(space.tensors):
                    roles = (s.roles[space.einsum.name][i] for s in self.bounds.stagings)
                    options[tensor] = tuple(dict.fromkeys(roles))
                self._roles.append(options)
        return self.bounds.least()

    def _built(self, least: list[int], outers: Outers) -> list[Table]:
        """Rows of every Einsum that use at least so many compute units.

        Where they are too many to be kept, only those that may win under some outer choices.
        """
        whole = self._whole(least)
        found = [t for t in whole if t is not None]
        if len(found) < len(whole):
            found = self._crowd(outers).sieved(whole, least)
        self.counters.rows = max(self.counters.rows, sum(t.count for t in found))
        return found

    def _whole(self, least: list[int]) -> list[Table | None]:
        """All rows of every Einsum; None where they are too many."""
        spaces = zip(self.problem.spaces, self._roles, least, strict=True)
        return [table(s, roles, self.known, units, MOST_ROWS) for s, roles, units in spaces]

    def _crowd(self, outers: Outers) -> Crowd:
        return Crowd(self.problem, self.bounds, self.contest, self._roles, outers)

    @property
    def frame(self) -> Outers:
        """All outer choices, bounded whatever the rows."""
        if self._frame is None:
            self._frame = self.bounds.frame()
            self.counters.outer = len(self._frame.staging)
            self.counters.outer_infeasible = int((~self.bounds.fits(self._frame)).sum())
        return self._frame

    def floor(self) -> tuple[float, float]:
        """The least (cycles, energy) over all outer choices that fit; more than `prepare` knows."""
        fits = self.bounds.fits(self.frame)
        if not fits.any():
            return self.bounds.least()
        return float(self.frame.cycles[fits].min()), float(self.frame.energy[fits].min())

    def least(self, goal: Goal) -> float:
        """The objective at least, over all outer choices; infinite if none fits."""
        frame = self.frame
        fits = self.bounds.fits(frame)
        return float(goal.first(frame.cycles[fits], frame.energy[fits]).min(initial=np.inf))

    def solve(self, contest: Incumbent, *, warmed: bool = False) -> None:
        """Let every mapping of the group that may win take part in a contest.

        warmed: whether the contest knows a good mapping of the group already.
        """
        if not warmed:
            self.warm(contest)
        self.contest = contest
        alive = self._alive_frame()
        self.counters.outer_bounded = self.counters.outer - len(alive.staging)
        self.counters.outer_bounded -= self.counters.outer_infeasible
        if len(alive.staging):
            # Rounded down, so that searches with other goals find the rows again.
            fewest = narrowest(self.bounds, self.contest, alive)
            widest = [s.widest for s in self.problem.spaces]
            least = [
                n if n == most else n - n % (1 << max(0, n.bit_length() - 4))
                for n, most in zip(fewest, widest, strict=True)
            ]
            self._descend(self._built(least, alive), alive)

    def warm(self, contest: Incumbent) -> None:
        """A good mapping early, from the most promising rows under promising outer choices.

        Rows that fill the array: what they achieve tells how narrow a row may be at all.
        """
        self.contest = contest
        widest = [s.widest for s in self.problem.spaces]
        alive = self._alive_frame()
        first, second, third = self.contest.lead(alive.cycles, alive.energy)
        best = np.lexsort((third, second, first))
        whole, several = self._whole(widest), len(widest) > 1
        limit = WARM_OUTERS if several else WARM_ALONE
        # Where rows are grown, it is under a few outer choices first, which keeps them few.
        grown = any(t is None for t in whole)
        for some in (best[:limit], best) if grown else (best,):
            wide = self._crowd(alive.take(some)).first(whole, widest) if len(some) else []
            if wide and all(t.count for t in wide):
                promising = [self._promise(t) for t in wide]
                self._branch(promising, self.bounds.bounded(alive, promising), limit=limit)
            if not self.contest.open:
                return

    def _alive_frame(self) -> Outers:
        """Outer choices that may win whatever the rows."""
        frame = self.frame
        fits = self.bounds.fits(frame)
        return frame.take(np.flatnonzero(fits & self.contest.may_win(frame.cycles, frame.energy)))

    def _promise(self, whole: Table) -> Table:
        """The rows that promise most: those of least bound on the objective."""
        if whole.count <= 2 * WARM_ROWS:
            return whole
        energy, cycles = whole.energy(priced=True), whole.cycles
        mask = np.zeros(whole.count, np.bool_)
        mask[np.argpartition(self.contest.lead(cycles, energy)[0], WARM_ROWS)[:WARM_ROWS]] = True
        # The widest rows too: where transfers bind, the bound on cycles says little.
        wide = np.flatnonzero(cycles == cycles.min())
        if len(wide) > WARM_ROWS:
            wide = wide[np.argpartition(energy[wide], WARM_ROWS)[:WARM_ROWS]]
        mask[wide] = True
        return whole.keep(mask)

    def _descend(self, tables: list[Table], outers: Outers) -> None:
        """Branch and bound over some rows."""
        if not all(t.count for t in tables):
            return
        kept = _kept(tables, self._promising(tables, outers, None))
        if all(t.count for t in kept):
            outers = self.bounds.bounded(outers, kept)
            alive = self.bounds.fits(outers) & self.contest.may_win(outers.cycles, outers.energy)
            self.counters.outer_bounded += int((~alive).sum())
            outers = outers.take(np.flatnonzero(alive))
            masks = [np.zeros(t.count, np.bool_) for t in kept]
            for number in np.unique(outers.staging):
                chosen = outers.take(np.flatnonzero(outers.staging == number))
                found = self._promising(kept, chosen, self.bounds.stagings[int(number)])
                masks = [m | f for m, f in zip(masks, found, strict=True)]
            kept = _kept(kept, masks)
        self.counters.rows_bounded = self.counters.rows - sum(t.count for t in kept)
        if all(t.count for t in kept) and len(outers.staging):
            self._branch(kept, self.bounds.bounded(outers, kept), limit=None)

    def _promising(
        self, tables: list[Table], outers: Outers, staging: Staging | None
    ) -> list[Bools]:
        """Rows of each table that may still be part of a better solution.

        staging: that of the outer choices; None: they have several.
        """
        roles = [staging.roles[t.space.einsum.name] if staging else None for t in tables]
        priced = [t.energy(r, priced=True) for t, r in zip(tables, roles, strict=True)]
        free = [t.energy(r, priced=False) for t, r in zip(tables, roles, strict=True)]
        cycles = [t.cycles for t in tables]
        more, floors = float(outers.staged.min()), float(outers.floors.min())
        shares = self.problem.cycle_shares
        quick = sum(float(c.min()) * share for c, share in zip(cycles, shares, strict=True))
        quick = max(quick, float(outers.cycles.min()))
        lean = max(
            sum(float(e.min()) for e in priced) + more, sum(float(e.min()) for e in free) + floors
        )
        sums: list[list[Floats]] = [[] for _ in tables]
        at = np.array(quick), np.array(lean)
        for slope in (0.0, *(float(w) for w in self.contest.slopes(*at))):
            parts = [
                [e + slope * share * c for e, c, share in zip(some, cycles, shares, strict=True)]
                for some in (priced, free)
            ]
            for i, both in enumerate(zip(*(_with_rest(some) for some in parts), strict=True)):
                sums[i].append(np.maximum(both[0] + more, both[1] + floors))
        busy = _with_rest([c * share for c, share in zip(cycles, shares, strict=True)])
        found = []
        for i, (energy, *weighted) in enumerate(sums):
            latency = np.maximum(np.maximum(cycles[i], busy[i]), quick)
            wins = self.contest.may_win(latency, energy)
            found.append(wins & self.contest.below(weighted, *at))
        return found

    def _branch(self, tables: list[Table], outers: Outers, limit: int | None) -> None:
        """Evaluate outer choices, the most promising first, until no other can win."""
        tiles = [RowTiles(t) for t in tables]
        kind = Single if len(tables) == 1 else Fused
        inside = kind(self.problem, self.bounds, tiles, self.contest, self.counters)
        outers = inside.refined(outers)
        fits = self.bounds.fits(outers)
        first, second, third = self.contest.lead(outers.cycles, outers.energy)
        order = np.lexsort((outers.needs, third, second, first))
        order = order[fits[order]]
        done = 0
        while len(order):
            alive = self._alive(outers.take(order))
            if limit is None:
                self.counters.outer_bounded += int((~alive).sum())
            order = order[alive]
            size = inside.evaluate(outers, order if done else order[:8])
            order, done = order[size:], done + size
            if limit is None:
                self.counters.outer_evaluated += size
            elif done >= limit and not self.contest.open:
                return

    def _alive(self, outers: Outers) -> Bools:
        """Which outer choices may win."""
        cycles, energy = outers.cycles, outers.energy
        alive = self.contest.may_win(cycles, energy)
        return alive & self.contest.below(outers.sums, cycles, energy) if outers.sums else alive

    def refusal(self) -> Infeasible:
        """Why nothing fits."""
        outers = self.frame
        least = [1] * len(self.problem.spaces)
        tables = self._crowd(outers).first(self._whole(least), least)
        if all(t.count for t in tables) and len(outers.staging):
            outers = self.bounds.bounded(outers, tables)
        return self.bounds.refusal(tables, outers)

    def space_size(self) -> int:
        """Mappings in the group: outer choices times loop nests of each Einsum."""
        return self.counters.outer * prod(s.size() for s in self.problem.spaces)


def _kept(tables: list[Table], masks: list[Bools]) -> list[Table]:
    """The rows of each table that its mask keeps."""
    return [t if m.all() else t.keep(m) for t, m in zip(tables, masks, strict=True)]


def _with_rest(parts: list[Floats]) -> list[Floats]:
    """Each array plus the least of all the others."""
    lows = [float(p.min()) for p in parts]
    return [p + (sum(lows) - low) for p, low in zip(parts, lows, strict=True)]
