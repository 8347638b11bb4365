"""What is minimised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from flat_mapper.search.rows import Bools, Floats

Objective = Literal["latency", "energy", "edp"]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """An objective; `weighted` is weight * cycles + energy, and only used inside the search."""

    kind: Literal["latency", "energy", "edp", "weighted"]
    weight: float = 0.0

    def keys(self, cycles: Floats, energy: Floats) -> tuple[Floats, Floats, Floats]:
        """What is minimised, then what breaks its ties; float64[n] each."""
        edp = cycles * energy
        if self.kind == "latency":
            return cycles, energy, edp
        if self.kind == "energy":
            return energy, edp, cycles
        if self.kind == "edp":
            return edp, cycles, energy
        return self.weight * cycles + energy, edp, cycles


def better(goal: Goal, cycles: Floats, energy: Floats, best: tuple[float, float]) -> Bools:
    """Whether costs at least these may still beat the best (cycles, energy) so far.

    Sums of floats that should be equal differ in their last bits: within 1e-12 they are equal.
    """
    if not np.isfinite(best[0]):
        return np.isfinite(cycles) & np.isfinite(energy)
    mine = goal.keys(cycles, energy)
    other = goal.keys(np.array(best[0]), np.array(best[1]))
    found = np.zeros(np.broadcast(cycles, energy).shape, np.bool_)
    equal = ~found
    for a, b in zip(mine, other, strict=True):
        tight = 1e-12 * np.abs(b)
        found = found | (equal & (a < b - tight))
        equal = equal & (np.abs(a - b) <= tight)
    return found


def better_pair(goal: Goal, mine: tuple[float, float], best: tuple[float, float]) -> bool:
    """The same for one pair."""
    return bool(better(goal, np.array([mine[0]]), np.array([mine[1]]), best)[0])


def best_index(goal: Goal, cycles: Floats, energy: Floats) -> int:
    """The best of several; the first of equals."""
    first, second, third = goal.keys(cycles, energy)
    return int(np.lexsort((third, second, first))[0])
