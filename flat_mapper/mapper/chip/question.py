"""The question that a search of tiles answers, and what it counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import inf

import numpy as np

from flat_mapper.arch.values import Platform
from flat_mapper.base.budget import Budget
from flat_mapper.base.tolerance import EQUAL
from flat_mapper.cost_model.candidates import Bools, Floats
from flat_mapper.energy.tables import Ert
from flat_mapper.mapper.chip.assignments import Assignment
from flat_mapper.mapper.chip.fullest import Fullest
from flat_mapper.mapper.group.incumbent import (
    NO_BAR,
    Bar,
    CyclesPj,
    FrontIncumbent,
    Goal,
    Incumbent,
    Mark,
    better,
    better_pair,
    goal_value,
    nearer,
)
from flat_mapper.mapper.group.picks import GroupSolution
from flat_mapper.mapper.space.pareto import nondominated
from flat_mapper.mapping.space import Mapspace
from flat_mapper.mapping.values import GroupMapping


@dataclass(slots=True)
class Counters:
    """Counts of what was looked at, of all groups."""

    evaluated: int = 0
    pruned: int = 0
    left: int = 0

    def of(self) -> dict[str, int]:
        """Tiles left out, by why."""
        named = {"tiles": self.pruned, "tiles left": self.left}
        return {name: n for name, n in named.items() if n}


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Question that is asked, of all cascades and groups."""

    platform: Platform
    mapspace: Mapspace
    ert: Ert
    goal: Goal
    budget: Budget
    most_words: Callable[[str], int | None] = lambda _: None  # of a level, that a limit leaves
    count: Counters = field(default_factory=Counters)

    @property
    def buffering(self) -> float:
        """Copies of what crosses DRAM."""
        return self.mapspace.policy.buffering

    def value(self, cycles: float, energy: float = 0.0) -> float:
        """The objective at some costs."""
        return float(self.goal.first(np.array(cycles), np.array(energy)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiles:
    """All that may be given out of a group, with the objective and the pJ at least."""

    energy: float
    tiles: list[tuple[float, Assignment]]


@dataclass(frozen=True, slots=True)
class OuterCosts:
    """Outer choices of a tile, by what all tiles take at least with each of them."""

    cycles: Floats  # of all cores together
    energy: Floats  # pJ
    fewest: float  # cycles of any

    def least(self, question: Question) -> float:
        """The objective at least; infinite where there are none."""
        least = float(question.goal.first(self.cycles, self.energy).min(initial=inf))
        return max(least, question.value(self.fewest, float(self.energy.min(initial=inf))))

    @property
    def front(self) -> OuterCosts:
        """Those that may be the least under some weight."""
        if not len(self.cycles):
            return self
        fastest, leanest = self.cycles.argmin(), self.energy.argmin()
        some = (self.energy <= self.energy[fastest]) & (self.cycles <= self.cycles[leanest])
        costs = np.stack([self.cycles[some], self.energy[some]]).T
        cycles, energy = costs[nondominated(costs)].T
        return OuterCosts(cycles, energy, self.fewest)


MOST_OFFERED = 100  # chosen: mappings of a tile that are priced on the chip, some CPU seconds


@dataclass(slots=True)
class ChipIncumbent(Incumbent[GroupSolution]):
    """Costs of the whole chip that a mapping of a tile has to be better than.

    Costs of a core give lower bounds on those of the chip; what may improve by these is priced on
    the chip. Where it costs what its bound says, so much at least costs all that it dominates. Else
    its bound is that of all that is not known better: `loose`.
    """

    fullest: Fullest
    beside_pj: float  # of all tiles, that no core sees
    price: Callable[[GroupSolution], CyclesPj | None]
    bar: Bar = NO_BAR
    loose: float = inf  # of the objective
    offered: int = 0
    frugal: float = inf  # lower bound on the pJ of the best; of equals only less is of use
    gap: float = 0.0  # relative; what cannot improve by more counts as no improvement

    def _chip(self, cycles: Floats, energy: Floats) -> tuple[Floats, Floats]:
        """Lower bounds on the chip's cycles and pJ."""
        return self.fullest.line(cycles), self.fullest.counted * energy + self.beside_pj

    def first(self, cycles: Floats, energy: Floats) -> Floats:
        """The objective of the chip; float64[n]."""
        return self.goal.first(*self._chip(cycles, energy))

    @property
    def open(self) -> bool:
        """True if a solution is still missing."""
        return self.bar[0] == np.inf

    @property
    def mark(self) -> Mark:
        """A value that changes with every improvement."""
        return self.bar

    def can_improve(self, cycles: Floats, energy: Floats) -> Bools:
        """Lower bounds on costs that leave room for an improvement; bool[n]."""
        return better(self.goal, *self._chip(cycles, energy), self.aspired)

    @property
    def aspired(self) -> Bar:
        """The cost that a mapping has to be better than to be looked for."""
        return nearer(self.bar, self.gap)

    def improvements(self, cycles: Floats, energy: Floats) -> Iterator[int]:
        """Positions of all costs that may improve in their turn, the most promising first."""
        first, second, third = self.sort_keys(cycles, energy)
        order = np.lexsort((third, second, first))
        for i in order[self.can_improve(cycles[order], energy[order])]:
            line, pj = self._chip(cycles[i], energy[i])
            if self._of_use((float(line), float(pj))):
                yield int(i)

    def _of_use(self, least: CyclesPj) -> bool:
        """True if costs of the chip that are known at least may be better than the best."""
        equal = self.of(least) >= self.value * (1 - EQUAL)
        useful = better_pair(self.goal, least, self.aspired)
        return useful and not (equal and least[1] >= self.frugal)

    def take(self, solution: GroupSolution) -> None:
        """Price a mapping on the chip, if it still may be better than the best."""
        energy = self.fullest.counted * solution.energy + self.beside_pj
        staged = solution.staging.staged
        least = self.fullest.cycles(solution.cycles, solution.beside, staged), energy
        if not self._of_use(least):
            return
        bound = self.of(least)
        self.offered += 1
        if self.offered > MOST_OFFERED:
            self.loose = min(self.loose, bound)
            return
        costs = self.price(solution)
        if costs is None or self.of(costs) > bound * (1 + EQUAL):
            self.loose = min(self.loose, bound)
        if costs is not None and better_pair(self.goal, costs, self.bar):
            self.bar, self.frugal = self.goal.bar(costs), energy

    @property
    def value(self) -> float:
        """The objective from which on nothing is of use."""
        return self.aspired[0]

    def of(self, costs: CyclesPj) -> float:
        """The objective."""
        return goal_value(self.goal, costs)

    def sort_keys(self, cycles: Floats, energy: Floats) -> tuple[Floats, Floats, Floats]:
        """Keys to sort by: the most promising first; float64[n] each."""
        return self.goal.keys(*self._chip(cycles, energy))


@dataclass(frozen=True, slots=True)
class Laid:
    """A mapping of all cores with what it takes."""

    cycles: float
    energy: float  # pJ
    mapping: GroupMapping


@dataclass(slots=True, kw_only=True)
class ChipFront(ChipIncumbent):
    """Costs of the whole chip on a front, which a mapping of a tile must not be dominated by."""

    stairs: FrontIncumbent[Laid]
    missed: list[CyclesPj] = field(default_factory=list)  # lower bounds on what is not known better

    @property
    def open(self) -> bool:
        """True if a solution is still missing."""
        return self.stairs.open

    @property
    def mark(self) -> Mark:
        """A value that changes with every improvement."""
        return self.stairs.mark

    @property
    def value(self) -> float:
        """No product is of no use for itself."""
        return 0.0

    def can_improve(self, cycles: Floats, energy: Floats) -> Bools:
        """Lower bounds on costs that no known point dominates; bool[n]."""
        return self.stairs.can_improve(*self._chip(cycles, energy))

    def _of_use(self, least: CyclesPj) -> bool:
        return bool(self.stairs.can_improve(np.array([least[0]]), np.array([least[1]]))[0])

    def take(self, solution: GroupSolution) -> None:
        """Price a mapping on the chip, if no known point dominates what it may cost."""
        energy = self.fullest.counted * solution.energy + self.beside_pj
        least = (
            self.fullest.cycles(solution.cycles, solution.beside, solution.staging.staged),
            energy,
        )
        if not self._of_use(least):
            return
        costs = self.price(solution)
        if costs is None or max(c - b * (1 + EQUAL) for c, b in zip(costs, least, strict=True)) > 0:
            self.missed.append(least)
