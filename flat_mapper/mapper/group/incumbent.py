"""The incumbents of a group: the best solutions so far, and what can improve on them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from itertools import product
from typing import Literal, Protocol, get_args

import numpy as np

from flat_mapper.base.tolerance import EQUAL, LOST
from flat_mapper.cost_model.candidates import Bools, Floats, Ints
from flat_mapper.mapper.group.picks import GroupSolution

CyclesPj = tuple[float, float]  # cycles, pJ
# What has to be beaten, see `Goal.keys`: the values of known costs, or one value alone, for which
# no costs are made up: a limit would be held to them.
Bar = tuple[float, float, float]
NO_BAR: Bar = (np.inf, np.inf, np.inf)
EinsumNames = tuple[str, ...]
Mark = tuple[object, ...]  # changes with every improvement


class Solved(Protocol):
    """Something that takes cycles and pJ."""

    @property
    def cycles(self) -> float:
        """Cycles."""

    @property
    def energy(self) -> float:
        """Dynamic pJ."""


@dataclass(slots=True)
class Incumbent[Found: Solved](ABC):
    """The best solutions so far, and which costs can still improve on them."""

    goal: Goal

    def first(self, cycles: Floats, energy: Floats) -> Floats:
        """The value that is minimised; float64[n]."""
        return self.goal.first(cycles, energy)

    @property
    @abstractmethod
    def open(self) -> bool:
        """True if a solution is still missing."""

    @property
    def name(self) -> str:
        """Name of what `sort_keys` sorts by first, in a log."""
        return str(self.goal)

    @property
    def value(self) -> float:
        """The least of that which is of no use; 0 where that is not known."""
        return 0.0

    @property
    @abstractmethod
    def mark(self) -> Mark:
        """A value that changes with every improvement."""

    @abstractmethod
    def can_improve(self, cycles: Floats, energy: Floats) -> Bools:
        """Lower bounds on costs that leave room for an improvement; bool[n]."""

    @abstractmethod
    def improvements(self, cycles: Floats, energy: Floats) -> Iterable[int]:
        """Positions of costs that improve on the incumbent."""

    @abstractmethod
    def take(self, solution: Found) -> None:
        """Accept an improvement."""

    def sort_keys(self, cycles: Floats, energy: Floats) -> tuple[Floats, Floats, Floats]:
        """Keys to sort by: the most promising first; float64[n] each."""
        return self.goal.keys(cycles, energy)


@dataclass(slots=True)
class GoalIncumbent(Incumbent[GroupSolution]):
    """The bar under a goal, and the solution that has set it."""

    bar: Bar = NO_BAR  # of the solution, or known from elsewhere
    gap: float = 0.0  # relative; what cannot improve by more counts as no improvement
    solution: GroupSolution | None = None

    @property
    def value(self) -> float:
        """The least of it that is of no use."""
        return self.aspired[0]

    @property
    def aspired(self) -> Bar:
        """The cost that a mapping has to be better than to be looked for."""
        return nearer(self.bar, self.gap)

    @property
    def open(self) -> bool:
        """True if no solution at all is known yet."""
        return self.bar[0] == np.inf

    def can_improve(self, cycles: Floats, energy: Floats) -> Bools:
        """Lower bounds on costs that can improve."""
        return better(self.goal, cycles, energy, self.aspired)

    def improvements(self, cycles: Floats, energy: Floats) -> list[int]:
        """The position of costs that take the place of the best, if any do."""
        where = best_index(self.goal, cycles, energy)
        own = float(cycles[where]), float(energy[where])
        return [where] if better_pair(self.goal, own, self.bar) else []

    def take(self, solution: GroupSolution) -> None:
        """Accept an improvement."""
        self.bar, self.solution = self.goal.bar(costs_of(solution)), solution

    @property
    def mark(self) -> Mark:
        """A value that changes with every improvement."""
        return self.bar


@dataclass(slots=True)
class FrontIncumbent[Found: Solved](Incumbent[Found]):
    """The Pareto front of cycles and energy so far; energy with leakage, costs without."""

    goal: Goal = field(default_factory=lambda: Goal(kind="edp"))  # says what leaks, and sorts
    known: list[CyclesPj] = field(default_factory=list)  # of others, to be beaten
    gap: float = 0.0  # relative; what is better by less in cycles or in pJ is of no use
    solutions: list[Found] = field(default_factory=list)
    _stairs: tuple[Floats, Floats] | None = None

    @property
    def open(self) -> bool:
        """True if nothing at all is known."""
        return not self.known and not self.solutions

    def can_improve(self, cycles: Floats, energy: Floats) -> Bools:
        """Lower bounds on costs that no known point dominates; bool[n]."""
        cycles, energy = np.broadcast_arrays(cycles, energy)
        useful = np.isfinite(self.goal.first(cycles, energy))  # within limits
        if self.open:
            return useful & np.isfinite(cycles) & np.isfinite(energy)
        energy = self.goal.whole(cycles, energy)
        if self.gap:
            cycles, energy = cycles * (1 + self.gap), energy * (1 + self.gap)
        fast, least = self._staircase()
        position = np.searchsorted(fast, cycles * (1 + EQUAL), side="right") - 1
        limit = np.where(position < 0, np.inf, least[np.maximum(position, 0)])
        return useful & (energy < limit * (1 - EQUAL))

    def _staircase(self) -> tuple[Floats, Floats]:
        """Cycles ascending, and the least energy within so many."""
        if self._stairs is None:
            points = self.known + [(s.cycles, s.energy) for s in self.solutions]
            fast = np.array(sorted(points))
            energy = self.goal.whole(fast[:, 0], fast[:, 1])
            self._stairs = (fast[:, 0], np.minimum.accumulate(energy))
        return self._stairs

    def improvements(self, cycles: Floats, energy: Floats) -> list[int]:
        """Positions of the front of some costs, as far as it is new."""
        new = undominated(self.goal, cycles, energy)
        return [int(i) for i in new[self.can_improve(cycles[new], energy[new])]]

    def take(self, solution: Found) -> None:
        """Add a point, and drop those that it dominates."""
        limit = self._whole(solution) * (1 - EQUAL)
        self.solutions = [
            s
            for s in self.solutions
            if s.cycles < solution.cycles * (1 - EQUAL) or self._whole(s) < limit
        ] + [solution]
        self._stairs = None

    def _whole(self, solution: Found) -> float:
        return float(self.goal.whole(np.array(solution.cycles), np.array(solution.energy)))

    @property
    def mark(self) -> Mark:
        """A value that changes with every improvement."""
        return tuple((s.cycles, s.energy) for s in self.solutions)


def undominated(goal: Goal, cycles: Floats, energy: Floats) -> Ints:
    """Positions of costs that no others dominate, the fastest first; of equals the first.

    Energy is that with leakage. Costs over a limit of the goal are none.
    """
    fits = np.isfinite(goal.first(cycles, energy))
    whole = goal.whole(cycles, energy)
    order = np.lexsort((whole, cycles))
    order = order[fits[order]]
    lowest = np.minimum.accumulate(np.concatenate([[np.inf], whole[order]]))[:-1]
    found: Ints = order[whole[order] < lowest * (1 - EQUAL)]
    return found


def beside_weights(
    weight: float,
    lines: Sequence[tuple[float, Floats | float]],
    cycles: Floats | float,
    energy: Floats | float,
) -> Floats:
    """Lower bound on weight x cycles + energy, from those under other weights and of each alone.

    Beside a lighter weight it has more cycles, beside a heavier one less; and between two it is no
    less than on the line between them. cycles, energy: at least.
    """
    light = [(w, least) for w, least in lines if w < weight]
    heavy = [(w, least) for w, least in lines if w > weight]
    found = [weight * cycles + energy, *(least + (weight - w) * cycles for w, least in light)]
    found += [energy + (least - energy) * weight / w for w, least in heavy]
    for (w, low), (v, high) in product(light, heavy):
        found.append(low + (high - low) * (weight - w) / (v - w))
    most: Floats = reduce(np.fmax, map(np.asarray, found))
    return most * (1 - LOST)


def goal_value(goal: Goal, costs: CyclesPj) -> float:
    """Value that a goal minimises, at some (cycles, dynamic pJ)."""
    if costs[0] == np.inf:
        return np.inf
    return float(goal.first(np.array(costs[0]), np.array(costs[1])))


def nearer(bar: Bar, gap: float) -> Bar:
    """A bar that is lower by a gap."""
    return bar[0] / (1 + gap), *bar[1:]


def least_value(goal: Goal, costs: Floats) -> float:
    """The least value of several (cycles, dynamic pJ)."""
    some = costs[np.isfinite(costs[:, 0])]
    return float(goal.first(some[:, 0], some[:, 1]).min(initial=np.inf))


def costs_of(solution: GroupSolution) -> CyclesPj:
    return solution.cycles, solution.energy


Objective = Literal["latency", "energy", "edp"]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)
FRONT = "latency,energy"  # all mappings that no other one dominates in both


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """An objective; `weighted` is weight * cycles + energy, and only used inside the search.

    Bounds, candidates and groups count dynamic energy. The chip leaks in every cycle of the whole
    answer, so energy is theirs plus `leak` x cycles: monotone in both, and a sum over groups.
    """

    kind: Literal["latency", "energy", "edp", "weighted"]
    weight: float = 0.0
    leak: float = 0.0  # pJ per cycle
    most_cycles: float = np.inf  # what takes more counts as infinite
    most_pj: float = np.inf  # with leakage

    def whole(self, cycles: Floats, energy: Floats) -> Floats:
        """Dynamic energy and leakage, pJ."""
        return energy + self.leak * cycles if self.leak else energy

    def first(self, cycles: Floats, energy: Floats) -> Floats:
        """Value that is minimised; energy: dynamic, here and in all methods."""
        whole = self.whole(cycles, energy)
        if self.is_limited:
            over = (cycles > self.most_cycles * (1 + EQUAL)) | (whole > self.most_pj * (1 + EQUAL))
            return np.where(over, np.inf, self.free.first(cycles, energy))
        if self.kind == "latency":
            return cycles
        if self.kind == "energy":
            return whole
        return cycles * whole if self.kind == "edp" else self.weight * cycles + whole

    def __str__(self) -> str:
        """Its name in a log."""
        return f"{self.weight:g} cycles + pJ" if self.kind == "weighted" else self.kind

    @property
    def free(self) -> Goal:
        """The same without limits."""
        return replace(self, most_cycles=np.inf, most_pj=np.inf)

    def within(self, other: Goal) -> bool:
        """True if whatever keeps the limits of this goal keeps those of another."""
        return self.most_cycles <= other.most_cycles and self.most_pj <= other.most_pj

    @property
    def is_limited(self) -> bool:
        """True if there is a limit beside what is minimised."""
        return self.most_cycles < np.inf or self.most_pj < np.inf

    @property
    def has_energy(self) -> bool:
        """True if pJ matter for more than ties: they are minimised, or limited."""
        return self.kind != "latency" or self.most_pj < np.inf

    def bar(self, costs: CyclesPj) -> Bar:
        """The bar that some costs set; none where they are over a limit."""
        if goal_value(self, costs) == np.inf:
            return NO_BAR
        first, second, third = self.keys(np.array(costs[0]), np.array(costs[1]))
        return float(first), float(second), float(third)

    def bar_at(self, value: float) -> Bar:
        """A value that is to be beaten; what comes to it is better for latency alone."""
        ties = np.inf if self.kind == "latency" else -np.inf
        return value, ties, ties

    def keys(self, cycles: Floats, energy: Floats) -> tuple[Floats, Floats, Floats]:
        """Values to sort by: what is minimised, then what breaks its ties; float64[n] each."""
        first, energy = self.first(cycles, energy), self.whole(cycles, energy)
        if self.kind == "latency":
            return first, energy, cycles * energy
        if self.kind == "edp":
            return first, cycles, energy
        return first, cycles * energy, cycles


def better(goal: Goal, cycles: Floats, energy: Floats, bar: Bar) -> Bools:
    """True if lower bounds on costs can improve on the best so far.

    Sums of floats that should be equal differ in their last bits: within EQUAL they are equal.
    """
    if np.shape(cycles) != np.shape(energy):
        cycles, energy = np.broadcast_arrays(cycles, energy)
    own = goal.first(cycles, energy)
    value = bar[0]
    if value == np.inf:
        return np.isfinite(cycles) & np.isfinite(energy) & (own < np.inf)
    tight = EQUAL * abs(value)
    found, near = np.asarray(own < value - tight), own <= value + tight
    # Ties are few: only they are worth a second look.
    if np.count_nonzero(near) > np.count_nonzero(found):
        equal = np.nonzero(near & ~found)
        found[equal] = _breaks_tie(goal, cycles[equal], energy[equal], bar)
    return found


def _breaks_tie(goal: Goal, cycles: Floats, energy: Floats, other: Bar) -> Bools:
    """True if costs that are equal in what is minimised come first in the rest."""
    _, second, third = goal.keys(cycles, energy)
    found = np.zeros(len(cycles), np.bool_)
    equal = ~found
    for a, b in ((second, other[1]), (third, other[2])):
        tight = EQUAL * abs(b) if np.isfinite(b) else 0.0
        found = found | (equal & (a < b - tight))
        equal = equal & (np.abs(a - b) <= tight)
    return found


def better_pair(goal: Goal, own: CyclesPj, bar: Bar) -> bool:
    """The same for one pair."""
    return bool(better(goal, np.array([own[0]]), np.array([own[1]]), bar)[0])


def best_index(goal: Goal, cycles: Floats, energy: Floats) -> int:
    """The best of several; the first of equals."""
    first, second, third = goal.keys(cycles, energy)
    return int(np.lexsort((third, second, first))[0])
