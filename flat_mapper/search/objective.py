"""What is minimised."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from flat_mapper.search.rows import Floats

Objective = Literal["latency", "energy", "edp"]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)


def keys(objective: Objective, cycles: Floats, energy: Floats) -> tuple[Floats, Floats, Floats]:
    """The objective, then the other two that break its ties, each float64[n]."""
    edp = cycles * energy
    if objective == "latency":
        return cycles, energy, edp
    if objective == "energy":
        return energy, edp, cycles
    return edp, cycles, energy


def better(
    objective: Objective, cycles: Floats, energy: Floats, best: tuple[float, float]
) -> np.ndarray:
    """Whether costs at least these may still beat the best (cycles, energy) so far."""
    if not np.isfinite(best[0]):
        return np.isfinite(cycles) & np.isfinite(energy)
    mine = keys(objective, cycles, energy)
    other = keys(objective, np.array(best[0]), np.array(best[1]))
    tight = 1e-12 * np.abs(other[0])
    return (mine[0] < other[0] - tight) | (
        (mine[0] <= other[0] + tight)
        & ((mine[1] < other[1]) | ((mine[1] == other[1]) & (mine[2] < other[2])))
    )


def best_index(objective: Objective, cycles: Floats, energy: Floats) -> int:
    """The best of several; the first of equals."""
    first, second, third = keys(objective, cycles, energy)
    return int(np.lexsort((third, second, first))[0])
