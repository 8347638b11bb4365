"""Which rows may be part of something better, told without holding all rows at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from flat_mapper.search.bounds import Outers
from flat_mapper.search.contest import Contest, FrontContest
from flat_mapper.search.outer import GroupProblem
from flat_mapper.search.rows import Bools
from flat_mapper.search.table import Table


@dataclass(frozen=True, slots=True)
class Lows:
    """Of one Einsum's rows, the least pJ with and without DRAM, and the fewest compute cycles."""

    priced: float
    free: float
    cycles: float

    @classmethod
    def of(cls, tables: Iterable[Table]) -> Lows:
        """Over all tables, taken one after another."""
        priced = free = cycles = np.inf
        for one in tables:
            priced = min(priced, float(one.energy(priced=True).min()))
            free = min(free, float(one.energy(priced=False).min()))
            cycles = min(cycles, float(one.cycles.min()))
        return cls(priced, free, cycles)


class Sieve:
    """Holds every row against the least that the other Einsums and the outer choices cost."""

    def __init__(
        self,
        problem: GroupProblem,
        contest: Contest | FrontContest,
        outers: Outers,
        lows: list[Lows],
    ) -> None:
        self.contest, self.lows = contest, lows
        self.shares = problem.cycle_shares
        self.more, self.floors = float(outers.staged.min()), float(outers.floors.min())
        self.least = float(outers.cycles.min())

    def mask(self, i: int, part: Table) -> Bools:
        """Which rows of the i-th Einsum may win."""
        others = [low for j, low in enumerate(self.lows) if j != i]
        priced = sum(low.priced for low in others) + self.more
        free = sum(low.free for low in others) + self.floors
        busy = sum(
            low.cycles * share
            for j, (low, share) in enumerate(zip(self.lows, self.shares, strict=False))
            if j != i
        )
        energy = np.maximum(part.energy(priced=True) + priced, part.energy(priced=False) + free)
        cycles = np.maximum(part.cycles, self.shares[i] * part.cycles + busy)
        return self.contest.may_win(np.maximum(cycles, self.least), energy)
