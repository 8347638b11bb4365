"""Candidates of a group some of whose Einsums have too many to keep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from flat_mapper.mapper.bounds.outer import OuterBounds, Outers
from flat_mapper.mapper.bounds.partial import shared_words
from flat_mapper.mapper.cost.candidate_set import CandidateSet
from flat_mapper.mapper.group.incumbent import Incumbent
from flat_mapper.mapper.space.candidates import CandidateBlock, Floats, Ints
from flat_mapper.mapper.space.einsum import EinsumSpace
from flat_mapper.mapper.space.factors import distinct_columns
from flat_mapper.mapper.space.group import GroupProblem
from flat_mapper.mapper.space.roles import Role

if TYPE_CHECKING:  # at run time what enumerates is imported where candidates are too many
    from flat_mapper.mapper.group.incremental import (
        BoundFilter,
        IncrementalEnumeration,
        LowerBounds,
    )

FIRST = 4000  # candidates of an Einsum that the first pass extends at a node
NARROWER = (1, 3, 62)  # halvings of the compute units in use, where no wider candidate fits
BEAM = 100  # candidates with one set of keeps that the first pass extends at a node


Drop = Callable[[Floats, Floats], None]  # lower bounds on the group's cycles and pJ


@dataclass(frozen=True, slots=True)
class Beam:
    """Enumerates incrementally the candidates that are too many, under some outer choices."""

    problem: GroupProblem
    bounds: OuterBounds
    incumbent: Incumbent
    roles: list[dict[str, tuple[Role, ...]]]
    outers: Outers
    step: Callable[[], None] | None = None  # called with every piece of work
    most: int = 200_000  # candidates of an Einsum at a node
    drop: Drop | None = None  # called with bounds of what is left out; None: nothing may be

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
        from flat_mapper.mapper.group.incremental import BoundFilter, LowerBounds

        at = np.array(self.outers.cycles.min()), np.array(self.outers.energy.min())
        slopes = [float(slope) for slope in self.incumbent.slopes(*at)]
        weights = [[slope * add for slope in slopes] for add in self.problem.cycles_add]
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
        bound_filter = BoundFilter(self.problem, outers, lows, slopes)
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

        at: see `Incumbent.sums_can_improve`.
        """
        good = self.incumbent.can_improve(*bound_filter.bound(i, priced, free, cycles))
        sums = bound_filter.sums(i, priced, cycles)
        return np.flatnonzero(good & self.incumbent.sums_can_improve(sums, *at))

    def _share(self, space: EinsumSpace, outers: Outers) -> float | None:
        """Least share of an Einsum's work that a mask leaves; None without one."""
        if self.problem.masked_pair is None:
            return None
        least = np.array([outers.visited.min(initial=1.0)])
        return float(self.problem.shares(space, least)[0])

    def _enumerations(self, least: list[int], outers: Outers) -> list[IncrementalEnumeration]:
        from flat_mapper.mapper.group.incremental import IncrementalEnumeration

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


def narrowest(bounds: OuterBounds, incumbent: Incumbent, outers: Outers) -> list[int]:
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


def rounded_narrowest(bounds: OuterBounds, incumbent: Incumbent, outers: Outers) -> list[int]:
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
