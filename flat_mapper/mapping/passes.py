"""Passes of a group's shared loops, by what moves in them.

In each pass every Einsum has its turn. A tile that stays where it is moves in some passes only: in
those in which the loops that it stays over begin anew. An accumulated output has no old value to
be read in the passes that see its tile for the first time. Passes alike in both are of one kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product, takewhile
from math import prod

from flat_mapper.workload.mask import MaskTiles


@dataclass(frozen=True, slots=True, kw_only=True)
class PassKind:
    """Passes of one Einsum that move the same tensors."""

    count: float  # passes; under a mask those that it leaves
    fresh: frozenset[str]  # tensors whose tile is another than in the pass before
    first: bool  # the output's tile has not been seen before


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedPasses:
    """Passes that a mask leaves of the loops over queries and over keys."""

    queries: str  # ranks
    keys: str
    rows: int  # tiles of queries
    visited: int  # tiles of queries x keys
    visited_first: int  # of the first tile of queries


@dataclass(frozen=True, slots=True, kw_only=True)
class UnevenRows:
    """Rows of a mask's tiles that are not alike: of the inner of its two loops, all passes.

    counts: (passes, rows with so many), from the fewest passes on.
    """

    inner: str  # rank of the inner loop
    counts: tuple[tuple[int, int], ...]

    @property
    def rows(self) -> int:
        """All rows."""
        return sum(rows for _, rows in self.counts)

    @property
    def passes(self) -> int:
        """Passes of all rows."""
        return sum(passes * rows for passes, rows in self.counts)


def uneven_rows(
    tiles: MaskTiles | None, pair: tuple[str, str], order: Sequence[str]
) -> UnevenRows | None:
    """The rows that a mask leaves of the shared loops; None where they are alike.

    pair: ranks of queries and of keys. order: ranks of the shared loops, outermost first.
    """
    if tiles is None:
        return None
    inner = max(pair, key=list(order).index)
    counts = tiles.by_row if inner == pair[1] else tiles.by_column
    return UnevenRows(inner=inner, counts=counts) if len(counts) > 1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedLoop:
    """A shared loop, or those of its passes that are of one size: how many begin it, and others."""

    rank: str
    factor: int
    begin: int = 1  # 0: its first pass is of another size
    rest: int = -1  # -1: all others

    @property
    def others(self) -> int:
        """Passes beside the first."""
        return self.factor - 1 if self.rest < 0 else self.rest


def pass_kinds(
    loops: Sequence[SharedLoop],
    tensors: Mapping[str, frozenset[str]],
    output: str,
    masked: MaskedPasses | None = None,
) -> tuple[PassKind, ...]:
    """The kinds of passes of an Einsum under its shared loops.

    loops:   outermost first.
    tensors: the ranks of each.
    masked:  where both its loops over queries and over keys are cut by a mask.
    """
    real = [loop for loop in loops if loop.factor > 1]
    stays = {t: innermost_run(real, ranks) for t, ranks in tensors.items()}
    lacks = frozenset(loop.rank for loop in real if loop.rank not in tensors[output])
    found: dict[tuple[frozenset[str], bool], float] = {}
    for begins in product((True, False), repeat=len(real)):
        zero = frozenset(loop.rank for loop, yes in zip(real, begins, strict=True) if yes)
        count = _count(real, zero, masked)
        if count:
            fresh = frozenset(t for t, run in stays.items() if run <= zero)
            key = (fresh, lacks <= zero)
            found[key] = found.get(key, 0) + count
    return tuple(PassKind(count=n, fresh=f, first=y) for (f, y), n in found.items())


def innermost_run(loops: Sequence[SharedLoop], ranks: frozenset[str]) -> frozenset[str]:
    """Ranks of the innermost loops up to the first over a rank of the tensor's own."""
    own = takewhile(lambda loop: loop.rank not in ranks, reversed(loops))
    return frozenset(loop.rank for loop in own)


def _count(loops: Sequence[SharedLoop], zero: frozenset[str], masked: MaskedPasses | None) -> int:
    """Passes in which just these loops are at their beginning."""
    if masked is None:
        return prod(loop.begin if loop.rank in zero else loop.others for loop in loops)
    others = [loop for loop in loops if loop.rank not in (masked.queries, masked.keys)]
    rows, first = masked.rows, masked.visited_first
    after_first = masked.visited - first
    pairs = {
        (True, True): 1,
        (True, False): first - 1,
        (False, True): rows - 1,
        (False, False): after_first - (rows - 1),
    }
    return _count(others, zero, None) * pairs[masked.queries in zero, masked.keys in zero]
