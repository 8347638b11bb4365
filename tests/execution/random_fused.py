"""Random fused mappings of small cascades on small chips of two to five levels."""

from __future__ import annotations

import random
from dataclasses import replace

from execution.tiny import memory

from flat_mapper.arch.values import Architecture, ComputeUnit, Fanout, MemoryLevel, Platform
from flat_mapper.mapping.resize import resized_mapping
from flat_mapper.mapping.values import (
    EinsumMapping,
    FusedMapping,
    GroupMapping,
    Loop,
    Policy,
    Slot,
    slots_of,
)
from flat_mapper.workload.cascade import attention
from flat_mapper.workload.einsum import Einsum
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.mask import Mask
from flat_mapper.workload.notation import parse_einsum

CASCADES = (
    ("Y[i,j] = A[i,k] * B[k,j]", "Z[i,l] = Y[i,j] * C[j,l]"),
    ("T[i,j] = A[i,k] * W[k,j]", "G[i,j] = exp(T[i,j])", "Y[i,j] = G[i,j] * T[i,j]"),
    ("T[i,j] = A[i,k] * W[k,j]", "G[i,j] = silu(T[i,j])", "Y[i,l] = G[i,j] * C[j,l]"),
    ("T[i,j] = A[i,k] * W[k,j]", "S[i] = sum(T[i,j])", "Y[i,j] = T[i,j] / S[i]"),
    ("M1[b,j] = max(X[b,i,j])", "Y[b,i,j] = X[b,i,j] - M1[b,j]"),
)


def random_case(seed: int) -> tuple[Workload, Platform, FusedMapping]:
    """A cascade, a chip and a mapping of it in one group, or of two passes in two."""
    rng = random.Random(seed)
    workload = random_workload(rng)
    platform = random_platform(rng)
    mapping = random_mapping(rng, workload, platform)
    if workload.mask is None and rng.random() < 0.3:
        rank = rng.choice([r for r, n in workload.rank_sizes.items() if n > 2] or ["?"])
        if rank != "?":
            size = workload.rank_sizes[rank] - 1
            mapping = resized_mapping(mapping, workload, rank, size)
            workload = workload.with_ranks({rank: size})
    return workload, platform, mapping


def random_workload(rng: random.Random) -> Workload:
    """Attention in one of its forms, or a cascade of one's own."""
    if rng.random() < 0.3:
        einsums = tuple(parse_einsum(line) for line in rng.choice(CASCADES))
        ranks = dict.fromkeys(r for e in einsums for r in e.ranks)
        sizes = {r: rng.choice((2, 3, 4)) for r in ranks}
        return Workload(name="own", rank_sizes=sizes, einsums=einsums)
    sizes = {r: rng.choice((1, 2, 4)) for r in ("P", "E", "F")}
    heads = rng.choice((1, 2, 4))
    kv = rng.choice((None, *(n for n in (1, 2) if heads % n == 0)))
    found = attention(
        **{"B": rng.choice((1, 2)), "H": heads, "M": rng.choice((4, 6, 8)), **sizes},
        kv_heads=kv,
        softmax=rng.choice(("row", "online", "online", "online-2pass")),
    )
    if rng.random() < 0.35:
        mask = rng.choice((Mask(causal=True), Mask(window=2), Mask(causal=True, window=3)))
        parts = 2 if found.rank_sizes["M"] % 8 == 0 else 1  # no draw of its own: seeds have names
        found = replace(found, mask=replace(mask, parts=parts))
    return found


def random_platform(rng: random.Random) -> Platform:
    """A matrix path of two to five levels and a vector path of two to four, all with much room."""

    def level(name: str, instances: int = 1) -> MemoryLevel:
        def rate() -> float | None:
            return rng.choice((0.5, 1.0, 2.0, 4.0)) if rng.random() < 0.4 else None

        return replace(
            memory(name, copies=instances),
            read_words_per_cycle=rate(),
            write_words_per_cycle=rate(),
            shared_words_per_cycle=rate(),
        )

    top = (level("DRAM"), level("GLB"))
    inner: list[MemoryLevel | Fanout] = []
    if rng.random() < 0.4:
        inner.append(level("L2"))
    inner.append(Fanout(name="PE", fanout_x=2, fanout_y=2))
    if rng.random() < 0.4:
        inner.append(level("L1", 4))
    if rng.random() < 0.3:
        inner.append(Fanout(name="LANE", fanout_x=2))
    if rng.random() < 0.7:
        inner.append(level("RF", 8))
    side: list[MemoryLevel | Fanout] = [Fanout(name="lane", fanout_x=4)]
    if rng.random() < 0.7:
        side.append(level("VRF", 4))
    return Platform(
        name="small", matrix=_path("small", top, inner), vector=_path("small.sfu", top, side)
    )


def _path(
    name: str, top: tuple[MemoryLevel, ...], inner: list[MemoryLevel | Fanout]
) -> Architecture:
    compute = ComputeUnit(name=f"{name}-unit", component_class="alu", instances=8)
    return Architecture(name=name, nodes=(*top, *inner), compute=compute, cycle_seconds=1e-9)


