"""Innermost loop outside a candidate, and what may stay in place there."""

from __future__ import annotations

from functools import reduce
from operator import add

import numpy as np

from flat_mapper.mapper.space.candidates import Floats, Ints
from flat_mapper.mapper.space.einsum import EinsumSpace


def one_innermost(space: EinsumSpace, full: list[Floats], stays: list[Floats]) -> Floats:
    """Least pJ of candidates, from what each tensor takes in full, and if it may stay in place.

    At most one rank is the innermost real loop outside a candidate, and only tensors that lack it
    may stay in place; so the bound is a minimum over ranks. One array twice: it takes the same.
    """
    best: Floats = reduce(add, full)
    some = [t for t, f, s in zip(space.tensors, full, stays, strict=True) if s is not f]
    for r in range(len(space.ranks)) if some else ():
        if all(space.relevant[t][r] for t in some):
            continue
        every = zip(space.tensors, full, stays, strict=True)
        parts = (f if space.relevant[t][r] else s for t, f, s in every)
        best = np.minimum(best, reduce(add, parts))
    return best + space.compute_energy


def closed_passes(space: EinsumSpace, tile: Ints, tensor: str) -> Floats:
    """Times a tile comes by if every irrelevant loop outside brings it again; float64[n]."""
    passes = np.ones(tile.shape[1])
    for r, size in enumerate(space.sizes):
        if size > 1 and not space.relevant[tensor][r]:
            passes *= size // tile[r]
    return passes
