"""Einsums fused: one outer choice after another, each with what its Einsums may do inside it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from flat_mapper.mapper.bounds.outer import OuterBounds, Outers
from flat_mapper.mapper.bounds.tiles import CandidateTiles
from flat_mapper.mapper.cost.candidate_set import CandidateSet
from flat_mapper.mapper.cost.price import candidate_costs
from flat_mapper.mapper.group.cost_layout import CostLayout
from flat_mapper.mapper.group.incumbent import Incumbent
from flat_mapper.mapper.group.pareto import nondominated, sums
from flat_mapper.mapper.group.picks import Counters, GroupSolution, Pick, PricedCandidates
from flat_mapper.mapper.group.single import shared_orders
from flat_mapper.mapper.space.candidates import Bools, CandidateBlock, Floats, Ints
from flat_mapper.mapper.space.einsum import EinsumSpace
from flat_mapper.mapper.space.group import GroupProblem
from flat_mapper.mapper.space.outer import Staging
from flat_mapper.mapper.space.roles import Outer


@dataclass(frozen=True, slots=True)
class _Where:
    """One outer choice, and what the Einsums may do under it."""

    parts: list[PricedCandidates]
    staging: Staging
    order: tuple[int, ...]
    tile: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Chance:
    """Bounds that one Einsum's candidates must keep to improve, under one outer choice."""

    incumbent: Incumbent
    one: Outers
    adds: int  # whether its compute cycles add to the others'
    slopes: list[float]
    rests: list[float]  # least of the others' energy, then of their weighted sums
    slack: float  # least of the others' cycles

    def of(self, cycles: Floats, energy: Floats) -> Bools:
        """Which candidates can improve, by their compute cycles and least energy."""
        one, add = self.one, self.adds
        latency = np.maximum(np.maximum(cycles, add * cycles + self.slack), one.cycles)
        weighted = [
            energy + add * w * cycles + rest
            for w, rest in zip(self.slopes, self.rests[1:], strict=True)
        ]
        below = self.incumbent.sums_can_improve(weighted, one.cycles, one.energy)
        return below & self.incumbent.can_improve(latency, energy + self.rests[0])


