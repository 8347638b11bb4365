"""Lower bounds over boxes: intervals of outer tiles of any extents, whether they divide or not.

A loop cuts a rank of N into ceil(N / t) passes of t and less. What DRAM moves falls as tiles grow,
and what the shared level holds grows with them: over all tiles from l to h, no less is moved than
in the passes of h, and none fits where l does not. The box with the least bound is split first,
until it holds one tile or there have been enough.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from flat_mapper.cost_model.candidates import Bools, Floats, Ints
from flat_mapper.cost_model.ports import transfer_cycles
from flat_mapper.cost_model.roles import Role
from flat_mapper.mapper.bounds.inside import InRoles, Prices, halves, least_inside, of_both
from flat_mapper.mapper.bounds.outer import OuterBounds, inside_pj
from flat_mapper.mapper.bounds.uses import Loops, Use, uses_of
from flat_mapper.mapper.bounds.whole_sizes import words_bound
from flat_mapper.mapper.space.group import GroupProblem
from flat_mapper.mapper.space.outer import StagedTensors, granular_extent, shared_extents
from flat_mapper.mapping.order import overlaps

LOOKS = 2  # how closely a box is looked into
SLACK = 1.02  # chosen: cycles beside those of busy units from which on more of them are free
ROOM = 0.02  # chosen: of what all takes, that the room for streams is worth
MOST_LOOKED = 20  # chosen: boxes that are
FEW_LOOKED = 4  # chosen: of which the least has to rise by so much
HELPS = 0.01
MOST = 20_000  # chosen: boxes times stagings times orders that are bounded
_AT_ONCE = 64  # boxes that are split in one go


@dataclass(frozen=True)
class Boxes:
    """Intervals of outer tiles of a group, each with its least (cycles, pJ) and its objective.

    No mapping of a box is better than its corner in both, nor than its value in the objective.
    """

    low: Ints  # int64[R, n]
    high: Ints
    corners: Floats  # float64[2, n]; infinite where no tile fits
    value: Floats
    looks: Ints  # how closely each has been looked into: see `_looked_into`

    @property
    def single(self) -> Bools:
        """Those of one tile."""
        return np.asarray((self.low == self.high).all(axis=0))

    @property
    def looks_due(self) -> Ints:
        """Looks that each needs before it is split, or is the least."""
        narrow = (self.high <= 2 * self.low).all(axis=0)
        return np.where(self.single, LOOKS, narrow)

    def take(self, some: Ints) -> Boxes:
        """Some of them."""
        return Boxes(*(own[..., some] for own in vars(self).values()))


def boxes_of_any_size(
    bounds: OuterBounds,
    value: Callable[[Floats, Floats], Floats],
    most: int = MOST,
    price: Callable[[float, float], float] | None = None,
    enough: Callable[[float], bool] = lambda value: False,
) -> Boxes:
    """Boxes that hold all tiles that may fit, the least objective first.

    value: the objective, which rises with both. most: boxes times stagings times orders.
    price: what a cycle counts, in pJ, by the cycles and pJ of the first box that is looked into, if
           any is. enough: whether a bound of all is as good as is wanted, or time permits.
    """
    problem = bounds.problem
    low, high = np.array([_ends(problem, i) for i in range(len(problem.ranks))]).T[:, :, None]
    if not problem.group.fused:  # one box, bounded as a whole
        corners = np.array([bounds.least_of_any_size()]).T
        return Boxes(low, high, corners, value(*corners), np.full(1, LOOKS))
    if problem.masked_pair:
        price = None  # not looked into yet
    none = np.zeros(1)
    every = Boxes(low, high, np.zeros((2, 1)), none, none.astype(np.int64))
    found = _bounded(bounds, every, value)
    ways = max(1, len(bounds.stagings) * len(bounds.orders))
    spent, slope, looked, first = ways, 0.0, 0, 0.0
    while len(found.value):
        found = found.take(np.argsort(found.value, kind="stable"))
        due = found.looks < found.looks_due * (price is not None)
        if due[0]:
            stuck = looked >= FEW_LOOKED and found.value[0] <= first * (1 + HELPS)
            done = stuck or looked == MOST_LOOKED or enough(float(found.value[0]))
            if done or price is None:
                price = None
                continue
            if not looked:  # one price for all, as boxes ask alike
                slope, first = price(*found.corners[:, 0].tolist()), float(found.value[0])
            looked += 1
            least = _looked_into(bounds, found.take(np.arange(1)), value, slope, enough)
            found.value[0] = max(found.value[0], least)
            found.looks[0] += 1
            continue
        wide = np.flatnonzero((~found.single & ~due)[:_AT_ONCE])
        if spent > most or found.single[0]:
            break  # no other has less
        rest, halved = found.take(np.delete(np.arange(len(due)), wide)), _halves(found.take(wide))
        spent += ways * halved.low.shape[1]
        found = of_both(rest, _bounded(bounds, halved, value))
    return found


def _ends(problem: GroupProblem, i: int) -> tuple[int, int]:
    """The least and the largest extent of a rank's tiles: any, unless the mapspace names some."""
    rank, extents = problem.ranks[i], shared_extents(problem, i)
    named = granular_extent(problem, i) is not None or problem.mapspace.fusion.tiles.keys() & {
        *rank.members
    }
    if extents and (named or i not in problem.shared_ranks):
        return min(extents), max(extents)
    return 1, rank.size


