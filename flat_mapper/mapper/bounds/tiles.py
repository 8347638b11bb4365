"""Candidates of one Einsum by the tile they leave: bounds that know the tile of an outer choice.

Outside a candidate, at most one rank has the innermost loop. A tensor that lacks it may stay in
place over it and what follows of the ranks that it lacks, and comes by `closed / s` times, where
`closed` are all its irrelevant loops and s are those of the shared level: what it takes is linear
in this count. Only where all other loops of the shared level are 1 may the run go on at DRAM.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from flat_mapper.arch.values import MemoryLevel
from flat_mapper.cost_model.candidates import Bools, Floats, Ints
from flat_mapper.cost_model.roles import Role
from flat_mapper.mapper.bounds.candidate_set import CandidateSet
from flat_mapper.mapper.bounds.energy import least_along, top_lines
from flat_mapper.mapper.space.einsum import remembered
from flat_mapper.mapper.space.factors import distinct_columns, located
from flat_mapper.mapper.space.group import FOLLOW
from flat_mapper.mapper.space.tile_index import ByTile


class CandidateTiles:
    """The distinct tiles of a candidate set's candidates."""

    def __init__(self, candidate_set: CandidateSet) -> None:
        self.candidate_set, self.space = candidate_set, candidate_set.space
        self.same = ByTile.of(candidate_set.space, candidate_set.tile)
        self.tile: Ints = self.same.tile
        self.which: Ints = self.same.which
        self.every_cycles = candidate_set.cycles  # of every candidate
        self.cycles = self.least(self.every_cycles)
        # By rank, the distinct extents of tiles, and which of them each tile has.
        self.extents = [located(own) for own in self.tile]
        self.known: dict[object, Any] = {}
        self._under: tuple[bytes, TilesUnder] | None = None

    @property
    def count(self) -> int:
        """Distinct tiles."""
        return int(self.tile.shape[1])

    @cached_property
    def on_both_axes(self) -> Bools | None:
        """Merged ranks that stand on both axes of a fanout; bool[R, candidates], None for none."""
        found = np.concatenate([b.on_both_axes for b in self.candidate_set.blocks], axis=1)
        return found if found.any() else None

    def least(self, values: Floats) -> Floats:
        """Of every tile, the least value among its candidates."""
        return np.minimum.reduceat(values[self.same.order], self.same.starts[:-1])

    @remembered
    def moves(self, tensor: str, role: Role) -> tuple[Floats, Floats]:
        """pJ of a tensor in every candidate if it comes by every time, and what staying spares."""
        (line,), _ = top_lines(self.space, tensor, (role,), rounded=False)
        inside = self.candidate_set.inside(tensor)
        full, stays = (one.energy + least_along((line,), one.often) for one in inside)
        return full, full - stays

    def drawn(self, tensor: str, top: MemoryLevel) -> tuple[Floats, Floats]:
        """The same of words from the level on top, or to it."""
        volume = self.space.volume_at(tensor, top)
        full, stays = (volume * one.often for one in self.candidate_set.inside(tensor))
        return full, full - stays

    @remembered
    def spared(self, role: Role) -> tuple[Floats, Floats, Floats]:
        """pJ that first visits of the output spare, see `CandidateSet.spared`.

        role: of the output. returns: by candidate; by tile, the most and least of its candidates.
        """
        own = self.candidate_set.spared((role,))
        return own, -self.least(-own), self.least(own)

    def under(self, extents: Ints) -> TilesUnder:
        """The tiles under outer tiles int64[R, n]; those of the last question are kept."""
        if self._under is None or self._under[0] != extents.tobytes():
            self._under = extents.tobytes(), TilesUnder(self, extents)
        return self._under[1]

    def lacking(self, r: int) -> list[str]:
        """Tensors without a rank."""
        space = self.space
        return [t for t in space.tensors if not space.relevant[t][r]]


