"""A FLAT-tile's life, from a result's totals: which unit works on what when, and what is alive.

The model counts cycles and words over a whole group. A tile's share is the total over the number
of tiles. Inside a tile the Einsums stand in their order; transfers overlap them, and stand in the
order of their Einsums: how much moves in a tile is the model's, when exactly is not. What a
unit waits for that does nothing is told too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Literal, NamedTuple

from flat_mapper.mapping.order import overlaps
from flat_mapper.page.facts import Facts

SegmentKind = Literal["compute", "transfer", "cold start", "ports", "wait"]
OTHER_CORES = "other cores"


class BusySpan(NamedTuple):
    """A unit or level at work, or a unit that waits, in cycles."""

    lane: str  # the unit, or the level
    name: str  # the Einsum, the tensor or the level; of a unit that waits, what for
    kind: SegmentKind
    tile: int  # from 1; 0: before the first
    start: float
    end: float


class HeldSpan(NamedTuple):
    """Words of one tensor in the shared buffer during one stretch of a tile."""

    tensor: str
    in_transit: bool  # the copy that DRAM fills or drains while the other one is used
    start: float  # cycles
    end: float
    below: int  # words of what is stacked under it
    words: int


def timeline(group: Facts, tiles: int = 2, start: float = 0.0) -> list[BusySpan]:
    """The cold start and the first tiles of a group, which begins at some cycle."""
    found, cold = [], group["cold_start_cycles"]
    if cold:
        first = start + cold
        found.append(BusySpan(group["offchip"], "first inputs", "cold start", 0, start, first))
    for tile in range(min(tiles, group["tiles"])):
        found += _tile(group, start + cold + tile * group["tile_cycles"], tile + 1)
    return found


def waits(group: Facts, tiles: int = 2, start: float = 0.0) -> list[BusySpan]:
    """Waits of units in those tiles: first inputs, an Einsum elsewhere, then what binds."""
    cold = group["cold_start_cycles"]
    units = dict.fromkeys(work["unit"] for work in group["works"])
    found = [BusySpan(u, group["offchip"], "wait", 0, start, start + cold) for u in units if cold]
    for tile in range(min(tiles, group["tiles"])):
        first = start + cold + tile * group["tile_cycles"]
        found += [
            BusySpan(unit, reason, "wait", tile + 1, first + begin, first + end)
            for unit in units
            for reason, begin, end in _waits(group, unit)
        ]
    return found


def _waits(group: Facts, unit: str) -> Iterator[tuple[str, float, float]]:
    """Waits of a unit in a tile, from when to when, and for what.

    Where units take turns, each waits for the others' Einsums. What is left of the tile is the
    model's: the level or unit that binds; of one that waits in some turns alone, the level that
    moves most; and on cores those that have more to do, as computes drawn are the mean core's.
    """
    idle = 0.0
    for name, lane, begin, end in _computes(group):
        if lane == unit:
            idle = end
        elif not overlaps(group["schedule"]):
            yield name, begin, end
            idle = end
    if group["tile_cycles"] - idle > LEAST * group["tile_cycles"]:
        yield _binding(group, unit), idle, group["tile_cycles"]


LEAST = 1e-6  # of a tile: what rounding leaves is no wait


def _binding(group: Facts, unit: str) -> str:
    """The level or unit for which a unit waits when all computes of a tile are done."""
    bottleneck, moves = group["bottleneck"], group["transfer_cycles"]
    turns_over = overlaps(group["schedule"]) and bottleneck != unit
    if bottleneck in moves or turns_over:
        return str(bottleneck)
    return (
        OTHER_CORES
        if group["on_cores"]
        else max(moves, key=lambda level: moves[level], default=group["offchip"])
    )


def run_timeline(groups: Sequence[Facts]) -> list[BusySpan]:
    """Groups one after another, the work of all their tiles drawn as one."""
    found: list[BusySpan] = []
    for start, group in _in_turn(groups):
        one = group | {"tiles": 1, "tile_cycles": group["cycles"] - group["cold_start_cycles"]}
        found += timeline(one, 1, start) + waits(one, 1, start)
    return found


def run_occupancy(groups: Sequence[Facts]) -> list[HeldSpan]:
    """Charges on the shared buffer during each group, one group after another."""
    found: list[HeldSpan] = []
    for start, group in _in_turn(groups):
        end, below = start + group["cycles"], 0
        for tensor, held in group["buffer"]["held"].items():
            found.append(HeldSpan(tensor, False, start, end, below, held["total_words"]))
            below += held["total_words"]
    return found


def _in_turn(groups: Sequence[Facts]) -> Iterator[tuple[float, Facts]]:
    """Each group with the cycle in which it starts."""
    return zip(accumulate((g["cycles"] for g in groups), initial=0.0), groups, strict=False)


def _tile(group: Facts, start: float, tile: int) -> Iterator[BusySpan]:
    """The computes, the transfers and the work of ports of one of a group's tiles."""
    first = start
    for name, unit, begin, end in _computes(group):
        yield BusySpan(unit, name, "compute", tile, start + begin, start + end)
    for tensor, cycles in _transfers(group):
        yield BusySpan(group["offchip"], tensor, "transfer", tile, start, start + cycles)
        start += cycles
    for level, cycles in group["transfer_cycles"].items():
        if level != group["offchip"] and cycles:
            yield BusySpan(level, level, "ports", tile, first, first + cycles / group["tiles"])


