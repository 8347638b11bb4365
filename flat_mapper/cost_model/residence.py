"""Residence: what the shared level holds while a group runs, and where it is handed over inside."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from math import ceil, prod

from flat_mapper.arch.values import Architecture, Platform
from flat_mapper.cost_model.result import BufferUse
from flat_mapper.mapping.cores.check import handed_inside
from flat_mapper.mapping.order import overlaps
from flat_mapper.mapping.sharing import (
    carried_tensors,
    in_place_classes,
    leaves_finished,
    left_out_words,
    shared_level,
    whole_group,
)
from flat_mapper.mapping.values import EinsumMapping, GroupMapping, Policy, slots_of
from flat_mapper.workload.graph import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class TileCopies:
    """Copies of a tensor's tile that the shared level holds at once.

    What the group exchanges with DRAM is held `buffering` times, an intermediate once. When units
    overlap, two tiles are in flight: twice is held what passes from one unit to another, and what
    the inner loops carry from pass to pass.
    """

    workload: Workload
    schedule: str
    buffering: float
    off_chip: Collection[str]  # tensors that the group exchanges with DRAM while it runs
    carried: Collection[str]  # tensors that its inner loops carry, see `carried_tensors`

    def of(self, tensor: str) -> float:
        """Copies of a tensor's tile."""
        if tensor in self.off_chip:
            return self.buffering
        return 2.0 if self.in_flight(tensor) else 1.0

    def in_flight(self, tensor: str) -> bool:
        """True if an intermediate needs a second tile: two units work on two tiles at once."""
        if not overlaps(self.schedule) or tensor not in self.workload.producers:
            return False
        if tensor in self.carried:
            return True
        maker = self.workload.einsum(self.workload.producers[tensor]).unit
        readers = self.workload.readers(tensor)
        return any(reader.unit != maker for reader in readers)


@dataclass(frozen=True, slots=True, kw_only=True)
class TileOccupancy:
    """Words of one tensor's tile in its level, or of several that share one place."""

    level: str
    tensor: str  # the first of those that share it
    words: float  # of one copy
    copies: float
    first: str  # the Einsum of the group that touches it first
    last: str  # and the one that touches it last

    @property
    def total_words(self) -> int:
        """Words of all copies."""
        return ceil(self.words * self.copies)


def tile_occupancies(
    workload: Workload, platform: Platform, group: GroupMapping, policy: Policy
) -> tuple[TileOccupancy, ...]:
    """Tiles that the shared level holds for a group, by tensor, and those handed over inside it.

    A tensor kept there takes its whole tile below the shared loops; one that bypasses it is
    streamed, and takes its tile below the shared level's own loops, or no room where what passes
    by is free. What is carried over the passes of an inner loop is an intermediate, also where a
    free softmax leaves it out of the mapping. One that is handed over inside takes its whole tile
    there, in an instance.
    """
    level = shared_level(platform)
    inside = handed_inside(workload, platform, group)
    free = policy.softmax == "free" and len(group.einsums) > 1
    whole = whole_group(workload, group.names, policy)
    classes = in_place_classes(workload, whole, level.name, inside) if policy.in_place else {}
    copies = _tile_copies(workload, platform, group, policy, whole)
    held: dict[str, TileOccupancy] = {}
    for mapping in group.einsums:
        einsum = workload.einsum(mapping.einsum)
        arch = platform.path(einsum.unit)
        for access in einsum.accesses:
            tensor = access.tensor
            home = inside.get(tensor, level.name)
            kept = tensor in mapping.kept_at(home)
            if policy.passing == "free" and tensor in copies.off_chip and not kept:
                continue
            values = shared_tile(workload, arch, mapping, tensor, home)
            key = classes.get(tensor, tensor)
            # What a mapping fetches from DRAM overwrites nothing, though its maker is left out.
            fetched = workload.producers.get(tensor) not in group.names
            # What is streamed goes by in tiles of its own.
            if tensor in copies.off_chip and (fetched or not kept):
                key = tensor
            before = held.get(key)
            one = TileOccupancy(
                level=home,
                tensor=key,
                words=values * workload.share(tensor, home),
                copies=copies.of(tensor),
                first=before.first if before else mapping.einsum,
                last=mapping.einsum,
            )
            held[key] = one if before is None else _merged(one, before)
    for tensor, words in left_out_words(workload, group, level.name).items() if free else ():
        one = TileOccupancy(
            level=level.name,
            tensor=tensor,
            words=words,
            copies=copies.of(tensor),
            first=group.names[0],
            last=group.names[-1],
        )
        held.setdefault(tensor, one)
    return tuple(held.values())


def _merged(one: TileOccupancy, before: TileOccupancy) -> TileOccupancy:
    """Tiles in one place: as large as the larger, in as many copies as either needs."""
    words, copies = max(one.words, before.words), max(one.copies, before.copies)
    return replace(one, words=words, copies=copies)


def _tile_copies(
    workload: Workload,
    platform: Platform,
    group: GroupMapping,
    policy: Policy,
    whole: tuple[str, ...],
) -> TileCopies:
    """The rule of copies for one mapped group."""
    off_chip = {t for m in group.einsums for t in m.kept_at(platform.dram.name)}
    if policy.softmax == "free" and len(group.einsums) > 1:
        off_chip -= {t for t in off_chip if leaves_finished(workload, group.names, t)}
    return TileCopies(
        workload=workload,
        schedule=group.schedule,
        buffering=policy.buffering,
        off_chip=off_chip,
        carried=carried_tensors(workload, whole),
    )


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
