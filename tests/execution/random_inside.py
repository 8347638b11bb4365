"""Random fused mappings that hand intermediates over at a level inside the fusion level."""

from __future__ import annotations

import random
from dataclasses import replace

from execution.random_cores import random_cores_case
from execution.random_fused import random_group, random_platform, random_workload
from execution.tiny import memory

from flat_mapper.arch.values import Architecture, Fanout, MemoryLevel, Platform
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
from flat_mapper.workload.einsum import Einsum
from flat_mapper.workload.graph import Workload

SHARED = "GLB"


def random_inside_case(seed: int) -> tuple[Workload, Platform, FusedMapping]:
    """A cascade, a chip and a mapping that hands at least one intermediate over inside GLB."""
    rng = random.Random(f"inside {seed}")
    while True:
        workload = random_workload(rng)
        platform = random_deep_platform(rng)
        mapping = random_inside_mapping(rng, workload, platform)
        if mapping is not None:
            break
    if workload.mask is None and rng.random() < 0.3:
        rank = rng.choice([r for r, n in workload.rank_sizes.items() if n > 2] or ["?"])
        if rank != "?":
            size = workload.rank_sizes[rank] - 1
            mapping = resized_mapping(mapping, workload, rank, size)
            workload = workload.with_ranks({rank: size})
    return workload, platform, mapping


def random_inside_cores_case(seed: int) -> tuple[Workload, Platform, FusedMapping]:
    """The same on a chip of several cores."""
    return random_cores_case(seed, random_deep_platform, random_inside_mapping)


def random_deep_platform(rng: random.Random) -> Platform:
    """A chip whose two paths have one or two levels and some fanouts below GLB in common."""
    platform = random_platform(rng)
    rate = rng.choice((None, 0.5, 1.0, 4.0))
    nodes: list[MemoryLevel | Fanout] = []
    copies = 1
    for name in ("SMEM", "LOC")[: rng.choice((1, 2))]:
        if rng.random() < 0.7:
            nodes.append(Fanout(name=f"to{name}", fanout_x=2, fanout_y=rng.choice((1, 2))))
            copies *= nodes[-1].copies
        nodes.append(
            replace(
                memory(name, rate=rate, copies=copies),
                read_words_per_cycle=rng.choice((None, 0.5, 2.0)),
            )
        )

    def deep(arch: Architecture) -> Architecture:
        dram, glb, *inner = arch.nodes
        own = [
            replace(n, instances=copies * n.instances) if isinstance(n, MemoryLevel) else n
            for n in inner
        ]
        unit = replace(arch.compute, instances=copies * arch.compute.instances)
        return replace(arch, nodes=(dram, glb, *nodes, *own), compute=unit)

    assert platform.vector is not None
    return replace(platform, matrix=deep(platform.matrix), vector=deep(platform.vector))


def random_inside_mapping(
    rng: random.Random, workload: Workload, platform: Platform
) -> FusedMapping | None:
    """A mapping of the cascade; None where none of its groups has an intermediate."""
    names = tuple(workload.ancestors)
    second = names.index("QK2") if "QK2" in names else len(names)
    groups = [n for n in (names[:second], names[second:]) if n]
    policy = Policy(buffering=rng.choice((1.0, 2.0)), in_place=rng.random() < 0.7)
    made = [_inside(rng, workload, platform, g) for g in groups]
    if not any(some for _, some in made):
        return None
    return FusedMapping(groups=tuple(group for group, _ in made), policy=policy)


def _inside(
    rng: random.Random, workload: Workload, platform: Platform, names: tuple[str, ...]
) -> tuple[GroupMapping, bool]:
    """A group as `random_fused` makes it, some of its intermediates moved inside; whether any."""
    group = random_group(rng, workload, platform, names)
    einsums = [workload.einsum(n) for n in group.names]
    homes: dict[str, str] = {}
    for einsum in einsums:
        tensor = einsum.output.tensor
        users = [e for e in einsums if e.touches(tensor)]
        off_chip = any(tensor in m.kept_at("DRAM") for m in group.einsums)
        if len(users) < 2 or off_chip:
            continue
        levels = [[lv.name for lv in platform.path(e.unit).levels[2:]] for e in users]
        common = [n for n in levels[0] if all(n in other for other in levels)]
        # Names in common are those of one level only down to where the paths part.
        if len({e.unit for e in users}) > 1:
            common = [n for n in common if n in ("SMEM", "LOC")]
        if common and rng.random() < 0.6:
            homes[tensor] = rng.choice(common)
    for einsum in einsums:  # what is corrected by an old value has it at the same level
        if einsum.each and einsum.updates:
            for old in einsum.so_far:
                for tensor in (old, einsum.output.tensor):
                    homes.pop(tensor, None)
                if rng.random() < 0.5 and not any(
                    t in m.kept_at("DRAM")
                    for t in (old, einsum.output.tensor)
                    for m in group.einsums
                ):
                    homes |= dict.fromkeys((old, einsum.output.tensor), "SMEM")
    forced = _forced(rng, workload, platform, group, homes)
    nests = tuple(
        _moved(rng, workload, platform, m, homes, forced, group.shared) for m in group.einsums
    )
    return replace(group, einsums=nests), bool(homes)


