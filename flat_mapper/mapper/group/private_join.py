"""Private levels that Einsums of a group use in turn: which candidates fit there together.

At each such level the tiles that stay over the turns of other Einsums, and the tiles of the turn
that takes most, have room at once. Where units overlap, each has a turn at the same time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flat_mapper.mapper.cost.pareto import sums
from flat_mapper.mapper.cost.turns import PrivateWords
from flat_mapper.mapper.group.cost_layout import UNITS, CostLayout
from flat_mapper.mapper.group.picks import PricedCandidates
from flat_mapper.mapper.space.candidates import Bools, Floats, Ints
from flat_mapper.mapper.space.group import GroupProblem
from flat_mapper.mapping.order import overlaps


@dataclass(frozen=True, slots=True)
class PrivateJoin:
    """Cost vectors with the words of private levels: what stays adds up, turns take the most.

    The columns: those of the cost layout, words that stay by level, words of the largest turn by
    unit and level.
    """

    limits: Floats  # words of each level; infinite where unlimited
    width: int  # of the cost layout's vectors
    overlapped: bool

    @classmethod
    def of(cls, problem: GroupProblem, layout: CostLayout) -> PrivateJoin:
        """The columns that a group needs."""
        return cls(_limits(problem), layout.width, overlaps(problem.group.schedule))

    def start(self) -> Floats:
        """The sum of nothing; float64[1, D]."""
        return np.zeros((1, self.width + 3 * len(self.limits)))

    def vectors(self, costs: Floats, private: PrivateWords, unit: str) -> Floats:
        """Vectors of n candidates of one Einsum; float64[n, D]."""
        none = np.zeros_like(private.turn.T)
        turns = [private.turn.T if unit == name else none for name in UNITS]
        return np.concatenate([costs, private.stays.T, *turns], axis=1)

    def sums(self, left: Floats, right: Floats) -> Floats:
        """Every vector of one set with every one of the other; [n * m, D], right index fastest."""
        found = sums(left, right)
        at = self.width + len(self.limits)
        most = np.maximum(left[:, None, at:], right[None, :, at:])
        found[:, at:] = most.reshape(len(found), most.shape[-1])
        return found

    def costs(self, vectors: Floats) -> Floats:
        """The columns of the cost layout."""
        return vectors[:, : self.width]

    def fits(self, vectors: Floats) -> Bools:
        """True if every private level holds what it has to; bool[n]."""
        count = len(self.limits)
        stays = vectors[:, self.width : self.width + count]
        turns = vectors[:, self.width + count :].reshape(len(vectors), len(UNITS), count)
        return _hold(self.limits, stays, turns.swapaxes(0, 1), overlapped=self.overlapped)


def private_fits(problem: GroupProblem, parts: Sequence[PricedCandidates], picks: Ints) -> Bools:
    """True if picks int64[n, Einsums], one of each, fit the private levels together; bool[n]."""
    limits = _limits(problem)
    stays = np.zeros((len(picks), len(limits)))
    turns = np.zeros((len(UNITS), len(picks), len(limits)))
    for space, part, chosen in zip(problem.spaces, parts, picks.T, strict=True):
        stays = stays + part.private.stays[:, chosen].T
        unit = UNITS.index(space.einsum.unit)
        turns[unit] = np.maximum(turns[unit], part.private.turn[:, chosen].T)
    return _hold(limits, stays, turns, overlapped=overlaps(problem.group.schedule))


def _limits(problem: GroupProblem) -> Floats:
    """Words of each private level; infinite where unlimited."""
    return np.array([np.inf if n is None else n for n in problem.private_levels.values()], float)


def _hold(limits: Floats, stays: Floats, turns: Floats, *, overlapped: bool) -> Bools:
    """The rule: what stays and the largest turn fit, each unit's own where they overlap; bool[n].

    stays: float64[n, L]. turns: float64[units, n, L].
    """
    turn = turns.sum(axis=0) if overlapped else turns.max(axis=0)
    fits: Bools = (stays + turn <= limits).all(axis=1)
    return fits
