"""Goals that are minimised."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from flat_mapper.base.tolerance import EQUAL
from flat_mapper.mapper.space.candidates import Bools, Floats

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

    @property
    def free(self) -> Goal:
        """The same without limits."""
        return replace(self, most_cycles=np.inf, most_pj=np.inf)

    @property
    def is_limited(self) -> bool:
        """True if there is a limit beside what is minimised."""
        return self.most_cycles < np.inf or self.most_pj < np.inf

    @property
    def has_energy(self) -> bool:
        """True if pJ matter for more than ties: they are minimised, or limited."""
        return self.kind != "latency" or self.most_pj < np.inf

    def keys(self, cycles: Floats, energy: Floats) -> tuple[Floats, Floats, Floats]:
        """Values to sort by: what is minimised, then what breaks its ties; float64[n] each."""
        first, energy = self.first(cycles, energy), self.whole(cycles, energy)
        if self.kind == "latency":
            return first, energy, cycles * energy
        if self.kind == "edp":
            return first, cycles, energy
        return first, cycles * energy, cycles

    def slope(self, cycles: Floats, energy: Floats) -> Floats:
        """A weight of cycles against energy for `limit`, at costs that are known at least."""
        if self.kind == "edp":
            ends = np.isfinite(cycles)  # nothing fits where not: no sum is about it
            whole = np.where(ends, self.whole(np.where(ends, cycles, 0.0), energy), 0.0)
            whole = np.where(np.isfinite(whole), whole, 0.0)
            return whole / np.maximum(np.where(ends, cycles, 1.0), 1e-300) + self.leak
        weight = self.weight if self.kind == "weighted" else 0.0
        return np.full(np.shape(cycles), weight + self.leak)

    def limit(
        self, slope: Floats, cycles: Floats, energy: Floats, best: tuple[float, float]
    ) -> Floats:
        """Limit that `slope * cycles + energy` is below for all that can improve on the best.

        For the energy-delay product: with cycles and energy at least (c, e), what can improve lies
        under a hyperbola, and so under its chord between c and e: the sum is most at its ends.
        """
        if self.kind == "latency" or not np.isfinite(best[0]):
            return np.full(np.shape(cycles), np.inf)
        value = float(self.first(np.array(best[0]), np.array(best[1])))
        if self.kind == "edp":
            quick = np.maximum(cycles, 1e-300)
            lean = np.maximum(self.whole(cycles, energy), 1e-300)
            weight = slope - self.leak
            with np.errstate(over="ignore", invalid="ignore"):  # a limit may be infinite
                return np.maximum(weight * quick + value / quick, weight * value / lean + lean)
        return np.full(np.shape(cycles), value)


def better(goal: Goal, cycles: Floats, energy: Floats, best: tuple[float, float]) -> Bools:
    """True if lower bounds on costs can improve on the best (cycles, energy) so far.

    Sums of floats that should be equal differ in their last bits: within EQUAL they are equal.
    """
    if np.shape(cycles) != np.shape(energy):
        cycles, energy = np.broadcast_arrays(cycles, energy)
    own = goal.first(cycles, energy)
    if not np.isfinite(best[0]):
        return np.isfinite(cycles) & np.isfinite(energy) & (own < np.inf)
    pair = np.array(best[0]), np.array(best[1])
    value = float(goal.first(*pair))
    tight = EQUAL * abs(value)
    found, near = np.asarray(own < value - tight), own <= value + tight
    # Ties are few: only they are worth a second look.
    if np.count_nonzero(near) > np.count_nonzero(found):
        equal = np.nonzero(near & ~found)
        found[equal] = _breaks_tie(goal, cycles[equal], energy[equal], goal.keys(*pair))
    return found


def _breaks_tie(
    goal: Goal, cycles: Floats, energy: Floats, other: tuple[Floats, Floats, Floats]
) -> Bools:
    """True if costs that are equal in what is minimised come first in the rest."""
    _, second, third = goal.keys(cycles, energy)
    found = np.zeros(len(cycles), np.bool_)
    equal = ~found
    for a, b in ((second, other[1]), (third, other[2])):
        tight = EQUAL * np.abs(b)
        found = found | (equal & (a < b - tight))
        equal = equal & (np.abs(a - b) <= tight)
    return found


def better_pair(goal: Goal, own: tuple[float, float], best: tuple[float, float]) -> bool:
    """The same for one pair."""
    return bool(better(goal, np.array([own[0]]), np.array([own[1]]), best)[0])


def best_index(goal: Goal, cycles: Floats, energy: Floats) -> int:
    """The best of several; the first of equals."""
    first, second, third = goal.keys(cycles, energy)
    return int(np.lexsort((third, second, first))[0])
