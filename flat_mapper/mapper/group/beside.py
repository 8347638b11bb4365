"""Candidates of a group's Einsums, each beside the least of all others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from flat_mapper.base.grouping import distinct
from flat_mapper.cost_model.candidates import Bools, Floats
from flat_mapper.mapper.bounds.candidate_set import CandidateSet
from flat_mapper.mapper.bounds.outer import OuterBounds, Outers
from flat_mapper.mapper.group.incumbent import Incumbent
from flat_mapper.mapper.group.picks import GroupSolution
from flat_mapper.mapper.space.group import GroupProblem

# Lower bounds on the cycles and on the pJ of an Einsum's candidates, whole or partial; float64[n]
# each. Of pJ there may be two: with what DRAM takes, and without.
Least = tuple[Floats, ...]


@dataclass(frozen=True, kw_only=True)
class BesideOthers:
    """Lower bounds on a group with each of an Einsum's candidates.

    Beside it stand the least of every other Einsum and what some outer choices cost: no group with
    it has fewer cycles, or fewer pJ.
    """

    incumbent: Incumbent[GroupSolution]
    adds: Sequence[int]  # by Einsum, whether its cycles add to the others'
    outers: Outers
    lows: list[Floats] = field(default_factory=list)  # by Einsum, see `low`

    @classmethod
    def of(
        cls,
        problem: GroupProblem,
        incumbent: Incumbent[GroupSolution],
        outers: Outers,
        every: Iterable[Least] = (),
    ) -> BesideOthers:
        """Beside some outer choices; every: candidates of each Einsum."""
        found = cls(incumbent=incumbent, adds=problem.cycles_add, outers=outers)
        found.lows.extend(found.low(i, own) for i, own in enumerate(every))
        return found

    @cached_property
    def _outside(self) -> tuple[float, Floats]:
        """The fewest cycles of the outer choices, and their least beside each part of `low`."""
        some = self.outers
        rest = np.array([own.min() for own in (some.waits, some.staged, some.floors)])
        return float(some.cycles.min()), rest

    def raised(self) -> Outers:
        """Outer choices with at least the pJ of the least of all Einsums under them."""
        _, priced, free = np.sum(self.lows, axis=0)
        energy = np.maximum(priced + self.outers.staged, free + self.outers.floors)
        return replace(self.outers, energy=np.maximum(self.outers.energy, energy))

    def low(self, i: int, least: Least) -> Floats:
        """The least of the i-th Einsum's candidates, of each that adds up; of none infinite."""
        return np.array([own.min(initial=np.inf) for own in (self.adds[i] * least[0], *least[1:])])

    def bound(self, i: int, least: Least) -> tuple[Floats, Floats]:
        """Least cycles and pJ of the group with each of the i-th Einsum's candidates."""
        fewest, outside = self._outside
        others = (*self.lows[:i], *self.lows[i + 1 :])
        rest = sum(others, outside[: len(least)])
        cycles = np.maximum(self.adds[i] * least[0] + rest[0], least[0])
        energy = np.maximum.reduce([own + n for own, n in zip(least[1:], rest[1:], strict=True)])
        return np.maximum(cycles, fewest), energy

    def improving(self, i: int, least: Least) -> Bools:
        """Candidates of the i-th Einsum with which the group can improve; bool[n]."""
        return self.incumbent.can_improve(*self.bound(i, least))


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
    step: Callable[[], None],
) -> list[Bools]:
    """Candidates of each candidate set with which the group can improve under outer choices.

    Under one staging after another; step: called before each.
    """
    masks = [np.zeros(t.count, np.bool_) for t in candidate_sets]
    for number in distinct(outers.staging):
        step()
        some = outers.take(np.flatnonzero(outers.staging == number))
        roles, shares = bounds.stagings[int(number)].roles, least_shares(bounds.problem, some)
        sets = zip(candidate_sets, shares, strict=True)
        every = [t.least(roles[t.space.einsum.name], share) for t, share in sets]
        beside = BesideOthers.of(bounds.problem, incumbent, some, every)
        masks = [mask | beside.improving(i, every[i]) for i, mask in enumerate(masks)]
    return masks