def _halves(boxes: Boxes) -> Boxes:
    """Both halves of each."""
    low, high = halves(boxes.low, boxes.high)
    return replace(of_both(boxes, boxes), low=low, high=high)


def _bounded(bounds: OuterBounds, boxes: Boxes, value: Callable[[Floats, Floats], Floats]) -> Boxes:
    """Boxes with their bounds: of all stagings and orders the least objective, or what is known."""
    corners = np.full_like(boxes.corners, np.inf)
    least = np.full(len(boxes.value), np.inf)
    for way in _each_way(bounds, boxes.low, boxes.high):
        own = value(way.cycles, way.energy)
        better = own < least
        least[better] = own[better]
        corners[:, better] = np.stack([way.cycles, way.energy])[:, better]
    looks = np.where(boxes.single, 0, boxes.looks)
    found = replace(boxes, corners=corners, value=np.maximum(least, boxes.value), looks=looks)
    return found.take(np.flatnonzero(least < np.inf))


def _looked_into(
    bounds: OuterBounds,
    box: Boxes,
    value: Callable[[Floats, Floats], Floats],
    slope: float,
    enough: Callable[[float], bool],
) -> float:
    """The objective of a box by what its Einsums take inside, in their best roles or by staging.

    They take no less than some pJ and cycles at a price together, and no less of either than known:
    the ends of that line are the best that may be.
    """
    found, least = _each_way(bounds, box.low, box.high), np.inf
    every = [(float(value(w.cycles, w.energy)[0]), w) for w in found if w.energy[0] < np.inf]
    every.sort(key=lambda one: one[0])
    together = [(known, [way]) for known, way in every]
    if not box.looks[0]:
        together = [(every[0][0], [way for _, way in every])]
    room = max(float(bounds.occupancy.room(way.staging, box.low)[0]) for _, way in every)
    total = float(box.corners[1, 0] + slope * box.corners[0, 0])
    closely = box.looks[0] > 0 and room > 0
    prices = Prices(slope, _digits(ROOM * total / room) if closely else 0.0)
    for known, ways in together:
        if enough(float(box.value[0])):
            return 0.0
        if known < least:
            ends = np.array(_line(bounds, ways, box, prices)).T
            least = min(least, float(value(*ends).min()))
    return least


def _line(
    bounds: OuterBounds, ways: Sequence[_Way], box: Boxes, prices: Prices
) -> list[tuple[float, float]]:
    """(Cycles, pJ) at the ends of a line below all mappings of some ways."""
    cycles, energy, share, waits = (
        min(own)
        for own in zip(*((w.cycles[0], w.energy[0], *w.uneven[:, 0]) for w in ways), strict=True)
    )
    # Where DRAM takes longer, cycles are free inside.
    price = prices.cycle if cycles <= SLACK * bounds.least_busy() else 0.0
    total = _inside(bounds, ways, box, Prices(price * share)) + price * waits
    if word := prices.word:
        room = float(bounds.occupancy.room(ways[0].staging, box.low)[0])
        more = _inside(bounds, ways, box, Prices(price * share, word))
        total = max(total, more + price * waits - word * room)
    ends = [(cycles, max(energy, total - price * cycles))]
    return [*ends, (max(cycles, (total - energy) / price), energy)] if price else ends


def _digits(price: float) -> float:
    """A price in two digits, as boxes ask alike."""
    return float(f"{price:.1e}")


def _inside(bounds: OuterBounds, ways: Sequence[_Way], box: Boxes, prices: Prices) -> float:
    """pJ and cycles at a price of all Einsums together, each in the best of some ways."""
    problem, total = bounds.problem, 0.0
    units = {s.einsum.unit: 0.0 for s in problem.spaces}
    for space in problem.spaces:
        units[space.einsum.unit] += space.lane_cycles / space.lanes
    for i, space in enumerate(problem.spaces):
        index, options = problem.index(space), dict[tuple[Role, ...], float]()
        for way in ways:
            roles = way.staging.roles[space.einsum.name]
            options[roles] = min(options.get(roles, np.inf), float(way.staged[i][0]))
        ends = tuple(zip(box.low[index, 0].tolist(), box.high[index, 0].tolist(), strict=True))
        beside = overlaps(problem.group.schedule) and units[space.einsum.unit] < max(units.values())
        own = prices._replace(cycle=0.0) if beside else prices
        total += least_inside(bounds, i, tuple(map(InRoles._make, options.items())), ends, own)
        total += space.compute_energy
    return total


