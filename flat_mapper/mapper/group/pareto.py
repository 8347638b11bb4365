"""Pareto fronts of cost vectors, and their sums."""

from __future__ import annotations

import numpy as np

from flat_mapper.mapper.space.candidates import Floats, Ints

CHUNK = 512


def nondominated(costs: Floats) -> Ints:
    """Indices of the vectors that no other one dominates; costs float64[n, D].

    Of equal vectors the first stays. Sorted by the first cost, then the others, then position.
    """
    if len(costs) == 0:
        return np.zeros(0, np.int64)
    order = np.lexsort((np.arange(len(costs)), *costs.T[::-1]))
    ranked = costs[order]
    kept = np.zeros((0, costs.shape[1]))
    chosen: list[Ints] = []
    # In lexicographic order a vector can only be dominated by one that stands before it.
    for start in range(0, len(ranked), CHUNK):
        part = ranked[start : start + CHUNK]
        alive = np.ones(len(part), np.bool_)
        if len(kept):
            alive = ~_dominated(part, kept)
        index = np.flatnonzero(alive)
        part = part[index]
        dominates = np.ones((len(part), len(part)), np.bool_)
        for d in range(part.shape[1]):
            dominates &= part[None, :, d] <= part[:, None, d]
        dominates &= np.arange(len(part))[None, :] < np.arange(len(part))[:, None]
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


def sums(left: Floats, right: Floats) -> Floats:
    """Every vector of one set plus every vector of the other; [n * m, D], right index fastest."""
    return (left[:, None, :] + right[None, :, :]).reshape(-1, left.shape[1])
