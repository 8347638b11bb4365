"""Scalar reads, fills and updates of every tensor at every storage level, per instance.

The rule, as timeloop-model counts (its recorded answers are in tests/data): between a tensor's
outer keeper P and its next inner keeper C (or the compute unit, which keeps nothing) a whole
tile moves each time C's tile is replaced. A temporal loop over a rank that the tensor lacks
replaces nothing as long as it stands in the unbroken innermost run of such loops outside C;
outside that run it brings the same words again. Spatial loops over a rank that the tensor lacks
share one parent access: a multicast for inputs, a spatial reduction for outputs; but not over a
fanout that says `no_multicast_no_reduction`.

Beyond Timeloop: where Einsums take turns, a tensor that leaves the private levels with every turn
has its run end at the outermost loops, which they share.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import reduce
from math import prod
from operator import mul
from typing import TYPE_CHECKING

import numpy as np

from flat_mapper.arch.values import MemoryLevel
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.cost_model.nest import BoolArray, Factors, FloatArray, IntArray, Nest, Visited

if TYPE_CHECKING:  # at run time windows are imported when a tensor has them
    from flat_mapper.cost_model.windows.nest import Block

ONE = np.ones(1, np.int64)
SHARED = 1  # index of the level that Einsums of a group share; those inside it are private


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Words of one tensor at one level and instance, over the whole run; each int64[n] or [1]."""

    reads: IntArray
    fills: IntArray
    updates: IntArray
    temporal_reductions: IntArray
    partition: IntArray  # words of the tensor that this instance ever holds
    crossed: IntArray | None = None  # to what the level feeds, and from it; None: not known


@dataclass(frozen=True, slots=True, kw_only=True)
class Accesses:
    """Everything that moves in a batch of loop nests.

    traffic:   (level index, tensor) -> Traffic, for the tensors kept at the level.
    instances: int64[n] of each level: the instances that take part.
    compute:   [n] cycles of the compute unit: the product of all temporal factors, times the cycles
               of an operation.
    lanes:     int64[n] compute units in use.
    """

    traffic: dict[tuple[int, str], Traffic]
    instances: tuple[IntArray, ...]
    compute: IntArray | FloatArray
    lanes: IntArray


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
    for access in nest.einsum.accesses:
        if access.sums or (handed_on and nest.bare and factors.lasts is None):
            traffic |= windowed_traffic(nest, factors, access.tensor)
            continue
        chain = [i for i, kept in enumerate(nest.keep) if access.tensor in kept]
        words = _Words(nest, factors, sizes, access.tensor, visited)
        for position, level in enumerate(chain):
            above = words.fills(level) if position else None
            below = words.drawn(level, chain[position + 1] if position + 1 < len(chain) else None)
            held = words.touched(level)
            traffic[level, access.tensor] = _traffic(access.is_output, held, above, below)
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
    )


def windowed_traffic(nest: Nest, factors: Factors, tensor: str) -> dict[tuple[int, str], Traffic]:
    """Words moved of a tensor whose tiles may overlap, at the levels that keep it.

    raises: SpecError where loops have remainders.
    """
    from flat_mapper.cost_model.windows.counts import window_counts

    if factors.lasts is not None:
        where = f"{nest.einsum.name}: {tensor}"
        condition = "factors that divide their ranks beside a sum of ranks, as in a convolution"
        raise SpecError(expected(where, condition, "a remainder"))
    output = nest.einsum.output.tensor == tensor
    blocks = [_blocks(nest, factors, tensor, n) for n in range(factors.count)]
    projection = nest.projection(tensor)
    found = [window_counts(b, projection, len(nest.ranks), is_output=output) for b in blocks]
    traffic = {}
    positions = [i for i, node in enumerate(nest.arch.nodes) if isinstance(node, MemoryLevel)]
    for level, position in enumerate(positions):
        if tensor in nest.keep[level]:
            kept = [counts[position] for counts in found]
            fields = ("reads", "fills", "updates", "temporal_reductions", "partition")
            traffic[level, tensor] = Traffic(
                **{f: np.array([getattr(c, f) for c in kept], np.int64) for f in fields}
            )
    return traffic


