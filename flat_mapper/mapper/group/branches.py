"""Outer choices that are evaluated one after another, the most promising first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from flat_mapper.mapper.bounds.outer import OuterBounds, Outers
from flat_mapper.mapper.group.fused import Fused
from flat_mapper.mapper.group.incumbent import Incumbent
from flat_mapper.mapper.group.picks import Counters
from flat_mapper.mapper.group.promise import improvable
from flat_mapper.mapper.group.single import Single
from flat_mapper.mapper.space.candidates import Ints


@dataclass(frozen=True, slots=True)
class Branches:
    """Outer choices of a group, under each of which all candidates are looked at."""

    inside: Single | Fused
    bounds: OuterBounds
    incumbent: Incumbent
    counters: Counters
    step: Callable[[], None]  # called with every piece of work
    narrow: Callable[[Outers], None] = lambda _: None  # told what is left

    def some(self, outers: Outers, limit: int = 0) -> None:
        """Evaluate those that can improve, the least bound first.

        limit: about how many, if there is a mapping then; 0: all.
        """
        left, done = self._refined(outers), 0
        while len(left.staging):
            left = self._cut(left)
            self.narrow(left)
            self.step()
            every = np.arange(len(left.staging))
            chosen = every[: max(1, limit - done)] if limit else every
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
        """Those that can improve; the others are counted."""
        alive = improvable(self.incumbent, outers)
        self.counters.outer_bounded += int((~alive).sum())
        return outers.take(np.flatnonzero(alive))

    def _by_bound(self, outers: Outers) -> Ints:
        """Positions, the least bound first; of equal ones what needs least."""
        first, second, third = self.incumbent.sort_keys(outers.cycles, outers.energy)
        return np.lexsort((outers.needs, third, second, first))
