"""Candidates by their tile."""

from __future__ import annotations

import numpy as np

from flat_mapper.base.records import dataclass
from flat_mapper.mapper.space.candidates import Ints
from flat_mapper.mapper.space.einsum import EinsumSpace
from flat_mapper.mapper.space.factors import group_numbers, sorted_groups


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
