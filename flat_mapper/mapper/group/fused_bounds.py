"""Bounds of fused Einsums: which candidates can be part of an improvement under outer choices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from flat_mapper.mapper.bounds.ends import busy_cycles
from flat_mapper.mapper.bounds.outer import OuterBounds, Outers
from flat_mapper.mapper.bounds.stays import StayBounds
from flat_mapper.mapper.bounds.tiles import CandidateTiles
from flat_mapper.mapper.bounds.turns import LAST_BITS, TurnBounds, UnderTiles, stays_private
from flat_mapper.mapper.cost.candidate_set import CandidateSet
from flat_mapper.mapper.cost.outside import rounded
from flat_mapper.mapper.cost.turns import private_tiles
from flat_mapper.mapper.group.incumbent import Incumbent
from flat_mapper.mapper.group.log import GroupLog
from flat_mapper.mapper.space.candidates import Bools, Floats, Ints
from flat_mapper.mapper.space.factors import distinct, distinct_columns
from flat_mapper.mapper.space.group import GroupProblem
from flat_mapper.mapper.space.outer import Staging
from flat_mapper.mapper.space.roles import Role
from flat_mapper.mapper.space.rules import shared_fits

PAIRS = 1 << 20  # outer choices times tiles of candidates that are bounded in one go
TOGETHER = 1 << 18  # the same under all stagings: what these share is then worked out once
SUMS = 1 << 14  # chosen: of these, weighted sums that are made in one go


@dataclass(frozen=True, slots=True)
class _Chance:
    """Bounds that one Einsum's candidates must keep to improve, under one outer choice."""

    incumbent: Incumbent
    one: Outers
    adds: int  # whether its cycles add to the others'
    slopes: list[float]
    rests: list[float]  # least of the others' energy, then of their weighted sums
    slack: float  # least of the others' cycles
    streamed: float  # cycles of its own turns, by what it moves in them

    def bound(self, cycles: Floats, energy: Floats) -> tuple[Floats, Floats]:
        """Lower bounds on the group's (cycles, pJ) with each candidate."""
        turns = np.maximum(cycles, self.streamed)
        latency = np.maximum(turns, self.adds * turns + self.slack)
        return np.maximum(latency, self.one.cycles), energy + self.rests[0]

    def of(self, cycles: Floats, energy: Floats) -> Bools:
        """Candidates that can improve, by the cycles of their turns and least energy."""
        one, add = self.one, self.adds
        pairs = zip(self.slopes, self.rests[1:], strict=True)
        weighted = [energy + add * w * cycles + rest for w, rest in pairs]
        below = self.incumbent.sums_can_improve(weighted, one.cycles, one.energy)
        return below & self.incumbent.can_improve(*self.bound(cycles, energy))


