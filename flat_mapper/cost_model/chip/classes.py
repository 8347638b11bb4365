"""Classes of tiles priced together: those that differ only in key passes are one family.

From `LEVEL` passes of the inner loop on, each further pass adds the same to every count, and to
every term of the latency. So a family is two tiles that are counted one by one, and for each class
how many passes it has beyond the longer of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isclose, prod

import numpy as np

from flat_mapper.arch.values import Platform
from flat_mapper.base.tolerance import CYCLES, EQUAL
from flat_mapper.cost_model.chip.tile import LEVEL, TileCost, extended, tile_cost
from flat_mapper.cost_model.result import Infeasible
from flat_mapper.cost_model.schedule import Latency
from flat_mapper.energy.tables import Ert
from flat_mapper.mapping.cores.tiles import CoreView, GivenTiles, IntArray
from flat_mapper.mapping.values import GroupMapping, Policy
from flat_mapper.workload.graph import Workload


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


def priced_tiles(
    workload: Workload,
    platform: Platform,
    group: GroupMapping,
    policy: Policy,
    ert: Ert,
    tiles: GivenTiles,
) -> PricedTiles | Infeasible:
    """The classes of a group's tiles priced, or why one does not fit."""
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
            one = tile_cost(view.question(sizes), policy, ert)
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
