"""Bounds of fused Einsums: which candidates can be part of an improvement under outer choices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from flat_mapper.base.grouping import distinct, distinct_columns
from flat_mapper.base.tolerance import LOST
from flat_mapper.cost_model.candidates import Bools, Floats, Ints
from flat_mapper.cost_model.roles import Role
from flat_mapper.mapper.bounds.energy import rounded
from flat_mapper.mapper.bounds.outer import OuterBounds, Outers
from flat_mapper.mapper.bounds.tiles import CandidateTiles, TilesUnder
from flat_mapper.mapper.bounds.turns import Lows, RoleBounds, busy_cycles
from flat_mapper.mapper.group.beside import BesideOthers
from flat_mapper.mapper.group.incumbent import Incumbent
from flat_mapper.mapper.group.picks import GroupSolution
from flat_mapper.mapper.space.einsum import EinsumSpace, remembered
from flat_mapper.mapper.space.group import GroupProblem
from flat_mapper.mapper.space.outer import StagedTensors
from flat_mapper.mapper.space.rules import shared_fits

PAIRS = 1 << 20  # outer choices times tiles of candidates that are bounded in one go


@dataclass(frozen=True, slots=True)
class FusedBounds:
    """Bounds of a group's candidates under outer choices."""

    bounds: OuterBounds
    tiles: list[CandidateTiles]  # of each Einsum
    incumbent: Incumbent[GroupSolution]
    known: dict[object, Any] = field(default_factory=dict)  # answers so far, see `remembered`

    @property
    def problem(self) -> GroupProblem:
        """The group."""
        return self.bounds.problem

    def _roles(self, i: int, staging: StagedTensors) -> RoleBounds:
        """Bounds of an Einsum in its roles under a staging."""
        return self._in_roles(i, staging.roles[self.tiles[i].space.einsum.name])

    @remembered
    def _in_roles(self, i: int, roles: tuple[Role, ...]) -> RoleBounds:
        return RoleBounds.of(self.bounds.occupancy, self.tiles[i], roles)

    def refined(self, outers: Outers, step: Callable[[], None]) -> Outers:
        """Outer choices with bounds from candidates whose tiles divide theirs."""
        energy, cycles = outers.energy.copy(), outers.cycles.copy()
        stays = may_stay_over(self.problem, self.bounds, outers)
        for number, own in self._parts(outers):
            step()
            some, may = outers.take(own), [one[own] for one in stays]
            energy[own], cycles[own] = self._refined(some, number, may)
        return replace(outers, cycles=cycles, energy=energy)

    def _refined(self, outers: Outers, number: int, stays: list[Bools]) -> tuple[Floats, Floats]:
        """Bounds of outer choices of one staging: pJ and cycles; float64[n] each.

        stays: see `may_stay_over`.
        """
        tiles, first, where = distinct_columns(outers.tile)
        ways = [distinct(may).tolist() for may in stays]
        every = self._by_tile(self.bounds.stagings[number], tiles, outers.visited[first], ways)

        def least(value: Callable[[Lows], Floats]) -> list[Floats]:
            """The least by Einsum, where some tensors stay and where none does."""
            lows = [
                {yes: under.least(value(own))[where] for yes, own in one.items()}
                for under, one in every
            ]
            return [
                np.where(may, low[max(low)], low[min(low)])
                for may, low in zip(stays, lows, strict=True)
            ]

        energy = np.maximum(outers.energy, sum(least(lambda own: own.energy)) + outers.staged)
        busy = busy_cycles(self.problem, least(lambda own: own.cycles), outers.turns)
        busy = rounded(self.problem.platform.dram, (busy + outers.waits) * (1 - LOST))
        return energy, np.maximum(outers.cycles, busy)

    def _parts(self, outers: Outers) -> Iterator[tuple[int, Ints]]:
        """(staging, outer choices with it), so many as go with all tiles at once."""
        at_once = max(1, PAIRS // max(t.count for t in self.tiles))
        for number in distinct(outers.staging):
            own = np.flatnonzero(outers.staging == number)
            for start in range(0, len(own), at_once):
                yield int(number), own[start : start + at_once]

    def _by_tile(
        self, staging: StagedTensors, extents: Ints, visited: Floats, ways: Sequence[list[bool]]
    ) -> list[tuple[TilesUnder, dict[bool, Lows]]]:
        """By Einsum, least of candidates by tile under outer tiles; float64[pairs].

        Infinite where the streamed tiles need more of the shared level than there is beside the
        lower bounds of the others.
        visited: share of the tiles of queries x keys that a mask leaves.
        ways: by Einsum, whether all may stay private over the shared loops that may, or nothing.
        """
        room, found = self.bounds.occupancy.room(staging, extents), []
        every = [self._roles(i, staging) for i in range(len(self.tiles))]
        needs = sum(float(own.words.min()) for own in every)
        for tiles, own, some in zip(self.tiles, every, ways, strict=True):
            under = tiles.under(extents[self.problem.index(tiles.space)])
            runs = self.problem.runs(tiles.space, extents, visited)
            left = room - (needs - float(own.words.min()))
            fits = own.words.take(under.tiles) <= left.take(under.outer)
            lows = {yes: own.lows(under, runs, staying=yes) for yes in some}
            least = {
                yes: Lows(*(np.where(fits, value, np.inf) for value in low))
                for yes, low in lows.items()
            }
            found.append((under, least))
        return found

    def candidates(self, one: Outers, most: int | None = None) -> list[Ints] | None:
        """By Einsum, candidates that may improve something under one outer choice, ascending."""
        staging = self.bounds.stagings[int(one.staging[0])]
        stays = [bool(may[0]) for may in may_stay_over(self.problem, self.bounds, one)]
        every = self._by_tile(staging, one.tile, one.visited, [[may] for may in stays])
        lows = [own[may] for (_, own), may in zip(every, stays, strict=True)]
        fits = [np.flatnonzero(np.isfinite(own.energy)) for own in lows]
        if not all(map(len, fits)):
            return None
        least = [
            (np.maximum(own.cycles[some], streamed), own.energy[some])
            for own, some, streamed in zip(lows, fits, one.turns[:, 0], strict=True)
        ]
        beside = BesideOthers.of(self.problem, self.incumbent, one, least)
        found: list[Ints] = []
        for i, tiles in enumerate(self.tiles):
            some = every[i][0].tiles[fits[i][beside.improving(i, least[i])]]
            extents, runs = one.tile[self.problem.index(tiles.space)], self.problem.runs
            often = runs(tiles.space, one.tile, one.visited)
            chosen = self._whole(tiles, extents, some, staging.roles[tiles.space.einsum.name])
            under = TilesUnder(tiles, extents, chosen)
            low = self._roles(i, staging).lows(under, often, staying=stays[i])
            own = np.maximum(low.cycles, one.turns[i]), low.energy
            good = np.flatnonzero(beside.improving(i, own))
            if most is not None and len(good) > most:
                cycles, energy = beside.bound(i, own)
                keys = self.incumbent.sort_keys(cycles[good], energy[good])
                good = good[np.lexsort(keys[::-1])[:most]]
            found.append(np.sort(chosen[good]))
            if not len(found[-1]):
                return None
        return found

    def _whole(
        self, tiles: CandidateTiles, extents: Ints, some: Ints, roles: tuple[Role, ...]
    ) -> Ints:
        """Candidates of some tiles under outer tile int64[R, 1] that rules allow.

        But for those with a rank on both axes that the shared loops cut: all Einsums of a group
        have the same shared loops over its members, so none may choose which of them are left for
        its array.
        """
        candidates = tiles.same.candidates(np.zeros_like(some), some)[1]
        good = shared_fits(tiles.space, extents, tiles.tile[:, tiles.which[candidates]])
        if tiles.on_both_axes is not None:
            sizes = np.array(tiles.space.sizes, dtype=np.int64)[:, None]
            good &= ~(tiles.on_both_axes[:, candidates] & (extents < sizes)).any(axis=0)
        if any(level.part_of for level in tiles.space.arch.levels):
            good &= tiles.candidate_set.parts_stream(roles)[candidates]
        return candidates[good]


def may_stay_over(problem: GroupProblem, bounds: OuterBounds, outers: Outers) -> list[Bools]:
    """By Einsum, whether some tensor of it may stay over a shared loop; bool[n] each.

    It may only if its tile is left alone by the innermost shared loop.
    """
    return [_some_stays(problem, bounds, outers, space) for space in problem.spaces]


def _some_stays(
    problem: GroupProblem, bounds: OuterBounds, outers: Outers, space: EinsumSpace
) -> Bools:
    """True if some tensor of an Einsum may; bool[n]."""
    index, may = problem.index(space), problem.may_stay(space)
    stay = [own for own, yes in zip(space.relevant.values(), may, strict=True) if yes]
    decided, found = np.zeros((2, outers.tile.shape[1]), np.bool_)
    for number in distinct(outers.order) if stay else ():
        chosen = np.flatnonzero(outers.order == number)
        for r in bounds.orders[int(number)]:
            rank = problem.ranks[r]
            if r not in index and rank.members[0] not in space.einsum.each:
                continue
            real = chosen[(outers.tile[r, chosen] < rank.size) & ~decided[chosen]]
            found[real] = r not in index or any(not own[index.index(r)] for own in stay)
            decided[real] = True
    return found
