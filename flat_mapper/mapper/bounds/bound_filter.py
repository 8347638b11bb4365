"""A bound filter: which candidates may be part of an improvement, without keeping all of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flat_mapper.mapper.bounds.outer import Outers
from flat_mapper.mapper.cost.candidate_set import CandidateSet
from flat_mapper.mapper.space.candidates import Floats
from flat_mapper.mapper.space.group import GroupProblem


@dataclass(frozen=True, slots=True)
class LowerBounds:
    """Lower bounds over one Einsum's candidates: pJ with and without DRAM, compute cycles."""

    priced: float
    free: float
    cycles: float

    @classmethod
    def of(cls, candidate_set: CandidateSet, share: float | None = None) -> LowerBounds:
        """Over some candidates; infinite if there are none. share: see `CandidateSet.energy`."""
        none = cls(np.inf, np.inf, np.inf)
        if not candidate_set.count:
            return none
        priced, free = (candidate_set.energy(priced=p, share=share) for p in (True, False))
        return none.including(priced, free, candidate_set.cycles * (1 if share is None else share))

    def including(self, priced: Floats, free: Floats, cycles: Floats) -> LowerBounds:
        """Over some more."""
        if len(cycles) == 0:
            return self
        return LowerBounds(
            min(self.priced, float(priced.min())),
            min(self.free, float(free.min())),
            min(self.cycles, float(cycles.min())),
        )


class BoundFilter:
    """Holds every candidate against the least that the other Einsums and the outer choices cost."""

    def __init__(
        self,
        problem: GroupProblem,
        outers: Outers,
        lows: list[LowerBounds],
    ) -> None:
        self.lows = lows
        self.adds = problem.cycles_add
        self.more, self.floors = float(outers.staged.min()), float(outers.floors.min())
        self.least = float(outers.cycles.min())

    def bound(self, i: int, priced: Floats, free: Floats, cycles: Floats) -> tuple[Floats, Floats]:
        """Lower bounds on the group's (cycles, pJ) with each of the i-th Einsum's candidates.

        priced, free: lower bounds on their pJ, with and without DRAM. cycles: of compute.
        """
        others = [low for j, low in enumerate(self.lows) if j != i]
        more = sum(low.priced for low in others) + self.more
        floors = sum(low.free for low in others) + self.floors
        busy = sum(
            low.cycles * add
            for j, (low, add) in enumerate(zip(self.lows, self.adds, strict=False))
            if j != i
        )
        energy = np.maximum(priced + more, free + floors)
        cycles = np.maximum(cycles, self.adds[i] * cycles + busy)
        return np.maximum(cycles, self.least), energy
