"""Loop nests as arrays: one structure (keep, loop order), many factorizations at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from flat_mapper.arch.cores import reads_apart
from flat_mapper.arch.values import Architecture
from flat_mapper.mapping.cores import IntArray as IntArray
from flat_mapper.mapping.values import EinsumMapping, Slot, pieces, slots_of
from flat_mapper.workload.einsum import Einsum

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Nest:
    """Facts that a batch of loop nests has in common.

    slots:    S places for loops, outermost first (see mapping.slots_of).
    keep:     for each storage level (outermost first), the tensors it keeps.
    order:    for each slot, the ranks outermost first; only temporal slots' order matters.
    returns:  tensors that leave the private levels with every pass of the outermost loops, because
              other Einsums have their turn.
    """

    arch: Architecture
    einsum: Einsum
    slots: tuple[Slot, ...]
    keep: tuple[frozenset[str], ...]
    order: tuple[tuple[str, ...], ...]
    returns: frozenset[str] = frozenset()

    @cached_property
    def ranks(self) -> tuple[str, ...]:
        """Rank axis of the factor arrays."""
        return self.einsum.ranks

    @cached_property
    def level_slots(self) -> tuple[int, ...]:
        """The slot index of each storage level's temporal loops, outermost first."""
        return tuple(i for i, s in enumerate(self.slots) if s.axis == "temporal")

    @cached_property
    def spatial_slots(self) -> tuple[int, ...]:
        """The slot indices of spatial loops."""
        return tuple(i for i, s in enumerate(self.slots) if s.axis != "temporal")

    @cached_property
    def apart(self) -> dict[str, tuple[int, ...]]:
        """By tensor, the spatial slots of fanouts whose instances each read it for themselves."""
        fanouts = {f.name: f for f in self.arch.fanouts}
        nodes = [(s, fanouts[self.slots[s].node]) for s in self.spatial_slots]
        return {
            a.tensor: tuple(s for s, fanout in nodes if reads_apart(fanout, a.tensor))
            for a in self.einsum.accesses
        }

    @cached_property
    def orders(self) -> tuple[tuple[int, ...], ...]:
        """`order` as rank indices, innermost first: the direction counts are taken in."""
        index = {r: i for i, r in enumerate(self.ranks)}
        return tuple(tuple(index[r] for r in reversed(order)) for order in self.order)

    def home(self, tensor: str) -> int:
        """Index of the level at which Einsums of a group hand a tensor over."""
        return next(n for n, kept in enumerate(self.keep) if n and tensor in kept)

    @cached_property
    def dims(self) -> dict[str, tuple[tuple[tuple[int, int], ...], ...]]:
        """Dimensions of each tensor: sums of ranks, each by its index and the step of one more."""
        index = {r: i for i, r in enumerate(self.ranks)}
        sums = {a.tensor: a.sums or tuple(((r, 1),) for r in a.ranks) for a in self.einsum.accesses}
        return {
            tensor: tuple(tuple((index[r], step) for r, step in dim) for dim in dims)
            for tensor, dims in sums.items()
        }

    @property
    def bare(self) -> bool:
        """True if a fanout of several copies has no storage below it."""
        below = len(self.slots) - 1 - self.level_slots[-1]
        last = self.arch.fanouts[len(self.arch.fanouts) - below // 2 :]
        return any(f.fanout_x * f.fanout_y > 1 for f in last)

    @cached_property
    def relevant(self) -> dict[str, tuple[bool, ...]]:
        """For each tensor, whether each rank is one of its own."""
        return {a.tensor: tuple(r in a.ranks for r in self.ranks) for a in self.einsum.accesses}


@dataclass(frozen=True, kw_only=True)
class Factors:
    """int64[S, R, n] loop factors, and where remainders occur the final-pass factors.

    extents: of the pieces that stand inside each slot, where they are not all that the factors
             further in reach.
    """

    factors: IntArray
    lasts: IntArray | None = None
    extents: IntArray | None = None

    @classmethod
    def of(cls, factors: IntArray, lasts: IntArray) -> Factors:
        """Factors with those of final passes, which may be the same everywhere."""
        return cls(factors=factors, lasts=None if (factors == lasts).all() else lasts)

    def divide(self, sizes: tuple[int, ...]) -> bool:
        """True if every pass of every loop is as long as the others."""
        return bool((self.factors.prod(axis=0) == np.array(sizes)[:, None]).all())

    @cached_property
    def inside(self) -> IntArray:
        """Extents of the pieces that stand inside each slot; int64[S, R, n]."""
        if self.extents is not None:
            return self.extents
        inner = np.empty_like(self.factors)
        inner[-1] = 1
        for slot in reversed(range(1, len(inner))):
            np.multiply(inner[slot], self.factors[slot], out=inner[slot - 1])
        return inner

    def within(self, sizes: tuple[int, ...]) -> Factors:
        """The same with as many passes as the first piece of every loop takes, at most."""
        size = np.broadcast_to(np.array(sizes)[:, None], self.factors.shape[1:])
        passes, extents = np.ones_like(self.factors), np.empty_like(self.factors)
        for slot, (factor, inside) in enumerate(zip(self.factors, self.inside, strict=True)):
            passes[slot] = np.where(factor > 1, -(-size // inside), 1)
            extents[slot] = size = np.where(factor > 1, np.minimum(size, inside), size)
        return Factors(factors=passes, lasts=self.lasts, extents=extents)

    @property
    def count(self) -> int:
        """n, the number of mappings."""
        return int(self.factors.shape[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class Visited:
    """Pairs of passes of two outermost loops of an Einsum that a mask leaves."""

    ranks: tuple[int, int]  # the two, as indices of the nest's ranks
    pairs: int
    total: int
    # By the extents of the two in a pass: the pairs, and of them those that begin the inner loop,
    # and those that begin both.
    sizes: Mapping[tuple[int, int], tuple[int, int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Passes:
    """Passes of the two loops that a mask cuts which are of one size; or all of a nest, as one.

    counts: passes, and of them those that begin the inner of the two, and those that begin both.
    """

    factors: Factors
    sizes: tuple[int, ...]
    counts: tuple[int, int, int] = (1, 1, 1)


def passes_left(
    nest: Nest, visited: Visited | None, factors: Factors, sizes: tuple[int, ...]
) -> Iterator[Passes]:
    """Passes that a mask leaves, by their size, with the loops in one of them."""
    if visited is None:
        yield Passes(factors=factors, sizes=sizes)
        return
    inner = factors.factors.copy()
    inner[0, [*visited.ranks]] = 1
    one = replace(factors, factors=inner, extents=factors.inside)
    for extents, counts in visited.sizes.items():
        own = {r: 1 if nest.ranks[r] in nest.einsum.each else n
               for r, n in zip(visited.ranks, extents, strict=True)}  # fmt: skip
        small = tuple(own.get(r, n) for r, n in enumerate(sizes))
        yield Passes(factors=one, sizes=small, counts=counts)


def nest_of(
    arch: Architecture,
    einsum: Einsum,
    mapping: EinsumMapping,
    returns: frozenset[str] = frozenset(),
) -> Nest:
    """The structure of one mapping. Ranks without a loop come outermost, in the Einsum's order."""
    slots = slots_of(arch)
    orders = []
    for slot in slots:
        loops = [loop.rank for loop in mapping.at(slot)]
        orders.append((*(r for r in einsum.ranks if r not in loops), *loops))
    keep = tuple(frozenset(mapping.kept_at(lv.name)) for lv in arch.levels)
    return Nest(
        arch=arch, einsum=einsum, slots=slots, keep=keep, order=tuple(orders), returns=returns
    )


def factors_of(nest: Nest, mappings: Sequence[EinsumMapping]) -> Factors:
    """The factor arrays of mappings that share a structure."""
    shape = (len(nest.slots), len(nest.ranks), len(mappings))
    factors, lasts = np.ones(shape, np.int64), np.ones(shape, np.int64)
    extents = None
    index = {r: i for i, r in enumerate(nest.ranks)}
    place = {s: i for i, s in enumerate(nest.slots)}
    for n, mapping in enumerate(mappings):
        for slot, loops in mapping.loops:
            for loop in loops:
                factors[place[slot], index[loop.rank], n] = loop.factor
                lasts[place[slot], index[loop.rank], n] = loop.final
        if any(loop.extent for _, loop in mapping.placed):
            extents = np.ones(shape, np.int64) if extents is None else extents
            extents[:, :, n] = _extents(nest, mapping)
    return replace(Factors.of(factors, lasts), extents=extents)


def _extents(nest: Nest, mapping: EinsumMapping) -> IntArray:
    """Extents of the pieces inside every slot of one mapping; int64[S, R]."""
    found = np.ones((len(nest.slots), len(nest.ranks)), np.int64)
    for r, rank in enumerate(nest.ranks):
        own = [(nest.slots.index(slot), p) for slot, p in mapping.placed if p.rank == rank]
        if own:
            reach = pieces([loop for _, loop in own]) if rank not in nest.einsum.each else [1]
            found[: own[0][0], r] = reach[0] * own[0][1].factor
            for (slot, _), extent in zip(own, reach, strict=True):
                found[slot:, r] = extent
    return found


def extents(factors: Factors, sizes: tuple[int, ...], slot: int) -> list[IntArray]:
    """Extent of every rank in the largest piece that a slot is given; int64[n]."""
    size = np.broadcast_to(np.array(sizes)[:, None], factors.factors.shape[1:])
    return list(np.minimum(size, factors.inside[slot - 1]) if slot else size)


def words_of_tiles(
    nest: Nest, factors: Factors, sizes: tuple[int, ...]
) -> dict[tuple[int, str], IntArray]:
    """(level index, tensor) -> words of the tile one instance keeps, int64[n]."""
    tiles: dict[tuple[int, str], IntArray] = {}
    for level, slot in enumerate(nest.level_slots):
        inside = extents(factors, sizes, slot)
        for access in nest.einsum.accesses:
            if access.tensor in nest.keep[level]:
                words = np.ones(1, np.int64)
                for dim in nest.dims[access.tensor]:
                    words = words * (1 + sum(step * (inside[r] - 1) for r, step in dim))
                tiles[level, access.tensor] = words
    return tiles
