"""Rows of a group some of whose Einsums have too many to keep."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flat_mapper.mapper.bounds.outer import OuterBounds, Outers
from flat_mapper.mapper.cost.candidate_set import Table
from flat_mapper.mapper.group.bound_filter import Lows, Sieve
from flat_mapper.mapper.group.incremental import Growth
from flat_mapper.mapper.group.incumbent import Incumbent
from flat_mapper.mapper.space.candidates import Floats, Ints, Rows
from flat_mapper.mapper.space.group import GroupProblem
from flat_mapper.mapper.space.roles import Role

BEAM = 100  # rows with one set of keeps to go on with, where the first pass grows them


@dataclass(frozen=True, slots=True)
class Crowd:
    """Grows the rows that are too many, under some outer choices."""

    problem: GroupProblem
    bounds: OuterBounds
    contest: Incumbent
    roles: list[dict[str, tuple[Role, ...]]]
    outers: Outers

    def first(self, whole: list[Table | None], least: list[int]) -> list[Table]:
        """Rows for a good mapping early: where there are too many, the most promising."""
        return [
            g.table(self._best_few) if t is None else t
            for t, g in zip(whole, self._growths(least, self.outers), strict=True)
        ]

    def _best_few(self, rows: Rows, priced: Floats, free: Floats, cycles: Floats) -> Ints:
        if rows.count <= BEAM:
            return np.arange(rows.count)
        return np.sort(np.lexsort(self.contest.lead(cycles, priced)[::-1])[:BEAM])

    def sieved(self, whole: list[Table | None], least: list[int]) -> list[Table]:
        """Rows that may win: where there are too many, held against the least the others cost."""
        lows = [
            g.least_of_all() if t is None else Lows.of(t)
            for t, g in zip(whole, self._growths(least, self.outers), strict=True)
            if len(whole) > 1  # one alone is held against nobody
        ]
        # With what all Einsums cost at least, fewer outer choices may win, and with wider rows.
        outers = _raised(self.outers, lows)
        alive = self.contest.may_win(outers.cycles, outers.energy)
        outers = outers.take(np.flatnonzero(alive))
        if not len(outers.staging):
            return [_none(g) for g in self._growths(least, self.outers)]
        wider = narrowest(self.bounds, self.contest, outers)
        sieve = Sieve(self.problem, self.contest, outers, lows)
        found: list[Table] = []
        for i, growth in enumerate(self._growths(wider, outers)):

            def may_win(
                rows: Rows, priced: Floats, free: Floats, cycles: Floats, i: int = i
            ) -> Ints:
                return np.flatnonzero(sieve.may_win(i, priced, free, cycles))

            mine = whole[i]
            found.append(growth.table(may_win) if mine is None else mine)
            if lows:
                lows[i] = Lows.of(found[-1])
        return found

    def _growths(self, least: list[int], outers: Outers) -> list[Growth]:
        return [
            Growth(
                space=space,
                roles=roles,
                least=units,
                tiles=np.unique(outers.tile[self.problem.index(space)], axis=1),
                masked=self.problem.share < 1,
            )
            for space, roles, units in zip(self.problem.spaces, self.roles, least, strict=True)
        ]


def narrowest(bounds: OuterBounds, contest: Incumbent, outers: Outers) -> list[int]:
    """By Einsum, the fewest compute units with which it may be part of something better."""
    found = []
    for i, space in enumerate(bounds.problem.spaces):
        low, high = 0, space.widest  # hopeless at low; high is tried in any case
        while high - low > 1:
            middle = (low + high) // 2
            busy = bounds.busy(i, space.lane_cycles / middle)
            hopeful = contest.may_win(np.maximum(outers.cycles, busy), outers.energy).any()
            low, high = (low, middle) if hopeful else (middle, high)
        found.append(high)
    return found


def _raised(outers: Outers, lows: list[Lows]) -> Outers:
    """Outer choices that cost what their Einsums cost at least."""
    priced = sum((low.priced for low in lows), 0.0) + outers.staged
    free = sum((low.free for low in lows), 0.0) + outers.floors
    found = outers.take(np.arange(len(outers.staging)))
    found.energy = np.maximum(outers.energy, np.maximum(priced, free))
    return found


def _none(growth: Growth) -> Table:
    return Table(space=growth.space, blocks=[], roles=growth.roles)