def _blocks(nest: Nest, factors: Factors, tensor: str, n: int) -> list[Block]:
    """The nodes of one loop nest, outermost first, as the count of windows takes them."""
    from flat_mapper.cost_model.windows.nest import Block, Pass

    left = [int(np.prod(factors.factors[:, r, n])) for r in range(len(nest.ranks))]

    def passes(slot: int) -> tuple[Pass, ...]:
        found = []
        for r in reversed(nest.orders[slot]):
            factor = int(factors.factors[slot, r, n])
            left[r] //= factor
            found.append(Pass(r, factor, left[r]))
        return tuple(p for p in found if p.factor > 1)

    blocks, slot, level = [], 0, 0
    for node in nest.arch.nodes:
        if isinstance(node, MemoryLevel):
            keeps = tensor in nest.keep[level]
            blocks.append(Block(loops=passes(slot), spatial=False, keeps=keeps))
            slot, level = slot + 1, level + 1
        else:
            y, x = passes(slot), passes(slot + 1)
            mesh, apart = (node.fanout_x, node.fanout_y), slot in nest.apart[tensor]
            block = Block(loops=(*y, *x), spatial=True, across=len(x), mesh=mesh, apart=apart)
            blocks.append(block)
            slot += 2
    return blocks


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
    traffic[home, copied] = replace(read, reads=read.reads + words)
    traffic[home, output] = replace(written, updates=written.updates + words)
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


def _traffic(is_output: bool, held: IntArray, above: IntArray | None, below: IntArray) -> Traffic:
    zero = np.zeros(1, np.int64)
    if not is_output:
        filled = zero if above is None else above
        return Traffic(
            reads=below,
            fills=filled,
            updates=zero,
            temporal_reductions=zero,
            partition=held,
            crossed=below,
        )
    return Traffic(
        reads=below - held,  # the first visit of every word needs no old value
        crossed=2 * below - held,
        fills=zero if above is None else above - held,
        updates=below,
        temporal_reductions=below - held,
        partition=held,
    )