@dataclass(frozen=True)
class _Way:
    """One staging and order of some boxes: cycles, pJ, pJ of what is staged by Einsum."""

    staging: StagedTensors
    cycles: Floats
    energy: Floats
    staged: Sequence[Floats]
    uneven: Floats  # float64[2, n], see `_last_passes`


def _each_way(bounds: OuterBounds, low: Ints, high: Ints) -> Iterator[_Way]:
    """All stagings and orders of the DRAM loops, of all boxes."""
    problem, dram = bounds.problem, bounds.problem.platform.dram
    least_of_all, visited = bounds.least_of_any_size(), np.array([bounds.problem.least_visited])
    shares = [problem.shares(s, visited) for s in problem.spaces]
    busy = bounds.least_busy()
    inside = float(inside_pj(problem, visited, shares)[0])
    fitting = (
        (s, _needs(bounds, s, low) <= (bounds.occupancy.capacity or np.inf))
        for s in bounds.stagings
    )
    for staging, fits, order in ((s, f, o) for s, f in fitting if f.any() for o in bounds.orders):
        reads, writes, moved, words = np.zeros((4, low.shape[1]))
        staged = list(np.zeros((len(problem.spaces), low.shape[1])))
        streams = list[tuple[Use, Floats, Floats]]()
        for i, (space, share) in enumerate(zip(problem.spaces, shares, strict=True)):
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
                    comes, leaves = (use.weight * own for own in use.each_way(use.moved))
                    reads, writes = reads + comes + use.total, writes + leaves
                    if use.role == "stream":
                        streams.append((use, comes, leaves))
                    else:
                        staged[i] = staged[i] + use.moved_pj
            own = words_bound(space, tuple((r,) for r in roles), 0.0, divides=False)
            words = words + own.at(share) + share * (space.least_network + space.compute_energy)
        cycles = np.maximum(least_of_all[0], transfer_cycles(dram, reads, writes))
        uneven = _last_passes(bounds, streams, low, high)
        cycles = np.maximum(cycles, uneven[0] * busy + uneven[1])
        energy = np.maximum(np.maximum(inside + moved, words + moved), least_of_all[1])
        cycles, energy = (np.where(fits, each, np.inf) for each in (cycles, energy))
        yield _Way(staging, cycles, energy, staged, uneven)


def _last_passes(
    bounds: OuterBounds, streams: Sequence[tuple[Use, Floats, Floats]], low: Ints, high: Ints
) -> Floats:
    """Share of compute cycles, and what the last passes of a rank wait for; float64[2, n].

    What streams moves in the turn that works on it, and a tensor that lacks the rank moves whole in
    each pass, however few rows it has. streams: with its weighted words in and out.
    """
    problem, dram = bounds.problem, bounds.problem.platform.dram
    best = np.array([np.ones(low.shape[1]), np.zeros(low.shape[1])])
    busy = bounds.least_busy()
    turns = problem.takes_turns and not problem.masked_pair
    for r, rank in enumerate(problem.ranks if turns else ()):
        passes = -(-rank.size // high[r])
        last = rank.size - (passes - 1) * high[r]
        reads, writes = np.zeros((2, low.shape[1]))
        for use, comes, leaves in streams:
            lacks = [i for i, own in enumerate(use.space.relevant[use.tensor]) if not own]
            index = [problem.index(use.space)[i] for i in lacks]
            sizes = np.array([problem.ranks[i].size for i in index], np.int64)[:, None]
            often = (-(-sizes // high[index])).prod(axis=0)
            whole = np.asarray(use.moved) >= often * use.space.volume[use.tensor]
            own = np.where(whole & (r in index), 1 / passes, 0.0)
            reads, writes = reads + own * comes, writes + own * leaves
        waits = transfer_cycles(dram, reads, writes)
        some = (low[r] == high[r]) & (last < high[r]) & (waits > busy * last / rank.size)
        share = 1 - last / rank.size
        more = some & (share * busy + waits > best[0] * busy + best[1])
        best = np.where(more, [share, waits], best)
    return best


def _needs(bounds: OuterBounds, staging: StagedTensors, tile: Ints) -> Floats:
    """Words of the shared level that every tile of a box needs at least; tile: the smallest."""
    every = bounds.occupancy.least_terms([staging], tile, {}).values()
    needs: Floats = sum(every, np.zeros((1, tile.shape[1])))[0]
    return needs
