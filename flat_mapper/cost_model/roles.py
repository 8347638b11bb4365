"""Roles of the loops outside for the inner ones: tile, orders, where tiles come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from flat_mapper.cost_model.candidates import Ints
from flat_mapper.mapping.order import PassKind

# Where a tensor's tiles above the inner levels come from:
#   inside  the shared level, and DRAM has no part in it (an intermediate, or already fetched)
#   staged  the shared level, which exchanges whole tiles with DRAM
#   stream  DRAM, past the shared level
Role = Literal["inside", "staged", "stream"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    """The loops outside the candidates: tile below the DRAM loops, both orders, and the roles."""

    tile: tuple[int, ...]  # by rank of the Einsum; 0: as large as the candidate's own tile
    dram_order: tuple[int, ...]  # innermost first
    shared_order: tuple[int, ...]
    roles: tuple[Role, ...]  # by tensor
    passes: int = 1  # passes of the innermost DRAM loop, where it is over a rank that no tensor has
    visited: float = 1.0  # of the passes of two DRAM loops together, what a mask leaves
    masked: tuple[int, ...] = ()  # those of the two that are ranks of the Einsum
    by_row: bool = False  # whether rows of tiles under a mask take longer one by one
    stay: tuple[bool, ...] = ()  # by tensor, whether it may stay private over the DRAM loops
    kinds: tuple[PassKind, ...] = ()  # of passes, where the Einsum takes turns with others
    turns: float = 1.0  # of the Einsum, where units overlap
    copied: str | None = None  # tensor whose old value is copied to the output's place
    firsts: float = 0.0  # first passes whose pJ count beside, see FirstPasses

    def grids(self, sizes: Sequence[int], tile: Ints, own: Ints | None = None) -> tuple[Ints, Ints]:
        """Factors of the shared level's loops and of DRAM's.

        tile: of candidates, int64[R, n]. own: below DRAM's loops, of each in place of that of all.
        """
        if own is None:
            own = np.array(self.tile, dtype=np.int64)[:, None]
        own = np.where(own == 0, tile, own)
        return own // tile, np.array(sizes, dtype=np.int64)[:, None] // own

    def may_stay(self, position: int) -> bool:
        """True if a tensor may stay at the private levels over the DRAM loops."""
        return self.stay[position] if self.stay else True


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstPasses:
    """First passes over the keys, of all tiles that are given out, for one of the largest of them.

    Where p passes take a + (p - 1) b pJ, and the largest tile makes P, one of p takes (p - 1) /
    (P - 1) of what the largest does, and (P - p) / (P - 1) of a beside (lemma 29).
    """

    passes: int  # P
    keys: str  # the rank
    later: float  # of tiles of two passes or more
    single: float  # of tiles of one, which may take less than a where other loops stand outside

    def count(self, loops: Sequence[tuple[str, int]]) -> float:
        """Those that take a or more; loops: the shared ones, each with its iterations."""
        alone = all(n == 1 for rank, n in loops if rank != self.keys)
        return self.later + (self.single if alone else 0.0)
