"""Keys in a ring: each device has a part of the queries, and the keys go round part by part.

Of p devices each works p times, on its own keys and on those of the p - 1 others; while it works,
the keys that it has go on to the next one. A step takes the slowest device's work or the shift,
whichever is longer; in the last one nothing is shifted. From the second step on what a device made
is merged with what it has. Under a causal mask it matters which queries a device has, and with them
which keys:

    one piece   device d the d-th of p equal pieces: the last device sees all, the first one piece
    folded      pieces d and 2p - 1 - d of 2p: each sees as much as any other, in every step
    striped     every p-th position: as much, but each piece has a diagonal of its own
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from flat_mapper.arch.values import Platform

QueryOrder = Literal["one piece", "folded", "striped"]
ORDERS: tuple[QueryOrder, ...] = ("one piece", "folded", "striped")


class Piece(NamedTuple):
    """Work of a device in a step, in parts of all queries and keys: one over these."""

    queries: int
    keys: int
    causal: bool  # whether it has a diagonal; else each query sees each key


def ring_steps(devices: int, order: QueryOrder, *, causal: bool) -> tuple[tuple[Piece, ...], ...]:
    """The pieces that devices have in each step, each once; of those that see nothing none."""
    whole = Piece(devices, devices, causal=False)
    if not causal:
        return ((whole,),) * devices
    own = Piece(devices, devices, causal=True)
    later: tuple[Piece, ...] = {
        "one piece": (whole,),
        # A device of earlier keys sees their first half; one of later keys sees them all by half.
        "folded": (
            Piece(devices, 2 * devices, causal=False),
            Piece(2 * devices, devices, causal=False),
        ),
        "striped": (own,),
    }[order]
    return ((own,), *(later for _ in range(devices - 1)))


def ring_seconds(longest: Sequence[float], shift: float) -> float:
    """Seconds of all steps. longest: of the slowest device in each; shift: of a keys' part."""
    return sum(max(one, shift) for one in longest[:-1]) + longest[-1]


def merge_seconds(chip: Platform, rows: float, values: int, bits: int) -> float:
    """Seconds in which DRAM moves what a merge of online softmax reads and writes.

    rows: of queries and heads, each with its numerator of so many values, its maximum and its sum:
          read from both sides, and written. bits: of an accumulator.
    """
    dram, seconds = chip.dram, chip.matrix.cycle_seconds
    moved = 3 * rows * (values + 2) * bits / dram.word_bits
    return moved / dram.words_per_cycle * seconds if dram.words_per_cycle else 0.0
