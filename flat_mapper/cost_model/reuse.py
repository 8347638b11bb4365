"""Scalar reads, fills and updates of every tensor at every storage level, per instance.

By the rule of `transfers` where loops have no remainders; else loops are walked with all the passes
that may be final ones (`moved_words`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import reduce
from math import prod
from operator import mul

import numpy as np

from flat_mapper.cost_model.nest import BoolArray, Factors, FloatArray, IntArray, Nest, Visited
from flat_mapper.cost_model.transfers import (
    NONE,
    SHARED,
    Traffic,
    Transfer,
    at_child,
    at_parent,
    masked_passes,
    transfers_of,
)
from flat_mapper.cost_model.windows import windowed_traffic

ONE = np.ones(1, np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accesses:
    """Everything that moves in a batch of loop nests.

    traffic:   (level index, tensor) -> Traffic, for the tensors kept at the level.
    instances: int64[n] of each level: the instances that take part.
    compute:   [n] cycles of the compute unit: the product of all temporal factors, times the cycles
               of an operation.
    lanes:     int64[n] compute units in use.
    moves:     of each tensor, see `transfers_of`.
    """

    traffic: dict[tuple[int, str], Traffic]
    instances: tuple[IntArray, ...]
    compute: IntArray | FloatArray
    lanes: IntArray
    moves: dict[str, list[Transfer]]


def accesses(
    nest: Nest,
    factors: Factors,
    sizes: tuple[int, ...],
    visited: Visited | None = None,
    *,
    handed_on: bool = False,
) -> Accesses:
    """Words moved by every mapping of a batch.

    factors:   int64[S, R, n].
    sizes:     rank sizes, in the order of nest.ranks.
    handed_on: computes right below a fanout take words from their neighbours, as Timeloop has it.
    visited: pairs of outermost passes that a mask leaves: what moves in each of them moves in so
             many; what stays in place over one of the two loops moves as often as before.
    source:  timeloop-model (NVlabs/timeloop 4cf6d4c), reproduced on all its recorded answers.
    """
    traffic: dict[tuple[int, str], Traffic] = {}
    moves = {tensor: transfers_of(nest, factors, tensor) for tensor in nest.relevant}
    for access in nest.einsum.accesses:
        if access.sums or (handed_on and nest.bare and factors.lasts is None):
            traffic |= windowed_traffic(nest, factors, access.tensor)
            continue
        what = nest, factors, sizes, access.tensor
        whole = factors.lasts is None
        words = _whole(*what, visited, moves[access.tensor]) if whole else _cut(*what)
        for level, held, below, above in words:
            reads, updates = at_parent(below, held, output=access.is_output)
            fills = NONE if above is None else at_child(above, held, output=access.is_output)
            traffic[level, access.tensor] = Traffic(
                *(reads, fills, updates, held), crossed=reads + updates
            )
    return Accesses(
        traffic=traffic,
        instances=tuple(_spatial_product(nest, factors, s) for s in nest.level_slots),
        compute=_left(
            _product(
                factors.factors[s, r] for s in nest.level_slots for r in range(len(nest.ranks))
            ),
            visited,
        ),
        lanes=_spatial_product(nest, factors, len(nest.slots)),
        moves=moves,
    )


def with_copy(
    nest: Nest,
    factors: Factors,
    sizes: tuple[int, ...],
    found: Accesses,
    copied: str,
    visited: Visited | None,
) -> Accesses:
    """Accesses of an Einsum that finds the old value of a tensor in the place of its output.

    In every pass but the first of the loops in whose passes it runs, the tensor's tile is read at
    the level where both are handed over, and written there to where the output stands.
    """
    output, each = nest.einsum.output.tensor, nest.einsum.each
    volume = prod(n for n, yes in zip(sizes, nest.relevant[copied], strict=True) if yes)
    passes = _product(factors.factors[0, r] for r, n in enumerate(nest.ranks) if n in each)
    home = nest.home(copied)
    words = -(-(_left(volume * passes, visited) - volume) // found.instances[home])
    traffic = dict(found.traffic)
    read, written = traffic[home, copied], traffic[home, output]
    traffic[home, copied] = read._replace(reads=read.reads + words)
    traffic[home, output] = written._replace(updates=written.updates + words)
    return replace(found, traffic=traffic)


def padded_for(nest: Nest, factors: Factors, slot: int) -> Factors:
    """The factors as they count for what moves to a slot: ranks cut by units above it run in full.

    A remainder inside such a cut, or of it, leaves some units with less to do than others in a last
    pass, or with nothing. What moves to them is counted as if all had as much. So does
    timeloop-model (NVlabs/timeloop 4cf6d4c), but for some moves in a last pass that leaves units
    idle. A remainder outside the cut is a number of whole passes of all units, and exact.
    """
    above = [s for s in nest.spatial_slots if s < slot]
    if factors.lasts is None or not above:
        return factors
    short = factors.lasts != factors.factors
    inside = np.logical_or.accumulate(short[::-1], axis=0)[::-1]  # there or further in
    cut = ((factors.factors[above] > 1) & inside[above]).any(axis=0)
    lasts = np.where(cut[None], factors.factors, factors.lasts)
    return Factors(factors=factors.factors, lasts=lasts)


# Of a tensor's keepers, outermost first, and one instance of each: the level; words that it ever
# holds; that pass to or from what it feeds; and to or from its own keeper, which the first lacks.
_Kept = Iterator[tuple[int, IntArray, IntArray, IntArray | None]]


def _whole(
    nest: Nest,
    factors: Factors,
    sizes: tuple[int, ...],
    tensor: str,
    visited: Visited | None,
    moves: list[Transfer],
) -> _Kept:
    """Words of a tensor where no loop has a remainder."""
    relevant, grid, order = nest.relevant[tensor], factors.factors[0], nest.orders[0]
    masked = visited.ranks if visited else ()
    volume = prod(n for n, own in zip(sizes, relevant, strict=True) if own)
    other = bool(visited) and all(relevant[r] for r in masked)  # every pass brings other words

    def left(words: IntArray, passes: Transfer | None) -> IntArray:
        if visited is None or passes is None:
            return _left(words, visited if other else None)
        every = masked_passes(relevant, np.asarray(passes.stays), grid, order, masked)
        return np.where(every, _left(words, visited), words)

    levels = [i for i, kept in enumerate(nest.keep) if tensor in kept]
    for level, own, below in zip(levels, moves, moves[1:], strict=False):
        held = volume // own.spread
        above = None if own is moves[0] else left(held * own.of_child(own.passes), own)
        yield level, left(held, None), left(held * below.passes, below), above


def _cut(nest: Nest, factors: Factors, sizes: tuple[int, ...], tensor: str) -> _Kept:
    """Words of a tensor where last passes are shorter; no mask is about."""
    relevant = nest.relevant[tensor]
    levels = [i for i, kept in enumerate(nest.keep) if tensor in kept]

    def moved(level: int | None) -> IntArray:
        slot = len(nest.slots) if level is None else nest.level_slots[level]
        padded = padded_for(nest, factors, slot)
        returns = tensor in nest.returns and (level is None or level > SHARED)
        return moved_words(nest, padded, relevant, slot, level is None, returns=returns)

    def shared_by(level: int, child: int | None) -> IntArray:
        """Instances that need the same words, by one read."""
        slot = len(nest.slots) if child is None else nest.level_slots[child]
        return _product(
            factors.factors[s, r]
            for s in nest.spatial_slots
            if nest.level_slots[level] < s < slot and s not in nest.apart[tensor]
            for r, yes in enumerate(relevant)
            if not yes
        )

    for position, level in enumerate(levels):
        child = levels[position + 1] if position + 1 < len(levels) else None
        instances = _spatial_product(nest, factors, nest.level_slots[level])
        below = moved(child) // (shared_by(level, child) * instances)
        above = moved(level) // instances if position else None
        yield level, _partition(nest, factors, sizes, tensor, level), below, above


def _partition(
    nest: Nest, factors: Factors, sizes: tuple[int, ...], tensor: str, level: int
) -> IntArray:
    """Words of a tensor behind one instance of a level."""
    slot, relevant = nest.level_slots[level], nest.relevant[tensor]
    total = _product(
        factors.factors[s, r]
        for s in nest.spatial_slots
        if s < slot
        for r, yes in enumerate(relevant)
        if not yes
    )
    full = _even(nest, factors, slot)
    for r, own in enumerate(relevant):
        if own:
            padded = np.prod(factors.factors[:, r], axis=0)
            total = total * np.where(full[r], padded, sizes[r])
    return total // _spatial_product(nest, factors, slot)


def _even(nest: Nest, factors: Factors, slot: int) -> BoolArray:
    """Ranks whose units above a slot all count as having as much; [R, n].

    Those that `padded_for` pads, where no loop outside the units evens out who has less.
    """
    padded = padded_for(nest, factors, slot)
    assert padded.lasts is not None
    assert factors.lasts is not None
    changed = (padded.lasts != factors.lasts).any(axis=0)
    first = min((s for s in nest.spatial_slots if s < slot), default=0)
    outside = (factors.factors[:first] > 1).any(axis=0)
    even: BoolArray = changed & ~outside
    return even


def _left(count: IntArray, visited: Visited | None) -> IntArray:
    """Of a count in all pairs of passes, what falls on those that are visited."""
    return count if visited is None else count * visited.pairs // visited.total


def _product(arrays: Iterable[IntArray]) -> IntArray:
    return reduce(mul, arrays, ONE)


def _spatial_product(nest: Nest, factors: Factors, slot: int) -> IntArray:
    """Spatial factors outside a slot: the instances of what stands there."""
    return _product(
        factors.factors[s, r]
        for s in nest.spatial_slots
        if s < slot
        for r in range(len(nest.ranks))
    )


# Which ranks are in the final pass of the loops above; a bit mask, so that one table holds all.
Flags = int


def moved_words(
    nest: Nest,
    factors: Factors,
    relevant: tuple[bool, ...],
    slot: int,
    to_compute: bool,
    *,
    returns: bool = False,
) -> IntArray:
    """Words of one tensor that reach all instances of what stands at a slot, over the whole run.

    Walks the loops outside the slot from the innermost out. For every combination of ranks that
    may be in their final pass it holds the words moved per pass and whether the tile has moved.

    slot:       index of the keeper's slot; the number of slots for the compute unit.
    to_compute: the compute unit keeps nothing, so every temporal loop moves its words.
    returns:    the tile goes with every pass of the outermost loops.
    returns:    int64[n].
    source:     timeloop-model (NVlabs/timeloop 4cf6d4c), which also counts the final pass of one
                kind of loop as a full one: the innermost of all, temporal, over one of the
                tensor's ranks, three passes or more, with as many in the final pass.
    """
    assert factors.lasts is not None
    state = _State(nest, factors, relevant, slot)
    for s in reversed(range(slot)):
        temporal = nest.slots[s].axis == "temporal"
        if s == 0 and returns:
            state.move()
        for r in nest.orders[s]:
            state.step(s, r, temporal, to_compute)
    return state.words[state.mask]


class _State:
    def __init__(self, nest: Nest, factors: Factors, relevant: tuple[bool, ...], slot: int) -> None:
        assert factors.lasts is not None
        self.factors, self.lasts, self.relevant = factors.factors, factors.lasts, relevant
        shape = factors.count
        extents = [self._extents(r, slot, len(nest.slots), shape) for r in range(len(relevant))]
        self.words: dict[Flags, IntArray] = {}
        self.moved: dict[Flags, BoolArray] = {}
        self.first = np.ones(shape, np.bool_)  # no loop met yet
        shorter = (self.factors != self.lasts).any(axis=(0, 2))
        # Every pass of the loops over a rank without a remainder is an ordinary one.
        self.mask = sum(1 << r for r in range(len(relevant)) if shorter[r])
        for flags in (f for f in range(self.mask + 1) if f & ~self.mask == 0):
            product = np.ones(shape, np.int64)
            for r, own in enumerate(relevant):
                if own:
                    product = product * extents[r][flags >> r & 1]
            self.words[flags] = product
            self.moved[flags] = np.zeros(shape, np.bool_)

    def _extents(self, r: int, slot: int, slots: int, shape: int) -> tuple[IntArray, IntArray]:
        """Extent of a rank inside a slot: on an ordinary pass, on the final one."""
        full, final = np.ones(shape, np.int64), np.ones(shape, np.int64)
        for s in reversed(range(slot, slots)):
            final = (self.lasts[s, r] - 1) * full + final
            full = full * self.factors[s, r]
        return full, final

    def move(self) -> None:
        """Let the tile have moved, whatever stands inside."""
        self.moved = {flags: np.ones_like(moved) for flags, moved in self.moved.items()}

    def step(self, s: int, r: int, temporal: bool, to_compute: bool) -> None:
        """Put one loop around what is counted so far."""
        factor, last = self.factors[s, r], self.lasts[s, r]
        bit, own = 1 << r & self.mask, self.relevant[r]
        real = factor > 1
        if not real.any():
            return
        quirk = self.first & (factor == last) & (factor >= 3) if temporal and own else None
        words, moved = dict(self.words), dict(self.moved)
        for flags in self.words:
            full, final = words[flags & ~bit], words[flags | bit]
            was_moved, was_moved_last = moved[flags & ~bit], moved[flags | bit]
            in_final = bool(flags & bit)
            grown = (last - 1) * full + final if in_final else factor * full
            if in_final and quirk is not None:
                grown = np.where(quirk, factor * full, grown)
            if temporal and not own and not to_compute:
                still = ~(was_moved_last if in_final else was_moved)
                grown = np.where(still, final if in_final else full, grown)
            self.words[flags] = np.where(real, grown, self.words[flags])
            if in_final:
                now = was_moved_last | ((last > 1) & was_moved)
                if temporal and own:
                    now = now | (last > 1)
            else:
                now = was_moved | (real if temporal and own else False)
            self.moved[flags] = np.where(real, now, self.moved[flags])
        self.first = self.first & ~real
