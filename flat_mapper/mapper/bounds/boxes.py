"""Lower bounds over boxes: intervals of outer tiles of any extents, whether they divide or not.

A loop cuts a rank of N into ceil(N / t) passes of t and less. What DRAM moves falls as tiles grow,
and what the shared level holds grows with them: over all tiles from l to h, no less is moved than
in the passes of h, and none fits where l does not. The box with the least bound is split first,
until it holds one tile or there have been enough.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from flat_mapper.cost_model.candidates import Floats, Ints
from flat_mapper.cost_model.ports import transfer_cycles
from flat_mapper.mapper.bounds.outer import OuterBounds, inside_pj
from flat_mapper.mapper.bounds.uses import Loops, uses_of
from flat_mapper.mapper.bounds.whole_sizes import words_bound
from flat_mapper.mapper.space.group import GroupProblem
from flat_mapper.mapper.space.outer import StagedTensors, granular_extent, shared_extents

MOST = 20_000  # chosen: boxes times stagings times orders that are bounded
_AT_ONCE = 64  # boxes that are split in one go


@dataclass(frozen=True)
class Boxes:
    """Intervals of outer tiles of a group, each with its least (cycles, pJ) and its objective.

    No mapping of a box is better than its corner in both.
    """

    low: Ints  # int64[R, n]
    high: Ints  # int64[R, n]
    corners: Floats  # float64[n, 2]; infinite where no tile fits
    value: Floats

    def take(self, some: Ints) -> Boxes:
        """Some of them."""
        own = self.low[:, some], self.high[:, some], self.corners[some], self.value[some]
        return Boxes(*own)


def boxes_of_any_size(
    bounds: OuterBounds, value: Callable[[Floats, Floats], Floats], most: int = MOST
) -> Boxes:
    """Boxes that hold all tiles that may fit, the least objective first.

    value: the objective, which rises with both. most: boxes times stagings times orders.
    """
    problem = bounds.problem
    low, high = np.array([_ends(problem, i) for i in range(len(problem.ranks))]).T[:, :, None]
    if problem.workload.mask or not problem.group.fused:  # one box, bounded as a whole
        cycles, energy = np.array([bounds.least_of_any_size()]).T
        return Boxes(low, high, np.array([[*cycles, *energy]]), value(cycles, energy))
    found = _bounded(bounds, low, high, value)
    ways = max(1, len(bounds.stagings) * len(bounds.orders))
    spent = ways
    while True:
        found = found.take(np.argsort(found.value, kind="stable"))
        wide = np.flatnonzero((found.low < found.high)[:, :_AT_ONCE].any(axis=0))
        if spent > most or not len(wide) or wide[0] > 0:  # no other has less than one tile
            return found
        low, high = _halves(found.take(wide))
        spent += ways * low.shape[1]
        rest = found.take(np.delete(np.arange(len(found.value)), wide))
        found = _joined(rest, _bounded(bounds, low, high, value))


def _ends(problem: GroupProblem, i: int) -> tuple[int, int]:
    """The least and the largest extent of a rank's tiles: any, unless the mapspace names some."""
    rank, extents = problem.ranks[i], shared_extents(problem, i)
    named = granular_extent(problem, i) is not None or problem.mapspace.fusion.tiles.keys() & {
        *rank.members
    }
    if extents and (named or i not in problem.shared_ranks):
        return min(extents), max(extents)
    return 1, rank.size


def _joined(one: Boxes, other: Boxes) -> Boxes:
    return Boxes(
        np.concatenate([one.low, other.low], axis=1),
        np.concatenate([one.high, other.high], axis=1),
        np.concatenate([one.corners, other.corners]),
        np.concatenate([one.value, other.value]),
    )


def _halves(boxes: Boxes) -> tuple[Ints, Ints]:
    """Both halves of each, where its widest rank has as many passes on either side."""
    low, high = boxes.low.astype(float), boxes.high.astype(float)
    widest, each = np.argmax(high / low, axis=0), np.arange(boxes.low.shape[1])
    cut = boxes.low[widest, each], boxes.high[widest, each]
    middle = np.clip(np.sqrt(cut[0] * cut[1].astype(float)).astype(np.int64), cut[0], cut[1] - 1)
    upper, lower = boxes.low.copy(), boxes.high.copy()
    lower[widest, each], upper[widest, each] = middle, middle + 1
    return (
        np.concatenate([boxes.low, upper], axis=1),
        np.concatenate([lower, boxes.high], axis=1),
    )


def _bounded(
    bounds: OuterBounds, low: Ints, high: Ints, value: Callable[[Floats, Floats], Floats]
) -> Boxes:
    """Boxes with their bounds: of all stagings and orders the least objective."""
    corners = np.full((low.shape[1], 2), np.inf)
    least = np.full(low.shape[1], np.inf)
    for cycles, energy in _each_way(bounds, low, high):
        own = value(cycles, energy)
        better = own < least
        least[better] = own[better]
        corners[better] = np.stack([cycles, energy], axis=1)[better]
    kept = np.flatnonzero(least < np.inf)
    return Boxes(low, high, corners, least).take(kept)


def _each_way(bounds: OuterBounds, low: Ints, high: Ints) -> Iterator[tuple[Floats, Floats]]:
    """Cycles and pJ at least of all boxes, by staging and order of the DRAM loops."""
    problem, dram = bounds.problem, bounds.problem.platform.dram
    least_of_all, visited = bounds.least_of_any_size(), np.array([bounds.problem.least_visited])
    shares = [problem.shares(s, visited) for s in problem.spaces]
    inside = float(inside_pj(problem, visited, shares)[0])
    for staging, order in product(bounds.stagings, bounds.orders):
        fits = _needs(bounds, staging, low) <= (bounds.occupancy.capacity or np.inf)
        reads, writes, moved, words = np.zeros((4, low.shape[1]))
        for space, share in zip(problem.spaces, shares, strict=True):
            index, roles = problem.index(space), staging.roles[space.einsum.name]
            at = {r: place for place, r in enumerate(index)}
            sizes = np.array(space.sizes, np.int64)[:, None]
            loops = Loops(
                low[index],
                roles,
                ((tuple(at[r] for r in order if r in at), low.shape[1]),),
                np.full(low.shape[1], float(share[0])),
                None,
                -(-sizes // high[index]),
            )
            for use in uses_of(bounds.occupancy, space, loops, None):
                if use.moved is not None:
                    moved = moved + use.moved_pj
                    comes, leaves = use.each_way(use.moved)
                    reads = reads + use.weight * comes + use.total
                    writes = writes + use.weight * leaves
            own = words_bound(space, tuple((r,) for r in roles), 0.0, divides=False)
            words = words + own.at(share) + share * (space.least_network + space.compute_energy)
        cycles = np.maximum(least_of_all[0], transfer_cycles(dram, reads, writes))
        energy = np.maximum(np.maximum(inside + moved, words + moved), least_of_all[1])
        yield np.where(fits, cycles, np.inf), np.where(fits, energy, np.inf)


def _needs(bounds: OuterBounds, staging: StagedTensors, tile: Ints) -> Floats:
    """Words of the shared level that every tile of a box needs at least; tile: the smallest."""
    every = bounds.occupancy.least_terms([staging], tile, {}).values()
    needs: Floats = sum(every, np.zeros((1, tile.shape[1])))[0]
    return needs
