"""Incremental enumeration of an Einsum with too many candidates: pruned at every node."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from flat_mapper.arch.values import Fanout, MemoryLevel
from flat_mapper.mapper.bounds.outer import Outers
from flat_mapper.mapper.bounds.partial import (
    ANY,
    Known,
    Nodes,
    Sharing,
    least_energy,
)
from flat_mapper.mapper.cost.candidate_set import CandidateSet
from flat_mapper.mapper.space.candidates import Bools, CandidateBlock, Floats, Ints
from flat_mapper.mapper.space.einsum import EinsumSpace, lanes_of
from flat_mapper.mapper.space.enumerate import TooMany, Wanted, extend, keeps, start
from flat_mapper.mapper.space.factors import distinct_columns
from flat_mapper.mapper.space.group import FOLLOW, GroupProblem, tile_words
from flat_mapper.mapper.space.roles import Role

Costs = tuple[Floats, Floats, Floats]  # least pJ, the same without DRAM, least compute cycles

# Of candidates with such costs if the next level keeps these tensors: those to go on with
Choice = Callable[[CandidateBlock, frozenset[str], Floats, Floats, Floats], Ints]

# Of so many bounds, the positions of those to go on with, where not all can be kept
Crowd = Callable[[Floats, Floats, Floats, int], Ints]

AT_ONCE = 1 << 18  # candidates times factors of one more node to look at in one go


@dataclass(frozen=True, kw_only=True)
class IncrementalEnumeration:
    """Candidates that use so many compute units at least, under some outer tiles."""

    space: EinsumSpace
    roles: dict[str, tuple[Role, ...]]
    least: int
    tiles: Ints  # int64[R, n]
    sharing: Sharing = field(default_factory=dict)  # by units of all fanouts
    share: float | None = None  # of the work that a mask leaves; None: there is none
    step: Callable[[], None] | None = None  # called with every piece of work
    most: int = 200_000  # candidates to keep at a node
    crowd: Crowd | None = None  # what to do with more; None: `TooMany` is raised

    @cached_property
    def wanted(self) -> Wanted:
        """Condition on every candidate."""
        sizes = np.array(self.space.sizes, dtype=np.int64)[:, None]
        tiles = np.where(self.tiles == FOLLOW, sizes, self.tiles)
        return Wanted(least=self.least, tiles=distinct_columns(tiles)[0])

    def candidate_set(self, choose: Choice) -> CandidateSet:
        """The candidates that are chosen at every node."""
        blocks = [start(self.space)]
        nodes = tuple(reversed(self.space.inner_nodes))
        for position, node in enumerate(nodes):
            rest = nodes[position + 1 :]
            blocks = self._extend([b for b in blocks if b.count], node, rest, choose)
        return CandidateSet(space=self.space, blocks=blocks, roles=self.roles)

    def least_of_all(self, weights: Sequence[float] = ()) -> LowerBounds:
        """Lower bounds on any candidate, seen from the first fanout on, or before it gets long.

        weights: of cycles against pJ.
        """
        blocks = [start(self.space)]
        nodes = tuple(reversed(self.space.inner_nodes))
        for position, node in enumerate(nodes):
            rest = nodes[position + 1 :]
            blocks = self._extend(blocks, node, rest, None)
            count = sum(b.count for b in blocks)
            if isinstance(node, Fanout) or not rest or count * self._factors(rest[0]) > AT_ONCE:
                break
        found = LowerBounds.none(weights)
        for candidates in blocks:
            known = Known()
            for keep in keeps(self.space, rest[0]) if rest else [frozenset[str]()]:
                found = found.including(*self._costs(candidates, rest, keep, known))
        return found

    def _extend(
        self,
        blocks: list[CandidateBlock],
        node: MemoryLevel | Fanout,
        rest: Nodes,
        choose: Choice | None,
    ) -> list[CandidateBlock]:
        """Candidates with one more node around them."""
        found: list[CandidateBlock] = []
        left = 0
        for block in blocks:
            known = Known()
            for keep in keeps(self.space, node):
                inside = block
                if choose and isinstance(node, MemoryLevel):
                    costs = self._costs(block, (node, *rest), keep, known)
                    inside = block.take(choose(block, keep, *costs))
                for part in _chunks(inside, self._factors(node)):
                    if self.step is not None:
                        self.step()
                    own = self._around(part, node, keep, rest, choose)
                    if own.count:
                        found.append(own)
                        left += own.count
                    if choose is not None and left > 2 * self.most:
                        found = self._fewer(_by_keeps(found), rest)
                        left = sum(b.count for b in found)
        found = _by_keeps(found)
        return self._fewer(found, rest) if choose is not None else found

    def _around(
        self,
        candidates: CandidateBlock,
        node: MemoryLevel | Fanout,
        keep: frozenset[str],
        rest: Nodes,
        choose: Choice | None,
    ) -> CandidateBlock:
        """Candidates with one more node around them."""
        found = extend(self.space, candidates, node, keep, self.wanted)
        return found if choose is None else self._left(found, rest, choose)

    def _fewer(self, blocks: list[CandidateBlock], rest: Nodes) -> list[CandidateBlock]:
        """Candidates; where they are too many, those of `crowd`."""
        if sum(b.count for b in blocks) <= self.most:
            return blocks
        if self.crowd is None:
            raise TooMany
        # A node that changes nothing stands before the rest: what the next one keeps is open.
        open_ = (Fanout(name="", fanout_x=1, fanout_y=1), *rest) if rest else rest
        none = frozenset[str]()
        parts = [np.broadcast_arrays(*self._costs(b, open_, none)) for b in blocks]
        priced, free, cycles = (np.concatenate(p) for p in zip(*parts, strict=True))
        mask = np.zeros(len(priced), np.bool_)
        # Some with the smallest tiles, as what promises most may not fit beside the others.
        mask[np.argsort(self._words(blocks), kind="stable")[: -(-self.most // 8)]] = True
        crowd = np.flatnonzero(~mask)
        best = self.crowd(priced[crowd], free[crowd], cycles[crowd], self.most - int(mask.sum()))
        mask[crowd[best]] = True
        return _masked(blocks, mask)

    def _words(self, blocks: list[CandidateBlock]) -> Floats:
        """Words of all tensors in the tiles of candidates; float64[n]."""
        tile = np.concatenate([b.tile for b in blocks], axis=1)
        level = self.space.arch.levels[self.space.shared].name
        words = [tile_words(self.space, t, tile, level) for t in self.space.tensors]
        return np.asarray(sum(words), np.float64)

    def _left(self, candidates: CandidateBlock, rest: Nodes, choose: Choice) -> CandidateBlock:
        """Candidates that are chosen.

        Not before a level: what it keeps tells more, and is asked then.
        """
        if not candidates.count or (rest and not isinstance(rest[0], Fanout)):
            return candidates
        none = frozenset[str]()
        return candidates.take(choose(candidates, none, *self._costs(candidates, rest, none)))

    def _factors(self, node: MemoryLevel | Fanout) -> int:
        """About how many ways there are to choose the factors of a node."""
        return self.space.splits[node.name][0].shape[1] if isinstance(node, Fanout) else 1000

    def _costs(
        self,
        candidates: CandidateBlock,
        rest: Nodes,
        keep: frozenset[str],
        known: Known | None = None,
    ) -> tuple[Floats, Floats, Floats]:
        """Lower bounds on candidates."""
        share = 1.0 if self.share is None else self.share
        units: Ints | int = lanes_of(rest)
        sharing = self.sharing if units == self.space.lanes else ANY
        own = self.space, candidates, rest, keep, self.roles, self.share, known, sharing
        priced, free = least_energy(*own)
        return priced, free, share * (self.space.lane_cycles / (candidates.spatial * units))


def _masked(blocks: list[CandidateBlock], mask: Bools) -> list[CandidateBlock]:
    """Candidates of a mask over all blocks."""
    found, begin = [], 0
    for block in blocks:
        own = np.flatnonzero(mask[begin : begin + block.count])
        begin += block.count
        if len(own):
            found.append(block.take(own))
    return found


def _by_keeps(blocks: list[CandidateBlock]) -> list[CandidateBlock]:
    """Blocks of candidates that keep the same, joined."""
    same: dict[object, list[CandidateBlock]] = {}
    for block in blocks:
        same.setdefault(tuple(block.keep.items()), []).append(block)
    return [CandidateBlock.joined(parts) for parts in same.values()]


def _chunks(candidates: CandidateBlock, factors: int) -> Iterator[CandidateBlock]:
    """Candidates in parts that one more node can be put around in one go."""
    step = max(1, AT_ONCE // max(1, factors))
    if 0 < candidates.count <= step:
        yield candidates
        return
    for first in range(0, candidates.count, step):
        yield candidates.take(np.arange(first, min(first + step, candidates.count)))


@dataclass(frozen=True, slots=True)
class LowerBounds:
    """Lower bounds over one Einsum's candidates: pJ with and without DRAM, compute cycles.

    And weighted sums of cycles and of pJ with DRAM, by weight.
    """

    priced: float
    free: float
    cycles: float
    sums: tuple[tuple[float, float], ...]  # weight, least sum

    @classmethod
    def none(cls, weights: Sequence[float]) -> LowerBounds:
        """Over no candidates: infinite. weights: of cycles."""
        return cls(np.inf, np.inf, np.inf, tuple((w, np.inf) for w in weights))

    @classmethod
    def of(
        cls, candidate_set: CandidateSet, weights: Sequence[float], share: float | None = None
    ) -> LowerBounds:
        """Over some candidates. weights: of cycles. share: see `CandidateSet.energy`."""
        none = cls.none(weights)
        if not candidate_set.count:
            return none
        priced, free = (candidate_set.energy(priced=p, share=share) for p in (True, False))
        return none.including(priced, free, candidate_set.cycles * (1 if share is None else share))

    def including(self, priced: Floats, free: Floats, cycles: Floats) -> LowerBounds:
        """Over some more."""
        if len(cycles) == 0:
            return self
        return LowerBounds(
            min(self.priced, float(priced.min())),
            min(self.free, float(free.min())),
            min(self.cycles, float(cycles.min())),
            tuple((w, min(low, float((priced + w * cycles).min()))) for w, low in self.sums),
        )


class BoundFilter:
    """Holds every candidate against the least that the other Einsums and the outer choices cost."""

    def __init__(
        self,
        problem: GroupProblem,
        outers: Outers,
        lows: list[LowerBounds],
        slopes: Sequence[float],
    ) -> None:
        self.lows, self.slopes = lows, slopes
        self.adds = problem.cycles_add
        self.more, self.floors = float(outers.staged.min()), float(outers.floors.min())
        self.least = float(outers.cycles.min())

    def bound(self, i: int, priced: Floats, free: Floats, cycles: Floats) -> tuple[Floats, Floats]:
        """Lower bounds on the group's (cycles, pJ) with each of the i-th Einsum's candidates.

        priced, free: lower bounds on their pJ, with and without DRAM. cycles: of compute.
        """
        others = [low for j, low in enumerate(self.lows) if j != i]
        more = sum(low.priced for low in others) + self.more
        floors = sum(low.free for low in others) + self.floors
        busy = sum(
            low.cycles * add
            for j, (low, add) in enumerate(zip(self.lows, self.adds, strict=False))
            if j != i
        )
        energy = np.maximum(priced + more, free + floors)
        cycles = np.maximum(cycles, self.adds[i] * cycles + busy)
        return np.maximum(cycles, self.least), energy

    def sums(self, i: int, priced: Floats, cycles: Floats) -> list[Floats]:
        """Lower bounds on the group's weighted sums with each of the i-th Einsum's candidates.

        priced, cycles: as in `bound`. returns: by slope.
        """
        found = []
        for slot, slope in enumerate(self.slopes):
            rest = sum(low.sums[slot][1] for j, low in enumerate(self.lows) if j != i)
            found.append(priced + slope * self.adds[i] * cycles + (rest + self.more))
        return found
