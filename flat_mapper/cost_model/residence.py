"""Residence: what the shared level holds while a group runs, and where it is handed over inside."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import ceil, prod
from typing import NamedTuple

import numpy as np

from flat_mapper.arch.values import Architecture, Platform
from flat_mapper.cost_model.ports import Amount, largest
from flat_mapper.cost_model.result import BufferUse
from flat_mapper.mapping.check import handed_inside
from flat_mapper.mapping.order import overlaps
from flat_mapper.mapping.sharing import (
    carried_tensors,
    in_place_classes,
    leaves_finished,
    shared_level,
    whole_group,
)
from flat_mapper.mapping.values import EinsumMapping, GroupMapping, Policy, slots_of
from flat_mapper.workload.graph import Workload


class TileOccupancy(NamedTuple):
    """Words of one tensor's tile in its level, or of several that share one place.

    Numbers of one mapping, or float64[n] of candidates.
    """

    tensor: str  # the first of those that share it
    words: Amount  # of one copy
    copies: float
    level: str = ""
    first: str = ""  # the Einsum of the group that touches it first
    last: str = ""  # and the one that touches it last

    @property
    def total_words(self) -> Amount:
        """Words of all copies."""
        total = self.words * self.copies
        return np.ceil(total) if isinstance(total, np.ndarray) else ceil(total)


def merged(tiles: Iterable[TileOccupancy]) -> dict[str, TileOccupancy]:
    """Tiles by place: as large as the largest there, in as many copies as any needs."""
    held: dict[str, TileOccupancy] = {}
    for one in tiles:
        before = held.setdefault(one.tensor, one)
        if before is not one:
            words, copies = largest((before.words, one.words)), max(before.copies, one.copies)
            held[one.tensor] = before._replace(words=words, copies=copies, last=one.last)
    return held


@dataclass(frozen=True, slots=True, kw_only=True)
class TilePlaces:
    """The places that tensors of a group take where it hands them over, and in how many copies.

    What the group exchanges with DRAM is held `buffering` times, an intermediate once. When units
    overlap, two tiles are in flight: twice is held what passes from one unit to another, and what
    the inner loops carry from pass to pass.
    """

    workload: Workload
    names: tuple[str, ...]  # of the Einsums of the group that are mapped
    schedule: str
    policy: Policy
    level: str  # the shared one
    whole: tuple[str, ...]  # the Einsums, those of a free softmax among them
    off_chip: Collection[str]  # tensors that the group exchanges with DRAM while it runs
    carried: Collection[str]  # tensors that its inner loops carry, see `carried_tensors`
    left_out: Collection[str]  # those of them that a free softmax leaves out of the mapping
    shared: Mapping[str, str]  # of those that share a place, the first

    @classmethod
    def of(
        cls,
        workload: Workload,
        names: tuple[str, ...],
        schedule: str,
        policy: Policy,
        level: str,
        crossing: Collection[str],
        inside: Mapping[str, str],
    ) -> TilePlaces:
        """Those of a group; crossing: what DRAM keeps of it. inside: see `in_place_classes`."""
        whole = whole_group(workload, names, policy)
        free = policy.softmax == "free" and len(names) > 1
        carried = carried_tensors(workload, whole)
        mapped = {access.tensor for name in names for access in workload.einsum(name).accesses}
        return cls(
            workload=workload,
            names=names,
            schedule=schedule,
            policy=policy,
            level=level,
            whole=whole,
            off_chip={t for t in crossing if not (free and leaves_finished(workload, names, t))},
            carried=carried,
            left_out=[tensor for tensor in carried if tensor not in mapped],
            shared=in_place_classes(workload, whole, level, inside) if policy.in_place else {},
        )

    def takes(self, tensor: str, words: Amount, *, kept: bool = True) -> TileOccupancy:
        """The place of a tile of so many words; not kept: it is streamed.

        What is streamed goes by in tiles of its own, or takes no room where what passes by is free.
        What a mapping fetches from DRAM overwrites nothing, though its maker is left out.
        """
        place = self.shared.get(tensor, tensor)
        if tensor not in self.off_chip:
            return TileOccupancy(place, words, 2.0 if self._in_flight(tensor) else 1.0)
        if not kept and self.policy.passing == "free":
            return TileOccupancy(tensor, words, 0.0)
        made = self.workload.producers.get(tensor) in self.names
        return TileOccupancy(place if kept and made else tensor, words, self.policy.buffering)

    def _in_flight(self, tensor: str) -> bool:
        """True if an intermediate needs a second tile: two units work on two tiles at once."""
        if not overlaps(self.schedule) or tensor not in self.workload.producers:
            return False
        if tensor in self.carried:
            return True
        maker = self.workload.einsum(self.workload.producers[tensor]).unit
        readers = self.workload.readers(tensor)
        return any(reader.unit != maker for reader in readers)

    def unmapped(self, extents: Mapping[str, Amount], cut: Amount) -> Iterator[TileOccupancy]:
        """Tiles of what is left out.

        extents: of a pass, by rank. cut: whether some inner loop has more than one.
        """
        for tensor in self.left_out:
            tile = prod(extents.get(r, 1) for r in self.workload.tensor_ranks[tensor])
            yield self.takes(tensor, cut * tile * self.workload.share(tensor, self.level))


def tile_occupancies(
    workload: Workload, platform: Platform, group: GroupMapping, policy: Policy
) -> tuple[TileOccupancy, ...]:
    """Tiles that the shared level holds for a group, by tensor, and those handed over inside it.

    A tensor kept there takes its whole tile below the shared loops; one that bypasses it is
    streamed, and takes its tile below the shared level's own loops. One that is handed over inside
    takes its whole tile there, in an instance.
    """
    level, names = shared_level(platform).name, group.names
    inside = handed_inside(workload, platform, group)
    crossing = {t for m in group.einsums for t in m.kept_at(platform.dram.name)}
    places = TilePlaces.of(workload, names, group.schedule, policy, level, crossing, inside)
    held = []
    for mapping in group.einsums:
        einsum = workload.einsum(mapping.einsum)
        arch = platform.path(einsum.unit)
        for tensor in (access.tensor for access in einsum.accesses):
            home = inside.get(tensor, level)
            values = shared_tile(workload, arch, mapping, tensor, home)
            words, kept = values * workload.share(tensor, home), tensor in mapping.kept_at(home)
            one = places.takes(tensor, words, kept=kept)
            held.append(one._replace(level=home, first=einsum.name, last=einsum.name))
    cut = {loop.rank: loop.factor for loop in group.shared}
    extents = {r: n // cut.get(r, 1) for r, n in workload.rank_sizes.items()}
    inner = any(cut.get(r, 1) > 1 for r in workload.inner_ranks(places.whole))
    for one in places.unmapped(extents, inner) if inner else ():
        held.append(one._replace(level=level, first=names[0], last=names[-1]))
    return tuple(one for one in merged(held).values() if one.copies)


def buffer_use(
    workload: Workload, platform: Platform, group: GroupMapping, policy: Policy
) -> BufferUse:
    """Live words of the shared level at the worst moment of a FLAT-tile: all that it holds."""
    level = shared_level(platform)
    held = tile_occupancies(workload, platform, group, policy)
    terms = tuple((h.tensor, h.total_words) for h in held if h.level == level.name)
    return BufferUse(level=level.name, capacity_words=level.usable_words, terms=terms)


def shared_tile(
    workload: Workload, arch: Architecture, mapping: EinsumMapping, tensor: str, level: str
) -> int:
    """Values of a tensor's tile at a level: whole where kept, inner where streamed."""
    outside = True
    inner: dict[str, int] = {}
    staged = tensor in mapping.kept_at(level)
    ranks = workload.tensor_ranks[tensor]
    for slot in slots_of(arch):
        if slot.node == level:
            outside = False
            if not staged:
                continue
        if not outside:
            for loop in mapping.at(slot):
                inner[loop.rank] = inner.get(loop.rank, 1) * loop.factor
    return prod(min(inner.get(r, 1), workload.rank_sizes[r]) for r in ranks)