def random_mapping(rng: random.Random, workload: Workload, platform: Platform) -> FusedMapping:
    """Everything in one group, but for two-pass attention, which runs in two."""
    names = tuple(workload.ancestors)
    second = names.index("QK2") if "QK2" in names else len(names)
    groups = [n for n in (names[:second], names[second:]) if n]
    policy = Policy(buffering=rng.choice((1.0, 2.0)), in_place=rng.random() < 0.7)
    made = tuple(random_group(rng, workload, platform, g) for g in groups)
    return FusedMapping(groups=made, policy=policy)


def random_group(
    rng: random.Random, workload: Workload, platform: Platform, names: tuple[str, ...]
) -> GroupMapping:
    legal, inner = workload.shareable_ranks(names), workload.inner_ranks(names)
    outer = [r for r in legal if r not in inner]
    rng.shuffle(outer)
    shared = [
        Loop(rank, rng.choice(_divisors(workload.rank_sizes[rank])))
        for rank in (*outer, *inner)
        if rng.random() < 0.8
    ]
    shared = [loop for loop in shared if loop.factor > 1]
    cut = {loop.rank for loop in shared}
    names = tuple(n for n in names if all(r in cut for r in workload.einsum(n).each))
    tensors = dict.fromkeys(a.tensor for n in names for a in workload.einsum(n).accesses)
    inside = {t for t in tensors if not crosses(workload, names, t)}
    roles = inside, {t for t in tensors if rng.random() < 0.6}
    nests = tuple(_nest(rng, workload, platform, n, (names, shared, *roles)) for n in names)
    return GroupMapping(
        einsums=nests,
        shared=tuple(shared),
        schedule=rng.choice(("interleaved", "overlapped")),
    )


def crosses(workload: Workload, names: tuple[str, ...], tensor: str) -> bool:
    makers = [e for e in workload.einsums if e.output.tensor == tensor]
    readers = [e for e in workload.einsums if any(a.tensor == tensor for a in e.inputs)]
    if not any(e.name in names for e in makers):
        return True
    return not readers or any(e.name not in names and not e.each for e in readers)


def _nest(
    rng: random.Random,
    workload: Workload,
    platform: Platform,
    name: str,
    group: tuple[tuple[str, ...], list[Loop], set[str], set[str]],
) -> EinsumMapping:
    names, shared, inside, staged = group
    einsum = workload.einsum(name)
    arch = platform.path(einsum.unit)
    loops = _loops(rng, workload, arch, einsum, shared)
    tensors = [a.tensor for a in einsum.accesses]
    dram, glb, *private = (lv.name for lv in arch.levels)
    passed = passed_on(workload, names)
    keep = [
        (dram, tuple(t for t in tensors if t not in inside and moves(workload, names, name, t))),
        (glb, tuple(t for t in tensors if t in inside or t in staged or t in passed)),
        *((lv, tuple(t for t in tensors if rng.random() < 0.6)) for lv in private),
    ]
    stay = tuple(t for t in tensors if t not in passed and rng.random() < 0.5)
    return EinsumMapping(einsum=name, loops=loops, keep=tuple(keep), stay=stay)


def moves(workload: Workload, names: tuple[str, ...], name: str, tensor: str) -> bool:
    """Whether this Einsum is the one that brings a tensor from DRAM or sends it there."""
    maker = workload.producers.get(tensor)
    return maker == name or maker not in names


def passed_on(workload: Workload, names: tuple[str, ...]) -> set[str]:
    """Tensors that one Einsum of the group makes and another touches."""
    group = [workload.einsum(n) for n in names]
    made = {e.output.tensor for e in group}
    return {t for t in made if sum(any(a.tensor == t for a in e.accesses) for e in group) > 1}


def _loops(
    rng: random.Random, workload: Workload, arch: Architecture, einsum: Einsum, shared: list[Loop]
) -> tuple[tuple[Slot, tuple[Loop, ...]], ...]:
    slots = slots_of(arch)
    room = {
        Slot(n.name, axis): size
        for n in arch.nodes
        if isinstance(n, Fanout)
        for axis, size in (("x", n.fanout_x), ("y", n.fanout_y))
    }
    found: dict[Slot, dict[str, int]] = {slot: {} for slot in slots}
    outer = {loop.rank: loop.factor for loop in shared}
    for rank in einsum.ranks:
        if rank in einsum.each:
            continue
        left = workload.rank_sizes[rank] // outer.get(rank, 1)
        while left > 1:
            prime = next(p for p in range(2, left + 1) if left % p == 0)
            slot = rng.choice([s for s in slots[1:] if room.get(s, 10**6) >= prime])
            if slot in room:
                room[slot] //= prime
            found[slot][rank] = found[slot].get(rank, 1) * prime
            left //= prime
    loops = []
    for slot, counts in found.items():
        at = [Loop(r, f) for r, f in counts.items()]
        rng.shuffle(at)
        loops.append((slot, tuple(at)))
    loops[0] = (slots[0], tuple(p for p in shared if p.rank in einsum.ranks))
    return tuple((slot, at) for slot, at in loops if at)


def _divisors(n: int) -> list[int]:
    return [d for d in range(1, n + 1) if n % d == 0]
