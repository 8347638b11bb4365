"""Incremental enumeration of an Einsum with too many candidates: pruned at every node."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import numpy as np

from flat_mapper.arch.values import Fanout, MemoryLevel
from flat_mapper.cost_model.candidates import Bools, CandidateBlock, Floats, Ints
from flat_mapper.cost_model.roles import Role
from flat_mapper.mapper.bounds.candidate_set import CandidateSet
from flat_mapper.mapper.bounds.outer import OuterBounds, Outers
from flat_mapper.mapper.bounds.partial import (
    ANY,
    Known,
    Nodes,
    Sharing,
    least_energy,
    shared_words,
)
from flat_mapper.mapper.group.incumbent import Incumbent
from flat_mapper.mapper.group.picks import Counters, GroupSolution
from flat_mapper.mapper.space.einsum import EinsumSpace, lanes_of
from flat_mapper.mapper.space.enumerate import TooMany, Wanted, extend, keeps, start
from flat_mapper.mapper.space.factors import distinct_columns
from flat_mapper.mapper.space.group import FOLLOW, GroupProblem, tile_words

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

    def least_of_all(self, weight: float) -> LowerBounds:
        """Lower bounds on any candidate, seen from the first fanout on, or before it gets long.

        weight: of cycles against pJ.
        """
        blocks = [start(self.space)]
        nodes = tuple(reversed(self.space.inner_nodes))
        for position, node in enumerate(nodes):
            rest = nodes[position + 1 :]
            blocks = self._extend(blocks, node, rest, None)
            count = sum(b.count for b in blocks)
            if isinstance(node, Fanout) or not rest or count * self._factors(rest[0]) > AT_ONCE:
                break
        found = LowerBounds(weight)
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

    And weighted sums of cycles and of pJ with DRAM. Over no candidates all are infinite.
    """

    weight: float  # of cycles in the sum
    priced: float = np.inf
    free: float = np.inf
    cycles: float = np.inf
    sum: float = np.inf

    @classmethod
    def of(
        cls, candidate_set: CandidateSet, weight: float, share: float | None = None
    ) -> LowerBounds:
        """Over some candidates. weight: of cycles. share: see `CandidateSet.energy`."""
        none = cls(weight)
        if not candidate_set.count:
            return none
        priced, free = (candidate_set.energy(priced=p, share=share) for p in (True, False))
        return none.including(priced, free, candidate_set.cycles * (1 if share is None else share))

    def including(self, priced: Floats, free: Floats, cycles: Floats) -> LowerBounds:
        """Over some more."""
        if len(cycles) == 0:
            return self
        return LowerBounds(
            self.weight,
            min(self.priced, float(priced.min())),
            min(self.free, float(free.min())),
            min(self.cycles, float(cycles.min())),
            min(self.sum, float((priced + self.weight * cycles).min())),
        )


class BoundFilter:
    """Holds every candidate against the least that the other Einsums and the outer choices cost."""

    def __init__(
        self,
        problem: GroupProblem,
        outers: Outers,
        lows: list[LowerBounds],
        slope: float,
    ) -> None:
        self.lows, self.slope = lows, slope
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

    def sum(self, i: int, priced: Floats, cycles: Floats) -> Floats:
        """Lower bounds on the group's weighted sums with each of the i-th Einsum's candidates.

        priced, cycles: as in `bound`.
        """
        rest = sum(low.sum for j, low in enumerate(self.lows) if j != i) + self.more
        return priced + self.slope * self.adds[i] * cycles + rest


FIRST = 4000  # candidates of an Einsum that the first pass extends at a node
NARROWER = (1, 3, 62)  # halvings of the compute units in use, where no wider candidate fits
BEAM = 100  # candidates with one set of keeps that the first pass extends at a node


Drop = Callable[[Floats, Floats], None]  # lower bounds on the group's cycles and pJ


