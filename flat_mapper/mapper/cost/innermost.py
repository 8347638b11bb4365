"""Innermost loop outside a candidate, and what may stay in place there."""

from __future__ import annotations

import numpy as np

from flat_mapper.mapper.space.candidates import Floats, Ints
from flat_mapper.mapper.space.einsum import EinsumSpace


def one_innermost(space: EinsumSpace, full: list[Floats], stays: list[Floats]) -> Floats:
    """Least pJ of candidates, from what each tensor takes in full, and if it may stay in place.

    At most one rank is the innermost real loop outside a candidate, and only tensors that lack it
    may stay in place; so the bound is a minimum over ranks.
    """
    best = sum(full, np.zeros(1))
    for r in range(len(space.ranks)):
        lacking = [not space.relevant[t][r] for t in space.tensors]
        if any(lacking):
            parts = (s if lacks else f for f, s, lacks in zip(full, stays, lacking, strict=True))
            best = np.minimum(best, sum(parts, np.zeros(1)))
    return best + space.compute_energy


def closed_passes(space: EinsumSpace, tile: Ints, tensor: str) -> Floats:
    """Times a tile comes by if every irrelevant loop outside brings it again; float64[n]."""
    passes = np.ones(tile.shape[1])
    for r, size in enumerate(space.sizes):
        if not space.relevant[tensor][r]:
            passes = passes * (size // tile[r])
    return passes