class TilesUnder:
    """Tiles of candidates under outer tiles int64[R, n]: what every bound of them asks."""

    def __init__(self, of: CandidateTiles, extents: Ints) -> None:
        self.of, self.extents = of, extents
        self.legal: Bools = np.ones((extents.shape[1], of.count), np.bool_)
        self._same: list[tuple[Bools, Ints]] = []
        for own, (tiles, which) in zip(extents, of.extents, strict=True):
            values, where = _distinct(own[None, :])
            outer = np.where((values[0] == FOLLOW)[:, None], tiles, values[0][:, None])
            self.legal &= np.take(outer % tiles == 0, which, axis=1)[where]
            self._same.append((np.take(outer == tiles, which, axis=1), where))
        self.known: dict[object, Any] = {}

    @remembered
    def trivial(self, tensor: str) -> Bools:
        """True wherever no loop of the shared level is of a rank of the tensor; bool[n, tiles]."""
        found = self.legal.copy()
        for (same, where), yes in zip(self._same, self.of.space.relevant[tensor], strict=True):
            if yes:
                found &= same[where]
        return found

    @remembered
    def fraction(self, r: int, stay: tuple[str, ...] = ()) -> Floats:
        """Upper bound on the fraction that tensors spare which lack a rank, if it is innermost.

        They stay over all ranks that they lack, in loops of the shared level, and some tensors over
        the DRAM loops too. float64[n, tiles].
        """
        space, lacking = self.of.space, self.of.lacking(r)
        if stay:
            found = self.fraction(r)
            for tensor in (t for t in lacking if t in stay):
                found = np.where(self.trivial(tensor), 1.0, found)
            return found
        own = (space.relevant[t] for t in lacking)
        every = dict.fromkeys(tuple(q for q, yes in enumerate(one) if not yes) for one in own)
        found = np.maximum.reduce([self._spared(lacks) for lacks in every])
        return np.asarray(found)

    def _spared(self, lacks: tuple[int, ...]) -> Floats:
        """The same of a tensor that lacks some ranks."""
        values, where = _distinct(self.extents[list(lacks)])
        closed, inner = np.ones(1), np.ones((1, 1))
        for r, outer in zip(lacks, values, strict=True):
            tile = self.of.tile[r]
            closed = closed * (float(self.of.space.sizes[r]) / tile)
            inner = inner * np.where((outer == FOLLOW)[:, None], 1.0, outer[:, None] / tile)
        kept = (1 - 1 / inner) * closed
        found: Floats = np.ones(kept.shape)
        np.divide(kept, closed - 1, out=found, where=closed > 1)
        return np.minimum(found, 1.0, out=found)[where]


@dataclass(frozen=True, slots=True)
class TileBounds:
    """Least pJ of candidates, in given roles, by the innermost rank outside them.

    Or of whatever else is linear in how often each tensor comes by.
    """

    tiles: CandidateTiles
    full: Floats  # of every candidate, if nothing stays in place
    gains: dict[int, Floats]  # by rank: what is spared at most if its loop is innermost
    least: Floats  # of every tile, the least of `full`
    spared: dict[int, Floats]  # of every tile, `least` minus the least of `full` - `gains`

    @classmethod
    def of(cls, tiles: CandidateTiles, roles: tuple[Role, ...]) -> TileBounds:
        """The bounds of a candidate set's candidates."""
        every = zip(tiles.space.tensors, roles, strict=True)
        pairs = {tensor: tiles.moves(tensor, role) for tensor, role in every}
        return cls.summed(tiles, tiles.space.compute_energy, pairs)

    @classmethod
    def summed(
        cls, tiles: CandidateTiles, always: float, pairs: Mapping[str, tuple[Floats, Floats]]
    ) -> TileBounds:
        """The same of a sum over tensors, of what each takes in full and what staying spares."""
        space = tiles.space
        full = np.full(tiles.candidate_set.count, always)
        gains: dict[int, Floats] = {}
        for tensor, (own, gain) in pairs.items():
            full = full + own
            for r, yes in enumerate(space.relevant[tensor]):
                if not yes:
                    gains[r] = gains.get(r, np.zeros(1)) + gain
        least = tiles.least(full)
        spared = {r: least - tiles.least(full - g) for r, g in gains.items()}
        return cls(tiles, full, gains, least, spared)

    def whole(self, some: Ints | None) -> Floats:
        """Least pJ if nothing stays: by tile, or of some candidates; float64[m]."""
        return self.least if some is None else self.full[some]

    def least_under(self, under: TilesUnder, stay: tuple[str, ...], some: Ints | None) -> Floats:
        """Least pJ under outer tiles: by tile, or of some candidates; float64[n, m].

        stay: tensors that may stay private over the DRAM loops.

        Of candidates with one tile the least is concave in the fraction that is spared, so it is no
        lower than on the line between its ends.
        """
        full = self.whole(some)
        found = full + np.zeros((len(under.legal), 1))
        for r, gains in self.gains.items():
            part, most = under.fraction(r, stay), self.spared[r]
            if some is not None:
                part, most = part[:, self.tiles.which[some]], gains[some]
            np.minimum(found, full - part * most, out=found)
        return found


def _distinct(extents: Ints) -> tuple[Ints, Ints]:
    """Distinct columns of int64[R, n], and which of them each is."""
    if extents.shape[1] == 1:
        return extents, np.zeros(1, np.int64)
    if len(extents) == 1:
        values, where = located(extents[0])
        return values[None, :], where
    values, _, where = distinct_columns(extents)
    return values, where