class Fused:
    """Prices the candidates of a group's Einsums, and joins them."""

    def __init__(
        self,
        problem: GroupProblem,
        bounds: OuterBounds,
        tiles: list[CandidateTiles],
        incumbent: Incumbent,
        counters: Counters,
    ) -> None:
        self.problem, self.bounds, self.tiles = problem, bounds, tiles
        self.candidate_sets = [t.candidate_set for t in tiles]
        self.incumbent, self.counters = incumbent, counters
        self.layout = CostLayout.of(problem)

    def refined(self, outers: Outers) -> Outers:
        """Outer choices with bounds from candidates whose tiles divide theirs."""
        energy, cycles = outers.energy.copy(), outers.cycles.copy()
        adds = self.problem.cycles_add
        weighted = [np.zeros(len(energy)) for _ in self.incumbent.slopes(cycles, energy)]
        for number in np.unique(outers.staging):
            mine = np.flatnonzero(outers.staging == number)
            extents, where = np.unique(outers.tile[:, mine], axis=1, return_inverse=True)
            where = where.ravel()
            by_tile = self._by_tile(extents, self.bounds.stagings[int(number)])
            low = sum((e.min(axis=1) for e in by_tile), np.zeros(1))[where]
            energy[mine] = np.maximum(energy[mine], low + outers.staged[mine])
            passes = [self._passes(t, extents) for t in self.tiles]
            every = zip(self.tiles, adds, passes, strict=True)
            busy = sum((add * n * t.cycles.min() for t, add, n in every), np.zeros(1))
            cycles[mine] = np.maximum(cycles[mine], np.ceil(busy[where] * (1 - 1e-14) - 1e-9))
            for slot, slope in enumerate(self.incumbent.slopes(cycles[mine], energy[mine])):
                total = outers.staged[mine].copy()
                for tiles, add, e, n in zip(self.tiles, adds, by_tile, passes, strict=True):
                    for position, w in enumerate(slope):
                        at = where[position]
                        line = e[at] + (w * n[at] * tiles.cycles if add else 0.0)
                        total[position] += line.min()
                weighted[slot][mine] = total
        return replace(outers, cycles=cycles, energy=energy, sums=tuple(weighted))

    def _by_tile(self, extents: Ints, staging: Staging) -> list[Floats]:
        """By Einsum, least pJ of candidates by tile under outer tiles; float64[n, tiles].

        Infinite where a tile does not divide the outer one, or where the streamed tiles need more
        of the shared level than there is beside the lower bounds of the others.
        """
        room = self.bounds.occupancy.room(staging, extents)
        roles = [staging.roles[t.space.einsum.name] for t in self.tiles]
        words = [
            self.bounds.occupancy.streamed(t.space, t.tile, mine)
            for t, mine in zip(self.tiles, roles, strict=True)
        ]
        lows = [float(w.min()) for w in words]
        found = []
        for tiles, mine, streamed, low in zip(self.tiles, roles, words, lows, strict=True):
            local = extents[self.problem.index(tiles.space)]
            energy = tiles.bounds(mine).energy(local, np.arange(tiles.count))
            energy = self._repeated(tiles, local, energy, self._passes(tiles, extents))
            fits = streamed[None, :] <= room[:, None] - (sum(lows) - low)
            found.append(np.where(fits, energy, np.inf))
        return found

    def _passes(self, tiles: CandidateTiles, extents: Ints) -> Floats:
        """How often an Einsum runs in each pass of the other shared loops; float64[n]."""
        if not tiles.space.einsum.each:
            return np.ones(extents.shape[1])
        columns = (tuple(int(v) for v in column) for column in extents.T)
        return np.array([float(self.problem.passes(tiles.space, c)) for c in columns])

    def _repeated(
        self, tiles: CandidateTiles, local: Ints, energy: Floats, passes: Floats
    ) -> Floats:
        """Least pJ by tile of an Einsum that runs so often; float64[n, tiles].

        Every run computes. It moves all tensors as well, unless a candidate's tile is one tensor's
        whole outer tile, which may then stay.
        """
        if (passes == 1).all():
            return energy
        space = tiles.space
        same = local[:, :, None] == tiles.tile[:, None, :]
        stays = np.zeros(energy.shape, np.bool_)
        for relevant in space.relevant.values():
            stays |= same[list(relevant)].all(axis=0)
        moved = energy - space.compute_energy
        times = np.where(stays, 1.0, passes[:, None])
        return passes[:, None] * space.compute_energy + times * moved

    def evaluate(self, outers: Outers, order: Ints) -> int:
        """Go through outer choices until one improves; returns how many."""
        mark = self.incumbent.mark
        for number, choice in enumerate(order):
            self._evaluate(outers.take(np.array([choice])))
            if self.incumbent.mark != mark:
                return number + 1
        return len(order)

    def _evaluate(self, one: Outers) -> None:
        """One outer choice in full: price candidates, join Einsums, keep the best."""
        staging = self.bounds.stagings[int(one.staging[0])]
        order = self.bounds.orders[int(one.order[0])]
        tile = tuple(int(v) for v in one.tile[:, 0])
        chosen = self._chosen_candidates(one, staging)
        if chosen is None:
            return
        parts: list[PricedCandidates] = []
        for part, candidates in zip(self.candidate_sets, chosen, strict=True):
            mask = np.zeros(part.count, np.bool_)
            mask[candidates] = True
            parts.append(self._priced(part, mask, staging, order, tile))
        room = float(self.bounds.occupancy.room(staging, np.array(tile)[:, None])[0])
        where = _Where(parts, staging, order, tile)
        least = [p.costs.min(axis=0) for p in parts]
        reaches = [
            found.costs + sum((m for j, m in enumerate(least) if j != i), np.zeros(1))
            for i, found in enumerate(parts)
        ]
        # Each Einsum's most promising candidate: together a first mapping, which prunes the rest.
        picks = [
            int(
                np.lexsort(
                    self.incumbent.sort_keys(self.layout.latency(r), self.layout.energy(r))[::-1]
                )[0]
            )
            for r in reaches
        ]
        total = sum((p.costs[i] for p, i in zip(parts, picks, strict=True)), np.zeros(1))
        if self.layout.words(total[None, :])[0] <= room:
            self._offer(where, total[None, :], np.array([picks]))
        for i, (found, reach) in enumerate(zip(parts, reaches, strict=True)):
            good = self.incumbent.can_improve(self.layout.latency(reach), self.layout.energy(reach))
            good &= self.layout.words(reach) <= room
            if not good.any():
                return
            left = found.take(np.flatnonzero(good))
            parts[i] = left.take(nondominated(left.costs))
        self._join(where, room)

    def _chosen_candidates(self, one: Outers, staging: Staging) -> list[Ints] | None:
        """By Einsum, candidates that may be part of an improvement under one outer choice."""
        bounds = [t.bounds(staging.roles[t.space.einsum.name]) for t in self.tiles]
        local = [one.tile[self.problem.index(t.space)] for t in self.tiles]
        energies = [e[0] for e in self._by_tile(one.tile, staging)]
        if not all(np.isfinite(e).any() for e in energies):
            return None
        passes = [float(self._passes(t, one.tile)[0]) for t in self.tiles]
        adds, more = self.problem.cycles_add, float(one.staged[0])
        slopes = [0.0, *(float(w[0]) for w in self.incumbent.slopes(one.cycles, one.energy))]
        lows = [
            [
                float((e + add * w * n * t.cycles).min())
                for e, add, t, n in zip(energies, adds, self.tiles, passes, strict=True)
            ]
            for w in slopes
        ]
        busy = [
            float(t.cycles.min()) * n * add
            for t, add, n in zip(self.tiles, adds, passes, strict=True)
        ]
        found = []
        for i, (part, mine, extents) in enumerate(zip(self.tiles, energies, local, strict=True)):
            chance = _Chance(
                incumbent=self.incumbent,
                one=one,
                adds=adds[i],
                slopes=slopes[1:],
                rests=[sum(some) - some[i] + more for some in lows],
                slack=sum(busy) - busy[i],
            )
            some = np.flatnonzero(np.isfinite(mine) & chance.of(passes[i] * part.cycles, mine))
            choice, candidates = part.candidates(np.zeros(len(some), np.int64), some)
            choice, candidates = self._whole(part, extents, choice, candidates)
            energy = bounds[i].candidate_energy(extents, choice, candidates)
            energy = energy + (passes[i] - 1) * part.space.compute_energy
            candidates = candidates[
                chance.of(passes[i] * self.candidate_sets[i].cycles[candidates], energy)
            ]
            if len(candidates) == 0:
                return None
            found.append(candidates)
        return found

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

    def _priced(
        self,
        part: CandidateSet,
        mask: Bools,
        staging: Staging,
        order: tuple[int, ...],
        tile: tuple[int, ...],
    ) -> PricedCandidates:
        """Exact costs of the candidates of a mask, in every shared order that matters."""
        space = part.space
        index = self.problem.index(space)
        local = tuple(tile[r] for r in index)
        roles = staging.roles[space.einsum.name]
        masked = self.problem.masked(space)
        dram_order = tuple(index.index(r) for r in order if r in index)
        costs: list[Floats] = []
        source: list[Ints] = []
        outers: list[Outer] = []
        for number, chosen in part.index(mask):
            candidates = part.blocks[number].take(chosen)
            for shared_order in shared_orders(space, [candidates]):
                outer = Outer(
                    tile=local,
                    dram_order=dram_order,
                    shared_order=shared_order,
                    roles=roles,
                    passes=self.problem.passes(space, tile),
                    visited=self.problem.visited if masked is not None else 1.0,
                    masked=masked or (),
                )
                costs.append(self._vectors(space, candidates, outer))
                same = np.ones(len(chosen), np.int64)
                source.append(np.stack([same * number, chosen, same * len(outers)], axis=1))
                outers.append(outer)
                self.counters.evaluated += candidates.count
        return PricedCandidates(
            costs=np.concatenate(costs), source=np.concatenate(source), outers=outers
        )

    def _vectors(self, space: EinsumSpace, candidates: CandidateBlock, outer: Outer) -> Floats:
        """Cost vectors of candidates under given outer loops; float64[n, D]."""
        costs = candidate_costs(space, candidates, outer)
        compute = outer.visited * outer.passes * space.lane_cycles / candidates.spatial
        tile = np.array(outer.tile, dtype=np.int64)[:, None]
        words, cold = self.bounds.occupancy.candidate_words(
            space, candidates.tile, tile, outer.roles
        )
        return self.layout.vectors(space.einsum.unit, compute, cold, costs, words)

    def _join(self, where: _Where, room: float) -> None:
        """Add up the Einsums' fronts under one outer choice."""
        parts = where.parts
        total = np.zeros((1, parts[0].costs.shape[1]))
        picks = np.zeros((1, 0), np.int64)
        for position, part in enumerate(parts):
            combined = sums(total, part.costs)
            left = np.repeat(np.arange(len(total)), len(part.costs))
            right = np.tile(np.arange(len(part.costs)), len(total))
            rest = np.zeros(combined.shape[1])
            for later in parts[position + 1 :]:
                rest = rest + later.costs.min(axis=0)
            reach = combined + rest
            good = self.layout.words(reach) <= room
            good &= self.incumbent.can_improve(
                self.layout.latency(reach), self.layout.energy(reach)
            )
            combined, left, right = combined[good], left[good], right[good]
            best = nondominated(combined)
            total = combined[best]
            picks = np.concatenate([picks[left[best]], right[best][:, None]], axis=1)
        if len(total):
            self._offer(where, total, picks)

    def _offer(self, where: _Where, total: Floats, picks: Ints) -> None:
        """Let sums of the Einsums' costs take part in the incumbent; picks int64[n, Einsums]."""
        cycles = np.ceil(self.layout.latency(total) - 1e-9)
        energy = self.layout.energy(total)
        for slot, position in self.incumbent.improvements(cycles, energy):
            chosen = []
            for whole, part, pick in zip(
                self.candidate_sets, where.parts, picks[position], strict=True
            ):
                number, candidate, which = part.source[pick]
                candidates = whole.blocks[int(number)].take(np.array([candidate]))
                chosen.append(
                    Pick(space=whole.space, candidates=candidates, outer=part.outers[int(which)])
                )
            found = GroupSolution(
                problem=self.problem,
                staging=where.staging,
                tile=where.tile,
                dram_order=where.order,
                picks=tuple(chosen),
                cycles=float(cycles[position]),
                energy=float(energy[position]),
            )
            self.incumbent.take(slot, found)
