"""Candidates of one Einsum by the tile they leave: bounds that know the tile of an outer choice.

Outside a candidate, at most one rank has the innermost loop. A tensor that lacks it may stay in
place over it and what follows of the ranks that it lacks, and comes by `closed / s` times, where
`closed` are all its irrelevant loops and s are those of the shared level: what it takes is linear
in this count. Only where all other loops of the shared level are 1 may the run go on at DRAM.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from flat_mapper.arch.values import MemoryLevel
from flat_mapper.cost_model.candidates import Bools, Floats, Ints
from flat_mapper.cost_model.roles import Role
from flat_mapper.mapper.bounds.candidate_set import CandidateSet
from flat_mapper.mapper.bounds.energy import least_along, top_lines
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
        self._bounds: dict[tuple[Role, ...], TileBounds] = {}
        self._moves: dict[tuple[str, Role], tuple[Floats, Floats]] = {}
        self._spared: dict[Role, tuple[Floats, Floats, Floats]] = {}
        self._under: tuple[tuple[bytes, bytes], TilesUnder] | None = None

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

    def candidates(self, choice: Ints, tile: Ints) -> tuple[Ints, Ints]:
        """(choice, candidate) for all candidates of the tile in pairs (choice, tile)."""
        return self.same.candidates(choice, tile)

    def moves(self, tensor: str, role: Role) -> tuple[Floats, Floats]:
        """pJ of a tensor in every candidate if it comes by every time, and what staying spares."""
        key = (tensor, role)
        if key not in self._moves:
            (line,), _ = top_lines(self.space, tensor, (role,), rounded=False)
            inside = self.candidate_set.inside(tensor)
            full, stays = (one.energy + least_along((line,), one.often) for one in inside)
            self._moves[key] = (full, full - stays)
        return self._moves[key]

    def drawn(self, tensor: str, top: MemoryLevel) -> tuple[Floats, Floats]:
        """The same of words from the level on top, or to it."""
        volume = self.space.volume_at(tensor, top)
        full, stays = (volume * one.often for one in self.candidate_set.inside(tensor))
        return full, full - stays

    def spared(self, role: Role) -> tuple[Floats, Floats, Floats]:
        """pJ that first visits of the output spare, see `CandidateSet.spared`.

        role: of the output. returns: by candidate; by tile, the most and least of its candidates.
        """
        if role not in self._spared:
            own = self.candidate_set.spared((role,))
            self._spared[role] = own, -self.least(-own), self.least(own)
        return self._spared[role]

    def bounds(self, roles: tuple[Role, ...]) -> TileBounds:
        """Bounds in given roles."""
        if roles not in self._bounds:
            self._bounds[roles] = TileBounds.of(self, roles)
        return self._bounds[roles]

    def under(self, extents: Ints, some: Ints) -> TilesUnder:
        """Some tiles under outer tiles int64[R, n]; those of the last question are kept."""
        asked = (extents.tobytes(), some.tobytes())
        if self._under is None or self._under[0] != asked:
            self._under = asked, TilesUnder(self, extents, some)
        return self._under[1]

    def fraction(self, lacks: tuple[int, ...], extents: Ints, tile: Ints) -> Floats:
        """Upper bound on the fraction that a tensor spares if it stays over the ranks it lacks.

        Over their loops of the shared level, all of them innermost.
        extents, tile: outside and inside; of all ranks, or of those alone.
        """
        at = lacks if len(extents) == len(self.space.ranks) else range(len(lacks))
        closed, inner = np.ones(1), np.ones(1)
        for r, i in zip(lacks, at, strict=True):
            closed = closed * (float(self.space.sizes[r]) / tile[i])
            inner = inner * np.where(extents[i] == FOLLOW, 1.0, extents[i] / tile[i])
        kept = (1 - 1 / inner) * closed
        found: Floats = np.ones(kept.shape)
        np.divide(kept, closed - 1, out=found, where=closed > 1)
        return np.minimum(found, 1.0, out=found)

    def runs(self, r: int) -> tuple[tuple[int, ...], ...]:
        """The sets of ranks over which tensors stay that lack one of them."""
        relevant = (self.space.relevant[t] for t in self.lacking(r))
        return tuple(
            dict.fromkeys(tuple(q for q, yes in enumerate(own) if not yes) for own in relevant)
        )

    def lacking(self, r: int) -> list[str]:
        """Tensors without a rank."""
        space = self.space
        return [t for t in space.tensors if not space.relevant[t][r]]

    def has(self, tensor: str) -> list[int]:
        """Ranks of a tensor."""
        return [q for q, yes in enumerate(self.space.relevant[tensor]) if yes]


class TilesUnder:
    """Some tiles under outer tiles int64[R, n]: what every bound of them asks."""

    def __init__(self, of: CandidateTiles, extents: Ints, some: Ints) -> None:
        self.of, self.extents, self.some = of, extents, some
        self.legal: Bools = np.ones((extents.shape[1], len(some)), np.bool_)
        self._same: list[tuple[Bools, Ints]] = []
        for r in range(len(extents)):
            divides, same, where = self._by_extent(r, extents[r])
            self.legal &= divides[where]
            self._same.append((same, where))
        self._fractions: dict[tuple[int, ...], tuple[Floats, Ints]] = {}
        self._trivial: dict[str, tuple[Ints, Ints]] = {}

    def trivial(self, tensor: str) -> tuple[Ints, Ints]:
        """(outer tile, tile) wherever no loop of the shared level is of a rank of the tensor."""
        if tensor not in self._trivial:
            found = self.legal.copy()
            for q in self.of.has(tensor):
                same, where = self._same[q]
                found &= same[where]
            rows, tiles = np.nonzero(found)
            self._trivial[tensor] = rows, tiles
        return self._trivial[tensor]

    def _by_extent(self, r: int, extents: Ints) -> tuple[Bools, Bools, Ints]:
        """By distinct extent of a rank: tiles that divide and tiles that equal it.

        And which of these every extent is.
        """
        values, where = _distinct(extents[None, :])
        tiles, which = self.of.extents[r]
        which = which[self.some]
        own = np.where((values[0] == FOLLOW)[:, None], tiles, values[0][:, None])
        divides, equal = (
            np.take(table, which, axis=1) for table in (own % tiles == 0, own == tiles)
        )
        return divides, equal, where

    def fractions(self, lacks: tuple[int, ...]) -> tuple[Floats, Ints]:
        """By distinct extents of some ranks: the fraction that each tile spares over their loops.

        And which of these every outer tile has.
        """
        if lacks not in self._fractions:
            own = list(lacks)
            values, where = _distinct(self.extents[own])
            tile, which = self.of.tile[own], self.some
            if len(own) == 1:
                tile, which = self.of.extents[own[0]]
                tile, which = tile[None, :], which[self.some]
            found = self.of.fraction(lacks, values[:, :, None], tile[:, None, :])
            self._fractions[lacks] = np.take(found, which, axis=1), where
        return self._fractions[lacks]


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

    def energy(
        self, extents: Ints, some: Ints, stay: Sequence[str] | None = None
    ) -> tuple[Floats, Floats]:
        """Least pJ of some tiles under outer tiles int64[R, n]; inf where it does not divide them.

        stay: tensors that may stay private over the DRAM loops; None: all.

        Of candidates with one tile the least is concave in the fraction that is spared, so it is no
        lower than on the line between its ends.
        returns: float64[n, tiles] if these tensors may stay, and if none does.
        """
        under, least = self.tiles.under(extents, some), self.least[some]
        none = np.empty(under.legal.shape)
        none[:] = least
        for r, spared in self.spared.items():
            for lacks in self.tiles.runs(r):
                fractions, where = under.fractions(lacks)
                np.minimum(none, (least - fractions * spared[some])[where], out=none)
        none[~under.legal] = np.inf
        staying = none
        for r, spared in self.spared.items():
            whole = least - spared[some]
            for t in self.tiles.lacking(r):
                if stay is not None and t not in stay:
                    continue
                rows, tiles = under.trivial(t)
                staying = none.copy() if staying is none else staying
                staying[rows, tiles] = np.minimum(staying[rows, tiles], whole[tiles])
        return staying, none

    def candidate_energy(
        self, extents: Ints, choice: Ints, candidate: Ints, stay: Sequence[str] | None = None
    ) -> Floats:
        """Least pJ of pairs: a candidate under an outer tile that it divides; stay: as above."""
        # What a candidate spares depends on its tile; those of one tile come together.
        which = self.tiles.which[candidate]
        new = np.ones(len(which), np.bool_)
        new[1:] = (which[1:] != which[:-1]) | (choice[1:] != choice[:-1])
        first, where = np.flatnonzero(new), np.cumsum(new) - 1
        tile = self.tiles.tile.take(which[first], axis=1)
        own = extents.take(choice[first], axis=1)
        same = (own == tile) | (own == FOLLOW)
        full = self.full[candidate]
        best = full.copy()
        for r, gains in self.gains.items():
            runs = [self.tiles.fraction(lacks, own, tile) for lacks in self.tiles.runs(r)]
            part: Floats = np.maximum.reduce(runs)
            for t in self.tiles.lacking(r):
                if stay is not None and t not in stay:
                    continue
                part[same[self.tiles.has(t)].all(axis=0)] = 1.0
            np.minimum(best, full - part[where] * gains[candidate], out=best)
        return best


def _distinct(extents: Ints) -> tuple[Ints, Ints]:
    """Distinct columns of int64[R, n], and which of them each is."""
    if extents.shape[1] == 1:
        return extents, np.zeros(1, np.int64)
    if len(extents) == 1:
        values, where = located(extents[0])
        return values[None, :], where
    values, _, where = distinct_columns(extents)
    return values, where
