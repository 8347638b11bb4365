"""Tensors that a level between DRAM and the cores keeps: how often they come, and their room."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, prod

from flat_mapper.mapping.values import Loop


def times_brought(ranks: Sequence[str], outer: Sequence[Loop]) -> int:
    """Number of times a whole tensor comes to the level: loops outside it over ranks that it lacks.

    ranks: of the tensor. outer: the loops given out that stand outside the level.
    """
    loops = [p for p in outer if p.factor > 1]
    while loops and loops[-1].rank not in ranks:
        loops.pop()
    return prod(p.factor for p in loops if p.rank not in ranks)


def words_held(
    words: float,
    ranks: Sequence[str],
    outer: Sequence[Loop],
    tiles: int,
    at_work: int,
    buffering: float,
) -> int:
    """Words that a tensor takes at the level: its tile there, as often as it may be in flight.

    words: of the whole tensor. tiles: that are given out, to so many cores at work.
    """
    cut = prod(p.factor for p in outer if p.rank in ranks)
    inside = tiles // prod(p.factor for p in outer)
    flying = min(cut, -(-(at_work - 1) // inside) + 1)
    copies = max(buffering, flying) if cut > 1 else 1.0
    return ceil(words / cut * copies)
