"""Random mappings whose loops cut ranks into pieces of any extent, the last ones smaller."""

from __future__ import annotations

import random
from dataclasses import replace
from math import ceil

from execution.random_fused import CASCADES, crosses, moves, passed_on, random_platform
from execution.random_fused import random_workload as fused_workload

from flat_mapper.arch.values import Architecture, Fanout, Platform
from flat_mapper.base.errors import SpecError
from flat_mapper.mapping.values import (
    EinsumMapping,
    FusedMapping,
    GroupMapping,
    Loop,
    Policy,
    Slot,
    slots_of,
)
from flat_mapper.workload.einsum import Einsum
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.notation import parse_einsum

LONE = ("Y[i,j] = A[i,k] * B[k,j]",)


def alone_case(seed: int) -> tuple[Workload, Platform, FusedMapping]:
    """Einsums of a cascade, each by itself."""
    rng = random.Random(seed)
    lines = rng.choice((LONE, LONE, *CASCADES))
    einsums = tuple(map(parse_einsum, lines))
    ranks = dict.fromkeys(r for e in einsums for r in e.ranks)
    sizes = {r: rng.randint(1, 13) for r in ranks}
    workload = Workload(name="own", rank_sizes=sizes, einsums=einsums)
    platform = random_platform(rng)
    groups = []
    for einsum in einsums:
        arch = platform.path(einsum.unit)
        loops = _loops(rng, arch, einsum, sizes, slots_of(arch))
        tensors = [a.tensor for a in einsum.accesses]
        dram, glb, *private = (lv.name for lv in arch.levels)
        keep = [
            (dram, tuple(tensors)),
            (glb, tuple(t for t in tensors if rng.random() < 0.7)),
            *((lv, tuple(t for t in tensors if rng.random() < 0.6)) for lv in private),
        ]
        nest = EinsumMapping(einsum=einsum.name, loops=loops, keep=tuple(keep))
        groups.append(GroupMapping(einsums=(nest,)))
    return workload, platform, FusedMapping(groups=tuple(groups))


def fused_case(seed: int, *, masked: bool) -> tuple[Workload, Platform, FusedMapping]:
    """A cascade in one group, or of two passes in two."""
    rng = random.Random(seed)
    while True:
        workload = fused_workload(rng)
        if masked and workload.mask is None:
            continue
        workload = workload if masked else replace(workload, mask=None)
        sizes = {r: n if r in "HBG" else rng.randint(1, 9) for r, n in workload.rank_sizes.items()}
        if workload.mask:
            least = -(-sizes["P"] // workload.mask.parts)
            sizes["M"] = rng.randint(least, 12)
        try:
            workload = workload.with_ranks(sizes)
        except SpecError:  # heads that do not share keys evenly
            continue
        break
    platform, names = random_platform(rng), tuple(workload.ancestors)
    second = names.index("QK2") if "QK2" in names else len(names)
    groups = [n for n in (names[:second], names[second:]) if n]
    policy = Policy(buffering=rng.choice((1.0, 2.0)), in_place=rng.random() < 0.7)
    made = tuple(_group(rng, workload, platform, g) for g in groups)
    return workload, platform, FusedMapping(groups=made, policy=policy)


def _group(
    rng: random.Random, workload: Workload, platform: Platform, names: tuple[str, ...]
) -> GroupMapping:
    legal, inner = workload.shareable_ranks(names), workload.inner_ranks(names)
    outer = [r for r in legal if r not in inner]
    rng.shuffle(outer)
    shared = []
    for rank in (*outer, *inner):
        size = workload.rank_sizes[rank]
        if rng.random() < 0.8 and size > 1:
            extent = rng.randint(1, size - 1)
            shared.append(Loop(rank, ceil(size / extent), extent=extent))
    sizes = {**workload.rank_sizes, **{p.rank: p.extent for p in shared}}
    cut = {p.rank for p in shared}
    names = tuple(n for n in names if all(r in cut for r in workload.einsum(n).each))
    tensors = dict.fromkeys(a.tensor for n in names for a in workload.einsum(n).accesses)
    inside = {t for t in tensors if not crosses(workload, names, t)}
    staged = {t for t in tensors if rng.random() < 0.6}
    passed = passed_on(workload, names)
    nests = []
    for name in names:
        einsum = workload.einsum(name)
        arch = platform.path(einsum.unit)
        first, *slots = slots_of(arch)
        loops = _loops(rng, arch, einsum, sizes, slots)
        own = tuple(p for p in shared if p.rank in einsum.ranks)
        tensors_here = [a.tensor for a in einsum.accesses]
        dram, glb, *private = (lv.name for lv in arch.levels)
        brought = [t for t in tensors_here if t not in inside and moves(workload, names, name, t)]
        keep = [
            (dram, tuple(brought)),
            (glb, tuple(t for t in tensors_here if t in inside or t in staged or t in passed)),
            *((lv, tuple(t for t in tensors_here if rng.random() < 0.6)) for lv in private),
        ]
        stay = tuple(t for t in tensors_here if t not in passed and rng.random() < 0.5)
        loops = ((first, own), *loops) if own else loops
        nests.append(EinsumMapping(einsum=name, loops=loops, keep=tuple(keep), stay=stay))
    schedule = rng.choice(("interleaved", "overlapped"))
    return GroupMapping(einsums=tuple(nests), shared=tuple(shared), schedule=schedule)


def _loops(
    rng: random.Random,
    arch: Architecture,
    einsum: Einsum,
    sizes: dict[str, int],
    slots: list[Slot] | tuple[Slot, ...],
) -> tuple[tuple[Slot, tuple[Loop, ...]], ...]:
    """Loops over what is left of every rank, at random places."""
    room = {
        Slot(n.name, axis): size
        for n in arch.nodes
        if isinstance(n, Fanout)
        for axis, size in (("x", n.fanout_x), ("y", n.fanout_y))
    }
    at: dict[Slot, list[Loop]] = {slot: [] for slot in slots}
    for rank in einsum.ranks:
        if rank in einsum.each or sizes[rank] == 1:
            continue
        for slot, loop in _pieces(rng, rank, sizes[rank], slots, room):
            at[slot].append(loop)
            if slot in room:
                room[slot] //= loop.factor
    for loops in at.values():
        rng.shuffle(loops)
    return tuple((slot, tuple(loops)) for slot, loops in at.items() if loops)


def _pieces(
    rng: random.Random,
    rank: str,
    size: int,
    slots: list[Slot] | tuple[Slot, ...],
    room: dict[Slot, int],
) -> list[tuple[Slot, Loop]]:
    """Loops that cut a rank to single coordinates, outermost first."""
    for _ in range(200):
        at = sorted(rng.sample(range(len(slots)), rng.randint(1, min(4, len(slots)))))
        extents = {rng.randint(1, size - 1) for _ in at[1:]} | {1}
        if len(extents) < len(at):
            continue
        found, left = [], size
        for place, extent in zip(at, sorted(extents, reverse=True), strict=True):
            found.append((slots[place], Loop(rank, ceil(left / extent), extent=extent)))
            left = extent
        if all(room.get(slot, size) >= loop.factor for slot, loop in found):
            return found
    return [(slots[0], Loop(rank, size, extent=1))]
