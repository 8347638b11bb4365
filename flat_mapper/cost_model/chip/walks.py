"""Cores that walk together: when each tile begins, in passes, and what a window lets them share.

All cores go at one pace, a pass of the shared loops at a time. A pass of a tensor is brought to a
level between once, and stays for the passes of its window: a core that is in the same pass of the
same part meanwhile finds it there, another brings it again. Tiles that end early share what they
walk; those of which a loop inside the outermost one is of another length walk apart.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from flat_mapper.mapping.cores import IntArray

Span = tuple[int, int]  # passes of a tile: the first, and the one after the last
GONE = -(2**62)  # when that was brought of which nothing is left


def begun(passes: IntArray, cores: int, lists: IntArray | None) -> IntArray:
    """The pass at which each tile begins; int64[T].

    passes: of each tile, in the order given out. lists: where each core's list of tiles begins, and
    the end of the last; None where each tile goes to the core that is free first.
    """
    if lists is not None:
        before = np.cumsum(passes) - passes
        found: IntArray = before - np.repeat(before[lists[:-1]], np.diff(lists))
        return found
    free, begins = [0] * cores, []
    for count in passes.tolist():
        begins.append(free[0])
        heapq.heapreplace(free, free[0] + count)
    return np.array(begins, np.int64)


@dataclass(frozen=True, kw_only=True)
class Walks:
    """The tiles of a group as its cores walk through one tensor.

    starts, passes: int64[T], of each tile. parts: int64[T], the same where tiles walk alike.
    window: passes for which what is brought stays. drift: by which cores come apart.
    """

    starts: IntArray
    passes: IntArray
    parts: IntArray
    window: int
    drift: int

    @cached_property
    def brought(self) -> list[list[Span]]:
        """The passes that each tile brings, as no other one has brought them yet."""
        reach = self.window - 1 - self.drift
        known: dict[int, list[tuple[int, int]]] = {}  # by part: up to a pass, when it was brought
        found: list[list[Span]] = [[] for _ in self.starts]
        parts, passes, starts = self.parts.tolist(), self.passes.tolist(), self.starts.tolist()
        for tile in np.argsort(self.starts, kind="stable").tolist():
            begin, length = starts[tile], passes[tile]
            old = known.get(parts[tile], [])
            there, first = list[tuple[int, int]](), 0
            for end, when in (*old, (max(length, old[-1][0] if old else 0), GONE)):
                gone = begin - when > reach
                if gone and first < length:
                    last = min(end, length)
                    _add(found[tile], first, last)
                    _up_to(there, last, begin)
                if not gone or end > length:
                    _up_to(there, end, GONE if gone else when)
                first = end
            known[parts[tile]] = there
        return found

    def held(self, ahead: float) -> float:
        """Passes that are in the window at one time, at most.

        ahead: passes that are brought before they are needed.
        """
        spans = [
            (begin + first, begin + end)
            for begin, own in zip(self.starts.tolist(), self.brought, strict=True)
            for first, end in own
        ]
        edges, steps = np.unique(np.array(spans), return_inverse=True)
        change = np.zeros(len(edges))
        np.add.at(change, steps.reshape(-1, 2)[:, 0], 1)
        np.add.at(change, steps.reshape(-1, 2)[:, 1], -1)
        total = np.append(0.0, np.cumsum(np.cumsum(change)[:-1] * np.diff(edges)))
        wide = self.window + ahead
        ends = np.concatenate([edges, edges + wide])
        both = np.interp(ends, edges, total) - np.interp(ends - wide, edges, total)
        return float(both.max())


def _add(spans: list[Span], first: int, end: int) -> None:
    """Add passes to spans that end before, or where these begin."""
    if spans and spans[-1][1] == first:
        first = spans.pop()[0]
    if first < end:
        spans.append((first, end))


def _up_to(there: list[tuple[int, int]], end: int, when: int) -> None:
    """Say of the passes up to one when they were brought, if it is not said yet."""
    if there and there[-1][1] == when:
        there.pop()
    if not there or there[-1][0] < end:
        there.append((end, when))
