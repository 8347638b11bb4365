"""Which rows may be part of something better, told without holding all rows at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flat_mapper.mapper.bounds.outer import Outers
from flat_mapper.mapper.cost.candidate_set import Table
from flat_mapper.mapper.group.incumbent import Incumbent
from flat_mapper.mapper.space.candidates import Bools, Floats
from flat_mapper.mapper.space.group import GroupProblem


@dataclass(frozen=True, slots=True)
class Lows:
    """Of one Einsum's rows, the least pJ with and without DRAM, and the fewest compute cycles."""

    priced: float
    free: float
    cycles: float

    @classmethod
    def of(cls, table: Table) -> Lows:
        """Over some rows; infinite if there are none."""
        none = cls(np.inf, np.inf, np.inf)
        if not table.count:
            return none
        priced, free = (table.energy(priced=p) for p in (True, False))
        return none.with_rows(priced, free, table.cycles)

    def with_rows(self, priced: Floats, free: Floats, cycles: Floats) -> Lows:
        """Over some more."""
        if len(cycles) == 0:
            return self
        return Lows(
            min(self.priced, float(priced.min())),
            min(self.free, float(free.min())),
            min(self.cycles, float(cycles.min())),
        )


class Sieve:
    """Holds every row against the least that the other Einsums and the outer choices cost."""

    def __init__(
        self,
        problem: GroupProblem,
        contest: Incumbent,
        outers: Outers,
        lows: list[Lows],
    ) -> None:
        self.contest, self.lows = contest, lows
        self.shares = problem.cycle_shares
        self.more, self.floors = float(outers.staged.min()), float(outers.floors.min())
        self.least = float(outers.cycles.min())

    def may_win(self, i: int, priced: Floats, free: Floats, cycles: Floats) -> Bools:
        """Which rows of the i-th Einsum may win: by their pJ, with and without DRAM, and cycles."""
        others = [low for j, low in enumerate(self.lows) if j != i]
        more = sum(low.priced for low in others) + self.more
        floors = sum(low.free for low in others) + self.floors
        busy = sum(
            low.cycles * share
            for j, (low, share) in enumerate(zip(self.lows, self.shares, strict=False))
            if j != i
        )
        energy = np.maximum(priced + more, free + floors)
        cycles = np.maximum(cycles, self.shares[i] * cycles + busy)
        return self.contest.may_win(np.maximum(cycles, self.least), energy)
