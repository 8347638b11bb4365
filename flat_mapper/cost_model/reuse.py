"""Scalar reads, fills and updates of every tensor at every storage level, per instance.

By the rule of `transfers` where loops have no remainders; else by that of `passes`, or padded as
Timeloop does (`moved_words`), where a comparison with it asks for that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import prod
from typing import Any

import numpy as np

from flat_mapper.cost_model.nest import (
    BoolArray,
    Factors,
    FloatArray,
    IntArray,
    Nest,
    Passes,
    Visited,
    passes_left,
)
from flat_mapper.cost_model.passes import ALONE, Cuts, words_brought
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
    padded: bool = False,
) -> Accesses:
    """Words moved by every mapping of a batch.

    factors:   int64[S, R, n].
    sizes:     rank sizes, in the order of nest.ranks.
    handed_on: computes right below a fanout take words from their neighbours, as Timeloop has it.
    padded:    some last passes count as full ones, as Timeloop has it.
    visited: pairs of outermost passes that a mask leaves: what moves in each of them moves in so
             many; what stays in place over one of the two loops moves as often as before.
    source:  timeloop-model (NVlabs/timeloop 4cf6d4c), reproduced on all its recorded answers.
    """
    traffic: dict[tuple[int, str], Traffic] = {}
    whole = factors.divide(sizes)
    inner = factors if whole or padded else factors.within(sizes)
    moves = {tensor: transfers_of(nest, inner, tensor) for tensor in nest.relevant}
    instances = tuple(_spatial_product(nest, factors, s) for s in nest.level_slots)
    for access in nest.einsum.accesses:
        if access.sums or (handed_on and nest.bare and whole):
            from flat_mapper.cost_model.windows import windowed_traffic  # few tensors have them

            traffic |= windowed_traffic(nest, factors, access.tensor)
            continue
        what = nest, factors, sizes, access.tensor, moves[access.tensor]
        if whole:
            words = _whole(*what, visited)
        else:
            words = _padded(*what) if padded else _exact(*what[:4], instances, visited)
        for level, held, below, above in words:
            reads, updates = at_parent(below, held, output=access.is_output)
            fills = NONE if above is None else at_child(above, held, output=access.is_output)
            traffic[level, access.tensor] = Traffic(
                *(reads, fills, updates, held), crossed=reads + updates
            )
    return Accesses(
        traffic=traffic,
        instances=instances,
        compute=_steps(nest, factors, sizes, visited, alike=whole or padded),
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
    inner = [r for r, rank in enumerate(nest.ranks) if rank in each]
    home, total = nest.home(copied), np.zeros(1, np.int64)
    for kind in passes_left(nest, visited, factors, sizes):
        volume = prod(n for n, yes in zip(kind.sizes, nest.relevant[copied], strict=True) if yes)
        every, first, _ = kind.counts
        total = total + volume * (every * _product(kind.factors, [0], inner) - first)
    words = -(-total // found.instances[home])
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
    moves: list[Transfer],
    visited: Visited | None,
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


def _padded(
    nest: Nest, factors: Factors, sizes: tuple[int, ...], tensor: str, moves: list[Transfer]
) -> _Kept:
    """Words of a tensor where last passes are shorter, as timeloop-model has them."""
    relevant, levels = nest.relevant[tensor], [i for i, t in enumerate(nest.keep) if tensor in t]
    lacks = [r for r, own in enumerate(relevant) if not own]
    slots = [*(nest.level_slots[i] for i in levels), len(nest.slots)]
    words = [moved_words(nest, factors, tensor, slot) for slot in slots]
    for i, (level, own) in enumerate(zip(levels, moves, strict=False)):
        between = (s for s in nest.spatial_slots if slots[i] < s < slots[i + 1])
        # One read serves all instances that need the same.
        shared = _product(factors, [s for s in between if s not in nest.apart[tensor]], lacks)
        held = _padded_words(nest, factors, sizes, relevant, slots[i]) // own.spread
        above = words[i] // own.copies if i else None
        yield level, held, words[i + 1] // (shared * own.copies), above


def cuts_of(nest: Nest, factors: Factors, sizes: tuple[int, ...]) -> dict[int, Cuts]:
    """The loops of every rank, by its index; a slot's begin at the place slot x ranks."""
    ranks, grid, inside = len(nest.ranks), factors.factors, factors.inside
    found: dict[int, list[tuple[int, bool, IntArray]]] = {r: [] for r in range(ranks)}
    for slot in reversed(range(len(nest.slots))):
        in_time = nest.slots[slot].axis == "temporal"
        for i, r in enumerate(nest.orders[slot]):
            if (grid[slot, r] > 1).any():
                found[r].append((slot * ranks + ranks - 1 - i, in_time, inside[slot, r]))
    return {
        r: Cuts(
            size=np.full(factors.count, size, np.int64),
            extents=np.array([e for *_, e in loops[::-1]]).reshape(len(loops), factors.count),
            places=tuple(place for place, *_ in loops[::-1]),
            in_time=tuple(in_time for _, in_time, _ in loops[::-1]),
        )
        for (r, loops), size in zip(found.items(), sizes, strict=True)
    }


