"""Facts about one Einsum that a batch of its mappings has in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from flat_mapper.arch.values import Architecture, MemoryLevel
from flat_mapper.base.formats import PLAIN, Widths
from flat_mapper.energy.tables import Ert, operation_cycles, operation_energy
from flat_mapper.workload.einsum import Einsum


@dataclass(frozen=True, slots=True, kw_only=True)
class Rank:
    """One rank of the search: ranks that occur in the same tensors everywhere count as one."""

    name: str
    members: tuple[str, ...]  # outermost first
    sizes: tuple[int, ...]  # of the members

    @property
    def size(self) -> int:
        """Of all members together."""
        return prod(self.sizes)


@dataclass(frozen=True, kw_only=True)
class EinsumFacts:
    """An Einsum, the hierarchy that it runs on, and what it costs there."""

    einsum: Einsum
    arch: Architecture
    ert: Ert
    ranks: tuple[Rank, ...]
    shared: int  # index of the shared level among arch.levels
    widths: Widths = PLAIN

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Rank sizes."""
        return tuple(r.size for r in self.ranks)

    @cached_property
    def tensors(self) -> tuple[str, ...]:
        """Inputs in order, then the output."""
        return tuple(a.tensor for a in self.einsum.accesses)

    @cached_property
    def output(self) -> str:
        """The tensor that is written."""
        return self.einsum.output.tensor

    @cached_property
    def relevant(self) -> dict[str, tuple[bool, ...]]:
        """For each tensor, whether each rank is one of its own."""
        return {
            a.tensor: tuple(r.members[0] in a.ranks for r in self.ranks)
            for a in self.einsum.accesses
        }

    @cached_property
    def _volumes(self) -> dict[str, dict[str, float]]:
        """Words of each tensor, by level."""
        values = {
            t: prod(n for n, own in zip(self.sizes, relevant, strict=True) if own)
            for t, relevant in self.relevant.items()
        }
        names = (level.name for level in self.arch.levels)
        return {at: {t: n * self.share(t, at) for t, n in values.items()} for at in names}

    @cached_property
    def volume(self) -> dict[str, float]:
        """Words of each tensor, as the outermost level has them."""
        return self._volumes[self.arch.levels[0].name]

    def volume_at(self, tensor: str, level: MemoryLevel) -> float:
        """Words of a tensor, as a level has them."""
        return float(self._volumes[level.name][tensor])

    def volumes(self, tensor: str) -> tuple[float, float]:
        """Words of a tensor at the level that has fewest, and at the one that has most."""
        own = [self.volume_at(tensor, level) for level in self.arch.levels]
        return min(own), max(own)

    def share(self, tensor: str, level: str) -> float:
        """Words that one value of a tensor takes at a level."""
        return self.widths.share(tensor, level)

    @cached_property
    def so_far(self) -> dict[str, float]:
        """Words of the output's value that is still added up, for one that is done, by level."""
        tensor, names = self.output, [level.name for level in self.arch.levels]
        both = {at: (self.widths.so_far(tensor, at), self.share(tensor, at)) for at in names}
        return {at: more / done if done else 1.0 for at, (more, done) in both.items()}

    @cached_property
    def adds_up(self) -> bool:
        """True if the output is wider at some level as long as it is added up."""
        return any(more != 1 for more in self.so_far.values())

    @cached_property
    def iterations(self) -> int:
        """Points of the iteration space."""
        return prod(self.sizes)

    @cached_property
    def prices(self) -> dict[str, tuple[float, float, float]]:
        """pJ of a vector read, write and update, by level."""
        return {lv.name: self.ert.actions(lv.name) for lv in self.arch.levels}

    @cached_property
    def compute_energy(self) -> float:
        """pJ of all computes."""
        return self.iterations * operation_energy(self.arch, self.ert, self.einsum, self.widths)

    @cached_property
    def lane_cycles(self) -> float:
        """Cycles of all computes on one compute unit."""
        return self.iterations * operation_cycles(self.arch, self.einsum, self.widths)


def prod_of(grid: np.ndarray, ranks: Sequence[int]) -> np.ndarray:
    """Product over some ranks of a factor grid; [R, n]."""
    if not ranks:
        return np.ones(grid.shape[1:], grid.dtype)
    found: np.ndarray = grid[ranks[0]].copy()
    for r in ranks[1:]:
        found *= grid[r]
    return found


def lacked(relevant: Sequence[bool], grid: np.ndarray) -> np.ndarray:
    """Product over the ranks that a tensor lacks."""
    return prod_of(grid, [r for r, yes in enumerate(relevant) if not yes])
