"""What the search of one group counts and chooses."""

from __future__ import annotations

from dataclasses import dataclass

from flat_mapper.mapper.space.candidates import Floats, Ints, Rows
from flat_mapper.mapper.space.einsum import EinsumSpace
from flat_mapper.mapper.space.group import GroupProblem, Staging
from flat_mapper.mapper.space.roles import Outer


@dataclass(slots=True)
class Counters:
    """What the search did, for the certificate."""

    outer: int = 0  # outer choices in the space
    outer_infeasible: int = 0
    outer_bounded: int = 0
    outer_evaluated: int = 0
    rows: int = 0
    rows_bounded: int = 0
    evaluated: int = 0  # inner mappings priced exactly


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """One Einsum's part of a solution."""

    space: EinsumSpace
    rows: Rows  # one row
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
class Candidates:
    """Inner mappings of one Einsum that may be part of a best one."""

    costs: Floats  # float64[n, D]
    source: Ints  # int64[n, 3]: block, row, index into `outers`
    outers: list[Outer]

    def take(self, index: Ints) -> Candidates:
        """Some of them."""
        return Candidates(costs=self.costs[index], source=self.source[index], outers=self.outers)
