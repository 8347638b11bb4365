"""A FLAT-tile's life, from a result's totals: which unit works on what when, and what is alive.

The model counts cycles and words over a whole group. A tile's share is the total over the number
of tiles. Inside a tile the Einsums stand in their order; transfers overlap them, and stand in the
order of their Einsums: how much moves in a tile is the model's, when exactly is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil
from typing import Literal

from flat_mapper.mapping.order import overlaps

SegmentKind = Literal["compute", "transfer", "cold start"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One Einsum's part in a group: cycles of its unit, words through DRAM's ports."""

    einsum: str
    unit: str
    compute_cycles: float
    offchip_words: Mapping[str, int]  # by tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """Words that a tensor, or several that share a place, take in the shared buffer."""

    tensor: str
    words: int  # of one copy
    copies: float
    first: str  # the Einsum that touches it first
    last: str  # and the one that touches it last

    @property
    def total_words(self) -> int:
        """All copies."""
        return ceil(self.words * self.copies)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Einsums that run together, with their totals over one run of the cascade."""

    works: tuple[Work, ...]  # execution order
    schedule: str
    flat_tiles: int  # on many cores: of the one that was given most
    cycles: int
    cold_start_cycles: float
    transfer_cycles: Mapping[str, float]  # by level
    offchip: str  # name of the off-chip level
    held: tuple[Holding, ...]
    level: str  # the shared buffer
    capacity_words: int | None

    @property
    def tile_cycles(self) -> float:
        """Cycles from one tile's start to the next one's, once all is running."""
        return (self.cycles - self.cold_start_cycles) / self.flat_tiles


@dataclass(frozen=True, slots=True, kw_only=True)
class BusySpan:
    """A unit or level at work, in cycles."""

    lane: str  # the unit, or the level
    name: str  # the Einsum, or the tensor
    kind: SegmentKind
    tile: int  # from 1; 0: before the first
    start: float
    end: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Alive:
    """Words of one tensor in the shared buffer during one stretch of a tile."""

    tensor: str
    in_transit: bool  # the copy that DRAM fills or drains while the other one is used
    start: float  # cycles
    end: float
    below: int  # words of what is stacked under it
    words: int


def timeline(group: Group, tiles: int = 2) -> tuple[BusySpan, ...]:
    """The cold start and the first tiles of a group."""
    found = []
    if group.cold_start_cycles:
        found.append(
            BusySpan(
                lane=group.offchip,
                name="first inputs",
                kind="cold start",
                tile=0,
                start=0.0,
                end=group.cold_start_cycles,
            )
        )
    for tile in range(min(tiles, group.flat_tiles)):
        found += _tile(group, group.cold_start_cycles + tile * group.tile_cycles, tile + 1)
    return tuple(found)


def run_timeline(groups: tuple[Group, ...]) -> tuple[BusySpan, ...]:
    """Groups one after another, the work of all their tiles drawn as one."""
    found: list[BusySpan] = []
    start = 0.0
    for group in groups:
        whole = timeline(replace(group, flat_tiles=1), 1)
        found += [replace(s, start=start + s.start, end=start + s.end) for s in whole]
        start += group.cycles
    return tuple(found)


def run_occupancy(groups: tuple[Group, ...]) -> tuple[Alive, ...]:
    """Charges on the shared buffer during each group, one group after another."""
    found: list[Alive] = []
    start = 0.0
    for group in groups:
        below = 0
        for held in group.held:
            found.append(
                Alive(
                    tensor=held.tensor,
                    in_transit=False,
                    start=start,
                    end=start + group.cycles,
                    below=below,
                    words=held.total_words,
                )
            )
            below += held.total_words
        start += group.cycles
    return tuple(found)


def _tile(group: Group, start: float, tile: int) -> Iterator[BusySpan]:
    """One tile's computes and transfers."""
    for work, begin, end in _computes(group):
        yield BusySpan(
            lane=work.unit,
            name=work.einsum,
            kind="compute",
            tile=tile,
            start=start + begin,
            end=start + end,
        )
    at = start
    for tensor, cycles in _transfers(group):
        yield BusySpan(
            lane=group.offchip, name=tensor, kind="transfer", tile=tile, start=at, end=at + cycles
        )
        at += cycles


def _computes(group: Group) -> Iterator[tuple[Work, float, float]]:
    """When each Einsum of a tile starts and ends; units that overlap have a clock each."""
    clocks: dict[str, float] = {}
    for work in group.works:
        clock = work.unit if overlaps(group.schedule) else ""
        begin = clocks.get(clock, 0.0)
        clocks[clock] = begin + work.compute_cycles / group.flat_tiles
        yield work, begin, clocks[clock]


def _transfers(group: Group) -> Iterator[tuple[str, float]]:
    """A tile's off-chip cycles by tensor: shared out by words."""
    words: dict[str, int] = {}
    for work in group.works:
        for tensor, moved in work.offchip_words.items():
            words[tensor] = words.get(tensor, 0) + moved
    cycles = group.transfer_cycles.get(group.offchip, 0.0) / group.flat_tiles
    total = sum(words.values())
    for tensor, moved in words.items():
        if moved and cycles:
            yield tensor, cycles * moved / total


def occupancy(group: Group) -> tuple[Alive, ...]:
    """Contents of the shared buffer over one tile, stacked.

    The copy in use is alive from its first Einsum's start to its last one's end; a second copy is
    in transit all the time. Where units overlap, tiles do, and everything is alive always. What is
    not alive is kept free for it all the same: the model charges the sum of all that is held.
    """
    period = group.tile_cycles
    spans = list(_spans(group, period))
    moments = sorted({0.0, period, *(t for span in spans for t in span[2:])})
    found: list[Alive] = []
    for start, end in pairwise(moments):
        below = 0
        for held, in_transit, begin, finish in spans:
            words = held.total_words - held.words if in_transit else held.words
            if words and begin <= start and end <= finish:
                found.append(
                    Alive(
                        tensor=held.tensor,
                        in_transit=in_transit,
                        start=start,
                        end=end,
                        below=below,
                        words=words,
                    )
                )
                below += words
    return tuple(_joined(found))


def _joined(pieces: list[Alive]) -> Iterator[Alive]:
    """Stretches that follow each other unchanged, as one."""
    going: dict[tuple[str, bool], Alive] = {}
    for piece in pieces:
        key = (piece.tensor, piece.in_transit)
        before = going.get(key)
        if before and (before.end, before.below) == (piece.start, piece.below):
            going[key] = replace(before, end=piece.end)
            continue
        if before:
            yield before
        going[key] = piece
    yield from going.values()


def _spans(group: Group, period: float) -> Iterator[tuple[Holding, bool, float, float]]:
    """Of each holding, the copy in use and the one in transit, with start and end."""
    begins = {work.einsum: begin for work, begin, _ in _computes(group)}
    ends = {work.einsum: end for work, _, end in _computes(group)}
    for held in group.held:
        always = overlaps(group.schedule)
        yield (
            held,
            False,
            0.0 if always else begins[held.first],
            period if always else ends[held.last],
        )
        yield held, True, 0.0, period
