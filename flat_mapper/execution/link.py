"""Places of tensors in the levels, and moves between a level and the next one in that keeps it.

A `FlatNest` is an Einsum's loop nest: every loop with the stride of its rank's coordinate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from flat_mapper.arch.cores import reads_apart
from flat_mapper.arch.values import Architecture
from flat_mapper.execution.real_numbers import Arithmetic, Values
from flat_mapper.mapping.values import EinsumMapping, slots_of
from flat_mapper.workload.einsum import Einsum, TensorAccess

Integers = npt.NDArray[np.int64]
DRAM, SHARED_LEVEL, LANES_LEVEL = 0, 1, -1  # level indices


@dataclass(frozen=True, slots=True, kw_only=True)
class NestLoop:
    """One loop: its slot, and by how much one pass of it moves the coordinate of its rank."""

    slot: int
    rank: str
    factor: int
    stride: int  # the extent of a piece inside it
    temporal: bool


@dataclass(frozen=True, kw_only=True)
class FlatNest:
    """The loops of one Einsum, outermost first, and the levels they stand at.

    sizes:  of each rank; a coordinate at or beyond it does not exist (a loop's shorter last pass).
    ragged: ranks of which some coordinates that the loops reach do not exist, in all or in a piece.
    """

    arch: Architecture
    einsum: Einsum
    mapping: EinsumMapping
    steps: tuple[NestLoop, ...]
    sizes: Mapping[str, int]
    ragged: tuple[str, ...]
    level_slots: tuple[int, ...]
    slot_count: int

    @cached_property
    def temporal(self) -> tuple[NestLoop, ...]:
        """The loops in time, outermost first: the order of an index vector."""
        return tuple(s for s in self.steps if s.temporal)

    @cached_property
    def spatial(self) -> tuple[NestLoop, ...]:
        """The loops in space."""
        return tuple(s for s in self.steps if not s.temporal)

    @cached_property
    def dram_loops(self) -> int:
        """Number of the loops in time that stand at DRAM: the first so many."""
        return sum(s.slot == 0 for s in self.temporal)

    def extent(self, rank: str, slot: int) -> int:
        """Coordinates of a rank in the largest piece that a slot is given."""
        outside = (s.stride for s in self.steps if s.rank == rank and s.slot < slot)
        return min([self.sizes[rank], *outside])

    def keepers(self, tensor: str) -> tuple[int, ...]:
        """Indices of the levels that keep a tensor, outermost first."""
        levels = enumerate(self.arch.levels)
        return tuple(i for i, lv in levels if tensor in self.mapping.kept_at(lv.name))

    def instances(self, slot: int) -> int:
        """Number of instances at a slot."""
        return int(np.prod([s.factor for s in self.spatial if s.slot < slot], dtype=np.int64))


def flat_nest(
    arch: Architecture, einsum: Einsum, mapping: EinsumMapping, rank_sizes: Mapping[str, int]
) -> FlatNest:
    """The flattened nest of one Einsum."""
    slots = slots_of(arch)
    found: list[NestLoop] = []
    inside: dict[str, int] = {}
    ragged = set[str]()
    for s in reversed(range(len(slots))):
        for loop in reversed(mapping.at(slots[s])):
            if loop.factor > 1:
                reach = inside.get(loop.rank, 1)
                stride = reach if loop.rank in einsum.each else loop.extent or reach
                ragged |= {loop.rank} if stride != reach else set()
                temporal = slots[s].axis == "temporal"
                found.append(
                    NestLoop(
                        slot=s, rank=loop.rank, factor=loop.factor, stride=stride, temporal=temporal
                    )
                )
                inside[loop.rank] = stride * loop.factor
    sizes = {r: inside.get(r, 1) if r in einsum.each else rank_sizes[r] for r in einsum.ranks}
    return FlatNest(
        arch=arch,
        einsum=einsum,
        mapping=mapping,
        steps=tuple(reversed(found)),
        sizes=sizes,
        ragged=tuple(r for r, n in sizes.items() if r in ragged or inside.get(r, 1) != n),
        level_slots=tuple(i for i, s in enumerate(slots) if s.axis == "temporal"),
        slot_count=len(slots),
    )


def weighted(pairs: Iterable[tuple[int, int]], index: Sequence[int]) -> int:
    """The sum of weight x index over (position, weight) pairs."""
    return sum(index[at] * weight for at, weight in pairs)


Index = Sequence[int]  # of every loop in time, outermost first
Booleans = npt.NDArray[np.bool_]


@dataclass(slots=True)
class Place:
    """Words of one tensor's tile in every instance of a level, in one flat array.

    data:    float64[instances * size]; NaN where nothing was ever put.
    strides: of each rank, words between neighbours.
    tensors: that are made in it, one in the place of the other.
    """

    data: Values
    size: int
    strides: Mapping[str, int]
    tensors: list[str] = field(default_factory=list)

    def beginning(self, parts: Mapping[str, tuple[int, int]]) -> Place:
        """The same words, seen from the first of a part: (first, extent) along each rank."""
        first = sum(parts[rank][0] * stride for rank, stride in self.strides.items())
        return replace(self, data=self.data[first:])


def new_place(tensor: str, extents: Mapping[str, int], instances: int) -> Place:
    """Room for a tile of the given extents in every instance."""
    size, strides = 1, {}
    for rank in reversed(tuple(extents)):
        strides[rank] = size
        size *= extents[rank]
    return Place(
        data=np.full(instances * size, np.nan), size=size, strides=strides, tensors=[tensor]
    )


@dataclass(slots=True)
class Counter:
    """Values of one tensor that moved at one level, all instances together.

    sums: of the updates, those of values that are still added up.
    share, so_far: words of a value; of one that comes back, or is still added up.
    """

    share: float = 1.0
    so_far: float = 1.0
    reads: int = 0
    fills: int = 0
    updates: int = 0
    sums: int = 0
    told: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def words(self) -> tuple[float, float, float]:
        """Words read, updated and filled."""
        updated = self.updates * self.share + self.sums * (self.so_far - self.share)
        return self.reads * self.so_far, updated, self.fills * self.so_far

    @property
    def widest(self) -> float:
        """Words of a value at the level, at most so far."""
        return self.so_far if self.sums else self.share

    def since(self) -> tuple[float, float, float]:
        """Those words since they were last asked for."""
        read, updated, filled = self.told
        self.told = now = self.words
        return now[0] - read, now[1] - updated, now[2] - filled


class Instances:
    """The instances at a slot; placed: their indices of each loop in space outside it."""

    def __init__(self, nest: FlatNest, cut: int) -> None:
        loops = [s for s in nest.spatial if s.slot < cut]
        grid = np.indices([s.factor for s in loops], dtype=np.int64)
        self.count = nest.instances(cut)
        self.placed = [(s, part.reshape(-1)) for s, part in zip(loops, grid, strict=True)]

    def number(self, counts: Callable[[NestLoop], bool]) -> Integers:
        """The number of what each instance has, among all that some loops tell apart."""
        number = np.zeros(self.count, np.int64)
        for step, index in self.placed:
            if counts(step):
                number = number * step.factor + index
        return number

    def moved(self, strides: Callable[[NestLoop], int]) -> Integers:
        """By how much the loops move each instance, each by its stride."""
        found = np.zeros(self.count, np.int64)
        for step, index in self.placed:
            found = found + index * strides(step)
        return found

    def coordinate(self, rank: str) -> Integers:
        """The first coordinate of a rank in each instance, as far as these loops set it."""
        return self.moved(lambda step: step.stride if step.rank == rank else 0)


class Link:
    """Tiles of one tensor that the instances at a slot have of the tile of its keeper further out.

    The instances of the last slot are the lanes of the compute unit, which have a word each.

    level: index of the level at the slot. staged: from DRAM to the shared level.
    index: int64[n, words], where each word of each instance's tile lies in the keeper's place, up
           to an offset of the loops in time between the two.
    reps:  of the instances that see the same words of the same parent, the first: one access of the
           parent serves them all (a multicast, or a spatial reduction).
    peers: int64[len(reps), g], each of those with its equals.
    heads: the instances whose access the parent counts: the first of those that one access serves,
           or all that see the same words, over a fanout that serves each of them for itself.
    held:  the key of the tile that is there. most: words of the largest in any instance.
    """

    def __init__(
        self,
        nest: FlatNest,
        access: TensorAccess,
        levels: tuple[int, int],
        places: tuple[Place, Place],
        counters: tuple[Counter, Counter],
    ) -> None:
        self.nest, self.access = nest, access
        outer, self.level = levels
        self.staged = levels == (DRAM, SHARED_LEVEL)
        self.parent, self.child = places
        self.outer, self.inner = counters
        self.held: tuple[int, ...] | None = None
        self.offset = self.most = 0
        # Of a tensor that has a window: what each read outside asks for, by the loops' indices.
        self.asked: list[tuple[Index, int, int]] | None = None
        self._valid: Booleans | None = None
        self.top = nest.level_slots[outer]
        self.cut = nest.slot_count if self.level == LANES_LEVEL else nest.level_slots[self.level]
        time = [(i, s) for i, s in enumerate(nest.temporal) if s.slot < self.cut]
        self.key_at = tuple(i for i, s in time if s.rank in access.ranks)
        self.reduced_at = tuple(i for i, s in time if s.rank not in access.ranks)
        self.reduced_ranks = {nest.temporal[i].rank for i in self.reduced_at}
        # Instances of the keeper that have parts of one sum: what each has is never done.
        self.split = any(s.slot < self.top and s.rank not in access.ranks for s in nest.spatial)
        self.weights = [(i, n) for i, s in time if (n := self._stride(s, self.top - 1))]
        self.instances = at = Instances(nest, self.cut)

        def own(step: NestLoop) -> bool:
            return step.slot < self.top or step.rank in access.ranks

        words = at.number(own)
        self.peers: Integers = np.argsort(words, kind="stable").reshape(len(np.unique(words)), -1)
        self.reps: Integers = self.peers[:, 0]
        served = at.number(lambda s: own(s) or self._apart(s))
        self.heads: Integers = np.unique(served, return_index=True)[1]
        extents = [nest.extent(r, self.cut) for r in access.ranks]
        inside = np.indices(extents, dtype=np.int64).reshape(len(extents), -1)
        self.words = inside.shape[1]
        within = dict(zip(access.ranks, inside, strict=True))  # of each word of a tile
        nothing = np.zeros(self.words, np.int64)
        # Of ranks that end within a pass, and of each piece outside: the size, and the coordinates
        # of the instances' words in it.
        self.limits = []
        for rank in nest.ragged:
            outside = [s for s in nest.steps if s.rank == rank and s.slot < self.cut]
            for i, size in enumerate([nest.sizes[rank], *(s.stride for s in outside)]):
                first = self._reached(outside[i:])[:, None] + within.get(rank, nothing)
                inner = {*map(id, outside[i:])}
                weights = [(n, s.stride) for n, s in time if id(s) in inner]
                self.limits.append((size, first, weights))
        base = at.number(lambda s: s.slot < self.top) * self.parent.size
        base = base + at.moved(lambda s: self._stride(s, self.top))
        # A place that Einsums share is as large as the largest of their tiles.
        self.every: Integers = np.arange(at.count, dtype=np.int64)
        self.index, self.inside = (
            first[:, None] + sum((n * place.strides[r] for r, n in within.items()), nothing)
            for first, place in ((base, self.parent), (self.every * self.child.size, self.child))
        )

    def _reached(self, steps: Sequence[NestLoop]) -> Integers:
        """By how much some loops in space move each instance along their rank."""
        inner = {*map(id, steps)}
        return self.instances.moved(lambda step: step.stride if id(step) in inner else 0)

    def _stride(self, step: NestLoop, outside: int) -> int:
        """Words of the keeper's place between passes of a loop inside a slot; 0 of any other."""
        inside = step.slot > outside and step.rank in self.access.ranks
        return step.stride * self.parent.strides[step.rank] if inside else 0

    def _apart(self, step: NestLoop) -> bool:
        """True if a loop in space stands at a fanout whose instances each read for themselves."""
        name = slots_of(self.nest.arch)[step.slot].node
        fanout = next(f for f in self.nest.arch.fanouts if f.name == name)
        return reads_apart(fanout, self.access.tensor)

    def key(self, index: Index) -> tuple[int, ...]:
        """Key of the tile that the instances see."""
        return tuple([index[i] for i in self.key_at])

    def first(self, index: Index, fixed: int) -> bool:
        """True in the first pass of all loops behind `fixed` that come back to the same words."""
        return not any(index[i] for i in self.reduced_at if i >= fixed)

    def last(self, index: Index, fixed: int) -> bool:
        """True in the last of these passes; of a rank that ends within a pass, its last one."""
        return all(self._last_of(rank, index, fixed) for rank in self.reduced_ranks)

    def _last_of(self, rank: str, index: Index, fixed: int) -> bool:
        loops = [(i, s) for i, s in enumerate(self.nest.temporal) if s.rank == rank]
        left = self.nest.sizes[rank] - 1
        for i, step in loops:
            most = index[i] if i < fixed else min(step.factor - 1, left // step.stride)
            if i >= fixed and step.slot < self.cut and index[i] != most:
                return False
            left = min(left - most * step.stride, step.stride - 1)
        return True

    def valid(self, index: Index) -> Booleans | None:
        """Of each word of each instance, whether it exists; None where all do.

        An instance that has nothing to compute in this pass gets nothing.
        """
        if not self.limits:
            return None
        found = np.ones((self.instances.count, self.words), np.bool_)
        for size, first, at in self.limits:
            found &= first + weighted(at, index) < size
        return found

    def fetch(self, index: Index) -> float:
        """Bring a tile in: words read outside."""
        self._enter(index)
        self.child.data[self.inside] = self._outside(self.index)
        if self.asked is not None:
            place = int(self.parent.data.__array_interface__["data"][0]) + self.offset
            self.asked.append((tuple(index), place, self._words(self.heads)))
        return self._counted(self.heads)

    def open(self, index: Index, how: Arithmetic, *, fresh: bool, updates: bool = False) -> float:
        """Make room for a tile of results; what was so far comes in, unless this is their start.

        Where a reduction runs in space, the first of the instances gets the old words, the others
        start from nothing: the sum over them is what goes back. All get what they update.
        """
        self._enter(index)
        data = self.child.data
        if updates or self.peers.shape[1] > 1:
            data.fill(how.old if updates else how.neutral)
        if fresh:
            return 0
        reps = slice(None) if updates else self.reps
        data[self.inside[reps]] = self._outside(self.index[reps])
        return self._counted(self.reps)

    def _outside(self, index: Integers) -> Values:
        """Words of the parent. One that does not exist is any other: it is computed on in vain."""
        return self.parent.data.take(index + self.offset, mode="clip")

    def write_back(self, how: Arithmetic, *, done: bool) -> float:
        """Take the results out again: words updated outside.

        done: whether nothing more is added to them; else they go as wide as a sum.
        """
        data, peers = self.child.data[self.inside], self.peers
        whole = (
            data[peers[:, 0]] if peers.shape[1] == 1 else how.combine.reduce(data[peers], axis=1)
        )
        at = self.index[self.reps] + self.offset
        if self._valid is None:
            self.parent.data[at] = whole
        else:
            valid = self._valid[self.reps]
            self.parent.data[at[valid]] = whole[valid]
        before, values, first = self.outer.words[1], self._words(self.heads), self._words(self.reps)
        self.outer.updates += values
        # Results that arrive on their own where those of an equal are already.
        self.outer.reads += values - first
        self.outer.sums += values - (first if done and not self.split else 0)
        self.held = None
        return self.outer.words[1] - before

    def _enter(self, index: Index) -> None:
        self.held = self.key(index)
        self.offset = weighted(self.weights, index)
        self._valid = self.valid(index)
        most = self.words if self._valid is None else int(self._valid.sum(axis=1).max())
        self.most = max(self.most, most)

    def _words(self, instances: Integers) -> int:
        """Words that some instances have now."""
        valid = self._valid
        return len(instances) * self.words if valid is None else int(valid[instances].sum())

    def _counted(self, instances: Integers) -> float:
        """Words read outside for some instances; all of them are filled."""
        read = self._words(instances)
        self.outer.reads += read
        self.inner.fills += self._words(self.every)
        return read * self.outer.so_far
