"""One Einsum, many mappings: counts, cycles and energy of a batch that shares a structure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from flat_mapper.arch.values import Architecture
from flat_mapper.base.formats import PLAIN, Widths
from flat_mapper.cost_model.nest import (
    Factors,
    FloatArray,
    IntArray,
    Nest,
    Visited,
    factors_of,
    nest_of,
    passes_left,
    words_of_tiles,
)
from flat_mapper.cost_model.network import NetworkStats, crossings
from flat_mapper.cost_model.ports import Moved, level_cycles, throttling
from flat_mapper.cost_model.result import (
    BufferUse,
    EinsumStats,
    Infeasible,
    LevelStats,
    TensorStats,
)
from flat_mapper.cost_model.reuse import Accesses, accesses, with_copy
from flat_mapper.cost_model.transfers import (
    Traffic,
    Transfer,
    in_words,
    level_pj,
    split,
    unfinished,
)
from flat_mapper.energy.tables import Ert, operation_cycles, operation_energy
from flat_mapper.mapping.sharing import copied_from, may_stay
from flat_mapper.mapping.values import EinsumMapping, sized_ranks
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.mask import MaskTiles

type Ends = tuple[Transfer, Transfer]


@dataclass(frozen=True, kw_only=True)
class EinsumCosts:
    """A batch of n mappings of one Einsum, evaluated."""

    nest: Nest
    sizes: tuple[int, ...]
    factors: Factors
    ert: Ert
    accesses: Accesses
    tiles: dict[tuple[int, str], IntArray]  # values
    widths: Widths = PLAIN
    visited: Visited | None = None

    def moved(self, level: int) -> list[Moved]:
        """Words at one instance of a level, of each kept tensor."""
        return [self.words(level, t).moved for t in self._kept(level)]

    def words(self, level: int, tensor: str) -> Traffic:
        """Words of a tensor at one instance of a level."""
        return in_words(self.accesses.traffic[level, tensor], *self.shares(level, tensor))

    def shares(self, level: int, tensor: str) -> tuple[FloatArray | float, float]:
        """Words of one value at a level; see `shares`."""
        return shares(self.nest, self.widths, self.accesses, level, tensor)

    def tile(self, level: int, tensor: str) -> IntArray:
        """Words of a tile, whole ones: as wide as its values ever are there."""
        values = self.tiles[level, tensor]
        share = widest(self.nest, self.widths, self.accesses.moves, level, tensor)
        whole = isinstance(share, int) and share == 1
        return values if whole else np.ceil(values * share).astype(np.int64)

    @cached_property
    def slowdown(self) -> tuple[FloatArray, ...]:
        """Timeloop's bandwidth throttling of each level."""
        compute, levels = self.accesses.compute, self.nest.arch.levels
        same = [[i for i, lv in enumerate(levels) if lv.memory == one.memory] for one in levels]
        every = ([words for i in own for words in self.moved(i)] for own in same)
        return tuple(throttling(lv, compute, own) for lv, own in zip(levels, every, strict=True))

    @cached_property
    def tensor_energy(self) -> dict[tuple[int, str], FloatArray]:
        """(level index, tensor) -> pJ, all instances."""
        found = {}
        for i, tensor in self.accesses.traffic:
            level = self.nest.arch.levels[i]
            action_pj = self.ert.actions(level.name)
            all_ = self.words(i, tensor)._replace(instances=self.accesses.instances[i])
            found[i, tensor] = level_pj(level, tensor, all_, action_pj)
        return found

    @cached_property
    def network(self) -> tuple[NetworkStats, ...]:
        """Words over the networks that have a price."""
        return tuple(crossings(self.nest, self.accesses, self.words))

    @property
    def computes(self) -> int:
        """Points of the iteration space; padding of remainders computes nothing."""
        left = passes_left(self.nest, self.visited, self.factors, self.sizes)
        return sum(one.counts[0] * prod(one.sizes) for one in left)

    @property
    def compute_energy(self) -> float:
        """pJ of all computes."""
        arch, einsum = self.nest.arch, self.nest.einsum
        return self.computes * operation_energy(arch, self.ert, einsum, self.widths)

    def infeasible(self, n: int, apart: Collection[str] = ()) -> Infeasible | None:
        """Of one mapping, the innermost level that does not hold its tiles: Timeloop's order.

        apart: levels that somebody else watches over.
        """
        for i in reversed(range(len(self.nest.keep))):
            level = self.nest.arch.levels[i]
            if level.name in apart:
                continue
            terms = tuple((t, _at(self.tile(i, t), n)) for t in self._kept(i))
            use = BufferUse(level=level.name, capacity_words=level.usable_words, terms=terms)
            hint = f"cut the tiles at {level.name} or let a tensor bypass it"
            overflow = use.overflow(self.nest.einsum.name, hint)
            if overflow is not None:
                return overflow
        return None

    def stats(self, n: int) -> EinsumStats:
        """One mapping of the batch."""
        compute = self.nest.arch.compute
        return EinsumStats(
            einsum=self.nest.einsum.name,
            unit=compute.name,
            computes=self.computes,
            compute_cycles=_at(self.accesses.compute, n),
            lanes=_at(self.accesses.lanes, n),
            lanes_total=compute.instances,
            cycles_per_compute=operation_cycles(self.nest.arch, self.nest.einsum, self.widths),
            compute_energy_pj=self.compute_energy,
            levels=tuple(self._level(i, n) for i in range(len(self.nest.keep))),
            network=tuple(one.at(n) for one in self.network),
        )

    def _level(self, i: int, n: int) -> LevelStats:
        slowdown = self.slowdown[i]
        return LevelStats(
            level=self.nest.arch.levels[i].name,
            cycles=_at(level_cycles(self.accesses.compute, slowdown), n),
            throttling=float(_at(slowdown, n)),
            tensors=tuple(self._tensor(i, t, n) for t in self._kept(i)),
        )

    def _tensor(self, i: int, tensor: str, n: int) -> TensorStats:
        traffic, energy = self.accesses.traffic[i, tensor], self.tensor_energy[i, tensor]
        output = tensor == self.nest.einsum.output.tensor
        done, so_far = self.shares(i, tensor)
        return TensorStats(
            tensor=tensor,
            scalar_reads=_at(traffic.reads, n),
            scalar_fills=_at(traffic.fills, n),
            scalar_updates=_at(traffic.updates, n),
            temporal_reductions=_at(traffic.reads, n) if output else 0,
            utilized_capacity=_at(self.tiles[i, tensor], n),
            utilized_instances=_at(self.accesses.instances[i], n),
            energy_pj=float(_at(energy, n)),
            share=_at(np.atleast_1d(done), n),
            so_far=so_far,
        )

    def _kept(self, level: int) -> tuple[str, ...]:
        return tuple(
            a.tensor for a in self.nest.einsum.accesses if a.tensor in self.nest.keep[level]
        )


