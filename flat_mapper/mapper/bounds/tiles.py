"""Candidates of one Einsum by the tile they leave: bounds that know the tile of an outer choice.

Outside a candidate, at most one rank r has the innermost loop. A tensor that lacks r may stay in
place over it, and comes by `closed / s` times, where `closed` are all its irrelevant loops and s is
the shared level's loop over r: what it takes is linear in this count. Only where all other loops of
the shared level are 1 may the run go on at DRAM.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from flat_mapper.mapper.cost.candidate_set import CandidateSet
from flat_mapper.mapper.cost.price import moves
from flat_mapper.mapper.space.candidates import Bools, Floats, Ints
from flat_mapper.mapper.space.group import FOLLOW
from flat_mapper.mapper.space.roles import Role
from flat_mapper.mapper.space.tile_index import ByTile


class CandidateTiles:
    """The distinct tiles of a candidate set's candidates."""

    def __init__(self, candidate_set: CandidateSet) -> None:
        self.candidate_set, self.space = candidate_set, candidate_set.space
        self.same = ByTile.of(candidate_set.space, candidate_set.tile)
        self.tile: Ints = self.same.tile
        self.which: Ints = self.same.which
        self.cycles = self.least(candidate_set.cycles)
        self._bounds: dict[tuple[Role, ...], TileBounds] = {}
        self._moves: dict[tuple[str, Role], tuple[Floats, Floats]] = {}
        self._spared: dict[Role, tuple[Floats, Floats]] = {}

    @property
    def count(self) -> int:
        """Distinct tiles."""
        return int(self.tile.shape[1])

    @cached_property
    def on_both_axes(self) -> Bools | None:
        """Which merged ranks stand on both axes of a fanout; bool[R, candidates], None for none."""
        found = np.concatenate([b.on_both_axes for b in self.candidate_set.blocks], axis=1)
        return found if found.any() else None

    def least(self, values: Floats) -> Floats:
        """Of every tile, the least value among its candidates."""
        return np.minimum.reduceat(values[self.same.order], self.same.starts[:-1])

    def candidates(self, choice: Ints, tile: Ints) -> tuple[Ints, Ints]:
        """(choice, candidate) for all candidates of the tile in pairs (choice, tile)."""
        return self.same.candidates(choice, tile)

    def by_extent(self, r: int, extents: Ints, some: Ints, values: Floats) -> Floats:
        """Of each extent of a rank, the least value among some tiles that divide it."""
        distinct, where = np.unique(extents, return_inverse=True)
        tile, values = self.tile[r, some], values[some]
        legal = (distinct[:, None] % tile == 0) | (distinct == FOLLOW)[:, None]
        return np.where(legal, values, np.inf).min(axis=1)[where.ravel()]

    def moves(self, tensor: str, role: Role) -> tuple[Floats, Floats]:
        """pJ of a tensor in every candidate if it comes by every time, and what staying spares."""
        key = (tensor, role)
        if key not in self._moves:
            parts = [
                moves(self.space, b, tensor, rounded=False).energy(
                    self.space, tensor, role, priced=True, rounded=False
                )
                for b in self.candidate_set.blocks
            ]
            full = np.concatenate([p[0] for p in parts])
            self._moves[key] = (full, full - np.concatenate([p[1] for p in parts]))
        return self._moves[key]

    def spared(self, role: Role) -> tuple[Floats, Floats]:
        """pJ that first visits of the output spare, see `CandidateSet.spared`.

        role: of the output. returns: by candidate; by tile, the most of its candidates.
        """
        if role not in self._spared:
            own = self.candidate_set.spared((role,))
            self._spared[role] = own, -self.least(-own)
        return self._spared[role]

    def bounds(self, roles: tuple[Role, ...]) -> TileBounds:
        """Bounds in given roles."""
        if roles not in self._bounds:
            self._bounds[roles] = TileBounds.of(self, roles)
        return self._bounds[roles]