def _exact(
    nest: Nest,
    factors: Factors,
    sizes: tuple[int, ...],
    tensor: str,
    instances: Sequence[IntArray],
    visited: Visited | None,
) -> _Kept:
    """Words of a tensor where last passes are shorter, as they run: of the mean instance."""
    levels = [i for i, kept in enumerate(nest.keep) if tensor in kept]
    slots = (*(nest.level_slots[i] for i in levels), len(nest.slots))
    masked, every = visited.ranks if visited else (), (*passes_left(nest, visited, factors, sizes),)
    kinds = [_Brought.of(nest, one, tensor, masked) for one in every]
    above: IntArray | None = None
    for i, level in enumerate(levels):
        ends = slots[i], slots[i + 1]
        held, read = (np.sum(own, axis=0) for own in (
            [kind.held(slots[i]) for kind in kinds],
            [kind.words(*ends, each=False) for kind in kinds],
        ))  # fmt: skip
        yield (level, *(_each(n, instances[level]) for n in (held, read)), above)
        if i + 1 < len(levels):
            filled = np.sum([kind.words(*ends, each=True) for kind in kinds], axis=0)
            above = _each(filled, instances[levels[i + 1]])


@dataclass(frozen=True, kw_only=True)
class _Brought:
    """One tensor's words in passes of one size.

    own:     its ranks. spatial: the slots of the loops in space, by place.
    left:    see `words_brought`. anew: place of the innermost loop over its ranks that a mask cuts:
             with each pass of what is outside it begins again.
    """

    nest: Nest
    tensor: str
    sizes: tuple[int, ...]
    cuts: dict[int, Cuts]
    own: tuple[int, ...]
    spatial: dict[int, int]
    left: dict[int, int]
    anew: int

    @classmethod
    def of(cls, nest: Nest, passes: Passes, tensor: str, masked: tuple[int, ...]) -> _Brought:
        """Those of a tensor; masked: ranks whose outermost loops a mask cuts."""
        cuts, last = cuts_of(nest, passes.factors, passes.sizes), len(nest.ranks) - 1
        relevant = nest.relevant[tensor]
        at = {r: last - i for i, r in enumerate(nest.orders[0]) if r in masked}
        places = sorted(at.values(), reverse=True)
        return cls(
            nest=nest,
            tensor=tensor,
            sizes=passes.sizes,
            cuts=cuts,
            own=tuple(r for r, yes in enumerate(relevant) if yes),
            spatial={
                place: place // len(nest.ranks)
                for one in cuts.values()
                for place, in_time in zip(one.places, one.in_time, strict=True)
                if not in_time
            },
            left=dict(zip((*places, ALONE), passes.counts if at else (1,), strict=True)),
            anew=max((place for r, place in at.items() if relevant[r]), default=ALONE),
        )

    def words(self, top: int, cut: int, *, each: bool) -> IntArray:
        """That come from a keeper to what it feeds, at their slots.

        each: all instances there, else those that the keeper reads, one for all that share it.
        """
        nest, tensor, ranks = self.nest, self.tensor, len(self.nest.ranks)
        apart = nest.apart[tensor]
        counted = [p for p, s in self.spatial.items() if each or s < top or s in apart]
        outside = {r: one.outside(cut * ranks) for r, one in self.cuts.items()}
        again = self.anew
        if cut == len(nest.slots):  # a unit keeps nothing
            again = cut * ranks
        elif tensor in nest.returns and cut > nest.level_slots[SHARED]:
            again = ranks - 1  # of all loops of the outermost slot
        return words_brought(outside, self.own, counted, again=again, left=self.left)

    def held(self, slot: int) -> IntArray:
        """Different words that all instances of a keeper ever hold."""
        found = prod(self.sizes[r] for r in self.own) * self.left[self.anew] * ONE
        for one in (one for r, one in self.cuts.items() if r not in self.own):
            found = found * one.outside(slot * len(self.nest.ranks)).pieces([*self.spatial])
        return found


def _each(words: IntArray, instances: IntArray) -> Any:
    """Words of the mean instance; whole ones where they are all alike."""
    mean, left = np.divmod(words, instances)
    return words / instances if left.any() else mean


