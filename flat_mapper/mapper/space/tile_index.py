"""Candidates by their tile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from flat_mapper.cost_model.candidates import Bools, Ints
from flat_mapper.mapper.space.einsum import EinsumSpace
from flat_mapper.mapper.space.factors import group_numbers, located, sorted_groups

MOST_TILES = 16  # chosen: outer tiles to hold every candidate against


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

    def extended(
        self, outer: Ints, factors: FactorGrid, fits: Callable[[Ints], Bools] | None = None
    ) -> Extensions:
        """Candidates with one more node around them, whose tile divides an outer one, and fits.

        outer: int64[R, few]. factors: ways to choose the node's.
        """
        tile, column = _fitting(outer, self.tile, factors)
        if fits is not None:
            some = fits(self.tile.take(tile, axis=1) * factors.grid.take(column, axis=1))
            tile, column = tile[some], column[some]
        return Extensions(self, tile, column)


class FactorGrid:
    """Ways to choose a node's factors."""

    def __init__(self, grid: Ints) -> None:
        self.grid = grid  # int64[R, m]

    @cached_property
    def located(self) -> list[tuple[Ints, Ints]]:
        """By rank, its distinct factors, and which of them each way has."""
        return [located(own) for own in self.grid]


@dataclass(frozen=True, slots=True)
class Extensions:
    """Candidates, by their tile, each with a column of a grid of factors."""

    same: ByTile
    tile: Ints
    column: Ints

    @property
    def count(self) -> int:
        """Pairs of a candidate and a column."""
        return int(self.same.counts[self.tile].sum())

    def every(self) -> tuple[Ints, Ints]:
        """(candidate, column) of all."""
        column, candidate = self.same.candidates(self.column, self.tile)
        return candidate, column


def _fitting(outer: Ints, tiles: Ints, factors: FactorGrid) -> tuple[Ints, Ints]:
    """(tile, column) of all tiles times columns of a grid that divide some outer tile int64[R, t].

    Rank by rank of few distinct extents and factors.
    """
    found = np.zeros((tiles.shape[1], factors.grid.shape[1]), np.bool_)
    inner = [located(own) for own in tiles]
    for extents in outer.T:
        good = np.ones_like(found)
        for extent, (own, which), (times, at) in zip(extents, inner, factors.located, strict=True):
            divides = extent % (own[:, None] * times) == 0
            good &= divides.take(at, axis=1).take(which, axis=0)
        found |= good
    tile, column = np.nonzero(found)
    return tile, column
