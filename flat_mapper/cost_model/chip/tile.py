"""The cost of a tile on one core: counts, and what its latency is made of.

A tile is an ordinary group on one core. Tiles that differ only in how many passes their inner loop
makes, as those under a mask do, cost as much more as one more pass does, from the third pass on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isclose, prod
from typing import TYPE_CHECKING

import numpy as np

from flat_mapper.arch.values import Platform
from flat_mapper.base.tolerance import CYCLES, EQUAL
from flat_mapper.cost_model.einsum import einsum_costs
from flat_mapper.cost_model.group import GroupTerms, Latency, group_terms
from flat_mapper.cost_model.outside import Words
from flat_mapper.cost_model.residence import private_overflow
from flat_mapper.cost_model.result import EinsumStats, Infeasible, LevelStats, TensorStats
from flat_mapper.cost_model.turns import KindParts
from flat_mapper.energy.tables import Ert
from flat_mapper.mapping.cores.check import handed_inside
from flat_mapper.mapping.cores.view import CoreQuestion
from flat_mapper.mapping.sharing import shared_level, visited_tiles, whole_group
from flat_mapper.mapping.values import GroupMapping, Policy
from flat_mapper.workload.graph import Workload

if TYPE_CHECKING:  # at run time whoever has several cores imports it
    from flat_mapper.mapping.cores.tiles import GivenTiles, IntArray

LEVEL = 4  # passes from which on each further one costs the same


@dataclass(frozen=True, slots=True, kw_only=True)
class TileCost:
    """A tile on one core: the counts of its Einsums, and the terms of its latency."""

    stats: tuple[EinsumStats, ...]
    terms: GroupTerms
    steps: int  # passes of the shared loops in time


def tile_cost(core: CoreQuestion, policy: Policy, ert: Ert) -> TileCost | Infeasible:
    """Counts and terms of one core's problem, or why it does not fit."""
    workload, platform, group = core.workload, core.platform, core.group
    visited = visited_tiles(workload, group)
    names = whole_group(workload, group.names, policy)
    # What these levels hold is the group's affair: copies, and buffers in common.
    apart = {shared_level(platform).name, *handed_inside(workload, platform, group).values()}
    stats: dict[str, EinsumStats] = {}
    for nest in group.einsums:
        arch = platform.path(workload.einsum(nest.einsum).unit)
        costs = einsum_costs(workload, arch, [nest], ert, visited, names)
        refused = costs.infeasible(0, apart)
        if refused is not None:
            return refused
        stats[nest.einsum] = costs.stats(0)
    overflow = private_overflow(workload, platform, group, names, policy)
    if overflow is not None:
        return overflow
    terms = group_terms(workload, platform, group, policy, stats)
    return TileCost(stats=tuple(stats.values()), terms=terms, steps=terms.passes)


def extended(short: TileCost, longer: TileCost, passes: int) -> TileCost:
    """A tile of more passes of the inner loop than two that differ by one.

    passes: by how many more than `longer`.
    """

    def on[T: (int, float)](a: T, b: T) -> T:
        return b + (b - a) * passes

    def by_name(a: Mapping[str, float], b: Mapping[str, float]) -> dict[str, float]:
        return {name: on(a[name], b[name]) for name in a}

    def words(a: Words, b: Words) -> Words:
        return {t: (on(a[t][0], b[t][0]), on(a[t][1], b[t][1])) for t in a}

    one, two = short.terms, longer.terms
    terms = replace(
        two,
        compute=by_name(one.compute, two.compute),
        ideal=by_name(one.ideal, two.ideal),
        inside=by_name(one.inside, two.inside),
        moved=words(one.moved, two.moved),
        staged=words(one.staged, two.staged),
        turns=tuple(
            replace(b, sizes=_kinds(a.sizes, b.sizes, passes))
            for a, b in zip(one.turns, two.turns, strict=True)
        ),
    )
    pairs = zip(short.stats, longer.stats, strict=True)
    return TileCost(
        stats=tuple(_stats(a, b, passes) for a, b in pairs),
        terms=terms,
        steps=on(short.steps, longer.steps),
    )