@dataclass(frozen=True, slots=True)
class TileBounds:
    """Least pJ of candidates, in given roles, by the innermost rank outside them."""

    tiles: CandidateTiles
    full: Floats  # of every candidate, if nothing stays in place
    gains: dict[int, Floats]  # by rank: what is spared at most if its loop is innermost
    least: Floats  # of every tile, the least of `full`
    spared: dict[int, Floats]  # of every tile, `least` minus the least of `full` - `gains`
    partial: frozenset[int]  # ranks over which s tells how much is spared

    @classmethod
    def of(cls, tiles: CandidateTiles, roles: tuple[Role, ...]) -> TileBounds:
        """The bounds of a candidate set's candidates."""
        space, candidate_set = tiles.space, tiles.candidate_set
        full = np.full(candidate_set.count, space.compute_energy)
        gains: dict[int, Floats] = {}
        partial = set(range(len(space.ranks)))
        for tensor, role in zip(space.tensors, roles, strict=True):
            own, gain = tiles.moves(tensor, role)
            full = full + own
            lacks = [r for r, yes in enumerate(space.relevant[tensor]) if not yes]
            for r in lacks:
                gains[r] = gains.get(r, np.zeros(1)) + gain
                if len(lacks) > 1:  # the run may go on over another rank
                    partial.discard(r)
        least = tiles.least(full)
        spared = {r: least - tiles.least(full - g) for r, g in gains.items()}
        return cls(tiles, full, gains, least, spared, frozenset(partial))

    def energy(self, extents: Ints, some: Ints, stay: Sequence[str] | None = None) -> Floats:
        """Least pJ of some tiles under outer tiles int64[R, n]; inf where it does not divide them.

        stay: tensors that may stay private over the DRAM loops; None: all.

        Of candidates with one tile the least is concave in the fraction that is spared, so it is no
        lower than on the line between its ends.
        returns: float64[n, tiles].
        """
        legal = np.ones((extents.shape[1], len(some)), np.bool_)
        same: list[Bools] = []
        by_extent = [self._by_extent(r, extents[r], some) for r in range(len(extents))]
        for divides, equal, _, where in by_extent:
            legal &= divides[where]
            same.append(equal[where])
        best = np.broadcast_to(self.least[some], legal.shape)
        for r, spared in self.spared.items():
            spared_fraction, where = by_extent[r][2], by_extent[r][3]
            part = spared_fraction[where]
            for t in self._lacking(r):
                if stay is not None and t not in stay:
                    continue
                trivial = np.ones(legal.shape, np.bool_)
                for q in self._has(t):
                    trivial &= same[q]
                part = np.where(trivial, 1.0, part)
            best = np.minimum(best, self.least[some] - part * spared[some])
        return np.where(legal, best, np.inf)

    def candidate_energy(
        self, extents: Ints, choice: Ints, candidate: Ints, stay: Sequence[str] | None = None
    ) -> Floats:
        """Least pJ of pairs: a candidate under an outer tile that it divides; stay: as above."""
        best = self.full[candidate]
        tile = self.tiles.tile[:, self.tiles.which[candidate]]
        own = extents[:, choice]
        same = (own == tile) | (own == FOLLOW)
        for r, gain in self.gains.items():
            part = self._spared_fraction(r, np.where(own[r] == FOLLOW, tile[r], own[r]), tile)
            for t in self._lacking(r):
                if stay is not None and t not in stay:
                    continue
                part = np.where(same[list(self._has(t))].all(axis=0), 1.0, part)
            best = np.minimum(best, self.full[candidate] - part * gain[candidate])
        return best

    def _by_extent(self, r: int, extents: Ints, some: Ints) -> tuple[Bools, Bools, Floats, Ints]:
        """By distinct extent of a rank: tiles that divide or equal it, and fractions spared."""
        values, where = np.unique(extents, return_inverse=True)
        tile = self.tiles.tile[:, some]
        follow = (values == FOLLOW)[:, None]
        some = np.where(follow, tile[r], values[:, None])
        divides = some % tile[r] == 0
        fractions = np.stack([self._spared_fraction(r, candidate, tile) for candidate in some])
        return divides, some == tile[r], fractions, where.ravel()

    def _spared_fraction(self, r: int, extent: Ints, tile: Ints) -> Floats:
        """Upper bound on the fraction that a tensor spares if it stays over rank r alone.

        extent: int64[n].
        """
        if r not in self.partial:
            return np.ones(len(extent))
        closed = float(self.tiles.space.sizes[r]) / tile[r]
        inner = extent / tile[r]
        with np.errstate(divide="ignore", invalid="ignore"):
            found = (1 - 1 / inner) * closed / (closed - 1)
        return np.where(closed > 1, np.minimum(found, 1.0), 1.0)

    def _lacking(self, r: int) -> list[str]:
        space = self.tiles.space
        return [t for t in space.tensors if not space.relevant[t][r]]

    def _has(self, tensor: str) -> list[int]:
        return [q for q, yes in enumerate(self.tiles.space.relevant[tensor]) if yes]
