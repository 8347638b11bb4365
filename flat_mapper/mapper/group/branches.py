"""Outer choices that are evaluated one after another, the most promising first."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from flat_mapper.base.classes import dataclass
from flat_mapper.mapper.bounds.outer import OuterBounds, Outers
from flat_mapper.mapper.group.fused import Fused
from flat_mapper.mapper.group.incumbent import Incumbent
from flat_mapper.mapper.group.picks import Counters
from flat_mapper.mapper.group.promise import improvable
from flat_mapper.mapper.group.single import Single
from flat_mapper.mapper.space.candidates import Ints

FIRST = 8  # chosen: outer choices that are evaluated alone, before others are bounded more closely
MANY = 3 * FIRST  # chosen: of so many


@dataclass(frozen=True, slots=True)
class Branches:
    """Outer choices of a group, under each of which all candidates are looked at."""

    inside: Single | Fused
    bounds: OuterBounds
    incumbent: Incumbent
    counters: Counters
    step: Callable[[], None]  # called with every piece of work
    narrow: Callable[[Outers], None] = lambda _: None  # told what is left

    def all(self, outers: Outers) -> None:
        """Evaluate all that can improve."""
        if isinstance(self.inside, Fused) and len(outers.staging) >= MANY:
            outers = self.first(outers, FIRST)
        if len(outers.staging):
            self.some(outers)

    def first(self, outers: Outers, count: int) -> Outers:
        """Evaluate so many of the least bounds; returns the others that can improve then.

        With what these bring few others have to be bounded more closely.
        """
        order = self._by_bound(outers)
        rest = outers.take(np.sort(order[count:]))
        self.some(outers.take(np.sort(order[:count])), later=rest)
        return self._cut(rest)

    def some(self, outers: Outers, limit: int = 0, later: Outers | None = None) -> None:
        """Evaluate those that can improve.

        limit: about how many, if there is a mapping then; 0: all. later: what comes after them.
        """
        left, done = self._refined(outers), 0
        while len(left.staging):
            left = self._cut(left)
            self.narrow(Outers.joined([left, later]) if later else left)
            self.step()
            every = np.arange(len(left.staging))
            chosen = every[: max(1, limit - done)] if limit else every if done else every[:FIRST]
            size = self.inside.evaluate(left, chosen, self.step)
            left, done = left.take(every[size:]), done + size
            self.counters.outer_evaluated += size
            if limit and done >= limit and not self.incumbent.open:
                return

    def _refined(self, outers: Outers) -> Outers:
        """Those that fit, bounded by candidates, the most promising first."""
        outers = self.inside.refined(outers, self.step)
        fits = self.bounds.fits(outers)
        self.counters.outer_bounded += int((~fits).sum())
        order = self._by_bound(outers)
        return outers.take(order[fits[order]])

    def _cut(self, outers: Outers) -> Outers:
        """Those that can improve; the others are counted and written down."""
        alive = improvable(self.incumbent, outers)
        self.counters.outer_bounded += int((~alive).sum())
        return outers.take(np.flatnonzero(alive))

    def _by_bound(self, outers: Outers) -> Ints:
        """Positions, the least bound first; of equal ones what needs least."""
        first, second, third = self.incumbent.sort_keys(outers.cycles, outers.energy)
        return np.lexsort((outers.needs, third, second, first))
