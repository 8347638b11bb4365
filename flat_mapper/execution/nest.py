"""An Einsum's loop nest, flattened: every loop with the stride of its rank's coordinate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from flat_mapper.arch.values import Architecture
from flat_mapper.mapping.values import EinsumMapping, slots_of
from flat_mapper.workload.einsum import Einsum

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One loop: its slot, and by how much one pass of it moves the coordinate of its rank."""

    slot: int
    rank: str
    factor: int
    stride: int
    temporal: bool


@dataclass(frozen=True, kw_only=True)
class FlatNest:
    """The loops of one Einsum, outermost first, and the levels they stand at.

    sizes:  of each rank; a coordinate at or beyond it does not exist (a loop's shorter last pass).
    ragged: ranks of which some coordinates that the loops reach do not exist.
    """

    arch: Architecture
    einsum: Einsum
    mapping: EinsumMapping
    steps: tuple[Step, ...]
    sizes: Mapping[str, int]
    ragged: tuple[str, ...]
    level_slots: tuple[int, ...]
    slot_count: int

    @cached_property
    def temporal(self) -> tuple[Step, ...]:
        """The loops in time, outermost first: the order of an index vector."""
        return tuple(s for s in self.steps if s.temporal)

    @cached_property
    def spatial(self) -> tuple[Step, ...]:
        """The loops in space."""
        return tuple(s for s in self.steps if not s.temporal)

    @cached_property
    def dram_loops(self) -> int:
        """Number of the loops in time that stand at DRAM: the first so many."""
        return sum(s.slot == 0 for s in self.temporal)

    def extent(self, rank: str, slot: int) -> int:
        """Coordinates of a rank that a slot's loops and those inside reach, beyond its size too."""
        return 1 + sum(
            (s.factor - 1) * s.stride for s in self.steps if s.rank == rank and s.slot >= slot
        )

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
    found: list[Step] = []
    inside: dict[str, int] = {}
    for s in reversed(range(len(slots))):
        for loop in reversed(mapping.at(slots[s])):
            if loop.factor > 1:
                stride = inside.get(loop.rank, 1)
                temporal = slots[s].axis == "temporal"
                found.append(
                    Step(
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
        ragged=tuple(r for r, n in sizes.items() if inside.get(r, 1) != n),
        level_slots=tuple(i for i, s in enumerate(slots) if s.axis == "temporal"),
        slot_count=len(slots),
    )


def spatial_indices(steps: Sequence[Step]) -> list[IntArray]:
    """Of each loop in space, its index in every instance; instances in the order of the loops."""
    if not steps:
        return []
    grid = np.indices([s.factor for s in steps], dtype=np.int64)
    return [part.reshape(-1) for part in grid]


def numbered(steps: Sequence[Step], indices: Sequence[IntArray], count: int) -> IntArray:
    """The number of the instance that each combination of indices belongs to."""
    number = np.zeros(count, np.int64)
    for step, index in zip(steps, indices, strict=True):
        number = number * step.factor + index
    return number


def weighted(pairs: Iterable[tuple[int, int]], index: Sequence[int]) -> int:
    """The sum of weight x index over (position, weight) pairs."""
    return sum(index[at] * weight for at, weight in pairs)
