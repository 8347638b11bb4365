"""Candidates by their tile."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flat_mapper.mapper.space.candidates import Ints
from flat_mapper.mapper.space.einsum import EinsumSpace


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
        number = space.tile_number(tile)
        _, first, which = np.unique(number, return_index=True, return_inverse=True)
        counts = np.bincount(which, minlength=len(first))
        starts = np.concatenate([[0], np.cumsum(counts)])
        return cls(tile[:, first], which, np.argsort(which, kind="stable"), starts)

    @property
    def counts(self) -> Ints:
        """Number of candidates of each tile."""
        return self.starts[1:] - self.starts[:-1]

    def candidates(self, choice: Ints, tile: Ints) -> tuple[Ints, Ints]:
        """(choice, candidate) for all candidates of the tile in pairs (choice, tile)."""
        counts = self.counts[tile]
        first = np.repeat(self.starts[tile] - np.cumsum(counts) + counts, counts)
        return np.repeat(choice, counts), self.order[first + np.arange(len(first))]
