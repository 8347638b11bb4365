"""One Einsum at its turn: its loops in time walked step by step, tiles moved and computed on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise, product

import numpy as np

from flat_mapper.execution.link import (
    LANES_LEVEL,
    SHARED_LEVEL,
    Booleans,
    Counter,
    FlatNest,
    Index,
    Integers,
    Link,
    Place,
    new_place,
    weighted,
)
from flat_mapper.execution.real_numbers import Arithmetic, Values, arithmetic
from flat_mapper.workload.einsum import Einsum, TensorAccess
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.mask import Mask


@dataclass(slots=True)
class StagedTile:
    """A tile of one Einsum's tensor in the shared level, between DRAM and there.

    first, last: numbers of the turns of that Einsum that have it.
    fetched, drained: words from and to DRAM, as it has them.
    """

    tensor: str
    first: int
    last: int
    fetched: float = 0.0
    drained: float = 0.0


@dataclass
class EinsumRun:
    """An Einsum with its memory.

    places:   by level and tensor, those that other Einsums find too.
    resident: tensors whose private tiles may stay from one turn to the next.
    fixed:    loops, the first so many, that are the group's: a turn is one combination of them.
    shared:   inputs that cores share as they come.
    hidden:   the mask, and by how many positions the tile's first query is behind its first key.
    """

    workload: Workload
    nest: FlatNest
    places: Mapping[tuple[int, str], Place]
    resident: frozenset[str]
    fixed: int
    hidden: tuple[Mask, int] | None = None
    shared: frozenset[str] = frozenset()
    counters: dict[tuple[int, str], Counter] = field(default_factory=dict)
    tiles: list[StagedTile] = field(default_factory=list)
    steps: int = 0
    turn: int = 0
    whole: bool = True  # whether the turn may be the one that ends its results
    at: Index = ()  # indices of the last step

    def __post_init__(self) -> None:
        einsum = self.nest.einsum
        self.how: Arithmetic = arithmetic(einsum)
        # Of each tensor its links, outermost first; the last serves the lanes.
        self.links = {a.tensor: self._chain(a) for a in einsum.accesses}
        for tensor in self.shared:
            self.links[tensor][0].asked = []
        self.output = self.links[einsum.output.tensor]
        self.inputs = [self.links[a.tensor] for a in einsum.inputs]
        self.seen: set[tuple[int, ...]] = set()
        self.open_tiles: dict[str, StagedTile] = {}
        self.masked = self._masked()
        out = einsum.output.ranks
        self.kept_dram = [i for i in range(self.fixed) if self.nest.temporal[i].rank in out]

    def counter(self, level: int, tensor: str) -> Counter:
        """What counts a tensor at a level."""
        if (level, tensor) not in self.counters:
            widths, name = self.workload.widths, self.nest.arch.levels[level].name
            share, output = widths.share(tensor, name), self.nest.einsum.output.tensor
            so_far = widths.so_far(tensor, name) if tensor == output else share
            self.counters[level, tensor] = Counter(share=share, so_far=so_far)
        return self.counters[level, tensor]

    def _chain(self, access: TensorAccess) -> list[Link]:
        tensor, nest = access.tensor, self.nest
        levels = nest.keepers(tensor)
        counters = [self.counter(i, tensor) for i in levels]
        counters.append(Counter())  # of the lanes: nobody asks
        slots = [*(nest.level_slots[i] for i in levels), nest.slot_count]
        places = [
            self.places.get((i, tensor))
            or new_place(
                tensor, {r: nest.extent(r, slot) for r in access.ranks}, nest.instances(slot)
            )
            for i, slot in zip([*levels, LANES_LEVEL], slots, strict=True)
        ]
        pairs = zip(
            pairwise([*levels, LANES_LEVEL]), pairwise(places), pairwise(counters), strict=True
        )
        return [Link(nest, access, *pair) for pair in pairs]

    def _masked(self) -> Callable[[Index, Values], Values] | None:
        """Mask that takes pairs out of what this Einsum makes of them."""
        found = masked(self.workload, self.nest.einsum)
        if self.hidden is None or found is None:
            return None
        pair, nothing = found
        first = {r: self.output[-1].instances.coordinate(r) for r in pair}
        at = {
            r: [(i, s.stride) for i, s in enumerate(self.nest.temporal) if s.rank == r]
            for r in pair
        }
        queries, keys = pair
        mask, before = self.hidden

        def hide(index: Index, values: Values) -> Values:
            query = first[queries] + weighted(at[queries], index) + before
            key = first[keys] + weighted(at[keys], index)
            return np.where(may_see(mask, query, key), values, nothing)

        return hide

    def take_turn(
        self, dram: tuple[int, ...], after: tuple[int, ...] | None, *, last: bool = True
    ) -> int:
        """One turn under fixed DRAM loops; the steps it took.

        after: the DRAM loops' indices at this Einsum's next turn; None at its last.
        last: whether no later turn adds to the same results.
        """
        kept = tuple(dram[i] for i in self.kept_dram)
        fresh = kept not in self.seen
        # What is corrected is added to afterwards: only before its start is nothing added up yet.
        self.whole = fresh if self.nest.einsum.updates else last
        ranges = [range(s.factor) for s in self.nest.temporal[self.fixed :]]
        before = self.steps
        for inner in product(*ranges):
            self._step((*dram, *inner), fresh=fresh)
        self.seen.add(kept)
        self._leave(dram, after)
        for tile in self.open_tiles.values():
            tile.last = self.turn
        return self.steps - before

    def _step(self, index: Index, *, fresh: bool) -> None:
        einsum, lanes = self.nest.einsum, self.output[-1]
        valid = lanes.valid(index)
        if valid is not None and not valid.any():
            return
        self.steps += 1
        before, self.at = self.at, index
        for links in self.inputs:
            for link in links[:-1]:
                if link.held != link.key(index):
                    self._staged(link, link.fetch(index))
            links[-1].fetch(index)
        self._turn_over(index, before, fresh=fresh)
        start = fresh and lanes.first(index, self.fixed)
        lanes.open(index, self.how, fresh=start, updates=einsum.updates)
        so_far = lanes.child.data
        made = self.how.point([self.links[t][-1].child.data for t in self.how.operands])
        if self.masked is not None:
            made = self.masked(index, made)
        if valid is not None:
            made = np.where(valid[:, 0], made, self.how.neutral)
        so_far[:] = made if start or einsum.updates else self.how.combine(so_far, made)
        lanes.write_back(self.how, done=self._done(lanes, index))

    def _done(self, link: Link, index: Index) -> bool:
        """True if nothing more is added to a tile of results that goes at some loops' indices."""
        passes = link.first if self.nest.einsum.updates else link.last
        return self.whole and passes(index, self.fixed)

    def _turn_over(self, index: Index, before: Index, *, fresh: bool) -> None:
        """Put the output's old tiles back, innermost first, and make room for new ones."""
        stale = [link for link in self.output[:-1] if link.held != link.key(index)]
        for link in reversed(stale):
            if link.held is not None:
                self._put_back(link, before)
        for link in stale:
            start = fresh and link.first(index, self.fixed)
            self._staged(link, link.open(index, self.how, fresh=start))

    def _staged(self, link: Link, read: float) -> None:
        """Note a tile that came to the shared level from DRAM."""
        if link.staged:
            tensor = link.access.tensor
            self.open_tiles[tensor] = tile = StagedTile(tensor, self.turn, self.turn, read)
            self.tiles.append(tile)

    def _put_back(self, link: Link, index: Index) -> None:
        words = link.write_back(self.how, done=self._done(link, index))
        if link.staged:
            tile = self.open_tiles.pop(link.access.tensor)
            tile.drained, tile.last = words, self.turn

    def _leave(self, dram: tuple[int, ...], after: tuple[int, ...] | None) -> None:
        """End a turn: tiles go, but for those that may stay and come first next time.

        A staged output drains after the last turn that touches it.
        """
        for links in self.links.values():
            for link in reversed(links[:-1]):
                stays = link.access.tensor in self.resident or link.level == SHARED_LEVEL
                following = stays and after is not None and self._next(link, dram, after)
                if link.held is None or following:
                    continue
                if links is self.output:
                    self._put_back(link, self.at)
                link.held = None
                if link.level > SHARED_LEVEL:
                    link.child.data.fill(np.nan)

    def _next(self, link: Link, dram: tuple[int, ...], after: tuple[int, ...]) -> bool:
        """True if the next turn begins with the tile that is there.

        A mask may leave of a row of passes those with one tile of keys only. That tile comes anew
        with the next row all the same: the loop over keys begins again.
        """
        at = [i for i in link.key_at if i < self.fixed]
        outside = at[-1] + 1 if at else 0
        zeros = (0,) * (len(self.nest.temporal) - len(after))
        same = link.held == link.key((*after, *zeros))
        return same and dram[:outside] == after[:outside]

    def tile_words(self, *, held: bool) -> dict[tuple[int, str], float]:
        """(level, tensor) -> words of the largest tile that an instance ever held.

        held: only of tiles that are still there between turns.
        """
        return {
            (link.level, tensor): link.most * link.inner.widest
            for tensor, links in self.links.items()
            for link in links[:-1]
            if link.held is not None or not held
        }


