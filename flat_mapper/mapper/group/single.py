"""One Einsum on its own: many outer choices priced with many candidates in one go."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np

from flat_mapper.cost_model.candidates import CandidateBlock, Floats, Ints
from flat_mapper.cost_model.counts import candidate_costs
from flat_mapper.cost_model.ports import largest
from flat_mapper.cost_model.roles import Outer
from flat_mapper.mapper.bounds.energy import rounded
from flat_mapper.mapper.bounds.outer import OuterBounds, Outers
from flat_mapper.mapper.bounds.tiles import CandidateTiles
from flat_mapper.mapper.group.incumbent import Incumbent
from flat_mapper.mapper.group.picks import Counters, GroupSolution, Pick
from flat_mapper.mapper.space.einsum import EinsumSpace
from flat_mapper.mapper.space.factors import distinct
from flat_mapper.mapper.space.group import FOLLOW, GroupProblem
from flat_mapper.mapper.space.orders import inner_orders
from flat_mapper.mapper.space.outer import Staging
from flat_mapper.mapper.space.rules import allowed_orders, in_order, shared, shared_fits

ORDERED = 20_000  # outer choices in one go
PAIRS = 1 << 20  # pairs of candidates' tiles and outer choices to look at in one go


class Single:
    """Prices the candidates of the one Einsum of a group."""

    def __init__(
        self,
        problem: GroupProblem,
        bounds: OuterBounds,
        tiles: list[CandidateTiles],
        incumbent: Incumbent[GroupSolution],
        counters: Counters,
    ) -> None:
        self.problem, self.bounds, self.tiles = problem, bounds, tiles[0]
        self.candidate_set = candidate_set = tiles[0].candidate_set
        self.incumbent, self.counters = incumbent, counters
        self.tile, self.spatial = candidate_set.tile, candidate_set.spatial
        self.orders = shared_orders(candidate_set.space, candidate_set.blocks)

    def refined(self, outers: Outers, step: Callable[[], None]) -> Outers:
        """The same: `evaluate` bounds pairs of candidates and outer choices itself."""
        return outers

    def evaluate(self, outers: Outers, order: Ints, tick: Callable[[], None]) -> int:
        """Offer all candidates under some outer choices to the incumbent; returns how many.

        tick: called with every piece of work.
        """
        order = order[:ORDERED]
        outers = outers.take(order)
        pairs = outers.staging * len(self.bounds.orders) + outers.order
        for pair in distinct(pairs):
            own = np.flatnonzero(pairs == pair)
            step = max(1, PAIRS // self.tiles.count)
            for start in range(0, len(own), step):
                tick()
                self._priced(outers.take(own[start : start + step]))
        return len(order)

    def _priced(self, outers: Outers) -> None:
        """The same for choices that share staging and order."""
        staging = self.bounds.stagings[int(outers.staging[0])]
        order = self.bounds.orders[int(outers.order[0])]
        choice, candidate = self._pairs(outers, staging)
        if len(choice) == 0:
            return
        # Of equal ones the first is taken: one that uses all units it may.
        last = np.argsort(self.spatial[candidate] < self.candidate_set.space.widest, kind="stable")
        choice, candidate = choice[last], candidate[last]
        space = self.candidate_set.space
        roles = staging.roles[space.einsum.name]
        tile = outers.tile.take(choice, axis=1)
        own = self.tile.take(candidate, axis=1)
        words, cold = self.bounds.occupancy.candidate_words(space, own, tile, roles)
        room = self.bounds.occupancy.room(staging, outers.tile)
        fits = words <= np.broadcast_to(room, len(outers.staging))[choice]
        fits &= shared_fits(space, tile, own)
        choice, candidate, tile, cold = choice[fits], candidate[fits], tile[:, fits], cold[fits]
        if len(choice) == 0:
            return
        compute = space.lane_cycles / self.spatial[candidate]
        loops = np.where(tile == FOLLOW, 1, tile // own[:, fits])
        for shared_order in self.orders:
            obeyed = in_order(space, shared(space), shared_order, loops)
            if not obeyed.any():
                continue
            outer = Outer(tile=(), dram_order=order, shared_order=shared_order, roles=roles)
            moved, energy = self._costs(candidate, outer, tile)
            cycles = rounded(space.arch.levels[0], np.maximum(compute, moved) + cold)
            self.counters.evaluated += len(candidate)
            energy = np.where(obeyed, energy, np.inf)
            cycles = np.where(obeyed, cycles, np.inf)
            for i in self.incumbent.improvements(cycles, energy):
                chosen = outers.tile[:, choice[i]]
                found = (float(cycles[i]), float(energy[i]))
                self._take(int(candidate[i]), chosen, staging, order, shared_order, found)

    def _costs(self, candidate: Ints, outer: Outer, tile: Ints) -> tuple[Floats, Floats]:
        """Cycles of the busiest port, and pJ, of candidates under a tile each; float64[n] each."""
        cycles, energy = np.zeros(len(candidate)), np.empty(len(candidate))
        for number, own, positions in self.candidate_set.among(candidate):
            block = self.candidate_set.blocks[number].take(positions)
            costs = candidate_costs(self.candidate_set.space, block, outer, tile[:, own])
            energy[own] = costs.energy
            cycles[own] = largest((*costs.ports.values(), costs.outside.cycles(costs.moved)))
        return cycles, energy

    def _pairs(self, outers: Outers, staging: Staging) -> tuple[Ints, Ints]:
        """(choice, candidate) of all pairs that are mappings and can improve by their bounds."""
        roles = staging.roles[self.candidate_set.space.einsum.name]
        bounds = self.tiles.bounds(roles)
        most = bounds.least - np.maximum.reduce([bounds.least * 0, *bounds.spared.values()])
        cycles = np.maximum(self.tiles.cycles, outers.cycles.min())
        some = np.flatnonzero(self.incumbent.can_improve(cycles, most + outers.staged.min()))
        if len(some) == 0:
            return some, some
        # Cheap first: each extent alone, over the tiles that divide it.
        least = np.maximum.reduce(
            [self.tiles.by_extent(r, outers.tile[r], some, most) for r in range(len(outers.tile))]
        )
        cycles = np.maximum(self.tiles.cycles[some].min(), outers.cycles)
        can_improve = self.incumbent.can_improve(cycles, least + outers.staged)
        chosen = np.flatnonzero(np.isfinite(least) & can_improve)
        if len(chosen) == 0:
            return chosen, chosen
        part = outers.take(chosen)
        cycles = np.maximum(self.tiles.cycles[None, some], part.cycles[:, None])
        energy = bounds.energy(part.tile, some)[0] + part.staged[:, None]
        good = self.incumbent.can_improve(cycles, energy)
        choice, tile = np.nonzero(np.isfinite(energy) & good)
        choice, candidate = self.tiles.candidates(chosen[choice], some[tile])
        energy = bounds.candidate_energy(outers.tile, choice, candidate) + outers.staged[choice]
        cycles = np.maximum(self.candidate_set.cycles[candidate], outers.cycles[choice])
        good = self.incumbent.can_improve(cycles, energy)
        return choice[good], candidate[good]

    def _take(
        self,
        candidate: int,
        tile: Ints,
        staging: Staging,
        order: tuple[int, ...],
        shared_order: tuple[int, ...],
        found: tuple[float, float],
    ) -> None:
        space = self.candidate_set.space
        ((block, _, positions),) = self.candidate_set.among(np.array([candidate]))
        extents = tuple(int(v) for v in tile)
        outer = Outer(
            tile=extents,
            dram_order=order,
            shared_order=shared_order,
            roles=staging.roles[space.einsum.name],
        )
        candidates = self.candidate_set.blocks[block].take(positions)
        solution = GroupSolution(
            problem=self.problem,
            staging=staging,
            tile=extents,
            dram_order=order,
            picks=(Pick(space=space, candidates=candidates, outer=outer),),
            cycles=found[0],
            energy=found[1],
        )
        self.incumbent.take(solution)


def shared_orders(
    space: EinsumSpace, blocks: Sequence[CandidateBlock], counted: Collection[str] = ()
) -> list[tuple[int, ...]]:
    """Orders of the shared level's loops that may differ in cost for some of the candidates.

    counted: see `inner_orders`.
    """
    tensors = dict.fromkeys(
        t
        for candidates in blocks
        for t, transfers in candidates.transfers.items()
        if any(transfer.child is not None and transfer.open.any() for transfer in transfers)
    )
    orders = inner_orders(space, tensors, [t for t in tensors if t in counted])
    return allowed_orders(orders, space, shared(space))
