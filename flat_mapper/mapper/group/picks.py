"""Counts and choices of the search of one group."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flat_mapper.cost_model.candidates import CandidateBlock, Floats, Ints
from flat_mapper.cost_model.residence import PrivateWords
from flat_mapper.cost_model.roles import Outer
from flat_mapper.mapper.space.einsum import EinsumSpace
from flat_mapper.mapper.space.group import GroupProblem
from flat_mapper.mapper.space.outer import StagedTensors


@dataclass(slots=True)
class GroupCounters:
    """Counts of the search's work, for the certificate."""

    outer: int = 0  # outer choices in the space
    outer_infeasible: int = 0
    outer_bounded: int = 0
    candidates: int = 0
    candidates_bounded: int = 0
    partial_bounded: int = 0  # candidates of a part of the levels, with all that they begin
    evaluated: int = 0  # inner mappings priced exactly


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """One Einsum's part of a solution."""

    space: EinsumSpace
    candidates: CandidateBlock  # one candidate
    outer: Outer


@dataclass(frozen=True, slots=True, kw_only=True)
class BesideTurns:
    """Cycles of a tile's mapping that stand beside its turns."""

    exposed: float = 0.0  # of first inputs and last outputs, that nothing overlaps
    outside: float = 0.0  # of all words from and to DRAM
    unequal: float = 0.0  # of these, of inputs of which other tiles have fewer
    once: float = 0.0  # of turns that all keys have once, at least: streams beyond units at peak


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSolution:
    """The best found for a group."""

    problem: GroupProblem
    staging: StagedTensors
    tile: tuple[int, ...]
    dram_order: tuple[int, ...]
    picks: tuple[Pick, ...]
    cycles: float
    energy: float
    beside: BesideTurns = BesideTurns()


@dataclass(slots=True)
class PricedCandidates:
    """Inner mappings of one Einsum that may be part of a best one."""

    costs: Floats  # float64[n, D]
    source: Ints  # int64[n, 2]: position in the candidate set, index into `outers`
    outers: list[Outer]
    private: PrivateWords  # float64[L, n] each

    def take(self, index: Ints) -> PricedCandidates:
        """Some of them."""
        return PricedCandidates(
            costs=self.costs[index],
            source=self.source[index],
            outers=self.outers,
            private=self.private.take(index),
        )

    @classmethod
    def joined(cls, parts: list[PricedCandidates]) -> PricedCandidates:
        """Several sets as one."""
        before = np.cumsum([0, *(len(p.outers) for p in parts)])
        shifts = [np.array([0, n]) for n in before[:-1]]
        return cls(
            costs=np.concatenate([p.costs for p in parts]),
            source=np.concatenate([p.source + n for p, n in zip(parts, shifts, strict=True)]),
            outers=[o for p in parts for o in p.outers],
            private=PrivateWords.joined([p.private for p in parts]),
        )
