"""One Einsum at its turn: its loops in time walked step by step, tiles moved and computed on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from flat_mapper.execution.link import (
    BoolArray,
    Counter,
    FlatNest,
    Index,
    IntArray,
    Link,
    Place,
    Window,
    new_place,
    weighted,
)
from flat_mapper.execution.real_numbers import Arithmetic, Values, arithmetic
from flat_mapper.workload.einsum import TensorAccess
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.mask import Mask

DRAM, SHARED, LANES = 0, 1, -1  # level indices


@dataclass(slots=True)
class StagedTile:
    """A tile of one Einsum's tensor in the shared level, between DRAM and there.

    first, last: numbers of the turns of that Einsum that have it.
    fetched, drained: words from and to DRAM.
    """

    tensor: str
    first: int
    last: int
    fetched: int = 0
    drained: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A tensor's links, outermost first, and the one that serves the lanes of the compute unit."""

    access: TensorAccess
    levels: tuple[int, ...]
    links: tuple[Link, ...]
    lanes: Link


@dataclass
class EinsumRun:
    """An Einsum with its memory.

    places:   by level and tensor, those that other Einsums find too.
    resident: tensors whose private tiles may stay from one turn to the next.
    fixed:    loops, the first so many, that are the group's: a turn is one combination of them.
    hidden:   the mask, and by how many positions the tile's first query is behind its first key.
    """

    workload: Workload
    nest: FlatNest
    places: Mapping[tuple[int, str], Place]
    resident: frozenset[str]
    fixed: int
    hidden: tuple[Mask, int] | None = None
    counters: dict[tuple[int, str], Counter] = field(default_factory=dict)
    tiles: list[StagedTile] = field(default_factory=list)
    steps: int = 0
    turn: int = 0

    def __post_init__(self) -> None:
        einsum = self.nest.einsum
        self.how: Arithmetic = arithmetic(einsum)
        self.chains = {a.tensor: self._chain(a) for a in einsum.accesses}
        self.output = self.chains[einsum.output.tensor]
        self.inputs = [self.chains[a.tensor] for a in einsum.inputs]
        self.seen: set[tuple[int, ...]] = set()
        self.open_tiles: dict[str, StagedTile] = {}
        self.masked = self._masked()
        out = self.output.access.ranks
        self.kept_dram = [i for i in range(self.fixed) if self.nest.temporal[i].rank in out]

    def _chain(self, access: TensorAccess) -> Chain:
        levels = self.nest.keepers(access.tensor)
        counters = [self.counters.setdefault((i, access.tensor), Counter()) for i in levels]
        counters.append(Counter())  # of the lanes: nobody asks
        slots = [*(self.nest.level_slots[i] for i in levels), self.nest.slot_count]
        places = [
            self.places.get((i, access.tensor)) or self._tile(slot, access)
            for i, slot in zip([*levels, LANES], slots, strict=True)
        ]
        links = []
        for n, outer in enumerate(levels):
            window = Window(self.nest, access, outer, slots[n + 1])
            window.settle(places[n])
            links.append(Link(window, places[n + 1], *counters[n : n + 2]))
        return Chain(access=access, levels=levels, links=tuple(links[:-1]), lanes=links[-1])

    def _tile(self, slot: int, access: TensorAccess) -> Place:
        extents = {r: self.nest.extent(r, slot) for r in access.ranks}
        return new_place(access.tensor, extents, self.nest.instances(slot))

    def _masked(self) -> Callable[[Index, Values], Values] | None:
        """Mask that takes pairs out of the scores that this Einsum makes."""
        einsum, workload = self.nest.einsum, self.workload
        pairs = workload.roles.masked
        if self.hidden is None or pairs is None or not set(pairs) <= set(einsum.output.ranks):
            return None
        if any(set(pairs) <= set(a.ranks) for a in einsum.inputs):
            return None  # made of scores, which are masked already
        nothing = masked_value(workload, einsum.output.tensor)
        window = self.output.lanes.window
        first = {r: window.coordinate(r) for r in pairs}
        at = {
            r: [(i, s.stride) for i, s in enumerate(self.nest.temporal) if s.rank == r]
            for r in pairs
        }
        queries, keys = pairs
        mask, before = self.hidden

        def hide(index: Index, values: Values) -> Values:
            query = first[queries] + weighted(at[queries], index) + before
            key = first[keys] + weighted(at[keys], index)
            return np.where(may_see(mask, query, key), values, nothing)

        return hide

    def take_turn(self, dram: tuple[int, ...], after: tuple[int, ...] | None) -> int:
        """One turn under fixed DRAM loops; the steps it took.

        after: the DRAM loops' indices at this Einsum's next turn; None at its last.
        """
        kept = tuple(dram[i] for i in self.kept_dram)
        fresh = kept not in self.seen
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
        lanes, updates = self.output.lanes, self.nest.einsum.updates
        valid = lanes.window.valid(index)
        if valid is not None and not valid.any():
            return
        self.steps += 1
        for chain in self.inputs:
            for link in chain.links:
                if link.held != link.window.key(index):
                    read, _ = link.fetch(index)
                    self._staged(chain, link, read)
            chain.lanes.fetch(index)
        self._turn_over(index, fresh=fresh)
        start = fresh and lanes.window.first(self._own(index))
        lanes.open(index, self.how, fresh=start, updates=updates)
        so_far = lanes.child.data
        made = self.how.point([self.chains[t].lanes.child.data for t in self.how.operands])
        if self.masked is not None:
            made = self.masked(index, made)
        if valid is not None:
            made = np.where(valid[:, 0], made, self.how.neutral)
        so_far[:] = made if start or updates else self.how.combine(so_far, made)
        lanes.write_back(self.how)

    def _own(self, index: Index) -> tuple[int, ...]:
        """An index vector whose shared loops count as in their first pass."""
        return (*(0 for _ in range(self.fixed)), *index[self.fixed :])

    def _turn_over(self, index: Index, *, fresh: bool) -> None:
        """Put the output's old tiles back, innermost first, and make room for new ones."""
        links = self.output.links
        stale = [link for link in links if link.held != link.window.key(index)]
        for link in reversed(stale):
            if link.held is not None:
                self._put_back(link)
        own = self._own(index)
        for link in stale:
            start = fresh and link.window.first(own)
            read, _ = link.open(index, self.how, fresh=start)
            self._staged(self.output, link, read)

    def _staged(self, chain: Chain, link: Link, read: int) -> None:
        """Note a tile that came to the shared level from DRAM."""
        if chain.links[0] is link and chain.levels[:2] == (DRAM, SHARED):
            tensor = chain.access.tensor
            tile = StagedTile(tensor, self.turn, self.turn, read)
            self.tiles.append(tile)
            self.open_tiles[tensor] = tile

    def _put_back(self, link: Link) -> None:
        chain, words = self.output, link.write_back(self.how)
        if chain.links[0] is link and chain.levels[:2] == (DRAM, SHARED):
            tile = self.open_tiles.pop(chain.access.tensor)
            tile.drained, tile.last = words, self.turn

    def _leave(self, dram: tuple[int, ...], after: tuple[int, ...] | None) -> None:
        """End a turn: tiles go, but for those that may stay and come first next time.

        A staged output drains after the last turn that touches it.
        """
        for chain in self.chains.values():
            for n in reversed(range(len(chain.links))):
                link = chain.links[n]
                stays = chain.access.tensor in self.resident or chain.levels[n + 1] == SHARED
                following = stays and after is not None and self._next(link, dram, after)
                if link.held is not None and not following:
                    self._drop(chain, link)

    def _next(self, link: Link, dram: tuple[int, ...], after: tuple[int, ...]) -> bool:
        """True if the next turn begins with the tile that is there.

        A mask may leave of a row of passes those with one tile of keys only. That tile comes anew
        with the next row all the same: the loop over keys begins again.
        """
        own = link.window.access.ranks
        at = [i for i in range(self.fixed) if self.nest.temporal[i].rank in own]
        outside = at[-1] + 1 if at else 0
        zeros = (0,) * (len(self.nest.temporal) - len(after))
        same = link.held == link.window.key((*after, *zeros))
        return same and dram[:outside] == after[:outside]

    def _drop(self, chain: Chain, link: Link) -> None:
        if chain is self.output:
            self._put_back(link)
        link.held = None
        if chain.levels[chain.links.index(link) + 1] > SHARED:
            link.child.clear()

    def tile_words(self, *, held: bool) -> dict[tuple[int, str], int]:
        """(level, tensor) -> words of the largest tile that an instance ever held.

        held: only of tiles that are still there between turns.
        """
        return {
            (chain.levels[n + 1], chain.access.tensor): link.most
            for chain in self.chains.values()
            for n, link in enumerate(chain.links)
            if link.held is not None or not held
        }


def masked_value(workload: Workload, tensor: str) -> float:
    """Value of a masked score: nothing to a maximum or an exponential, and nothing to a sum."""
    readers = workload.readers(tensor)
    return -np.inf if any(e.operation in ("max", "exp") for e in readers) else 0.0


def may_see(mask: Mask, query: IntArray, key: IntArray) -> BoolArray:
    """True if a query at a position may see a key, pair by pair; of keys in parts, one of them."""
    seen: BoolArray = np.zeros(np.broadcast(query, key).shape, np.bool_)
    for position in (key * mask.parts + part for part in range(mask.parts)):
        within = np.ones(seen.shape, np.bool_)
        if mask.causal:
            within &= position <= query
        if mask.window is not None:
            within &= abs(query - position) < mask.window
        seen |= within
    return seen