@dataclass(frozen=True, slots=True)
class Beam:
    """Enumerates incrementally the candidates that are too many, under some outer choices."""

    problem: GroupProblem
    bounds: OuterBounds
    incumbent: Incumbent[GroupSolution]
    roles: list[dict[str, tuple[Role, ...]]]
    outers: Outers
    step: Callable[[], None] | None = None  # called with every piece of work
    most: int = 200_000  # candidates of an Einsum at a node
    drop: Drop | None = None  # called with bounds of what is left out; None: nothing may be
    counters: Counters = field(default_factory=Counters)

    def first(self, whole: list[CandidateSet | None], least: list[int]) -> list[CandidateSet]:
        """Candidates for a good mapping early: where there are too many, the most promising."""
        known = [t for t in whole if t is not None]
        if len(known) == len(whole):
            return known
        return [
            replace(g, most=FIRST, crowd=self._first_few).candidate_set(self._best_few)
            if t is None
            else t
            for t, g in zip(whole, self._enumerations(least, self.outers), strict=True)
        ]

    def near(self, whole: list[CandidateSet | None], widest: list[int]) -> list[CandidateSet]:
        """The same of outer choices of one tile: candidates as wide as there are such.

        whole: the widest candidates of every Einsum, whatever the tile; None: too many.
        """
        some: list[CandidateSet | None] = []
        for part in whole:
            if part is not None and part.count:
                tile = self.outers.tile[self.problem.index(part.space), :1]
                part = part.keep((tile % part.tile == 0).all(axis=0))
            some.append(part)
        found = self.first(some, widest)
        for halvings in NARROWER:
            if not all(t.count for t in found):
                least = [max(1, units >> halvings) for units in widest]
                found = self.first([t if t.count else None for t in found], least)
        return found

    def _first_few(self, priced: Floats, free: Floats, cycles: Floats, most: int) -> Ints:
        keys = self.incumbent.sort_keys(*np.broadcast_arrays(cycles, priced))
        return np.lexsort(keys[::-1])[:most]

    def _best_few(
        self,
        candidates: CandidateBlock,
        keep: frozenset[str],
        priced: Floats,
        free: Floats,
        cycles: Floats,
    ) -> Ints:
        if candidates.count <= BEAM:
            return np.arange(candidates.count)
        return np.sort(np.lexsort(self.incumbent.sort_keys(cycles, priced)[::-1])[:BEAM])

    def filtered(self, whole: list[CandidateSet | None], least: list[int]) -> list[CandidateSet]:
        """Candidates that can improve, where there are too many by the others' lower bounds."""
        at = np.array(self.outers.cycles.min()), np.array(self.outers.energy.min())
        slope = float(self.incumbent.slope(*at))
        weights = [slope * add for add in self.problem.cycles_add]
        lows = [
            g.least_of_all(w) if t is None else LowerBounds.of(t, w, g.share)
            for t, g, w in zip(whole, self._enumerations(least, self.outers), weights, strict=True)
            if len(whole) > 1  # one alone has no others to add
        ]
        # With lower bounds of all Einsums fewer outer choices can improve, with wider candidates.
        outers = _raised(self.outers, lows)
        alive = self.incumbent.can_improve(outers.cycles, outers.energy)
        outers = outers.take(np.flatnonzero(alive))
        if not len(outers.staging):
            return [_none(g) for g in self._enumerations(least, self.outers)]
        wider = narrowest(self.bounds, self.incumbent, outers)
        bound_filter = BoundFilter(self.problem, outers, lows, slope)
        found: list[CandidateSet] = []
        for i, enumeration in enumerate(self._enumerations(wider, outers)):

            def crowd(priced: Floats, free: Floats, cycles: Floats, most: int, i: int = i) -> Ints:
                bound = np.broadcast_arrays(*bound_filter.bound(i, priced, free, cycles))
                order = np.lexsort(self.incumbent.sort_keys(*bound)[::-1])
                assert self.drop is not None
                self.drop(bound[0][order[most:]], bound[1][order[most:]])
                return order[:most]

            own = whole[i]
            if self.drop is not None and enumeration.crowd is None:
                enumeration = replace(enumeration, crowd=crowd)
            found.append(
                own or enumeration.candidate_set(partial(self._improving, bound_filter, i, at))
            )
            if lows:
                lows[i] = LowerBounds.of(found[-1], weights[i], enumeration.share)
        return found

    def _improving(
        self,
        bound_filter: BoundFilter,
        i: int,
        at: tuple[Floats, Floats],
        candidates: CandidateBlock,
        keep: frozenset[str],
        priced: Floats,
        free: Floats,
        cycles: Floats,
    ) -> Ints:
        """Candidates of an Einsum with which a group can improve, by their bounds.

        at: see `Incumbent.sum_can_improve`.
        """
        good = self.incumbent.can_improve(*bound_filter.bound(i, priced, free, cycles))
        good = good & self.incumbent.sum_can_improve(bound_filter.sum(i, priced, cycles), *at)
        self.counters.partial_bounded += int(np.count_nonzero(~good))
        return np.flatnonzero(good)

    def _share(self, space: EinsumSpace, outers: Outers) -> float | None:
        """Least share of an Einsum's work that a mask leaves; None without one."""
        if self.problem.masked_pair is None:
            return None
        least = np.array([outers.visited.min(initial=1.0)])
        return float(self.problem.shares(space, least)[0])

    def _enumerations(self, least: list[int], outers: Outers) -> list[IncrementalEnumeration]:
        return [
            IncrementalEnumeration(
                space=space,
                roles=roles,
                least=units,
                tiles=distinct_columns(outers.tile[self.problem.index(space)])[0],
                sharing=shared_words(space, self.bounds.words.sharing(space)),
                share=self._share(space, outers),
                step=self.step,
                most=self.most,
            )
            for space, roles, units in zip(self.problem.spaces, self.roles, least, strict=True)
        ]


def narrowest(
    bounds: OuterBounds, incumbent: Incumbent[GroupSolution], outers: Outers
) -> list[int]:
    """By Einsum, the fewest compute units with which it may be part of something better."""
    found = []
    for i, space in enumerate(bounds.problem.spaces):
        low, high = 0, space.widest  # hopeless at low; high is tried in any case
        while high - low > 1:
            middle = (low + high) // 2
            busy = bounds.busy(i, space.lane_cycles / middle, outers)
            hopeful = incumbent.can_improve(np.maximum(outers.cycles, busy), outers.energy).any()
            low, high = (low, middle) if hopeful else (middle, high)
        found.append(high)
    return found


def rounded_narrowest(
    bounds: OuterBounds, incumbent: Incumbent[GroupSolution], outers: Outers
) -> list[int]:
    """The same rounded down, so that searches with other goals find the candidates again."""
    fewest = narrowest(bounds, incumbent, outers)
    widest = [s.widest for s in bounds.problem.spaces]
    return [
        n if n == most else n - n % (1 << max(0, n.bit_length() - 4))
        for n, most in zip(fewest, widest, strict=True)
    ]


def _raised(outers: Outers, lows: list[LowerBounds]) -> Outers:
    """Outer choices with their energy raised to the lower bounds of their Einsums."""
    priced = sum((low.priced for low in lows), 0.0) + outers.staged
    free = sum((low.free for low in lows), 0.0) + outers.floors
    found = outers.take(np.arange(len(outers.staging)))
    found.energy = np.maximum(outers.energy, np.maximum(priced, free))
    return found


def _none(enumeration: IncrementalEnumeration) -> CandidateSet:
    return CandidateSet(space=enumeration.space, blocks=[], roles=enumeration.roles)