def _at(values: IntArray | FloatArray, n: int) -> Any:
    """The n-th of n values, or the one that stands for all; an int where it is whole."""
    value = values[n if len(values) > 1 else 0]
    return int(value) if float(value).is_integer() else float(value)


def around(nest: Nest, moves: Mapping[str, list[Transfer]], level: int, tensor: str) -> Ends:
    """Transfers of a tensor to a level that keeps it, and from there to what that feeds."""
    at = sum(tensor in kept for kept in nest.keep[:level])
    own, below = moves[tensor][at : at + 2]
    return own, below


def shares(
    nest: Nest, widths: Widths, found: Accesses, level: int, tensor: str
) -> tuple[FloatArray | float, float]:
    """Words of one value at a level that is done, and of one that is still added up."""
    name, output = nest.arch.levels[level].name, nest.einsum.output.tensor
    done, so_far = widths.share(tensor, name), widths.so_far(tensor, name)
    if tensor != output or so_far == done:
        return done, done
    own, _ = around(nest, found.moves, level, tensor)
    return np.where(split(own), so_far, done), so_far


def widest(
    nest: Nest, widths: Widths, moves: Mapping[str, list[Transfer]], level: int, tensor: str
) -> FloatArray | float:
    """Words of one value at a level at most, at any time."""
    name, output = nest.arch.levels[level].name, nest.einsum.output.tensor
    done, so_far = widths.share(tensor, name), widths.so_far(tensor, name)
    if tensor != output or so_far == done:
        return done
    return np.where(unfinished(*around(nest, moves, level, tensor)), so_far, done)


def einsum_costs(
    workload: Workload,
    arch: Architecture,
    mappings: Sequence[EinsumMapping],
    ert: Ert,
    tiles: MaskTiles | None = None,
    names: Sequence[str] = (),
    *,
    handed_on: bool = False,
    padded: bool = False,
) -> EinsumCosts:
    """The costs of mappings of one Einsum that share keeps, loop orders and rank sizes.

    handed_on, padded: as in `accesses`.
    tiles: of queries x keys, that a mask leaves of the passes of the outermost loops.
    names: the Einsums of its group, those of a free softmax among them; none: it is alone.
    """
    einsum = workload.einsum(mappings[0].einsum)
    nest = nest_of(arch, einsum, mappings[0], returning(workload, names, mappings[0]))
    (sizes,) = {
        tuple(sizes[r] for r in nest.ranks)
        for sizes in (sized_ranks(workload, m) for m in mappings)
    }
    visited = None
    pair = workload.roles.masked
    if tiles and pair and set(pair) <= set(nest.ranks):
        ranks = (nest.ranks.index(pair[0]), nest.ranks.index(pair[1]))
        left = tiles.sizes
        visited = Visited(ranks=ranks, pairs=tiles.visited, total=tiles.total, sizes=left)
    copied = copied_from(workload, einsum) if len(names) > 1 else None
    factors = factors_of(nest, mappings)
    return nest_costs(
        *(nest, sizes, factors, ert, workload.widths, visited, copied),
        handed_on=handed_on,
        padded=padded,
    )


def returning(workload: Workload, names: Sequence[str], mapping: EinsumMapping) -> frozenset[str]:
    """Tensors of an Einsum that leave the private levels with each of its turns.

    names: the Einsums of its group.
    """
    if len(names) < 2:
        return frozenset()
    einsum = workload.einsum(mapping.einsum)
    stay = {t for t in may_stay(workload, names, einsum) if t in mapping.stay}
    return frozenset(a.tensor for a in einsum.accesses) - stay


def nest_costs(
    nest: Nest,
    sizes: tuple[int, ...],
    factors: Factors,
    ert: Ert,
    widths: Widths = PLAIN,
    visited: Visited | None = None,
    copied: str | None = None,
    *,
    handed_on: bool = False,
    padded: bool = False,
) -> EinsumCosts:
    """The costs of loop nests given as arrays; factors int64[S, R, n].

    widths: of the values of its tensors.
    copied: the tensor whose old value is copied to the output's place; see `copied_from`.
    """
    found = accesses(nest, factors, sizes, visited, handed_on=handed_on, padded=padded)
    if copied is not None:
        found = with_copy(nest, factors, sizes, found, copied, visited)
    cycles = operation_cycles(nest.arch, nest.einsum, widths)
    return EinsumCosts(
        nest=nest,
        sizes=sizes,
        factors=factors,
        ert=ert,
        accesses=replace(found, compute=np.multiply(found.compute, cycles)),
        tiles=words_of_tiles(nest, factors, sizes),
        widths=widths,
        visited=visited,
    )