def _computes(group: Facts) -> Iterator[tuple[str, str, float, float]]:
    """Each Einsum of a tile, its unit, start and end; units that overlap have a clock each."""
    clocks: dict[str, float] = {}
    for name, work in zip(group["einsums"], group["works"], strict=True):
        clock = work["unit"] if overlaps(group["schedule"]) else ""
        begin = clocks.get(clock, 0.0)
        clocks[clock] = begin + work["compute_cycles"] / group["tiles"]
        yield name, work["unit"], begin, clocks[clock]


def _transfers(group: Facts) -> Iterator[tuple[str, float]]:
    """A tile's off-chip cycles by tensor: shared out by words."""
    words = group["crossing"]
    cycles = group["transfer_cycles"].get(group["offchip"], 0.0) / group["tiles"]
    total = sum(words.values())
    for tensor, moved in words.items():
        if moved and cycles:
            yield tensor, cycles * moved / total


def occupancy(group: Facts) -> list[HeldSpan]:
    """Contents of the shared buffer over one tile, stacked.

    The copy in use is alive from its first Einsum's start to its last one's end; a second copy is
    in transit all the time. Where units overlap, tiles do, and everything is alive always. What is
    not alive is kept free for it all the same: the model charges the sum of all that is held.
    """
    spans = list(_spans(group))
    moments = sorted({0.0, group["tile_cycles"], *(t for span in spans for t in span[3:])})
    found: list[HeldSpan] = []
    for start, end in pairwise(moments):
        below = 0
        for tensor, held, in_transit, begin, finish in spans:
            words = held["total_words"] - held["words"] if in_transit else held["words"]
            if words and begin <= start and end <= finish:
                found.append(HeldSpan(tensor, in_transit, start, end, below, words))
                below += words
    return list(_joined(found))


def _joined(pieces: list[HeldSpan]) -> Iterator[HeldSpan]:
    """Stretches that follow each other unchanged, as one."""
    going: dict[tuple[str, bool], HeldSpan] = {}
    for piece in pieces:
        key = (piece.tensor, piece.in_transit)
        before = going.get(key)
        if before and (before.end, before.below) == (piece.start, piece.below):
            going[key] = before._replace(end=piece.end)
            continue
        if before:
            yield before
        going[key] = piece
    yield from going.values()


def _spans(group: Facts) -> Iterator[tuple[str, Facts, bool, float, float]]:
    """Of each holding, the copy in use and the one in transit, with start and end."""
    runs = {name: (begin, end) for name, _, begin, end in _computes(group)}
    whole = (0.0, group["tile_cycles"])
    for tensor, held in group["buffer"]["held"].items():
        used = (
            whole
            if overlaps(group["schedule"])
            else (runs[held["first"]][0], runs[held["last"]][1])
        )
        yield tensor, held, False, *used
        yield tensor, held, True, *whole
