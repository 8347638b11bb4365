"""A bound filter: which candidates may be part of an improvement, without keeping all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flat_mapper.mapper.bounds.outer import Outers
from flat_mapper.mapper.cost.candidate_set import CandidateSet
from flat_mapper.mapper.space.candidates import Floats
from flat_mapper.mapper.space.group import GroupProblem


@dataclass(frozen=True, slots=True)
class LowerBounds:
    """Lower bounds over one Einsum's candidates: pJ with and without DRAM, compute cycles.

    And weighted sums of cycles and of pJ with DRAM, by weight.
    """

    priced: float
    free: float
    cycles: float
    sums: tuple[tuple[float, float], ...]  # weight, least sum

    @classmethod
    def none(cls, weights: Sequence[float]) -> LowerBounds:
        """Over no candidates: infinite. weights: of cycles."""
        return cls(np.inf, np.inf, np.inf, tuple((w, np.inf) for w in weights))

    @classmethod
    def of(
        cls, candidate_set: CandidateSet, weights: Sequence[float], share: float | None = None
    ) -> LowerBounds:
        """Over some candidates. weights: of cycles. share: see `CandidateSet.energy`."""
        none = cls.none(weights)
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
            tuple((w, min(low, float((priced + w * cycles).min()))) for w, low in self.sums),
        )


class BoundFilter:
    """Holds every candidate against the least that the other Einsums and the outer choices cost."""

    def __init__(
        self,
        problem: GroupProblem,
        outers: Outers,
        lows: list[LowerBounds],
        slopes: Sequence[float],
    ) -> None:
        self.lows, self.slopes = lows, slopes
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

    def sums(self, i: int, priced: Floats, cycles: Floats) -> list[Floats]:
        """Lower bounds on the group's weighted sums with each of the i-th Einsum's candidates.

        priced, cycles: as in `bound`. returns: by slope.
        """
        found = []
        for slot, slope in enumerate(self.slopes):
            rest = sum(low.sums[slot][1] for j, low in enumerate(self.lows) if j != i)
            found.append(priced + slope * self.adds[i] * cycles + (rest + self.more))
        return found
