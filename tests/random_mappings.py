"""Random fused and unfused mappings of attention, legal or not, for cross-checks."""

from __future__ import annotations

import random
from math import prod

from flat_mapper.arch.values import Architecture, Fanout, Platform
from flat_mapper.mapper.space.factors import primes
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

# Lanes along an axis. Chosen: timeloop-model takes seconds where several ranks share a full array;
# the best mappings fill it with one rank an axis.
WIDEST = 8
SOFTMAX = ("QK_max", "QK_exp", "QK_sum", "A")


def random_mapping(
    rng: random.Random, workload: Workload, platform: Platform, *, fused: bool, free: bool
) -> FusedMapping:
    """One group with shared loops, or an operator per group; `free` leaves the softmax out."""
    middle = () if free else SOFTMAX
    groups = [("QK", *middle, "AV")] if fused else [("QK",), middle, ("AV",)]
    made = tuple(_group(rng, workload, platform, names) for names in groups if names)
    return FusedMapping(groups=made, policy=Policy(softmax="free" if free else "charged"))


def _group(
    rng: random.Random, workload: Workload, platform: Platform, names: tuple[str, ...]
) -> GroupMapping:
    joint = len(names) > 1
    shared: list[Loop] = []
    for rank in rng.sample(["B", "H", "P"], 3) if joint else []:
        parts = primes(workload.rank_sizes[rank])
        factor = prod(p for p in parts if rng.random() < 0.8)
        if factor > 1:
            shared.append(Loop(rank, factor))
    inner = _inside(names)
    staged = {t for t in ("Q", "K", "V", "AV", "QK", "A") if rng.random() < 0.6}
    nests = tuple(
        _nest(
            rng, workload, platform, workload.einsum(n), (shared if joint else None, inner, staged)
        )
        for n in names
    )
    return GroupMapping(
        einsums=nests,
        shared=tuple(shared),
        schedule="interleaved" if joint else "sequential",
    )


def _inside(names: tuple[str, ...]) -> set[str]:
    """Intermediates that a group makes and wholly uses: they stay on chip."""
    if names == ("QK", "AV"):
        return {"QK", "A"}  # the softmax between them costs nothing
    if len(names) == 1:
        return set()
    softmax = {"QK_max", "QK_exp", "QK_sum"}
    return softmax | {"QK", "A"} if "QK" in names else softmax


def _nest(
    rng: random.Random,
    workload: Workload,
    platform: Platform,
    einsum: Einsum,
    outside: tuple[list[Loop] | None, set[str], set[str]],
) -> EinsumMapping:
    shared, inner, staged = outside
    arch = platform.path(einsum.unit)
    dram, level, *registers = (lv.name for lv in arch.levels)
    factors = _factors(rng, workload, arch, einsum, shared)
    loops = []
    for slot, counts in factors.items():
        found = [Loop(r, f) for r, f in counts.items() if f > 1]
        rng.shuffle(found)
        loops.append((slot, tuple(found)))
    if shared is not None:
        loops[0] = (loops[0][0], tuple(shared))
    tensors = [a.tensor for a in einsum.accesses]
    keep = [
        (dram, tuple(t for t in tensors if t not in inner)),
        (level, tuple(t for t in tensors if t in inner or t in staged)),
        *((r, tuple(t for t in tensors if rng.random() < 0.5)) for r in registers),
    ]
    return EinsumMapping(einsum=einsum.name, loops=tuple(loops), keep=tuple(keep))


def _factors(
    rng: random.Random,
    workload: Workload,
    arch: Architecture,
    einsum: Einsum,
    shared: list[Loop] | None,
) -> dict[Slot, dict[str, int]]:
    """Every prime factor of every rank at a random slot; fanouts and registers fill up first."""
    slots = slots_of(arch)
    limits = {
        Slot(n.name, axis): min(size, WIDEST)
        for n in arch.nodes
        if isinstance(n, Fanout)
        for axis, size in (("x", n.fanout_x), ("y", n.fanout_y))
    }
    limits[slots[-1]] = 8
    found: dict[Slot, dict[str, int]] = {slot: {} for slot in slots}
    outer = {loop.rank: loop.factor for loop in shared or ()}
    fixed = shared is not None
    for rank in rng.sample(einsum.ranks, len(einsum.ranks)):
        shut = rng.choice(["x", "y"])  # Timeloop writes one factor per rank and fanout
        for prime in primes(workload.rank_sizes[rank] // outer.get(rank, 1)):
            open_slots = [
                s
                for s in slots[1 if fixed else 0 :]
                if s.axis != shut
                and (s not in limits or prod(found[s].values()) * prime <= limits[s])
            ]
            slot = rng.choice(open_slots)
            found[slot][rank] = found[slot].get(rank, 1) * prime
    return found