def _forced(
    rng: random.Random,
    workload: Workload,
    platform: Platform,
    group: GroupMapping,
    homes: dict[str, str],
) -> dict[Slot, list[Loop]]:
    """Loops in space that all Einsums have which touch something inside; over ranks of it all."""
    if not homes:
        return {}
    ranks = set.intersection(*(set(workload.tensor_ranks[t]) for t in homes))
    cut = {p.rank: p.factor for p in group.shared}
    left = {r: workload.rank_sizes[r] // cut.get(r, 1) for r in sorted(ranks)}
    found: dict[Slot, list[Loop]] = {}
    fanouts = {n.name: n for p in platform.paths for n in p.fanouts}
    for slot in dict.fromkeys(s for path in platform.paths for s in slots_of(path)):
        node = fanouts.get(slot.node)
        if node is None:
            continue
        room = node.fanout_x if slot.axis == "x" else node.fanout_y
        for rank in sorted(left):
            factor = rng.choice([f for f in range(1, room + 1) if left[rank] % f == 0])
            if factor > 1 and room >= factor:
                found.setdefault(slot, []).append(Loop(rank, factor))
                left[rank] //= factor
                room //= factor
    return found


def _moved(
    rng: random.Random,
    workload: Workload,
    platform: Platform,
    nest: EinsumMapping,
    homes: dict[str, str],
    forced: dict[Slot, list[Loop]],
    shared: tuple[Loop, ...],
) -> EinsumMapping:
    einsum = workload.einsum(nest.einsum)
    own = {a.tensor: homes[a.tensor] for a in einsum.accesses if a.tensor in homes}
    if not own:
        return nest
    arch = platform.path(einsum.unit)
    names = [lv.name for lv in arch.levels]
    keep = []
    for level, kept in nest.keep:
        tensors = [t for t in kept if t not in own or names.index(own[t]) < names.index(level)]
        keep.append((level, (*tensors, *(t for t, at in own.items() if at == level))))
    loops = _loops(rng, workload, arch, einsum, own, forced, shared)
    return replace(nest, keep=tuple(keep), loops=loops)


def _loops(
    rng: random.Random,
    workload: Workload,
    arch: Architecture,
    einsum: Einsum,
    own: dict[str, str],
    forced: dict[Slot, list[Loop]],
    shared: tuple[Loop, ...],
) -> tuple[tuple[Slot, tuple[Loop, ...]], ...]:
    slots = slots_of(arch)
    depth = {t: slots.index(Slot(at, "temporal")) for t, at in own.items()}
    first = slots.index(Slot(SHARED, "temporal"))
    room = {
        Slot(n.name, axis): size
        for n in arch.nodes
        if isinstance(n, Fanout)
        for axis, size in (("x", n.fanout_x), ("y", n.fanout_y))
    }
    found: dict[Slot, list[Loop]] = {slot: [] for slot in slots}
    outer = {loop.rank: loop.factor for loop in shared}
    left = {
        r: workload.rank_sizes[r] // outer.get(r, 1) for r in einsum.ranks if r not in einsum.each
    }
    fixed = {s for n, s in enumerate(slots) if s in room and n < max(depth.values())}
    for slot in fixed:
        for loop in forced.get(slot, []):
            found[slot].append(loop)
            left[loop.rank] //= loop.factor
    for rank, count in left.items():
        allowed = [
            s
            for n, s in enumerate(slots)
            if n >= first
            and s not in fixed
            and not any(n < at and rank in workload.tensor_ranks[t] for t, at in depth.items())
        ]
        while count > 1:
            prime = next(p for p in range(2, count + 1) if count % p == 0)
            slot = rng.choice([s for s in allowed if room.get(s, 10**6) >= prime])
            if slot in room:
                room[slot] //= prime
            found[slot] = _joined(found[slot], rank, prime)
            count //= prime
    for slot in slots:
        if slot not in fixed:
            rng.shuffle(found[slot])
    found[slots[0]] = [p for p in shared if p.rank in einsum.ranks]
    return tuple((slot, tuple(at)) for slot, at in found.items() if at)


def _joined(loops: list[Loop], rank: str, factor: int) -> list[Loop]:
    if any(p.rank == rank for p in loops):
        return [Loop(rank, p.factor * factor) if p.rank == rank else p for p in loops]
    return [*loops, Loop(rank, factor)]
