"""Candidates by their tile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flat_mapper.base.grouping import group_numbers, located, sorted_groups
from flat_mapper.cost_model.candidates import Ints
from flat_mapper.mapper.space.einsum import EinsumSpace

MOST_OUTER = 16  # chosen: outer tiles to hold every candidate against


@dataclass(frozen=True, slots=True)
class ByTile:
    """The distinct tiles of some candidates, and the candidates of each."""

    tile: Ints  # int64[R, m]: the distinct ones
    which: Ints  # of every candidate, its tile among these
    order: Ints  # the candidates, those of one tile together
    starts: Ints  # int64[m + 1]: where each tile's begin in `order`

    @classmethod
    def of(cls, space: EinsumSpace, tile: Ints) -> ByTile:
        """Of candidates with tiles int64[R, n]."""
        _, order, starts = sorted_groups(space.tile_number(tile))
        first = order[starts[:-1]]
        return cls(tile.take(first, axis=1), group_numbers(order, starts), order, starts)

    @property
    def counts(self) -> Ints:
        """Number of candidates of each tile."""
        return self.starts[1:] - self.starts[:-1]

    def candidates(self, choice: Ints, tile: Ints) -> tuple[Ints, Ints]:
        """(choice, candidate) for all candidates of the tile in pairs (choice, tile)."""
        counts = self.counts[tile]
        first = np.repeat(self.starts[tile] - np.cumsum(counts) + counts, counts)
        return np.repeat(choice, counts), self.order[first + np.arange(len(first))]


def dividing(outer: Ints, tiles: Ints, factors: Sequence[tuple[Ints, Ints]]) -> tuple[Ints, Ints]:
    """(tile, column) of all tiles times columns of a grid that divide some outer tile int64[R, t].

    factors: by rank, the distinct ones of the grid, and which of them every column has.
    """
    found = np.zeros((tiles.shape[1], len(factors[0][1])), np.bool_)
    inner = [located(own) for own in tiles]
    for extents in outer.T:
        good = np.ones_like(found)
        for extent, (own, which), (times, at) in zip(extents, inner, factors, strict=True):
            divides = extent % (own[:, None] * times) == 0
            good &= divides.take(at, axis=1).take(which, axis=0)
        found |= good
    tile, column = np.nonzero(found)
    return tile, column
