"""Lower bounds of a group before it is searched: its computes, and the words over its border."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod

import numpy as np

from flat_mapper.arch.values import Platform
from flat_mapper.cost_model.candidates import Bools, Floats, Ints
from flat_mapper.cost_model.ports import transfer_cycles
from flat_mapper.mapper.bounds.energy import drawn_energy, seen_words
from flat_mapper.mapper.space.einsum import EinsumSpace
from flat_mapper.mapper.space.factors import combinations, divisors
from flat_mapper.mapping.sharing import (
    crosses_dram,
    in_place_classes,
    shared_level,
)
from flat_mapper.mapping.space import Mapspace
from flat_mapper.workload.graph import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class BorderBounds:
    """Lower bounds on what a group of a cascade takes, from its computes and its border.

    Every tile of the shared loops is looked at, whatever is staged:

    - intermediates that are alive in the same turn have room at the shared level, or the tile is
      out;
    - a tensor from outside comes by once for every pass of the shared loops over ranks that it
      lacks, unless its whole tile has room on chip beside those; what leaves, leaves once;
    - turns add up, but for units that overlap; the DRAM words take their bandwidth.

    spaces: of every Einsum, the search problem on its own.
    """

    workload: Workload
    platform: Platform
    mapspace: Mapspace
    spaces: Mapping[str, EinsumSpace]
    known: dict[tuple[str, ...], tuple[float, float]] = field(default_factory=dict)

    def least(self, names: tuple[str, ...]) -> tuple[float, float]:
        """Lower bounds on (cycles, pJ); infinite where no tile has room."""
        if names not in self.known:
            self.known[names] = self._least(names)
        return self.known[names]

    def _least(self, names: tuple[str, ...]) -> tuple[float, float]:
        shared = self.workload.shareable_ranks(names) if len(names) > 1 else ()
        tile = self._tiles(shared)
        skips = self._skips(shared)
        busy, inner = self._computes(names, skips), self._inside(names, skips)
        outside = [t for t in self._tensors(names) if crosses_dram(self.workload, names, t)]
        held = self._held(names, tile, tile.shape[1])
        level = shared_level(self.platform)
        room = np.full(tile.shape[1], np.inf)
        if level.usable_words is not None:
            room = float(level.usable_words) - held
        reads, writes = np.zeros(tile.shape[1]), np.zeros(tile.shape[1])
        energy = np.full(tile.shape[1], inner)
        made = {self.workload.einsum(n).output.tensor for n in names}
        for tensor in outside:
            words = np.full(
                tile.shape[1],
                self._words(tensor) * (seen_words(self.workload, tensor) if skips else 1.0),
            )
            if tensor in made:
                writes += words
            else:
                if not skips and len(names) > 1:
                    words = words * self._visits(names, tensor, shared, tile, room)
                reads += words
            space = self._space(names, tensor)
            energy += drawn_energy(space, tensor, space.arch.levels[0], words)
        cycles = np.maximum(busy, transfer_cycles(self.platform.dram, reads, writes))
        fits = room >= 0
        if not fits.any():
            return np.inf, np.inf
        return float(cycles[fits].min()), float(energy[fits].min())

    def _tiles(self, shared: tuple[str, ...]) -> Ints:
        """Extents of the shared ranks, int64[R, n]; one empty tile where there are none."""
        sizes, fixed = self.workload.rank_sizes, self.mapspace.fusion.tiles
        return combinations(
            [[d for d in divisors(sizes[r]) if d in fixed.get(r, (d,))] for r in shared]
        )

    def _tensors(self, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(t for n in names for t in self.spaces[n].tensors))

    def _space(self, names: tuple[str, ...], tensor: str) -> EinsumSpace:
        """That of the first Einsum of a group that touches a tensor."""
        return next(self.spaces[n] for n in names if tensor in self.spaces[n].tensors)

    def _words(self, tensor: str) -> float:
        return self.workload.tensor_words(tensor) * self.workload.share(
            tensor, self.platform.dram.name
        )

    def _tile_words(self, tensor: str, shared: tuple[str, ...], tile: Ints) -> Floats:
        """Words of a tensor's part in each tile, at the shared level."""
        sizes = self.workload.rank_sizes
        own = self.workload.tensor_ranks[tensor]
        level = shared_level(self.platform).name
        words = np.full(tile.shape[1], self.workload.share(tensor, level))
        for i, rank in enumerate(shared):
            if rank in own:
                words = words * tile[i]
        return words * prod(sizes[r] for r in own if r not in shared)

    def _held(self, names: tuple[str, ...], tile: Ints, n: int) -> Floats:
        """Most words of intermediates that are alive in one turn, by tile; float64[n]."""
        if len(names) == 1:
            return np.zeros(n)
        shared, workload = self.workload.shareable_ranks(names), self.workload
        level = shared_level(self.platform).name
        places = in_place_classes(workload, names, level) if self.mapspace.policy.in_place else {}
        first: dict[str, int] = {}
        last: dict[str, int] = {}
        words: dict[str, Floats] = {}
        for turn, name in enumerate(names):
            for tensor in self.spaces[name].tensors:
                if crosses_dram(workload, names, tensor):
                    continue
                place = places.get(tensor, tensor)
                first.setdefault(place, turn)
                last[place] = turn
                own = self._tile_words(tensor, shared, tile)
                words[place] = np.maximum(words.get(place, 0.0), own)
        most = np.zeros(n)
        for turn in range(len(names)):
            live = [words[p] for p in words if first[p] <= turn <= last[p]]
            most = np.maximum(most, sum(live, np.zeros(n)))
        return most

    def _visits(
        self,
        names: tuple[str, ...],
        tensor: str,
        shared: tuple[str, ...],
        tile: Ints,
        room: Floats,
    ) -> Floats:
        """Number of times an outside tensor comes by at least, by tile."""
        sizes, own = self.workload.rank_sizes, self.workload.tensor_ranks[tensor]
        visits = np.ones(tile.shape[1])
        for i, rank in enumerate(shared):
            if rank not in own:
                visits = visits * (sizes[rank] // tile[i])
        private = 0.0
        for name in names:
            space = self.spaces[name]
            if tensor in space.tensors:
                private += space.room_inside(tensor, space.arch.levels[space.shared])
        stays: Bools = self._tile_words(tensor, shared, tile) <= np.maximum(room, 0.0) + private
        return np.where(stays, 1.0, visits)

    def _skips(self, shared: tuple[str, ...]) -> bool:
        """True if a mask may leave out tiles of a group."""
        pair = self.workload.roles.masked
        return self.workload.mask is not None and pair is not None and set(pair) <= set(shared)

    def _share(self, name: str, skips: bool) -> float:
        """Part of an Einsum's points that no mask can leave out."""
        einsum = self.workload.einsum(name)
        points = self.workload.iterations(einsum)
        return self.workload.unmasked_iterations(einsum) / points if skips else 1.0

    def _computes(self, names: tuple[str, ...], skips: bool) -> float:
        """Cycles of the group's computes, units at their widest."""
        units: dict[str, float] = {}
        for name in names:
            space, unit = self.spaces[name], self.workload.einsum(name).unit
            cycles = self._share(name, skips) * space.lane_cycles / space.widest
            units[unit] = units.get(unit, 0.0) + cycles
        at_once = self.mapspace.fusion.at_once and len(names) > 1
        return max(units.values()) if at_once else sum(units.values())

    def _inside(self, names: tuple[str, ...], skips: bool) -> float:
        """pJ below DRAM at least: computes, and intermediates at the shared level."""
        energy, met = 0.0, set[str]()
        for name in names:
            space, einsum = self.spaces[name], self.workload.einsum(name)
            share = self._share(name, skips)
            energy += space.compute_energy * share
            energy += space.least_network * (share == 1.0 and not einsum.each)
            level = space.arch.levels[space.shared]
            read, _, update = space.prices[level.name]
            for tensor in space.tensors:
                inside = not crosses_dram(self.workload, names, tensor)
                if (inside or tensor in met) and share == 1.0 and not einsum.each:
                    vectors = -(-space.volume_at(tensor, level) // level.row_words)
                    energy += vectors * (update if tensor == space.output else read)
                met.add(tensor)
        return energy