def _steps(
    nest: Nest,
    factors: Factors,
    sizes: tuple[int, ...],
    visited: Visited | None,
    *,
    alike: bool,
) -> IntArray:
    """Steps of the compute unit: passes of all loops in time; alike: all count as full ones."""
    if alike:
        return _left(_product(factors, nest.level_slots), visited)
    total = np.zeros(1, np.int64)
    for kind in passes_left(nest, visited, factors, sizes):
        found = kind.counts[0] * ONE
        for one in cuts_of(nest, kind.factors, kind.sizes).values():
            in_time = [p for p, yes in zip(one.places, one.in_time, strict=True) if yes]
            found = found * one.pieces(in_time)
        total = total + found
    return total


def _padded_words(
    nest: Nest, factors: Factors, sizes: tuple[int, ...], relevant: tuple[bool, ...], slot: int
) -> IntArray:
    """Words of a tensor behind all instances of a slot.

    Units above it all count as having as much of what `padded_for` pads, where no loop outside the
    units evens out who has less.
    """
    padded = padded_for(nest, factors, slot)
    assert padded.lasts is not None
    first = min((s for s in nest.spatial_slots if s < slot), default=0)
    outside = (factors.factors[:first] > 1).any(axis=0)
    even = (padded.lasts != factors.lasts).any(axis=0) & ~outside
    whole = np.where(even, factors.factors.prod(axis=0), np.array(sizes)[:, None])
    words: IntArray = whole[np.array(relevant)].prod(axis=0)
    return words


def _left(count: IntArray, visited: Visited | None) -> IntArray:
    """Of a count in all pairs of passes, what falls on those that are visited."""
    return count if visited is None else count * visited.pairs // visited.total


def _product(
    factors: Factors, slots: Sequence[int], ranks: Sequence[int] | None = None
) -> IntArray:
    """Product of the factors at some slots, over some ranks or all; int64[n]."""
    grid = factors.factors[[*slots]]
    found: IntArray = (grid if ranks is None else grid[:, [*ranks]]).prod(axis=(0, 1))
    return found


def _spatial_product(nest: Nest, factors: Factors, slot: int) -> IntArray:
    """Spatial factors outside a slot: the instances of what stands there."""
    return _product(factors, [s for s in nest.spatial_slots if s < slot])


def moved_words(nest: Nest, factors: Factors, tensor: str, slot: int) -> IntArray:
    """Words of one tensor that reach all instances of what stands at a slot, over the whole run.

    slot:    index of the keeper's slot; the number of slots for the compute unit, which keeps
             nothing, so that every temporal loop moves its words.
    returns: int64[n].
    source:  timeloop-model (NVlabs/timeloop 4cf6d4c), which also counts the final pass of one kind
             of loop as a full one: the innermost of all, temporal, over one of the tensor's ranks,
             three passes or more, with as many in the final pass.
    """
    padded, relevant = padded_for(nest, factors, slot), nest.relevant[tensor]
    passes, lasts = padded.factors, padded.lasts
    assert lasts is not None
    returns = tensor in nest.returns and slot > nest.level_slots[SHARED]
    loops = [(s, r) for s in range(len(nest.slots)) for r in reversed(nest.orders[s])]

    @cache
    def walk(i: int, final: frozenset[int]) -> tuple[IntArray, BoolArray, BoolArray]:
        """Words that the i-th loop moves with all inside it, while some ranks are in the final pass
        of the loops above; whether it moves the tile; and whether it, or one inside, is a loop.
        """
        if i == len(loops):
            return ONE, ONE < 1, ONE < 1
        (s, r), ended = loops[i], loops[i][1] in final
        temporal, own, factor = nest.slots[s].axis == "temporal", relevant[r], passes[s, r]
        count = lasts[s, r] if ended else factor
        full, was, _ = walk(i + 1, final - {r})
        end, moved, met = walk(i + 1, final)
        grown = (count - 1) * full + end
        if s >= slot:
            return (grown if own else end), moved, met
        if temporal and own and ended:
            quirk = ~met & (factor == lasts[s, r]) & (factor >= 3)
            grown = np.where(quirk, factor * full, grown)
        elif temporal and not own and slot < len(nest.slots) and not (returns and s == 0):
            grown = np.where(moved, grown, end)
        return grown, moved | ((count > 1) & (was | (temporal and own))), met | (factor > 1)

    # Every pass of the loops over a rank without a remainder is an ordinary one.
    short = (passes != lasts).any(axis=(0, 2))
    return walk(0, frozenset(np.flatnonzero(short).tolist()))[0]
