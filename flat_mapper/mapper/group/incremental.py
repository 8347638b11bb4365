"""Incremental enumeration of an Einsum with too many candidates: pruned at every node."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np

from flat_mapper.arch.values import Fanout, MemoryLevel
from flat_mapper.base.grouping import distinct_columns
from flat_mapper.cost_model.candidates import CandidateBlock, Floats, Ints
from flat_mapper.cost_model.roles import Role
from flat_mapper.mapper.bounds.candidate_set import CandidateSet
from flat_mapper.mapper.bounds.outer import OuterBounds, Outers
from flat_mapper.mapper.bounds.partial import (
    ANY_SHARING,
    Known,
    Nodes,
    Sharing,
    least_energy,
    shared_words,
)
from flat_mapper.mapper.bounds.whole_sizes import least_words
from flat_mapper.mapper.group.beside import BesideOthers, Least, improving, least_shares
from flat_mapper.mapper.group.incumbent import Incumbent
from flat_mapper.mapper.group.picks import GroupCounters, GroupSolution
from flat_mapper.mapper.space.einsum import EinsumSpace, lanes_of
from flat_mapper.mapper.space.enumerate import (
    TooMany,
    Wanted,
    extend,
    keeps,
    level_rows,
    splits_used,
    start,
)
from flat_mapper.mapper.space.group import FOLLOW, GroupProblem, words_of_tile

# Of candidates with such costs the positions of those to go on with
Choice = Callable[[Least], Ints]

# Of whole candidates those that can still improve
Narrow = Callable[[list[CandidateBlock]], list[CandidateBlock]]

# The same of so many, where not all can be kept
Crowd = Callable[[Least, int], Ints]

_AT_ONCE = 1 << 20  # candidates times factors of one more node to look at in one go
_PARTS = 8  # chosen: times as few candidates as may be kept go on together, where all go on


@dataclass(frozen=True, kw_only=True)
class IncrementalEnumeration:
    """Candidates that use so many compute units at least, under some outer tiles."""

    space: EinsumSpace
    roles: dict[str, tuple[Role, ...]]
    least: int
    tiles: Ints  # int64[R, n]
    sharing: Sharing  # by units of all fanouts
    share: float | None  # of the work that a mask leaves; None: there is none
    step: Callable[[], None]  # called with every piece of work
    most: int  # candidates to keep at a node
    crowd: Crowd | None = None  # what to do with more; None: `TooMany` is raised
    beam: int = 0  # candidates times ways of one more level, of those that `crowd` takes; 0: any
    narrow: Narrow | None = None  # whole ones that are kept; None: all, else more go on in parts

    @cached_property
    def wanted(self) -> Wanted:
        """Condition on every candidate."""
        sizes = np.array(self.space.sizes, dtype=np.int64)[:, None]
        tiles = np.where(self.tiles == FOLLOW, sizes, self.tiles)
        return Wanted(least=self.least, tiles=distinct_columns(tiles)[0])

    def candidate_set(self, choose: Choice) -> CandidateSet:
        """The candidates that are chosen at every node."""
        nodes = tuple(reversed(self.space.inner_nodes))
        blocks = self._whole([start(self.space)], nodes, choose)
        return CandidateSet(space=self.space, blocks=blocks, roles=self.roles)

    def _whole(
        self, blocks: list[CandidateBlock], nodes: Nodes, choose: Choice
    ) -> list[CandidateBlock]:
        """Candidates with all that is chosen of so many nodes around them."""
        if not nodes:
            return blocks if self.narrow is None else self.narrow(blocks)
        node, *rest = nodes
        found = list[CandidateBlock]()
        for part in self._extend([b for b in blocks if b.count], node, tuple(rest), choose):
            found = _by_keeps(found + self._whole(part, tuple(rest), choose))
            if self.narrow is not None:
                found = self._fewer(found, ())
        return found

    def _extend(
        self,
        blocks: list[CandidateBlock],
        node: MemoryLevel | Fanout,
        rest: Nodes,
        choose: Choice,
    ) -> Iterator[list[CandidateBlock]]:
        """Candidates with one more node around them, in parts where they are too many."""
        found, left, most = list[CandidateBlock](), 0, self.most
        if self.narrow is not None:
            most = -(-most // _PARTS)
        for block in blocks:
            known = Known()
            for keep in keeps(self.space, node):
                inside = block
                if isinstance(node, MemoryLevel):
                    inside = self._inside(block, (node, *rest), keep, choose, known)
                for part in _chunks(inside, self._factors(node)):
                    self.step()
                    own = extend(self.space, part, node, keep, self.wanted)
                    own = self._left(own, rest, choose)
                    if own.count:
                        found.append(own)
                        left += own.count
                    if left <= 2 * most:
                        continue
                    if self.narrow is not None:
                        yield _by_keeps(found)
                        found = []
                    else:
                        found = self._fewer(_by_keeps(found), rest)
                    left = sum(b.count for b in found)
        found = _by_keeps(found)
        yield self._fewer(found, rest) if self.narrow is None else found

    def _inside(
        self,
        block: CandidateBlock,
        rest: Nodes,
        keep: frozenset[str],
        choose: Choice,
        known: Known,
    ) -> CandidateBlock:
        """Candidates to put a level around that are chosen; few where each has very many ways."""
        costs = self._costs(block, rest, keep, known)
        chosen = choose(costs)
        if self.beam and self.crowd is not None:
            below = any(block.keep.values())
            ways, _ = level_rows(self.space, rest[0].name, keep, below=below)
            most = max(1, self.beam // max(1, ways.shape[1]))
            chosen = chosen if len(chosen) <= most else self.crowd(costs, most)
        return block.take(chosen)

    def _fewer(self, blocks: list[CandidateBlock], rest: Nodes) -> list[CandidateBlock]:
        """Candidates; where they are too many, those of `crowd`."""
        if sum(b.count for b in blocks) <= self.most:
            return blocks
        if self.crowd is None:
            raise TooMany
        # A node that changes nothing stands before the rest: what the next one keeps is open.
        open_ = (Fanout(name="", fanout_x=1, fanout_y=1), *rest) if rest else rest
        none = frozenset[str]()
        least = np.concatenate([self._costs(b, open_, none) for b in blocks], axis=1)
        mask = np.zeros(least.shape[1], np.bool_)
        # Some with the smallest tiles, as what promises most may not fit beside the others.
        mask[np.argsort(self._words(blocks), kind="stable")[: -(-self.most // 8)]] = True
        crowd = np.flatnonzero(~mask)
        best = self.crowd(tuple(least[:, crowd]), self.most - int(mask.sum()))
        mask[crowd[best]] = True
        return CandidateSet(space=self.space, blocks=blocks, roles=self.roles).keep(mask).blocks

    def _words(self, blocks: list[CandidateBlock]) -> Floats:
        """Words of all tensors in the tiles of candidates; float64[n]."""
        tile = np.concatenate([b.tile for b in blocks], axis=1)
        level = self.space.arch.levels[self.space.shared].name
        words = [words_of_tile(self.space, t, tile, level) for t in self.space.tensors]
        return np.asarray(sum(words), np.float64)

    def _left(self, candidates: CandidateBlock, rest: Nodes, choose: Choice) -> CandidateBlock:
        """Candidates that are chosen.

        Not before a level: what it keeps tells more, and is asked then.
        """
        if not candidates.count or (rest and not isinstance(rest[0], Fanout)):
            return candidates
        none = frozenset[str]()
        return candidates.take(choose(self._costs(candidates, rest, none)))

    def _factors(self, node: MemoryLevel | Fanout) -> int:
        """About how many ways there are to choose the factors of a node."""
        return len(splits_used(self.space, node, self.least)) if isinstance(node, Fanout) else 1000

    def _costs(
        self,
        candidates: CandidateBlock,
        rest: Nodes,
        keep: frozenset[str],
        known: Known | None = None,
    ) -> Least:
        """Lower bounds on candidates."""
        share = 1.0 if self.share is None else self.share
        units: Ints | int = lanes_of(rest)
        sharing = self.sharing if units == self.space.lanes else ANY_SHARING
        what = self.roles, self.share, rest, keep, known, sharing
        priced, free = least_energy(self.space, candidates, *what)
        cycles = share * (self.space.lane_cycles / (candidates.spatial * units))
        return tuple(np.broadcast_arrays(cycles, priced, free))


def _by_keeps(blocks: list[CandidateBlock]) -> list[CandidateBlock]:
    """Blocks of candidates that keep the same, joined."""
    same: dict[object, list[CandidateBlock]] = {}
    for block in blocks:
        same.setdefault(tuple(block.keep.items()), []).append(block)
    return [CandidateBlock.joined(parts) for parts in same.values()]


def _chunks(candidates: CandidateBlock, factors: int) -> Iterator[CandidateBlock]:
    """Candidates in parts that one more node can be put around in one go."""
    step = max(1, _AT_ONCE // max(1, factors))
    if 0 < candidates.count <= step:
        yield candidates
        return
    for first in range(0, candidates.count, step):
        yield candidates.take(np.arange(first, min(first + step, candidates.count)))


_FIRST = 4000  # candidates of an Einsum that the first pass extends at a node
_LATE = 100  # the same once the time is over
BEAM = 100  # candidates with one set of keeps that the first pass extends at a node


Drop = Callable[[Floats, Floats], None]  # lower bounds on the group's cycles and pJ


@dataclass(frozen=True, slots=True)
class Beam:
    """Enumerates incrementally the candidates that are too many, under some outer choices."""

    bounds: OuterBounds
    incumbent: Incumbent[GroupSolution]
    outers: Outers
    step: Callable[[], None]  # called with every piece of work
    most: int  # candidates of an Einsum at a node
    late: Callable[[], bool]  # whether the time is over: any mapping that fits will do
    deep: bool  # whether whole candidates are looked at in parts, where all others are known
    counters: GroupCounters
    drop: Drop | None = None  # called with bounds of what is left out; None: nothing may be

    @property
    def problem(self) -> GroupProblem:
        """The group."""
        return self.bounds.problem

    @property
    def _few(self) -> int:
        return _LATE if self.late() else _FIRST

    def first(self, whole: list[CandidateSet | None], least: list[int]) -> list[CandidateSet]:
        """Candidates for a good mapping early: where there are too many, the most promising."""
        known = [t for t in whole if t is not None]
        if len(known) == len(whole):
            return known
        return [
            replace(g, most=self._few, beam=_AT_ONCE // 4, crowd=self._first_few).candidate_set(
                self._best_few
            )
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
            if part is not None and part.count > self._few:
                few = np.zeros(part.count, np.bool_)
                few[self._first_few(part.least(), self._few)] = True
                part = part.keep(few)
            some.append(part)
        found = self.first(some, widest)
        if not all(t.count for t in found):
            found = self.first([t if t.count else None for t in found], [1] * len(found))
        return found

    def _first_few(self, least: Least, most: int) -> Ints:
        order = np.lexsort(self.incumbent.sort_keys(*least[:2])[::-1])
        return np.sort(order[:most])

    def _best_few(self, least: Least) -> Ints:
        return self._first_few(least, BEAM)

    def filtered(self, whole: list[CandidateSet | None]) -> list[CandidateSet]:
        """Candidates that can improve, where there are too many by the others' lower bounds."""
        shares = least_shares(self.problem, self.outers)
        every = zip(self.problem.spaces, self.bounds.roles, whole, shares, strict=True)
        least_of = [
            _least_of_any(space, roles, share) if own is None else own.least(None, share)
            for space, roles, own, share in every
        ]
        beside = BesideOthers.of(self.problem, self.incumbent, self.outers, least_of)
        # Beside the least of all Einsums fewer outer choices can improve, with wider candidates.
        outers = beside.raised()
        alive = self.incumbent.can_improve(outers.cycles, outers.energy)
        outers, found = outers.take(np.flatnonzero(alive)), list[CandidateSet]()
        if not len(outers.staging):
            return [CandidateSet(space=s, blocks=[], roles={}) for s in self.problem.spaces]
        beside = replace(beside, outers=outers)
        wider = narrowest(self.bounds, self.incumbent, outers)
        for i, (own, one) in enumerate(zip(whole, self._enumerations(wider, outers), strict=True)):
            if own is None:
                if self.drop is not None:
                    one = replace(one, crowd=partial(self._least, beside, i))
                others = [*found, *(t for t in whole[i + 1 :] if t is not None)]
                if self.deep and len(others) == len(whole) - 1:
                    one = replace(one, narrow=partial(self._narrow, i, others, outers))
                own = one.candidate_set(partial(self._improving, beside, i))
            beside.lows[i] = beside.low(i, own.least(None, one.share))
            found.append(own)
        return found

    def _least(self, beside: BesideOthers, i: int, least: Least, most: int) -> Ints:
        """So many candidates of an Einsum of the least bounds; the others are dropped."""
        cycles, energy = beside.bound(i, least)
        order = np.lexsort(self.incumbent.sort_keys(cycles, energy)[::-1])
        assert self.drop is not None
        self.drop(cycles[order[most:]], energy[order[most:]])
        return order[:most]

    def _narrow(
        self, i: int, others: list[CandidateSet], outers: Outers, blocks: list[CandidateBlock]
    ) -> list[CandidateBlock]:
        """Candidates of the i-th Einsum with which the group can improve beside known others."""
        own = CandidateSet(space=self.problem.spaces[i], blocks=blocks, roles=self.bounds.roles[i])
        every = [*others[:i], own, *others[i:]]
        if not own.count:
            return []
        outers = self.bounds.bounded(outers, every, self.step)
        good = self.bounds.fits(outers)
        good &= self.incumbent.can_improve(outers.cycles, outers.energy)
        outers = outers.take(np.flatnonzero(good))
        mask = improving(self.bounds, self.incumbent, every, outers, self.step)[i]
        self.counters.partial_bounded += int(np.count_nonzero(~mask))
        return own.keep(mask).blocks

    def _improving(self, beside: BesideOthers, i: int, least: Least) -> Ints:
        """Candidates of an Einsum with which a group can improve, by their bounds."""
        good = beside.improving(i, least)
        self.counters.partial_bounded += int(np.count_nonzero(~good))
        return np.flatnonzero(good)

    def _enumerations(self, least: list[int], outers: Outers) -> list[IncrementalEnumeration]:
        shares = least_shares(self.problem, outers)
        every = zip(self.problem.spaces, self.bounds.roles, least, shares, strict=True)
        return [
            IncrementalEnumeration(
                space=space,
                roles=roles,
                least=units,
                tiles=distinct_columns(outers.tile[self.problem.index(space)])[0],
                sharing=shared_words(space),
                share=share,
                step=self.step,
                most=self.most,
            )
            for space, roles, units, share in every
        ]


def _least_of_any(
    space: EinsumSpace, roles: dict[str, tuple[Role, ...]], share: float | None
) -> Least:
    """Lower bounds on any candidate of an Einsum, by its words whatever the tile."""
    part = 1.0 if share is None else share
    words = (least_words(space, tuple(roles.values()), part, priced) for priced in (1.0, 0.0))
    energy = (part * space.compute_energy + np.reshape(pj, 1) for pj in words)
    return np.array([part * space.lane_cycles / space.widest]), *energy


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