def _kinds(
    short: Sequence[Sequence[KindParts]], longer: Sequence[Sequence[KindParts]], passes: int
) -> tuple[tuple[KindParts, ...], ...]:
    return tuple(
        tuple(
            replace(b, count=b.count + (b.count - a.count) * passes)
            for a, b in zip(one, two, strict=True)
        )
        for one, two in zip(short, longer, strict=True)
    )


def _stats(short: EinsumStats, longer: EinsumStats, passes: int) -> EinsumStats:
    levels = []
    for one, two in zip(short.levels, longer.levels, strict=True):
        tensors = tuple(
            _tensor(a, b, passes) for a, b in zip(one.tensors, two.tensors, strict=True)
        )
        levels.append(LevelStats(level=two.level, cycles=0, throttling=1.0, tensors=tensors))
    more = (longer.computes - short.computes) * passes
    cycles = (longer.compute_cycles - short.compute_cycles) * passes
    energy = (longer.compute_energy_pj - short.compute_energy_pj) * passes
    return replace(
        longer,
        computes=longer.computes + more,
        compute_cycles=longer.compute_cycles + cycles,
        compute_energy_pj=longer.compute_energy_pj + energy,
        levels=tuple(levels),
    )


def _tensor(a: TensorStats, b: TensorStats, passes: int) -> TensorStats:
    return replace(
        b,
        scalar_reads=b.scalar_reads + (b.scalar_reads - a.scalar_reads) * passes,
        scalar_fills=b.scalar_fills + (b.scalar_fills - a.scalar_fills) * passes,
        scalar_updates=b.scalar_updates + (b.scalar_updates - a.scalar_updates) * passes,
        temporal_reductions=b.temporal_reductions
        + (b.temporal_reductions - a.temporal_reductions) * passes,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Further:
    """A class as a tile that is priced, and passes beyond it."""

    longer: int  # of the tiles priced one by one
    short: int  # the one with a pass less; the same where nothing is beyond
    more: int  # passes beyond the longer one


@dataclass(frozen=True, kw_only=True)
class PricedTiles:
    """All classes of a group's tiles, by the few that are priced one by one."""

    direct: tuple[TileCost, ...]
    classes: tuple[Further, ...]
    counts: tuple[int, ...]  # tiles of each class
    known: dict[int, TileCost] = field(default_factory=dict)

    def cost(self, kind: int) -> TileCost:
        """A tile of a class."""
        if kind not in self.known:
            at = self.classes[kind]
            longer = self.direct[at.longer]
            found = extended(self.direct[at.short], longer, at.more) if at.more else longer
            self.known[kind] = found
        return self.known[kind]

    def total[T: (int, float)](self, value: Callable[[TileCost], T]) -> T:
        """The sum over all tiles of what grows alike with every pass."""
        weights = [0] * len(self.direct)
        for at, count in zip(self.classes, self.counts, strict=True):
            weights[at.longer] += count * (1 + at.more)
            weights[at.short] -= count * at.more
        parts = (n * value(cost) for n, cost in zip(weights, self.direct, strict=True) if n)
        return sum(parts, start=value(self.direct[0]) * 0)

    def each(self, value: Callable[[TileCost], int]) -> IntArray:
        """The same of one tile of each class; int64[classes]."""
        values = np.array([value(cost) for cost in self.direct], np.int64)
        longer = values[[at.longer for at in self.classes]]
        short = values[[at.short for at in self.classes]]
        return longer + (longer - short) * np.array([at.more for at in self.classes], np.int64)

    def latencies(
        self, kinds: Sequence[int], latency: Callable[[int], Latency]
    ) -> Iterator[tuple[int, Latency]]:
        """The latency of every class, most of them by what lies between others.

        It is a maximum of sums that grow alike with every pass, so convex: where the middle of a
        range is on the straight line between its ends, so is all of the range.
        """
        families: dict[tuple[int, int], list[int]] = {}
        for kind in kinds:
            at = self.classes[kind]
            families.setdefault((at.longer, at.short) if at.more else (-1, kind), []).append(kind)
        for members in families.values():
            members.sort(key=lambda kind: self.classes[kind].more)
            yield from self._between(members, latency)

    def _between(
        self, members: Sequence[int], latency: Callable[[int], Latency]
    ) -> Iterator[tuple[int, Latency]]:
        if len(members) <= 3:
            yield from ((kind, latency(kind)) for kind in members)
            return
        half = len(members) // 2
        ends = latency(members[0]), latency(members[-1])
        more = [self.classes[kind].more for kind in members]
        if not _alike(_on_line(ends, more, half), latency(members[half])):
            yield from self._between(members[:half], latency)
            yield from self._between(members[half:], latency)
            return
        yield from ((kind, _on_line(ends, more, i)) for i, kind in enumerate(members))


def _on_line(ends: tuple[Latency, Latency], more: Sequence[int], at: int) -> Latency:
    """The latency between two, if all of it grows alike."""
    part = (more[at] - more[0]) / (more[-1] - more[0])
    a, b = ends

    def on(one: float, other: float) -> float:
        return one + (other - one) * part

    return Latency(
        cycles=on(a.cycles, b.cycles),
        exposed=on(a.exposed, b.exposed),
        bottleneck=a.bottleneck if a.bottleneck == b.bottleneck else "",
        slack=on(a.slack, b.slack),
    )


def _alike(a: Latency, b: Latency) -> bool:
    pairs = ((a.cycles, b.cycles), (a.exposed, b.exposed), (a.slack, b.slack))
    near = all(isclose(x, y, rel_tol=EQUAL, abs_tol=CYCLES) for x, y in pairs)
    return near and a.bottleneck == b.bottleneck


@dataclass(frozen=True, slots=True)
class KnownTiles:
    """Costs of a mapping's tiles under one policy and energies: all ways to give it out share them.

    Without, GPT-2 on a100 takes twice the CPU seconds.
    """

    found: list[tuple[CoreQuestion, TileCost | Infeasible]] = field(default_factory=list)

    def cost(self, core: CoreQuestion, policy: Policy, ert: Ert) -> TileCost | Infeasible:
        """Counts and terms of one core's problem, or why it does not fit."""
        cost = next((cost for one, cost in self.found if one == core), None)
        if cost is None:
            cost = tile_cost(core, policy, ert)
            self.found.append((core, cost))
        return cost


def priced_tiles(
    workload: Workload,
    platform: Platform,
    group: GroupMapping,
    policy: Policy,
    ert: Ert,
    tiles: GivenTiles,
    known: KnownTiles | None = None,
) -> PricedTiles | Infeasible:
    """The classes of a group's tiles priced, or why one does not fit; known: see `KnownTiles`."""
    from flat_mapper.mapping.cores.tiles import CoreView  # one core gives out nothing

    known = KnownTiles() if known is None else known
    pair = workload.roles.masked
    keys = pair[1] if pair and any(pair[1] in dict(c.sizes) for c in tiles.classes) else ""
    view = CoreView(workload=workload, platform=platform, group=group)
    step = view.steps[keys] if keys else 1
    places: dict[tuple[tuple[str, int], ...], int] = {}
    direct: list[TileCost] = []
    found: dict[tuple[tuple[str, int], ...], Further] = {}

    def place(sizes: Mapping[str, int]) -> int | Infeasible:
        key = tuple(sorted(sizes.items()))
        if key not in places:
            one = known.cost(view.question(sizes), policy, ert)
            if isinstance(one, Infeasible):
                return one
            places[key] = len(direct)
            direct.append(one)
        return places[key]

    for kind in sorted(tiles.classes, key=lambda c: -prod(n for _, n in c.sizes)):
        sizes = dict(kind.sizes)
        passes, left = divmod(sizes.get(keys, 0), step)
        base = LEVEL - bool(left)
        more = max(0, passes - base)
        longer = place({**sizes, keys: base * step + left} if more else sizes)
        short = place({**sizes, keys: (base - 1) * step + left}) if more else longer
        if isinstance(longer, Infeasible):
            return longer
        if isinstance(short, Infeasible):
            return short
        found[kind.sizes] = Further(longer=longer, short=short, more=more)
    return PricedTiles(
        direct=tuple(direct),
        classes=tuple(found[kind.sizes] for kind in tiles.classes),
        counts=tuple(kind.count for kind in tiles.classes),
    )
