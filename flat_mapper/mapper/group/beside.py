"""Candidates of a group's Einsums, each beside the least of all others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from flat_mapper.cost_model.candidates import Bools, Floats
from flat_mapper.mapper.bounds.candidate_set import CandidateSet
from flat_mapper.mapper.bounds.outer import OuterBounds, Outers
from flat_mapper.mapper.group.incumbent import Incumbent
from flat_mapper.mapper.group.picks import GroupSolution
from flat_mapper.mapper.space.factors import distinct
from flat_mapper.mapper.space.group import GroupProblem
from flat_mapper.mapper.space.outer import Staging

# Lower bounds on the cycles and on the pJ of an Einsum's candidates, whole or partial; float64[n]
# each. Of pJ there may be two: with what DRAM takes, and without.
Least = tuple[Floats, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """Lower bounds on a group with each of an Einsum's candidates.

    Beside it stand the least of every other Einsum and what some outer choices cost: no group with
    it has fewer cycles, fewer pJ, or a lesser weighted sum.
    """

    incumbent: Incumbent[GroupSolution]
    adds: Sequence[int]  # by Einsum, whether its cycles add to the others'
    at: tuple[Floats, Floats]  # least cycles and pJ of the outer choices
    slope: float  # of weighted sums there
    outside: Floats  # of them, what stands beside each of `_terms`
    lows: list[Floats] = field(default_factory=list)  # by Einsum, the least of `_terms`

    @classmethod
    def of(
        cls,
        problem: GroupProblem,
        incumbent: Incumbent[GroupSolution],
        outers: Outers,
        every: Iterable[Least] = (),
    ) -> Beside:
        """Beside some outer choices; every: candidates of each Einsum."""
        at = np.asarray(outers.cycles.min()), np.asarray(outers.energy.min())
        slope = float(incumbent.slope(*at))
        found = cls(
            incumbent=incumbent,
            adds=problem.cycles_add,
            at=at,
            slope=slope,
            outside=_outside(slope, outers),
        )
        found.lows.extend(found.low(i, own) for i, own in enumerate(every))
        return found

    def under(self, outers: Outers) -> Beside:
        """The same beside some of the outer choices alone."""
        at = np.asarray(outers.cycles.min()), np.asarray(outers.energy.min())
        return replace(self, at=at, outside=_outside(self.slope, outers))

    def raised(self, outers: Outers) -> Outers:
        """Outer choices with at least the pJ of the least of all Einsums under them."""
        _, priced, _, free, _ = np.sum(self.lows, axis=0)
        energy = np.maximum(priced + outers.staged, free + outers.floors)
        return replace(outers, energy=np.maximum(outers.energy, energy))

    def low(self, i: int, least: Least) -> Floats:
        """The least of the i-th Einsum's candidates, of each that adds up; of none infinite."""
        return _terms(self.slope, self.adds[i] * least[0], *least[1:]).min(axis=1, initial=np.inf)

    def _group(self, i: int, least: Least) -> tuple[Floats, Floats, Floats]:
        """Least cycles, pJ and weighted sums with each of the i-th Einsum's candidates."""
        found = _terms(self.slope, self.adds[i] * least[0], *least[1:])
        for rest in (self.outside, *self.lows[:i], *self.lows[i + 1 :]):
            found += rest[: len(found), None]
        cycles = np.maximum(np.maximum(found[0], least[0]), self.at[0])
        return cycles, found[1::2].max(axis=0), found[2::2].max(axis=0)

    def bound(self, i: int, least: Least) -> tuple[Floats, Floats]:
        """Least cycles and pJ of the group with each of the i-th Einsum's candidates."""
        return self._group(i, least)[:2]

    def improving(self, i: int, least: Least) -> Bools:
        """Candidates of the i-th Einsum with which the group can improve; bool[n]."""
        cycles, energy, sums = self._group(i, least)
        good = self.incumbent.can_improve(cycles, energy)
        return good & self.incumbent.sum_can_improve(sums, *self.at)


def _outside(slope: float, outers: Outers) -> Floats:
    """The least that stands beside each of `_terms` under some outer choices."""
    least = [np.asarray(v.min()) for v in (outers.waits, outers.staged, outers.floors)]
    return _terms(slope, *least)


def _terms(slope: float, cycles: Floats, *energy: Floats) -> Floats:
    """Terms that add up over a group: cycles, and by bound pJ and a weighted sum; float64[D, n]."""
    return np.stack([cycles, *(t for e in energy for t in (e, e + slope * cycles))])


def least_shares(problem: GroupProblem, outers: Outers) -> list[float | None]:
    """By Einsum, the least share of its work that a mask leaves; None without one."""
    if problem.masked_pair is None:
        return [None] * len(problem.spaces)
    least = np.array([outers.visited.min(initial=1.0)])
    return [float(problem.shares(s, least)[0]) for s in problem.spaces]


def improving(
    bounds: OuterBounds,
    incumbent: Incumbent[GroupSolution],
    candidate_sets: list[CandidateSet],
    outers: Outers,
    staging: Staging | None,
) -> list[Bools]:
    """Candidates of each candidate set with which the group can improve under outer choices.

    staging: that of the outer choices; None: they have several.
    """
    roles = [staging.roles[t.space.einsum.name] if staging else None for t in candidate_sets]
    shares = least_shares(bounds.problem, outers)
    every = [t.least(r, s) for t, r, s in zip(candidate_sets, roles, shares, strict=True)]
    beside = Beside.of(bounds.problem, incumbent, outers, every)
    return [beside.improving(i, own) for i, own in enumerate(every)]


def improving_with(
    bounds: OuterBounds,
    incumbent: Incumbent[GroupSolution],
    candidate_sets: list[CandidateSet],
    outers: Outers,
    step: Callable[[], None] | None = None,
) -> list[Bools]:
    """The same under one staging after another; step: called before each."""
    masks = [np.zeros(t.count, np.bool_) for t in candidate_sets]
    for number in distinct(outers.staging):
        if step is not None:
            step()
        chosen = outers.take(np.flatnonzero(outers.staging == number))
        what = candidate_sets, chosen, bounds.stagings[int(number)]
        masks = [m | f for m, f in zip(masks, improving(bounds, incumbent, *what), strict=True)]
    return masks
