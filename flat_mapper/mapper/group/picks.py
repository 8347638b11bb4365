"""What the search of one group counts and chooses."""

from __future__ import annotations

from dataclasses import dataclass

from flat_mapper.mapper.space.candidates import CandidateBlock, Floats, Ints
from flat_mapper.mapper.space.einsum import EinsumSpace
from flat_mapper.mapper.space.group import GroupProblem
from flat_mapper.mapper.space.outer import Staging
from flat_mapper.mapper.space.roles import Outer


@dataclass(slots=True)
class Counters:
    """What the search did, for the certificate."""

    outer: int = 0  # outer choices in the space
    outer_infeasible: int = 0
    outer_bounded: int = 0
    outer_evaluated: int = 0
    candidates: int = 0
    candidates_bounded: int = 0
    evaluated: int = 0  # inner mappings priced exactly


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """One Einsum's part of a solution."""

    space: EinsumSpace
    candidates: CandidateBlock  # one candidate
    outer: Outer


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSolution:
    """The best found for a group."""

    problem: GroupProblem
    staging: Staging
    tile: tuple[int, ...]
    dram_order: tuple[int, ...]
    picks: tuple[Pick, ...]
    cycles: float
    energy: float


@dataclass(slots=True)
class PricedCandidates:
    """Inner mappings of one Einsum that may be part of a best one."""

    costs: Floats  # float64[n, D]
    source: Ints  # int64[n, 3]: block, candidate, index into `outers`
    outers: list[Outer]

    def take(self, index: Ints) -> PricedCandidates:
        """Some of them."""
        return PricedCandidates(
            costs=self.costs[index], source=self.source[index], outers=self.outers
        )
