"""The best mapping on a chip so far, as the search of one core's tile sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from flat_mapper.base.tolerance import EQUAL
from flat_mapper.mapper.chip.fullest import Fullest
from flat_mapper.mapper.group.incumbent import NONE, Costs
from flat_mapper.mapper.group.objective import Goal, better, better_pair
from flat_mapper.mapper.group.picks import GroupSolution
from flat_mapper.mapper.space.candidates import Bools, Floats

CYCLES = Goal(kind="latency")  # what bounds of a core add up in
MOST_OFFERED = 100  # chosen: mappings of a tile that are priced on the chip, some CPU seconds


@dataclass(slots=True)
class ChipIncumbent:
    """Costs of the whole chip that a mapping of a tile has to be better than.

    Costs of a core give lower bounds on those of the chip; what may improve by these is priced on
    the chip. Where it costs what its bound says, so much at least costs all that it dominates. Else
    its bound is that of all that is not known better: `loose`.
    """

    goal: Goal
    fullest: Fullest
    beside_pj: float  # of all tiles, that no core sees
    price: Callable[[GroupSolution], Costs | None]
    best: Costs = NONE
    loose: float = inf  # of the objective
    offered: int = 0
    frugal: float = inf  # lower bound on the pJ of the best; of equals only less is of use

    def _chip(self, cycles: Floats, energy: Floats) -> tuple[Floats, Floats]:
        """Lower bounds on the chip's cycles and pJ."""
        return self.fullest.line(cycles), self.fullest.counted * energy + self.beside_pj

    @property
    def aims(self) -> tuple[Goal, ...]:
        """Of a core."""
        return (CYCLES,)

    @property
    def open(self) -> bool:
        """True if a solution is still missing."""
        return not np.isfinite(self.best[0])

    @property
    def mark(self) -> tuple[Costs, ...]:
        """A value that changes with every improvement."""
        return (self.best,)

    def can_improve(self, cycles: Floats, energy: Floats) -> Bools:
        """Lower bounds on costs that leave room for an improvement; bool[n]."""
        return better(self.goal, *self._chip(cycles, energy), self.best)

    def slopes(self, cycles: Floats, energy: Floats) -> list[Floats]:
        """A chip has no one weight."""
        return [np.zeros(np.shape(cycles))]

    def sums_can_improve(self, sums: Sequence[Floats], cycles: Floats, energy: Floats) -> Bools:
        """So it knows nothing of sums."""
        return np.ones(np.shape(sums[0]), np.bool_)

    def improvements(self, cycles: Floats, energy: Floats) -> Iterator[tuple[int, int]]:
        """(0, position) of all costs that may improve in their turn, the most promising first."""
        first, second, third = self.sort_keys(cycles, energy)
        order = np.lexsort((third, second, first))
        for i in order[self.can_improve(cycles[order], energy[order])]:
            line, pj = self._chip(cycles[i], energy[i])
            if self._of_use((float(line), float(pj))):
                yield 0, int(i)

    def _of_use(self, least: Costs) -> bool:
        """True if costs of the chip that are known at least may be better than the best."""
        equal = self.value(least) >= self.value(self.best) * (1 - EQUAL)
        return better_pair(self.goal, least, self.best) and not (equal and least[1] >= self.frugal)

    def take(self, slot: int, solution: GroupSolution) -> None:
        """Price a mapping on the chip, if it still may be better than the best."""
        energy = self.fullest.counted * solution.energy + self.beside_pj
        staged = solution.staging.staged
        least = self.fullest.cycles(solution.cycles, solution.beside, staged), energy
        if not self._of_use(least):
            return
        bound = self.value(least)
        self.offered += 1
        if self.offered > MOST_OFFERED:
            self.loose = min(self.loose, bound)
            return
        costs = self.price(solution)
        if costs is None or self.value(costs) > bound * (1 + EQUAL):
            self.loose = min(self.loose, bound)
        if costs is not None and better_pair(self.goal, costs, self.best):
            self.best, self.frugal = costs, energy

    def value(self, costs: Costs) -> float:
        """The objective."""
        return float(self.goal.first(np.array(costs[0]), np.array(costs[1])))

    def sort_keys(self, cycles: Floats, energy: Floats) -> tuple[Floats, Floats, Floats]:
        """Keys to sort by: the most promising first; float64[n] each."""
        return self.goal.keys(*self._chip(cycles, energy))