class _Words:
    """The words of one tensor: what each keeper holds, draws and is filled with."""

    def __init__(
        self,
        nest: Nest,
        factors: Factors,
        sizes: tuple[int, ...],
        tensor: str,
        visited: Visited | None,
    ) -> None:
        self.visited = visited
        self.nest, self.factors, self.sizes, self.tensor = nest, factors, sizes, tensor
        self.relevant = nest.relevant[tensor]
        self.volume = prod(n for n, own in zip(sizes, self.relevant, strict=True) if own)

    def partition(self, level: int) -> IntArray:
        """Words of the tensor behind one instance of a level."""
        slot = self.nest.level_slots[level]
        if self.factors.lasts is not None:
            total = self._spatial(slot, relevant=False)
            full = self._even(slot)
            for r, own in enumerate(self.relevant):
                if own:
                    padded = np.prod(self.factors.factors[:, r], axis=0)
                    total = total * np.where(full[r], padded, self.sizes[r])
            return total // _spatial_product(self.nest, self.factors, slot)
        # A product, where a division would do: integer division is many times slower.
        indices = [r for r, yes in enumerate(self.relevant) if yes]
        outside = {s for s in self.nest.spatial_slots if s < slot}
        if not outside:
            return np.full(1, self.volume, np.int64)
        return _product(
            self.factors.factors[s, r]
            for s in range(len(self.nest.slots))
            if s not in outside
            for r in indices
        )

    def _even(self, slot: int) -> BoolArray:
        """Ranks whose units above a slot all count as having as much; [R, n].

        Those that `padded_for` pads, where no loop outside the units evens out who has less.
        """
        padded = padded_for(self.nest, self.factors, slot)
        assert padded.lasts is not None
        assert self.factors.lasts is not None
        changed = (padded.lasts != self.factors.lasts).any(axis=0)
        first = min((s for s in self.nest.spatial_slots if s < slot), default=0)
        outside = (self.factors.factors[:first] > 1).any(axis=0)
        even: BoolArray = changed & ~outside
        return even

    def drawn(self, level: int, child: int | None) -> IntArray:
        """Words that one instance of a level hands to (or takes back from) its inner keeper."""
        if self.factors.lasts is None:
            drawn = self.partition(level) * self._passes(child) * self._equals(level, child, True)
            return self._visited(drawn, child)
        slot = self._slot(child)
        shared = self._equals(level, child, False)
        instances = _spatial_product(self.nest, self.factors, self.nest.level_slots[level])
        padded = padded_for(self.nest, self.factors, slot)
        moved = moved_words(
            *(self.nest, padded, self.relevant, slot, child is None),
            returns=self._returns(child),
        )
        return moved // (shared * instances)

    def _equals(self, level: int, child: int | None, apart: bool) -> IntArray:
        """Instances that need the same words, each on its own if apart, else all by one read."""
        own = self.nest.apart[self.tensor]
        return _product(
            self.factors.factors[s, r]
            for s in self.nest.spatial_slots
            if self.nest.level_slots[level] < s < self._slot(child) and (s in own) == apart
            for r, yes in enumerate(self.relevant)
            if not yes
        )

    def fills(self, level: int) -> IntArray:
        """Words that one instance of a level gets from (or owes to) its outer keeper."""
        if self.factors.lasts is None:
            return self._visited(self.partition(level) * self._passes(level), level)
        slot = self.nest.level_slots[level]
        instances = _spatial_product(self.nest, self.factors, slot)
        padded = padded_for(self.nest, self.factors, slot)
        moved = moved_words(
            *(self.nest, padded, self.relevant, slot, False), returns=self._returns(level)
        )
        return moved // instances

    def touched(self, level: int) -> IntArray:
        """Words of the tensor that one instance of a level ever holds: masked parts left out."""
        held = self.partition(level)
        if self.visited is None or not all(self.relevant[r] for r in self.visited.ranks):
            return held
        return _left(held, self.visited)

    def _visited(self, words: IntArray, child: int | None) -> IntArray:
        """Words in all passes of the outermost loops as words in those that a mask leaves."""
        if self.visited is None:
            return words
        counted: dict[int, bool] = dict.fromkeys(self.visited.ranks, child is None)
        moved = child is None
        for s in reversed([s for s in self.nest.level_slots if s < self._slot(child)]):
            moved = moved or (s == 0 and self._returns(child))
            for r in self.nest.orders[s]:
                real = bool((self.factors.factors[s, r] > 1).all())
                if s == 0 and r in counted:
                    counted[r] = self.relevant[r] or moved
                moved = moved or (self.relevant[r] and real)
        return _left(words, self.visited) if all(counted.values()) else words

    def _returns(self, child: int | None) -> bool:
        """True if a child's tiles go with every pass of the outermost loops."""
        return self.tensor in self.nest.returns and (child is None or child > SHARED)

    def _slot(self, child: int | None) -> int:
        return len(self.nest.slots) if child is None else self.nest.level_slots[child]

    def _passes(self, child: int | None) -> IntArray:
        """Number of times a child's tiles come past: irrelevant temporal loops outside its run."""
        slot = self._slot(child)
        outer = [s for s in self.nest.level_slots if s < slot]
        if child is None:
            return _product(
                self.factors.factors[s, r]
                for s in outer
                for r, yes in enumerate(self.relevant)
                if not yes
            )
        passes, moved = ONE, None
        for s in reversed(outer):
            if s == 0 and self._returns(child):
                moved = np.ones(1, np.bool_)
            for r in self.nest.orders[s]:
                factor = self.factors.factors[s, r]
                if self.relevant[r]:
                    moved = factor > 1 if moved is None else moved | (factor > 1)
                elif moved is not None:
                    passes = passes * np.where(moved, factor, 1)
        return passes

    def _spatial(self, slot: int, *, relevant: bool) -> IntArray:
        return _product(
            self.factors.factors[s, r]
            for s in self.nest.spatial_slots
            if s < slot
            for r, yes in enumerate(self.relevant)
            if yes == relevant
        )


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
