"""Tiles of a group on the cores of a chip, told one by one: what each is, and who has it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from math import prod

import numpy as np

from flat_mapper.execution.turn import may_see
from flat_mapper.mapping.values import GroupMapping, Loop, rank_extent
from flat_mapper.workload.graph import Workload

Region = tuple[tuple[int, int], ...]  # of a tensor: (first, extent) along each of its ranks


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """Piece that one core does at a time: (first, extent) along each rank."""

    parts: Mapping[str, tuple[int, int]]

    @property
    def sizes(self) -> dict[str, int]:
        """The extents."""
        return {rank: extent for rank, (_, extent) in self.parts.items()}

    def region(self, ranks: tuple[str, ...]) -> Region:
        """The part of a tensor with these ranks."""
        return tuple(self.parts[r] for r in ranks)


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreTiles:
    """The tiles of a group. outside: levels outside the cores."""

    workload: Workload
    group: GroupMapping
    outside: frozenset[str]

    @property
    def _loops(self) -> list[Loop]:
        return [p for _, at in self.group.cores for p in at]

    def tiles(self) -> Iterator[Tile]:
        """The tiles in the order in which they are given out."""
        sizes, loops = self.workload.rank_sizes, self._loops
        axes = []
        for loop in loops:
            tile = self.extent(loop.rank)
            along = [
                (i, self._parts(loop.rank, i * tile, min(tile, sizes[loop.rank] - i * tile)))
                for i in range(loop.factor)
            ]
            if self.group.order == "largest":
                along.sort(key=lambda one: -prod(n for _, n in one[1].values()))
            axes.append(along)
        if self._pairs():
            last = axes[-1]
            axes[-1] = [last[i // 2 if i % 2 == 0 else -1 - i // 2] for i in range(len(last))]
        for chosen in product(*axes):
            parts = {rank: (0, size) for rank, size in sizes.items()}
            for _, own in chosen:
                parts |= own
            yield Tile(parts=parts)

    def _pairs(self) -> bool:
        """True if tiles of queries go to cores by twos, from the front and from the back."""
        loops, pair = self._loops, self.workload.roles.masked
        if self.group.order != "lists" or self.workload.mask is None or pair is None:
            return False
        cut = {p.rank for p in self.group.shared if p.factor > 1}
        queries, keys = pair
        return loops[-1].rank == queries and keys in cut and loops[-1].factor % 2 == 0

    def lists(self, cores: int) -> list[range]:
        """The numbers of the tiles of every core at work, where each has its own from the start."""
        twos = 1 + self._pairs()
        units = prod(p.factor for p in self._loops) // twos
        lists = min(cores, units)
        found, first = [], 0
        for core in range(lists):
            many = twos * (units // lists + (core < units % lists))
            found.append(range(first, first + many))
            first += many
        return found

    def extent(self, rank: str) -> int:
        """The extent of a rank in the nests."""
        return max(rank_extent(nest, rank) for nest in self.group.einsums)

    def _parts(self, rank: str, first: int, extent: int) -> dict[str, tuple[int, int]]:
        """A tile's part of a rank, and of the keys that it sees where these are cut."""
        found = {rank: (first, extent)}
        mask, pair = self.workload.mask, self.workload.roles.masked
        cut = {p.rank for p in self.group.shared if p.factor > 1}
        if mask is None or pair is None or rank != pair[0] or pair[1] not in cut:
            return found
        keys, tile = self.workload.rank_sizes[pair[1]], self.passed(pair[1])
        position = keys * mask.parts - self.workload.rank_sizes[rank] + first
        queries = np.arange(position, position + extent)[:, None]
        visible = may_see(mask, queries, np.arange(keys)).any(axis=0)
        seen = [start for start in range(0, keys, tile) if visible[start : start + tile].any()]
        last = min(seen[-1] + tile, keys)
        return found | {pair[1]: (seen[0], last - seen[0])}

    def passed(self, rank: str) -> int:
        """The extent of a rank in one pass of the shared loops in time."""
        return max(
            prod(
                p.factor
                for s, at in nest.loops
                if s.node not in self.outside
                for p in at
                if p.rank == rank
            )
            for nest in self.group.einsums
            if rank not in self.workload.einsum(nest.einsum).each
        )
