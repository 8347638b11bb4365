"""Roles of the loops outside for the inner ones: tile, orders, where tiles come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from flat_mapper.mapping.passes import PassKind

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

    def may_stay(self, position: int) -> bool:
        """True if a tensor may stay at the private levels over the DRAM loops."""
        return self.stay[position] if self.stay else True