def masked(workload: Workload, einsum: Einsum) -> tuple[tuple[str, str], float] | None:
    """The ranks of queries and keys, and what an Einsum writes where the one may not see the other.

    None where masked inputs make that by themselves, or where it makes nothing for such pairs.
    """
    pair, ranks = workload.roles.masked, workload.tensor_ranks
    if pair is None or not set(pair) <= set(einsum.output.ranks):
        return None
    value, how = _nothing(workload, einsum.output.tensor), arithmetic(einsum)
    before = [_nothing(workload, t) if set(pair) <= set(ranks[t]) else None for t in how.operands]
    if set(before) == {None}:
        return pair, value
    with np.errstate(all="ignore"):
        made = how.point([_OTHERS if one is None else np.full(2, one) for one in before])
    return None if (made == value).all() else (pair, value)


_OTHERS = np.array([-3.0, 2.0])  # chosen: of either sign; what a masked input may meet at a point


def _nothing(workload: Workload, tensor: str) -> float:
    """The value of a masked pair that those who read it pass over."""
    done = {e.operation for e in workload.readers(tensor)}
    return -np.inf if done & {"max", "exp"} else np.inf if "min" in done else 0.0


def may_see(mask: Mask, query: Integers, key: Integers) -> Booleans:
    """True if a query at a position may see a key, pair by pair; of keys in parts, one of them."""
    seen: Booleans = np.zeros(np.broadcast(query, key).shape, np.bool_)
    for position in (key * mask.parts + part for part in range(mask.parts)):
        within = np.ones(seen.shape, np.bool_)
        if mask.causal:
            within &= position <= query
        if mask.window is not None:
            within &= abs(query - position) < mask.window
        seen |= within
    return seen
