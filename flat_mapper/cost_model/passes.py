"""Passes of loops that cut ranks into extents, the last one of each loop as short as it is.

A loop cuts what it is given into pieces of its extent, in time (one after another) or in space (to
instances side by side); the last piece is what is left. All instances walk in step: a loop in time
makes as many passes as the instance with most to do needs, and who has nothing left is idle. A tile
stays until the loops in time over its tensor's ranks are somewhere else. So how often it comes
hangs on the innermost of these loops that makes more than one pass here: loops over other ranks
bring it again only where they stand outside that one. Ranks are cut independently, so counts are
sums over that loop's place of products over ranks (`words_brought`).

source: the walk of `execution`, which these counts equal.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from flat_mapper.cost_model.nest import IntArray

ALONE = -1  # the place of no loop: none makes more than one pass
_ONCE: Mapping[int, int] = {ALONE: 1}
_Places = dict[int, IntArray]  # by place of the innermost loop of several passes so far


@dataclass(frozen=True, slots=True, kw_only=True)
class Cuts:
    """The loops of one rank of n nests, outermost first.

    size:    int64[n]. extents: int64[loops, n], of a piece.
    places:  of each among all loops of the nest, outermost first. in_time: whether it is no
             spatial one.
    """

    size: IntArray
    extents: IntArray
    places: tuple[int, ...]
    in_time: tuple[bool, ...]

    def outside(self, place: int) -> Cuts:
        """Those of its loops that stand outside a place."""
        count = sum(own < place for own in self.places)
        return Cuts(
            size=self.size,
            extents=self.extents[:count],
            places=self.places[:count],
            in_time=self.in_time[:count],
        )

    def coordinates(self) -> _Places:
        """Coordinates that all pieces have, by the innermost loop in time of several passes there.

        Of an instance that is idle in some of its passes too: the loops in time are all the same.
        """
        kinds = [(self.size, self.size, {ALONE: np.ones_like(self.size)})]
        for extent, place, in_time in zip(self.extents, self.places, self.in_time, strict=True):
            whole: _Places = {}
            next_kinds = []
            for own, first, counts in kinds:
                several = (first > extent) & in_time
                moved = _moved(counts, place, several)
                full = own // extent
                left = own - full * extent
                _add(whole, moved, full)
                rest = np.minimum(extent, first - full * extent) if in_time else first
                ended = {at: n * (left > 0) for at, n in moved.items()}
                next_kinds.append((left, np.minimum(extent, rest), ended))
            kinds = [k for k in next_kinds if any(n.any() for n in k[2].values())]
            if any(n.any() for n in whole.values()):
                kinds.append((extent, extent, whole))
        found: _Places = {}
        for own, _, counts in kinds:
            _add(found, counts, own)
        return found

    def pieces(self, each: Collection[int]) -> IntArray:
        """Number of pieces: int64[n].

        each: places of loops whose pieces all count; of the others the first one alone does.
        """
        kinds = [(self.size, np.ones_like(self.size))]
        for extent, place in zip(self.extents, self.places, strict=True):
            if place not in each:
                kinds = [(np.minimum(own, extent), n) for own, n in kinds]
                continue
            full = [own // extent for own, _ in kinds]
            left = [(own - k * extent, n) for (own, n), k in zip(kinds, full, strict=True)]
            kinds = [(own, n * (own > 0)) for own, n in left if own.any()]
            whole = sum(n * k for (_, n), k in zip(left, full, strict=True))
            kinds.append((extent, whole))
        return np.asarray(sum(n for _, n in kinds), np.int64)


def _moved(counts: _Places, place: int, several: IntArray) -> _Places:
    """Counts once a loop stands further in; several: bool[n], where it makes more than a pass."""
    if not several.any():
        return counts
    found = {at: n * ~several for at, n in counts.items()}
    found[place] = np.asarray(sum(n * several for n in counts.values()), np.int64)
    return found


def _add(total: _Places, counts: _Places, times: IntArray) -> None:
    for at, n in counts.items():
        total[at] = total.get(at, 0) + n * times


def words_brought(
    ranks: Mapping[int, Cuts],
    own: Collection[int],
    every: Collection[int],
    *,
    again: int = ALONE,
    left: Mapping[int, int] = _ONCE,
) -> IntArray:
    """Words of a tensor's tiles that come to one place of a nest, over its whole run; int64[n].

    ranks: the loops outside that place, by rank. own: the ranks of the tensor.
    every: places of loops in space whose instances count one by one, where they lack its ranks;
           those of the others share what comes.
    again: place of a loop up to which every pass brings the tile anew, whatever it is.
    left:  passes that a mask leaves of the loops at some places together and those outside them, by
           the place of the innermost; at `ALONE` of none of them.
    """
    lengths = [ranks[rank].coordinates() for rank in own]
    others = [cuts for rank, cuts in ranks.items() if rank not in own]
    total = before = np.zeros(1, np.int64)
    for place in sorted({again, *(at for one in lengths for at in one if at > again)}):
        so_far = passes = np.ones(1, np.int64)
        for one in lengths:
            so_far = so_far * sum(n for at, n in one.items() if at <= place)
        for cuts in others:
            loops = zip(cuts.places, cuts.in_time, strict=True)
            counted = [p for p, t in loops if (p < place or p <= again if t else p in every)]
            passes = passes * cuts.pieces(counted)
        inner = max(at for at in left if at < place or at <= again)
        passes = passes * left[inner]
        total, before = total + (so_far - before) * passes, so_far
    return total