class FusedBounds:
    """Bounds of a group's candidates under outer choices."""

    def __init__(
        self,
        problem: GroupProblem,
        bounds: OuterBounds,
        tiles: list[CandidateTiles],
        incumbent: Incumbent,
        log: GroupLog | None = None,
    ) -> None:
        self.problem, self.bounds, self.tiles = problem, bounds, tiles
        self.candidate_sets = [t.candidate_set for t in tiles]
        self.incumbent, self.log = incumbent, log
        self._frugal: dict[tuple[int, int], CandidateTiles | None] = {}
        self._turns_in: dict[tuple[str, tuple[Role, ...]], TurnBounds] = {}
        self._streamed: dict[tuple[str, tuple[Role, ...]], Floats] = {}
        self._shared: UnderTiles | None = None  # under all tiles that were refined, if they are few

    def refined(self, outers: Outers, step: Callable[[], None]) -> Outers:
        """Outer choices with bounds from candidates whose tiles divide theirs."""
        energy, cycles = outers.energy.copy(), outers.cycles.copy()
        weighted = [np.zeros(len(energy)) for _ in self.incumbent.slopes(cycles, energy)]
        extents, _, which = distinct_columns(outers.tile)
        self._shared = None
        if extents.shape[1] * max(t.count for t in self.tiles) <= TOGETHER:
            self._shared = self._under(extents)
        limits = StayBounds.of(self.problem, self.bounds, outers)
        for number, own in self._parts(outers):
            step()
            some, under, where = outers.take(own), self._shared, which[own]
            if under is None:
                extents, _, where = distinct_columns(some.tile)
                under = self._under(extents)
            found = self._refined(some, number, limits.take(own), under, where)
            energy[own], cycles[own] = found[:2]
            for all_of, part in zip(weighted, found[2], strict=True):
                all_of[own] = part
        return replace(outers, cycles=cycles, energy=energy, sums=tuple(weighted))

    def _refined(
        self, outers: Outers, number: int, limits: StayBounds, under: UnderTiles, where: Ints
    ) -> tuple[Floats, Floats, list[Floats]]:
        """Bounds of outer choices of one staging: pJ, cycles, and a sum by goal; float64[n] each.

        where: the tile of each in `under`.
        """
        staging, adds = self.bounds.stagings[number], self.problem.cycles_add
        by_tile, without = self._by_tile(under, staging)
        turns = self._turns(under, staging.roles, by_tile)
        low = limits.total(
            [e.min(axis=1)[where] for e in by_tile],
            [e.min(axis=1)[where] for e in without],
            partial(self._within, under, where, staging.roles),
        )
        energy = np.maximum(outers.energy, low + outers.staged)
        shortest = [
            np.where(runs, *(some.min(axis=1)[where] for some in pair))
            for runs, pair in zip(limits.runs, turns, strict=True)
        ]
        busy = busy_cycles(self.problem, shortest, outers.turns) + outers.waits
        busy = rounded(self.problem.platform.dram, busy * (1 - LAST_BITS))
        cycles, weighted = np.maximum(outers.cycles, busy), list[Floats]()
        for slope in self.incumbent.slopes(cycles, energy):
            sums_of = []
            for add, e, other, (staying, none) in zip(adds, by_tile, without, turns, strict=True):
                low = high = _least_sums(e, where, add * slope, staying)
                if other is not e or none is not staying:
                    high = _least_sums(other, where, add * slope, none)
                sums_of.append((low, high))
            lows, highs = zip(*sums_of, strict=True)
            weighted.append(outers.staged + limits.total(lows, highs) + slope * outers.waits)
        return energy, cycles, weighted

    def _under(self, extents: Ints) -> UnderTiles:
        return UnderTiles(self.problem, self.tiles, self._turn_bounds, extents)

    def _parts(self, outers: Outers) -> Iterator[tuple[int, Ints]]:
        """(staging, outer choices with it), so many as go with all tiles at once."""
        at_once = max(1, PAIRS // max(t.count for t in self.tiles))
        for number in distinct(outers.staging):
            own = np.flatnonzero(outers.staging == number)
            for start in range(0, len(own), at_once):
                yield int(number), own[start : start + at_once]

    def _by_tile(
        self, under: UnderTiles, staging: Staging, row: slice = slice(None)
    ) -> tuple[list[Floats], list[Floats]]:
        """By Einsum, least pJ of candidates by tile under outer tiles; float64[n, tiles] each.

        First if all may stay private over the shared loops that may, then if nothing does.
        Infinite where a tile does not divide the outer one, or where the streamed tiles need more
        of the shared level than there is beside the lower bounds of the others.
        row: of the outer tiles.
        """
        room = self.bounds.occupancy.room(staging, under.extents[:, row])
        roles = [staging.roles[t.space.einsum.name] for t in self.tiles]
        words = [self._words_of(*pair) for pair in zip(self.tiles, roles, strict=True)]
        lows = [float(w.min()) for w in words]
        found: tuple[list[Floats], list[Floats]] = ([], [])
        for i, (own, streamed, low) in enumerate(zip(roles, words, lows, strict=True)):
            staying, none = (energy[row] for energy in under.energy(i, own))
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
        row: slice = slice(None),
    ) -> list[tuple[Floats, Floats]]:
        """By Einsum, least cycles of its turns, and what they expose; as `_by_tile` has pJ."""
        found = []
        for i, (tiles, energy) in enumerate(zip(self.tiles, energies, strict=True)):
            staying, none = (c[row] for c in under.turns(i, roles[tiles.space.einsum.name]))
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

    def _within(
        self,
        under: UnderTiles,
        where: Ints,
        roles: Mapping[str, tuple[Role, ...]],
        i: int,
        words: int,
    ) -> Floats:
        """Least pJ of an Einsum whose tensor stays private beside so many words; float64[n].

        Infinite where no candidate keeps so little beside it. where: by outer choice, its tile.
        """
        if (i, words) not in self._frugal:
            part = self.candidate_sets[i]
            few = self._beside(part) <= words
            self._frugal[i, words] = CandidateTiles(part.keep(few)) if few.any() else None
        tiles = self._frugal[i, words]
        if tiles is None:
            return np.full(len(where), np.inf)
        return under.frugal(i, words, tiles, roles[tiles.space.einsum.name])[where]

    def _beside(self, part: CandidateSet) -> Floats:
        """Fewest words that candidates keep at their private level beside a tensor that may stay.

        Infinite where they keep no such tensor there; float64[n].
        """
        space = part.space
        level = space.arch.levels[-1].name
        found = []
        for block in part.blocks:
            words = private_tiles(space, block, level)
            total = sum(words.values(), np.zeros(block.count))
            stay = stays_private(self.problem, space)
            rest = [total - n for t, n in words.items() if t in stay]
            none = np.full(block.count, np.inf)
            found.append(np.minimum.reduce([none, *rest]))
        return np.concatenate(found)

    def candidates(self, one: Outers, staging: Staging) -> list[Ints] | None:
        """By Einsum, candidates that may be part of an improvement under one outer choice."""
        bounds = [t.bounds(staging.roles[t.space.einsum.name]) for t in self.tiles]
        local = [one.tile[self.problem.index(t.space)] for t in self.tiles]
        limits = StayBounds.of(self.problem, self.bounds, one)
        under, row = self._at(one.tile)
        by_tile, without = self._by_tile(under, staging, row)
        every = zip(by_tile, without, limits.runs, strict=True)
        energies = [e[0] if runs[0] else n[0] for e, n, runs in every]
        stay = [may if runs[0] else () for may, runs in zip(under.stay, limits.runs, strict=True)]
        if not all(np.isfinite(e).any() for e in energies):
            return None
        passes = [float(n[row][0]) for n in under.passes]
        pairs = self._turns(under, staging.roles, by_tile, row)
        turns = [p[not runs[0]][0] for p, runs in zip(pairs, limits.runs, strict=True)]
        chances = self._chances(one, energies, turns)
        found = []
        for i, (part, own, extents) in enumerate(zip(self.tiles, energies, local, strict=True)):
            chance, fits = chances[i], np.flatnonzero(np.isfinite(own))
            good = chance.of(turns[i][fits], own[fits])
            if self.log is not None:
                self._log_tiles(part, fits[~good], turns[i], own, chance)
            some = fits[good]
            choice, candidates = part.candidates(np.zeros(len(some), np.int64), some)
            choice, candidates = self._whole(part, extents, choice, candidates)
            inner = part.tile[:, part.which[candidates]]
            obeyed = shared_fits(part.space, extents[:, choice], inner)
            choice, candidates = choice[obeyed], candidates[obeyed]
            energy = bounds[i].candidate_energy(extents, choice, candidates, stay[i])
            energy = _in_passes(part, candidates, energy, passes[i], staging)
            bound = self._turn_bounds(part, staging.roles[part.space.einsum.name])
            cycles = bound.by_candidate(extents, candidates, passes[i], stay[i])
            good = chance.of(cycles, energy)
            if self.log is not None:
                self._log_cut(part, candidates[~good], cycles[~good], energy[~good], chance)
            candidates = candidates[good]
            if len(candidates) == 0:
                return None
            found.append(candidates)
        return found

    def _at(self, tile: Ints) -> tuple[UnderTiles, slice]:
        """Bounds under an outer tile int64[R, 1], and the place of that tile among theirs."""
        if self._shared is not None:
            at = np.flatnonzero((self._shared.extents == tile).all(axis=0))
            if len(at):
                return self._shared, slice(int(at[0]), int(at[0]) + 1)
        return self._under(tile), slice(None)

    def _chances(self, one: Outers, energies: list[Floats], turns: list[Floats]) -> list[_Chance]:
        """Limits of each Einsum's candidates, beside the least of the others.

        energies, turns: least pJ and cycles of each Einsum by tile.
        """
        adds, more, waits = self.problem.cycles_add, float(one.staged[0]), float(one.waits[0])
        slopes = [0.0, *(float(w[0]) for w in self.incumbent.slopes(one.cycles, one.energy))]
        lows = [
            [
                float((e + add * w * t).min()) if add and w else float(e.min())
                for e, add, t in zip(energies, adds, turns, strict=True)
            ]
            for w in slopes
        ]
        busy = [
            max(float(t.min()), float(streamed[0])) * add
            for t, add, streamed in zip(turns, adds, one.turns, strict=True)
        ]
        return [
            _Chance(
                incumbent=self.incumbent,
                one=one,
                adds=adds[i],
                slopes=slopes[1:],
                rests=[
                    sum(some) - some[i] + more + w * waits
                    for w, some in zip(slopes, lows, strict=True)
                ],
                slack=(sum(busy) - busy[i] + waits) * (1 - LAST_BITS),
                streamed=float(one.turns[i, 0]),
            )
            for i in range(len(self.tiles))
        ]

    def _log_tiles(
        self, part: CandidateTiles, tiles: Ints, turns: Floats, energy: Floats, chance: _Chance
    ) -> None:
        """Write down the candidates of tiles that cannot improve; least cycles and pJ by tile."""
        which, candidates = part.candidates(np.arange(len(tiles)), tiles)
        some = tiles[which]
        self._log_cut(part, candidates, turns[some], energy[some], chance)

    def _log_cut(
        self,
        part: CandidateTiles,
        candidates: Ints,
        cycles: Floats,
        energy: Floats,
        chance: _Chance,
    ) -> None:
        """Write down candidates that cannot improve; cycles, energy: of each."""
        assert self.log is not None
        bound, where = chance.bound(cycles, energy), self.log.outer(chance.one)
        self.log.candidates(part.candidate_set, candidates, bound, self.incumbent, where)

    def _whole(
        self, tiles: CandidateTiles, extents: Ints, choice: Ints, candidates: Ints
    ) -> tuple[Ints, Ints]:
        """Candidates but for those with a rank on both axes that the shared loops cut.

        All Einsums of a group have the same shared loops over its members, so none may choose
        which of them are left for its array.
        """
        if tiles.on_both_axes is None:
            return choice, candidates
        sizes = np.array(tiles.space.sizes, dtype=np.int64)[:, None]
        good = ~(tiles.on_both_axes[:, candidates] & (extents[:, choice] < sizes)).any(axis=0)
        return choice[good], candidates[good]


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
