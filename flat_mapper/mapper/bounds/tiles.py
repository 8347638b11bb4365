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
from flat_mapper.base.grouping import distinct_columns, located
from flat_mapper.cost_model.candidates import Bools, Floats, Ints
from flat_mapper.cost_model.roles import Role
from flat_mapper.mapper.bounds.candidate_set import CandidateSet
from flat_mapper.mapper.bounds.energy import least_along, top_lines
from flat_mapper.mapper.space.einsum import remembered
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
    """Tiles of candidates under outer tiles int64[R, n]: what every bound of them asks.

    It is asked of pairs alone in which one divides the other: of long ranks that is 1 in 50.
    """

    def __init__(self, of: CandidateTiles, extents: Ints, candidates: Ints | None = None) -> None:
        """candidates: those of which the pairs are, all under one outer tile; None: of tiles."""
        self.of, self.extents, self.candidates = of, extents, candidates
        self.known: dict[object, Any] = {}
        self.outer: Ints  # of every pair, ascending
        self.tiles: Ints
        if candidates is None:
            self.outer, self.tiles = self._dividing()
        else:
            self.outer, self.tiles = np.zeros(len(candidates), np.int64), of.which[candidates]

    def _dividing(self) -> tuple[Ints, Ints]:
        """(outer tile, tile) of all pairs in which the second divides the first."""
        divides, some = list[tuple[Bools, Ints]](), np.arange(self.of.count)
        for own, (tiles, which) in zip(self.extents, self.of.extents, strict=True):
            values, where = _distinct(own[None, :])
            outer = np.where((values[0] == FOLLOW)[:, None], tiles, values[0][:, None])
            divides.append((outer % tiles == 0, where))
            some = some[divides[-1][0].any(axis=0)[which.take(some)]]
        legal = np.ones((self.extents.shape[1], len(some)), np.bool_)
        for (good, where), (_, which) in zip(divides, self.of.extents, strict=True):
            legal &= good.take(which.take(some), axis=1)[where]
        pair, column = legal.nonzero()
        return pair, some.take(column)

    def columns(self, by_candidate: Floats, by_tile: Floats) -> Floats:
        """Of every pair what is known by candidate or by tile."""
        some = self.candidates
        return by_tile.take(self.tiles) if some is None else by_candidate.take(some)

    def least(self, values: Floats) -> Floats:
        """Of every outer tile the least value among its pairs; infinite if it has none."""
        found = np.full(self.extents.shape[1], np.inf)
        if len(values):
            first = np.flatnonzero(np.diff(self.outer, prepend=-1))
            found[self.outer[first]] = np.minimum.reduceat(values, first)
        return found

    @remembered
    def _loops(self, r: int) -> Floats:
        """Loops of the shared level over a rank; float64[pairs]."""
        outer = self.extents[r].take(self.outer)
        return np.where(outer == FOLLOW, 1.0, outer / self.of.tile[r].take(self.tiles))

    @remembered
    def trivial(self, tensor: str) -> Bools:
        """True wherever no loop of the shared level is of a rank of the tensor; bool[pairs]."""
        found = np.ones(len(self.tiles), np.bool_)
        for r, yes in enumerate(self.of.space.relevant[tensor]):
            if yes:
                found &= self._loops(r) == 1
        return found

    @remembered
    def fraction(self, r: int, stay: tuple[str, ...] = ()) -> Floats:
        """Upper bound on the fraction that tensors spare which lack a rank, if it is innermost.

        They stay over all ranks that they lack, in loops of the shared level, and some tensors over
        the DRAM loops too. float64[pairs].
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

    @remembered
    def _spared(self, lacks: tuple[int, ...]) -> Floats:
        """The same of a tensor that lacks some ranks."""
        closed, inner = np.ones(self.of.count), np.ones(len(self.tiles))
        for r in lacks:
            closed = closed * (float(self.of.space.sizes[r]) / self.of.tile[r])
            inner = inner * self._loops(r)
        every = closed.take(self.tiles)
        kept = (1 - 1 / inner) * every
        found: Floats = np.ones(kept.shape)
        np.divide(kept, every - 1, out=found, where=every > 1)
        return np.minimum(found, 1.0, out=found)


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

    def whole(self, under: TilesUnder) -> Floats:
        """Least pJ if nothing stays; float64[pairs]."""
        return under.columns(self.full, self.least)

    def least_under(self, under: TilesUnder, stay: tuple[str, ...]) -> Floats:
        """Least pJ under outer tiles; float64[pairs].

        stay: tensors that may stay private over the DRAM loops.

        Of candidates with one tile the least is concave in the fraction that is spared, so it is no
        lower than on the line between its ends.
        """
        full = self.whole(under)
        found = full.copy()
        for r, gains in self.gains.items():
            most = under.columns(gains, self.spared[r])
            np.minimum(found, full - under.fraction(r, stay) * most, out=found)
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
