"""Tiles that come to a group's level, and those of them that a cache would still have.

A buffer has its tiles and nothing else. A cache that forgets what was used longest ago has, beside
the tiles, the lines of DRAM that passed last: a tile that comes again after few others is there. A
mask that leaves passes out makes such distances short. A record's loops tell them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile
from math import prod

from flat_mapper.execution.link import DRAM
from flat_mapper.execution.shared import group_turns
from flat_mapper.running.loops import GroupText

type Tile = tuple[str, tuple[int, ...]]  # a tensor, and where it begins


def arrivals(group: GroupText) -> Iterator[tuple[Tile, int, bool]]:
    """Tiles that pass between DRAM and the group's level, in order: words, and True if read.

    Of one Einsum alone its first; of tiles that are given out to cores none.
    """
    held: dict[str, tuple[int, ...]] = {}  # by tensor, the passes of its loops
    seen = set[Tile]()
    for turn in group_turns(group.facts) if not group.cores else ():
        nest = group.nests[turn.einsum]
        for tensor in (t for t in nest.einsum.tensors if group.buffered(nest, t)):
            at, here = dict.fromkeys(group.whole.tensor_ranks[tensor], 0), turn.dram[:0]
            for number, (step, index) in enumerate(zip(nest.temporal, turn.dram, strict=False), 1):
                if step.rank in at:
                    at[step.rank] += step.stride * index
                    here = turn.dram[:number]
            if DRAM in nest.keepers(tensor) and held.get(tensor) != here:
                held[tensor], tile = here, (tensor, tuple(at.values()))
                words = prod(min(group.reach(r), group.tile[r] - n) for r, n in at.items())
                yield tile, words, tensor not in group.outputs or tile in seen
                seen.add(tile)


def kept_words(group: GroupText, room: float) -> int:
    """Words of tiles that are read again where, theirs included, at most so many words passed."""
    passed: dict[Tile, int] = {}  # words by tile, the last one last
    kept = 0
    for tile, words, reads in arrivals(group):
        if reads and tile in passed:
            newer = takewhile(tile.__ne__, reversed(passed))
            kept += words if words + sum(passed[one] for one in newer) <= room else 0
        passed.pop(tile, None)
        passed[tile] = words
    return kept
