"""Pareto fronts of cost vectors."""

from __future__ import annotations

import numpy as np

from flat_mapper.cost_model.candidates import Floats, Ints

CHUNK = 512


def nondominated(costs: Floats) -> Ints:
    """Indices of the vectors that no other one dominates; costs float64[n, D].

    Of equal vectors the first stays. Sorted by the first cost, then the others, then position.
    """
    if len(costs) < 2:
        return np.arange(len(costs))
    costs = costs[:, costs.min(axis=0) < costs.max(axis=0)]  # in most columns all are alike
    if costs.shape[1] < 2:
        return np.array([costs[:, 0].argmin() if costs.shape[1] else 0])
    order = np.lexsort(costs.T[::-1])
    ranked = costs[order]
    if costs.shape[1] == 2:
        good = np.ones(len(ranked), np.bool_)
        good[1:] = ranked[1:, 1] < np.minimum.accumulate(ranked[:-1, 1])
        return order[good]
    kept = np.zeros((0, costs.shape[1]))
    chosen: list[Ints] = []
    # In lexicographic order a vector can only be dominated by one that stands before it.
    for start in range(0, len(ranked), CHUNK):
        part = ranked[start : start + CHUNK]
        index = np.flatnonzero(~_dominated(part, kept))
        part = part[index]
        dominates = np.arange(len(part))[None, :] < np.arange(len(part))[:, None]
        for own in part.T[1:]:  # the first costs are in order
            dominates &= own[None, :] <= own[:, None]
        good = ~dominates.any(axis=1)
        kept = np.concatenate([kept, part[good]])
        chosen.append(order[start + index[good]])
    return np.concatenate(chosen)


def _dominated(part: Floats, kept: Floats) -> np.ndarray:
    found = np.zeros(len(part), np.bool_)
    for start in range(0, len(kept), CHUNK):
        dominates = np.ones((len(part), len(kept[start : start + CHUNK])), np.bool_)
        for d in range(part.shape[1]):
            dominates &= kept[None, start : start + CHUNK, d] <= part[:, None, d]
        found |= dominates.any(axis=1)
    return found
