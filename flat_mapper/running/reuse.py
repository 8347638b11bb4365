"""Tiles that come to a group's level, and those of them that a cache would still have.

A buffer has its tiles and nothing else. A cache that forgets what was used longest ago has, beside
the tiles, the lines of DRAM that passed last: a tile that comes again after few others is there. A
mask that leaves passes out makes such distances short. A record's loops tell them.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from flat_mapper.execution.link import DRAM
from flat_mapper.execution.shared import group_turns
from flat_mapper.running.loops import GroupText

type Tile = tuple[str, tuple[range, ...]]  # a tensor, and its coordinates by rank


def arrivals(group: GroupText) -> Iterator[tuple[Tile, bool]]:
    """Tiles that pass between DRAM and the group's level, in order, and whether one is read.

    Of one Einsum alone its first; of tiles that are given out to cores none.
    """
    held: dict[str, tuple[int, ...]] = {}  # by tensor, the passes of its loops
    seen = set[Tile]()
    for turn in group_turns(group.facts) if not group.cores else ():
        nest = group.nests[turn.einsum]
        steps = list(zip(nest.temporal, turn.dram, strict=False))
        for tensor in (a.tensor for a in nest.einsum.accesses if group.buffered(nest, a.tensor)):
            ranks = group.whole.tensor_ranks[tensor]
            last = max((n for n, (s, _) in enumerate(steps, 1) if s.rank in ranks), default=0)
            if DRAM not in nest.keepers(tensor) or held.get(tensor) == turn.dram[:last]:
                continue
            held[tensor] = turn.dram[:last]
            begin = {r: sum(s.stride * i for s, i in steps if s.rank == r) for r in ranks}
            ends = (min(at + group.reach(r), group.tile[r]) for r, at in begin.items())
            tile = tensor, tuple(map(range, begin.values(), ends))
            yield tile, tensor not in group.outputs or tile in seen
            seen.add(tile)


def kept_words(group: GroupText, room: float) -> int:
    """Words of tiles that are read again where, theirs included, at most so many words passed."""
    passed: dict[Tile, int] = {}  # words by tile, the last one last
    kept = 0
    for tile, reads in arrivals(group):
        words = between = prod(map(len, tile[1]))
        if reads and tile in passed:
            for other, size in reversed(passed.items()):
                if other == tile or between > room:
                    break
                between += size
            kept += words if between <= room else 0
        passed.pop(tile, None)
        passed[tile] = words
    return kept
