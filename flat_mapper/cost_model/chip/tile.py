"""The cost of tiles on one core, each an ordinary group: counts, and what their latency is made of.

Tiles that differ only in how many passes their inner loop makes, as those under a mask do, cost as
much more as one more pass does, from the third pass on. So the few that are priced one by one say
what all of them take.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from flat_mapper.cost_model.einsum import einsum_costs
from flat_mapper.cost_model.group import GroupTerms, Latency, group_terms
from flat_mapper.cost_model.outside import Outside
from flat_mapper.cost_model.residence import private_overflow
from flat_mapper.cost_model.result import EinsumStats, Infeasible
from flat_mapper.cost_model.turns import KindParts, TurnParts
from flat_mapper.energy.tables import Ert
from flat_mapper.mapping.check import handed_inside
from flat_mapper.mapping.cores import CoreQuestion, CoreView, GivenTiles, IntArray
from flat_mapper.mapping.sharing import shared_level, visited_tiles, whole_group
from flat_mapper.mapping.values import Policy

_Sizes = tuple[tuple[str, int], ...]  # by rank
LEVEL = 4  # passes from which on each further one costs the same


@dataclass(frozen=True, slots=True, kw_only=True)
class TileCost:
    """A tile on one core: the counts of its Einsums, and the terms of its latency."""

    stats: tuple[EinsumStats, ...]
    terms: GroupTerms


# All ways to give a mapping's tiles out share these; without, GPT-2 on a100 takes twice the CPU
# seconds.
KnownTiles = list[tuple[CoreQuestion, TileCost | Infeasible]]


def tile_cost(core: CoreQuestion, policy: Policy, ert: Ert) -> TileCost | Infeasible:
    """Counts and terms of one core's problem, or why it does not fit."""
    workload, platform, group = core
    visited = visited_tiles(workload, group)
    names = whole_group(workload, group.names, policy)
    # What these levels hold is the group's affair: copies, and buffers in common.
    apart = {shared_level(platform).name, *handed_inside(*core).values()}
    stats: dict[str, EinsumStats] = {}
    for nest in group.einsums:
        arch = platform.path(workload.einsum(nest.einsum).unit)
        costs = einsum_costs(workload, arch, [nest], ert, visited, names)
        refused = costs.infeasible(0, apart)
        if refused is not None:
            return refused
        stats[nest.einsum] = costs.stats(0)
    overflow = private_overflow(core, policy)
    if overflow is not None:
        return overflow
    return TileCost(stats=tuple(stats.values()), terms=group_terms(core, policy, stats))


# What of a group's terms grows with the passes of a tile.
GROWING: Mapping[type, Sequence[str]] = {
    GroupTerms: ("compute", "inside", "moved", "staged", "turns"),
    TurnParts: ("sizes",),
    KindParts: ("count",),
}


def summed_parts(every: Sequence[Any], parts: IntArray) -> Any:
    """Terms of n tiles, or amounts among them, as sums of parts of those of a few tiles.

    parts: int64[tiles, n].
    """
    first = every[0]
    if isinstance(first, Mapping):
        return {name: summed_parts([one[name] for one in every], parts) for name in first}
    if isinstance(first, tuple):
        return tuple(summed_parts(some, parts) for some in zip(*every, strict=True))
    names = GROWING.get(type(first))
    if names is None:
        return sum(part * amount for part, amount in zip(parts, every, strict=True))
    grown = {name: summed_parts([getattr(one, name) for one in every], parts) for name in names}
    return replace(first, **grown)


@dataclass(frozen=True, kw_only=True)
class PricedTiles:
    """All classes of a group's tiles, by the few tiles that are priced one by one.

    tiles:  these.
    parts:  int64[classes, priced]: what grows alike with every pass is of each class the sum of so
            many times that of each priced tile.
    counts: int64[classes], tiles of each class.
    """

    tiles: tuple[TileCost, ...]
    parts: IntArray
    counts: IntArray

    def each(self, values: ArrayLike) -> Any:
        """Amounts of each class, if they grow alike with every pass; [classes, ...].

        values: of each tile that is priced; [priced, ...].
        """
        return self.parts @ np.asarray(values)

    def total(self, values: ArrayLike) -> Any:
        """The same of all tiles together; numbers."""
        return (self.counts @ self.parts @ np.asarray(values)).tolist()

    @cached_property
    def first(self) -> int:
        """The priced tile that the first class is most like."""
        return int(self.parts[0].argmax())

    @cached_property
    def _terms(self) -> list[tuple[IntArray, GroupTerms]]:
        """Terms of the classes that are sums of the same tiles, all at once, with these classes."""
        found, (sums, of) = [], np.unique(self.parts != 0, axis=0, return_inverse=True)
        for number, own in enumerate(sums):
            kinds, few = np.flatnonzero(of.reshape(-1) == number), np.flatnonzero(own)
            some, parts = [self.tiles[i].terms for i in few], self.parts[kinds][:, few].T
            found.append((kinds, summed_parts(some, parts) if len(some) > 1 else some[0]))
        return found

    def latency(self, outside: Outside, kinds: IntArray) -> Latency:
        """Latency of a tile of each of n classes; float64[n]."""
        found = Latency(
            *(np.empty(len(self.counts), kind) for kind in (float, float, object, float))
        )
        for own, terms in self._terms:
            if np.isin(own, kinds).any():
                for every, some in zip(found, terms.latency(outside), strict=True):
                    every[own] = some
        return Latency(*(every[kinds] for every in found))


def priced_tiles(
    view: CoreView, policy: Policy, ert: Ert, tiles: GivenTiles, known: KnownTiles
) -> PricedTiles | Infeasible:
    """The classes of a group's tiles priced, or why one does not fit.

    known: costs of tiles under the same policy and energies, to which those priced here are added.
    """
    pair = view.workload.roles.masked
    keys = pair[1] if pair and any(pair[1] in dict(c.sizes) for c in tiles.classes) else ""
    step = view.steps[keys] if keys else 1
    priced: dict[_Sizes, TileCost] = {}
    parts: dict[_Sizes, dict[_Sizes, int]] = {}  # of each class, of the priced tiles
    for kind in sorted(tiles.classes, key=lambda c: -prod(n for _, n in c.sizes)):
        passes, left = divmod(dict(kind.sizes).get(keys, 0), step)
        more = max(0, passes - LEVEL + bool(left))
        parts[kind.sizes] = {
            tuple((rank, n - less * step * (rank == keys)) for rank, n in kind.sizes): part
            for less, part in ((more, 1 + more), (more + 1, -more))
            if part
        }
        for sizes in (sizes for sizes in parts[kind.sizes] if sizes not in priced):
            core = view.question(dict(sizes))
            cost = next((cost for one, cost in known if one == core), None)
            if cost is None:
                cost = tile_cost(core, policy, ert)
                known.append((core, cost))
            if isinstance(cost, Infeasible):
                return cost
            priced[sizes] = cost
    rows = [[parts[kind.sizes].get(sizes, 0) for sizes in priced] for kind in tiles.classes]
    return PricedTiles(
        tiles=tuple(priced.values()),
        parts=np.array(rows),
        counts=np.array([kind.count for kind in tiles.classes]),
    )
