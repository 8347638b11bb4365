"""Lower bounds of a group before it is searched: its computes, and the words over its border."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from flat_mapper.arch.values import Platform
from flat_mapper.cost_model.candidates import Floats, Ints
from flat_mapper.cost_model.ports import transfer_cycles
from flat_mapper.mapper.bounds.energy import drawn_energy, seen_words
from flat_mapper.mapper.space.einsum import EinsumSpace, remembered
from flat_mapper.mapper.space.factors import divisors
from flat_mapper.mapping.order import overlaps
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
    known: dict[object, Any] = field(default_factory=dict)  # answers so far, see `remembered`

    @remembered
    def least(self, names: tuple[str, ...]) -> tuple[float, float]:
        """Lower bounds on (cycles, pJ); infinite where no tile has room."""
        return _Border(self.workload, self.platform, self.mapspace, self.spaces, names).least


@dataclass(frozen=True)
class _Border:
    """The border of one group."""

    workload: Workload
    platform: Platform
    mapspace: Mapspace
    spaces: Mapping[str, EinsumSpace]
    names: tuple[str, ...]

    @property
    def least(self) -> tuple[float, float]:
        """See `BorderBounds`."""
        none, dram = np.zeros(self.tile.shape[1]), self.platform.dram
        limit = shared_level(self.platform).usable_words
        room = none + np.inf if limit is None else float(limit) - self._held()
        reads, writes, energy = none, none, none + self._inside()
        made = {self.workload.einsum(n).output.tensor for n in self.names}
        first = {t: s for n in reversed(self.names) for s in [self.spaces[n]] for t in s.tensors}
        for tensor in dict.fromkeys(t for n in self.names for t in self.spaces[n].tensors):
            if not self._crosses(tensor):
                continue
            words = none + self.workload.tensor_words(tensor) * self.workload.share(
                tensor, dram.name
            )
            if self.skips:
                words = words * seen_words(self.workload, tensor)
            if tensor in made:
                writes = writes + words
            else:
                if not self.skips and len(self.names) > 1:
                    words = words * self._visits(tensor, room)
                reads = reads + words
            space = first[tensor]
            energy = energy + drawn_energy(space, tensor, space.arch.levels[0], words)
        cycles = np.maximum(self._computes(), transfer_cycles(dram, reads, writes))
        fits = room >= 0
        if not fits.any():
            return np.inf, np.inf
        return float(cycles[fits].min()), float(energy[fits].min())

    @cached_property
    def shared(self) -> tuple[str, ...]:
        """The ranks of its shared loops."""
        return self.workload.shareable_ranks(self.names) if len(self.names) > 1 else ()

    @cached_property
    def tile(self) -> Ints:
        """Extents of the shared ranks, int64[R, n]; one empty tile where there are none."""
        sizes, fixed = self.workload.rank_sizes, self.mapspace.fusion.tiles
        every = [[d for d in divisors(sizes[r]) if d in fixed.get(r, (d,))] for r in self.shared]
        if not every:
            return np.zeros((0, 1), np.int64)
        grids = np.meshgrid(*(np.array(own, np.int64) for own in every), indexing="ij")
        return np.stack([grid.ravel() for grid in grids])

    @cached_property
    def skips(self) -> bool:
        """True if a mask may leave out tiles."""
        pair = self.workload.roles.masked
        return self.workload.mask is not None and pair is not None and set(pair) <= set(self.shared)

    def _crosses(self, tensor: str) -> bool:
        return crosses_dram(self.workload, self.names, tensor)

    def _tile_words(self, tensor: str) -> Floats:
        """Words of a tensor's part in each tile, at the shared level; float64[n]."""
        sizes, own = self.workload.rank_sizes, self.workload.tensor_ranks[tensor]
        share = self.workload.share(tensor, shared_level(self.platform).name)
        words = np.full(self.tile.shape[1], share)
        for rank, extent in zip(self.shared, self.tile, strict=True):
            if rank in own:
                words = words * extent
        return words * prod(sizes[r] for r in own if r not in self.shared)

    def _held(self) -> Floats:
        """Most words of intermediates that are alive in one turn, by tile; float64[n]."""
        none, level = np.zeros(self.tile.shape[1]), shared_level(self.platform).name
        if len(self.names) == 1:
            return none
        in_place = self.mapspace.policy.in_place
        places = in_place_classes(self.workload, self.names, level) if in_place else {}
        turns: dict[str, list[int]] = {}  # by place
        words: dict[str, Floats] = {}
        for turn, name in enumerate(self.names):
            for tensor in self.spaces[name].tensors:
                if not self._crosses(tensor):
                    place = places.get(tensor, tensor)
                    turns.setdefault(place, []).append(turn)
                    words[place] = np.maximum(words.get(place, none), self._tile_words(tensor))
        live = (
            [words[p] for p, own in turns.items() if own[0] <= turn <= own[-1]]
            for turn in range(len(self.names))
        )
        return np.asarray(np.maximum.reduce([sum(some, none) for some in live]))

    def _visits(self, tensor: str, room: Floats) -> Floats:
        """Number of times an outside tensor comes by at least, by tile; float64[n]."""
        sizes, own = self.workload.rank_sizes, self.workload.tensor_ranks[tensor]
        visits = np.ones(self.tile.shape[1])
        for rank, extent in zip(self.shared, self.tile, strict=True):
            if rank not in own:
                visits = visits * (sizes[rank] // extent)
        touching = [s for s in (self.spaces[n] for n in self.names) if tensor in s.tensors]
        private = sum(s.room_inside(tensor, s.arch.levels[s.shared]) for s in touching)
        stays = self._tile_words(tensor) <= np.maximum(room, 0.0) + private
        return np.where(stays, 1.0, visits)

    def _share(self, name: str) -> float:
        """Part of an Einsum's points that no mask can leave out."""
        einsum = self.workload.einsum(name)
        points = self.workload.iterations(einsum)
        return self.workload.unmasked_iterations(einsum) / points if self.skips else 1.0

    def _computes(self) -> float:
        """Cycles of the group's computes, units at their widest."""
        units: dict[str, float] = {}
        for name in self.names:
            space, unit = self.spaces[name], self.workload.einsum(name).unit
            cycles = self._share(name) * space.lane_cycles / space.widest
            units[unit] = units.get(unit, 0.0) + cycles
        schedule = self.mapspace.fusion.schedule
        at_once = (schedule == "any" or overlaps(schedule)) and len(self.names) > 1
        return max(units.values()) if at_once else sum(units.values())

    def _inside(self) -> float:
        """pJ below DRAM at least: computes, and intermediates at the shared level."""
        energy, met = 0.0, set[str]()
        for name in self.names:
            space, einsum, share = self.spaces[name], self.workload.einsum(name), self._share(name)
            whole = share == 1.0 and not einsum.each
            energy += space.compute_energy * share + space.least_network * whole
            level = space.arch.levels[space.shared]
            read, _, update = space.prices[level.name]
            for tensor in space.tensors if whole else ():
                if not self._crosses(tensor) or tensor in met:
                    vectors = -(-space.volume_at(tensor, level) // level.row_words)
                    energy += vectors * (update if tensor == space.output else read)
            met.update(space.tensors)
        return energy
