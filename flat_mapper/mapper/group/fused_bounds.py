"""Bounds of fused Einsums: which candidates can be part of an improvement under outer choices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from flat_mapper.base.tolerance import LOST
from flat_mapper.cost_model.candidates import Bools, Floats, Ints
from flat_mapper.cost_model.roles import Role
from flat_mapper.mapper.bounds.energy import rounded
from flat_mapper.mapper.bounds.outer import OuterBounds, Outers
from flat_mapper.mapper.bounds.tiles import CandidateTiles
from flat_mapper.mapper.bounds.turns import TurnBounds, UnderTiles, busy_cycles, stays_private
from flat_mapper.mapper.group.beside import Beside, Least
from flat_mapper.mapper.group.incumbent import Incumbent
from flat_mapper.mapper.group.picks import GroupSolution
from flat_mapper.mapper.space.einsum import EinsumSpace
from flat_mapper.mapper.space.factors import distinct, distinct_columns
from flat_mapper.mapper.space.group import GroupProblem
from flat_mapper.mapper.space.outer import Staging
from flat_mapper.mapper.space.rules import shared_fits

PAIRS = 1 << 20  # outer choices times tiles of candidates that are bounded in one go
SUMS = 1 << 14  # chosen: of these, weighted sums that are made in one go


class FusedBounds:
    """Bounds of a group's candidates under outer choices."""

    def __init__(
        self,
        problem: GroupProblem,
        bounds: OuterBounds,
        tiles: list[CandidateTiles],
        incumbent: Incumbent[GroupSolution],
    ) -> None:
        self.problem, self.bounds, self.tiles = problem, bounds, tiles
        self.candidate_sets = [t.candidate_set for t in tiles]
        self.incumbent = incumbent
        self._turns_in: dict[tuple[str, tuple[Role, ...]], TurnBounds] = {}
        self._streamed: dict[tuple[str, tuple[Role, ...]], Floats] = {}

    def refined(self, outers: Outers, step: Callable[[], None]) -> Outers:
        """Outer choices with bounds from candidates whose tiles divide theirs."""
        energy, cycles = outers.energy.copy(), outers.cycles.copy()
        weighted = np.zeros(len(energy))
        stays = may_stay_over(self.problem, self.bounds, outers)
        for number, own in self._parts(outers):
            step()
            some = outers.take(own)
            extents, _, where = distinct_columns(some.tile)
            under = self._under(extents)
            found = self._refined(some, number, [may[own] for may in stays], under, where)
            energy[own], cycles[own], weighted[own] = found
        return replace(outers, cycles=cycles, energy=energy, sums=weighted)

    def _refined(
        self, outers: Outers, number: int, stays: list[Bools], under: UnderTiles, where: Ints
    ) -> tuple[Floats, Floats, Floats]:
        """Bounds of outer choices of one staging: pJ, cycles, and a sum; float64[n] each.

        stays: see `may_stay_over`. where: the tile of each in `under`.
        """
        staging, adds = self.bounds.stagings[number], self.problem.cycles_add
        by_tile, without = self._by_tile(under, staging)
        turns = self._turns(under, staging.roles, by_tile)
        pairs = zip(stays, by_tile, without, strict=True)
        low = sum(np.where(may, e.min(axis=1)[where], n.min(axis=1)[where]) for may, e, n in pairs)
        energy = np.maximum(outers.energy, low + outers.staged)
        shortest = [
            np.where(may, *(some.min(axis=1)[where] for some in pair))
            for may, pair in zip(stays, turns, strict=True)
        ]
        busy = busy_cycles(self.problem, shortest, outers.turns) + outers.waits
        busy = rounded(self.problem.platform.dram, busy * (1 - LOST))
        cycles = np.maximum(outers.cycles, busy)
        slope = self.incumbent.slope(cycles, energy)
        total = outers.staged + slope * outers.waits
        every = zip(stays, adds, by_tile, without, turns, strict=True)
        for may, add, e, other, (staying, none) in every:
            low = high = _least_sums(e, where, add * slope, staying)
            if other is not e or none is not staying:
                high = _least_sums(other, where, add * slope, none)
            total = total + np.where(may, low, high)
        return energy, cycles, total

    def _under(self, extents: Ints) -> UnderTiles:
        return UnderTiles(self.problem, self.tiles, self._turn_bounds, extents)

    def _parts(self, outers: Outers) -> Iterator[tuple[int, Ints]]:
        """(staging, outer choices with it), so many as go with all tiles at once."""
        at_once = max(1, PAIRS // max(t.count for t in self.tiles))
        for number in distinct(outers.staging):
            own = np.flatnonzero(outers.staging == number)
            for start in range(0, len(own), at_once):
                yield int(number), own[start : start + at_once]

    def _by_tile(self, under: UnderTiles, staging: Staging) -> tuple[list[Floats], list[Floats]]:
        """By Einsum, least pJ of candidates by tile under outer tiles; float64[n, tiles] each.

        First if all may stay private over the shared loops that may, then if nothing does.
        Infinite where a tile does not divide the outer one, or where the streamed tiles need more
        of the shared level than there is beside the lower bounds of the others.
        """
        room = self.bounds.occupancy.room(staging, under.extents)
        roles = [staging.roles[t.space.einsum.name] for t in self.tiles]
        words = [self._words_of(*pair) for pair in zip(self.tiles, roles, strict=True)]
        lows = [float(w.min()) for w in words]
        found: tuple[list[Floats], list[Floats]] = ([], [])
        for i, (own, streamed, low) in enumerate(zip(roles, words, lows, strict=True)):
            staying, none = under.energy(i, own)
            fits = streamed[None, :] <= room[:, None] - (sum(lows) - low)
            none = none if fits.all() else np.where(fits, none, np.inf)
            found[1].append(none)
            if under.stay[i]:
                none = staying if fits.all() else np.where(fits, staying, np.inf)
            found[0].append(none)
        return found

    def _words_of(self, tiles: CandidateTiles, roles: tuple[Role, ...]) -> Floats:
        """Words of the shared level that streamed tiles take; by tile of an Einsum."""
        key = tiles.space.einsum.name, roles
        if key not in self._streamed:
            self._streamed[key] = self.bounds.occupancy.streamed(tiles.space, tiles.tile, roles)
        return self._streamed[key]

    def _turns(
        self,
        under: UnderTiles,
        roles: Mapping[str, tuple[Role, ...]],
        energies: list[Floats],
    ) -> list[tuple[Floats, Floats]]:
        """By Einsum, least cycles of its turns, and what they expose; as `_by_tile` has pJ."""
        found = []
        for i, (tiles, energy) in enumerate(zip(self.tiles, energies, strict=True)):
            staying, none = under.turns(i, roles[tiles.space.einsum.name])
            fits = np.isfinite(energy)
            low = np.where(fits, none, np.inf)
            found.append((np.where(fits, staying, np.inf) if under.stay[i] else low, low))
        return found

    def _turn_bounds(self, tiles: CandidateTiles, roles: tuple[Role, ...]) -> TurnBounds:
        """Bounds on the turns of an Einsum."""
        key = tiles.space.einsum.name, roles
        if key not in self._turns_in:
            self._turns_in[key] = TurnBounds.of(self.bounds.occupancy, tiles, roles)
        return self._turns_in[key]

    def candidates(
        self, one: Outers, staging: Staging, most: int | None = None
    ) -> list[Ints] | None:
        """By Einsum, candidates that may be part of an improvement under one outer choice."""
        stays = [bool(may[0]) for may in may_stay_over(self.problem, self.bounds, one)]
        under = self._under(one.tile)
        by_tile, without = self._by_tile(under, staging)
        stay = [own if may else () for own, may in zip(under.stay, stays, strict=True)]
        every = zip(self._turns(under, staging.roles, by_tile), by_tile, without, strict=True)
        low = [
            (turns[not may][0], pair[not may][0])
            for (turns, *pair), may in zip(every, stays, strict=True)
        ]
        fits = [np.flatnonzero(np.isfinite(energy)) for _, energy in low]
        if not all(map(len, fits)):
            return None
        least = [
            (np.maximum(turns[some], streamed), energy[some])
            for (turns, energy), some, streamed in zip(low, fits, one.turns[:, 0], strict=True)
        ]
        beside = Beside.of(self.problem, self.incumbent, one, least)
        found: list[Ints] = []
        for i, tiles in enumerate(self.tiles):
            some = fits[i][beside.improving(i, least[i])]
            extents = one.tile[self.problem.index(tiles.space)]
            roles = staging.roles[tiles.space.einsum.name]
            chosen = self._whole(tiles, extents, some, roles)
            own = self._least(i, chosen, one, staging, float(under.passes[i][0]), stay[i])
            good = np.flatnonzero(beside.improving(i, own))
            if most is not None and len(good) > most:
                cycles, energy = beside.bound(i, own)
                keys = self.incumbent.sort_keys(cycles[good], energy[good])
                good = np.sort(good[np.lexsort(keys[::-1])[:most]])
            found.append(chosen[good])
            if not len(found[-1]):
                return None
        return found

    def _least(
        self,
        i: int,
        candidates: Ints,
        one: Outers,
        staging: Staging,
        passes: float,
        stay: tuple[str, ...],
    ) -> Least:
        """Least cycles and pJ of some candidates of an Einsum under one outer choice.

        passes: see `GroupProblem.runs`. stay: tensors that may at private levels.
        """
        tiles, extents = self.tiles[i], one.tile[self.problem.index(self.tiles[i].space)]
        roles = staging.roles[tiles.space.einsum.name]
        choice = np.zeros_like(candidates)
        energy = tiles.bounds(roles).candidate_energy(extents, choice, candidates, stay)
        energy = _in_passes(tiles, candidates, energy, passes, staging)
        turns = self._turn_bounds(tiles, roles).by_candidate(extents, candidates, passes, stay)
        return np.maximum(turns, one.turns[i]), energy

    def _whole(
        self, tiles: CandidateTiles, extents: Ints, some: Ints, roles: tuple[Role, ...]
    ) -> Ints:
        """Candidates of some tiles under outer tile int64[R, 1] that rules allow.

        But for those with a rank on both axes that the shared loops cut: all Einsums of a group
        have the same shared loops over its members, so none may choose which of them are left for
        its array.
        """
        candidates = tiles.candidates(np.zeros_like(some), some)[1]
        good = shared_fits(tiles.space, extents, tiles.tile[:, tiles.which[candidates]])
        if tiles.on_both_axes is not None:
            sizes = np.array(tiles.space.sizes, dtype=np.int64)[:, None]
            good &= ~(tiles.on_both_axes[:, candidates] & (extents < sizes)).any(axis=0)
        if any(level.part_of for level in tiles.space.arch.levels):
            good &= tiles.candidate_set.parts_stream(roles)[candidates]
        return candidates[good]


def _least_sums(energy: Floats, where: Ints, weight: Floats, cycles: Floats) -> Floats:
    """The least of (energy + weight * cycles)[where] over all tiles; float64[n]."""
    if not weight.any():
        return energy.min(axis=1)[where]
    found, step = np.empty(len(where)), max(1, SUMS // energy.shape[1])
    for start in range(0, len(where), step):
        at, some = where[start : start + step], weight[start : start + step, None]
        # Tiles in which nothing fits have cycles without end, which a weight of none leaves out.
        more = np.multiply(
            some, cycles[at], where=some != 0, out=np.zeros((len(at), len(cycles[0])))
        )
        found[start : start + step] = (energy[at] + more).min(axis=1)
    return found


def _in_passes(
    part: CandidateTiles, candidates: Ints, energy: Floats, passes: float, staging: Staging
) -> Floats:
    """Least pJ of candidates that run so often; see `FusedBounds._repeated`."""
    if part.space.einsum.each:
        return energy + (passes - 1) * part.space.compute_energy
    if passes == 1:
        return energy
    spared = part.spared(staging.roles[part.space.einsum.name][-1])[0]
    return passes * energy - (1 - passes) * spared[candidates]


def may_stay_over(problem: GroupProblem, bounds: OuterBounds, outers: Outers) -> list[Bools]:
    """By Einsum, whether some tensor of it may stay over a shared loop; bool[n] each.

    It may only if its tile is left alone by the innermost shared loop.
    """
    return [
        np.logical_or.reduce(
            [_stays(problem, bounds, outers, space, t) for t in stays_private(problem, space)],
            initial=False,
        )
        | np.zeros(outers.tile.shape[1], np.bool_)
        for space in problem.spaces
    ]


def _stays(
    problem: GroupProblem, bounds: OuterBounds, outers: Outers, space: EinsumSpace, tensor: str
) -> Bools:
    """True if a tensor may stay over a shared loop; bool[n]."""
    index = problem.index(space)
    count = outers.tile.shape[1]
    decided, may = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    for number in distinct(outers.order):
        chosen = np.flatnonzero(outers.order == number)
        for r in bounds.orders[int(number)]:
            rank = problem.ranks[r]
            if r not in index and rank.members[0] not in space.einsum.each:
                continue
            real = chosen[(outers.tile[r, chosen] < rank.size) & ~decided[chosen]]
            may[real] = r not in index or not space.relevant[tensor][index.index(r)]
            decided[real] = True
    return may
