"""Random mappings of small cascades on chips of several cores: unequal tiles, masks, a level more.

A tile of the cascade is mapped on one core as `random_fused` maps a cascade; then the fanout of
cores, and perhaps a level between DRAM and them, are put around it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from execution.random_fused import random_mapping, random_platform, random_workload

from flat_mapper.arch.values import Architecture, Fanout, MemoryLevel, Platform
from flat_mapper.mapping.cores import merged, summed_ranks
from flat_mapper.mapping.values import FusedMapping, GroupMapping, Loop, Slot
from flat_mapper.workload.graph import Workload

Making = Callable[[random.Random, Workload, Platform], FusedMapping | None]


def random_cores_case(
    seed: int,
    chip: Callable[[random.Random], Platform] = random_platform,
    made: Making = random_mapping,
    *,
    windows: bool = False,
    sums: bool = False,
) -> tuple[Workload, Platform, FusedMapping]:
    """A cascade, a chip of one to seven cores, and a mapping of the cascade on it.

    chip: what makes a chip of one core. made: what makes a mapping on it; None: it cannot. windows:
    whether inputs may go through the level between. sums: whether tiles may be parts of sums.
    """
    rng = random.Random(seed)
    while True:
        whole = random_workload(rng)
        names = tuple(whole.ancestors)
        if "QK2" in names:
            continue
        legal, inner = whole.shareable_ranks(names), whole.inner_ranks(names)
        summed = {r for e in whole.einsums for r in e.reduced_ranks}
        free = [r for r in legal if r not in inner and r not in summed]
        if sums:
            free += summed_ranks(whole, names)
        given = [r for r in free if rng.random() < 0.7]
        tiles = {r: rng.randint(1, whole.rank_sizes[r]) for r in given}
        core = replace(whole, rank_sizes={**whole.rank_sizes, **tiles}, mask=None)
        alone = chip(rng)
        mapping = made(rng, core, alone)
        if mapping is None:
            continue
        (group,) = mapping.groups
        pair = whole.roles.masked
        cut = {p.rank for p in group.shared}
        if whole.mask and pair and pair[0] in given and set(pair) <= cut:
            continue  # both in time and over cores
        if whole.mask and pair and pair[0] not in given:
            whole = replace(whole, mask=None)
        break
    rng.shuffle(given)
    between = rng.choice((None, "L2"))
    platform = _chip(rng, alone, between)
    lifted = _lifted(rng, whole, group, between, given, tiles)
    if sums:
        platform, lifted = _added_up(rng, whole, platform, lifted)
    if windows and between:
        lifted = _through(rng, whole, lifted)
    return whole, platform, replace(mapping, groups=(lifted,))


def _added_up(
    rng: random.Random, whole: Workload, platform: Platform, group: GroupMapping
) -> tuple[Platform, GroupMapping]:
    """A chip that adds up what cores send, at the level between where it can hold all of that."""
    parts = merged(whole, group)
    own = {rank for tensor in parts for rank in whole.tensor_ranks[tensor]}
    given = {p.rank for at, loops in group.cores for p in loops if at == "DRAM"}
    time = {p.rank for m in group.einsums for s, p in m.placed if s.node == "DRAM"}
    between = any(level.name == "MID" for level in platform.matrix.levels)
    inside = between and given <= own and not time & own and rng.random() < 0.7
    nests = [
        replace(
            m,
            keep=tuple(
                (
                    lv,
                    (
                        *own,
                        *(t for t in m.kept_at("DRAM") if t in parts and inside and lv == "MID"),
                    ),
                )
                for lv, own in m.keep
            ),
        )
        for m in group.einsums
    ]
    facts = {"core_sums_at": "MID" if inside else "DRAM"}
    chip = platform.changed(lambda arch: replace(arch, variables={**arch.variables, **facts}))
    return chip, replace(group, einsums=tuple(nests))


def _through(rng: random.Random, whole: Workload, group: GroupMapping) -> GroupMapping:
    """The group with some of its inputs through the level between, not kept whole there."""
    made = {whole.einsum(m.einsum).output.tensor for m in group.einsums}
    moved = dict.fromkeys(t for m in group.einsums for t in m.kept_at("DRAM"))
    some = [t for t in moved if t not in {*made, *group.resident} and rng.random() < 0.6]
    nests = []
    for nest in group.einsums:
        new = [t for t in nest.kept_at("DRAM") if t in some and t not in nest.kept_at("MID")]
        keep = ((lv, (*own, *new) if lv == "MID" else own) for lv, own in nest.keep)
        nests.append(replace(nest, keep=tuple(keep)))
    windows = tuple((t, rng.randint(1, 6)) for t in some)
    return replace(group, einsums=tuple(nests), windows=windows)


def boundary(rng: random.Random) -> dict[str, float]:
    """Ports at the boundary of a core, in bytes a cycle: none, of one way, of each, or of both."""
    kind, value = rng.random(), rng.choice((0, 0.25))
    if kind < 0.3:
        return {"core_stream_bytes_per_cycle": 2, "core_stream_value_cycles": value}
    if kind < 0.5:
        return {"core_read_bytes_per_cycle": 2}
    if kind < 0.6:
        return {"core_write_bytes_per_cycle": 0.5}
    if kind < 0.7:
        return {"core_read_bytes_per_cycle": 3, "core_write_bytes_per_cycle": 0.5}
    if kind < 0.8:
        return {"core_read_bytes_per_cycle": 2, "core_stream_bytes_per_cycle": 2.5}
    return {}


def _chip(rng: random.Random, alone: Platform, between: str | None) -> Platform:
    """The chip of one core with a fanout of one to seven of them between DRAM and the buffer."""
    deaf = {"spatial": {"no_multicast_no_reduction": ["*"]}} if rng.random() < 0.5 else {}
    fanout = Fanout(name="core", fanout_x=rng.randint(1, 7), constraints=deaf)
    rate = rng.choice((None, 1.0, 4.0))
    level = MemoryLevel(
        name="MID",
        component_class="SRAM",
        capacity_words=None,
        word_bits=16,
        row_words=1,
        shared_words_per_cycle=rate,
    )
    facts = {
        "core_tile_cycles": rng.choice((0, 5)),
        "core_step_cycles": rng.choice((0, 3)),
        "launch_seconds": rng.choice((0, 7e-9)),
        **boundary(rng),
        "core_drift_passes": int(fanout.fanout_x == 5),
        "mine_factor": rng.choice((0.9, 1.7)),
        "mine_tile_cycles": rng.choice((0, 11)),
        "mine_launch_seconds": rng.choice((0, 3e-9)),
    }

    def around(arch: Architecture) -> Architecture:
        dram, *inside = arch.nodes
        more = (level, fanout) if between else (fanout,)
        copies = fanout.fanout_x
        own = [replace(n, instances=copies * n.instances) if isinstance(n, MemoryLevel) else n
               for n in inside]  # fmt: skip
        unit = replace(arch.compute, instances=copies * arch.compute.instances)
        return replace(arch, nodes=(dram, *more, *own), compute=unit, variables=facts)

    assert alone.vector is not None
    return Platform(name="chip", matrix=around(alone.matrix), vector=around(alone.vector))


def _lifted(
    rng: random.Random,
    whole: Workload,
    group: GroupMapping,
    between: str | None,
    given: list[str],
    tiles: dict[str, int],
) -> GroupMapping:
    """The group of a core's tile as the group of the whole."""
    loops = [Loop(r, -(-whole.rank_sizes[r] // tiles[r])) for r in given]
    split = rng.randint(0, len(loops)) if between else len(loops)
    cores = [("DRAM", tuple(loops[:split])), ("MID", tuple(loops[split:]))]
    made = {whole.einsum(m.einsum).output.tensor for m in group.einsums}
    outer = {p.rank for p in group.shared if rng.random() < 0.5} if between else set()
    first = next((i for i, p in enumerate(group.shared) if p.rank not in outer), 99)
    at_mid = {p.rank for p in group.shared[first:]} if between else set()
    moved = dict.fromkeys(t for m in group.einsums for t in m.kept_at("DRAM"))
    held = [
        t
        for t in moved
        if between
        and t not in made
        and rng.random() < 0.6
        and not {p.rank for p in group.shared[:first]} & set(whole.tensor_ranks[t])
    ]
    nests = []
    for nest in group.einsums:
        slots = []
        for slot, at in nest.loops:
            if slot.node != "DRAM":
                slots.append((slot, at))
                continue
            slots.append((slot, tuple(p for p in at if p.rank not in at_mid)))
            if between:
                mid = tuple(p for p in at if p.rank in at_mid)
                slots.append((Slot("MID", "temporal"), mid))
        keep = list(nest.keep)
        if between:
            keep.insert(1, ("MID", tuple(t for t in nest.kept_at("DRAM") if t in held)))
        nests.append(replace(nest, loops=tuple((s, at) for s, at in slots if at), keep=tuple(keep)))
    given_whole = {p.rank for p in loops[:split]}
    resident = tuple(
        t for t in held if not given_whole & set(whole.tensor_ranks[t]) and rng.random() < 0.3
    )
    return replace(
        group,
        einsums=tuple(nests),
        level="GLB",
        cores=tuple((n, at) for n, at in cores if at),
        resident=resident,
        order=rng.choice(("largest", "loop", "lists")),
        kernel=rng.choice(("", "mine")),
    )


def for_timeloop(platform: Platform) -> Platform:
    """A random chip with what Timeloop asks of every node: sizes, widths and a class it knows."""

    def sized(level: MemoryLevel) -> MemoryLevel:
        attributes: dict[str, object] = {"width": 16 * level.row_words, "datawidth": 16}
        if level.name == "DRAM":
            more: dict[str, object] = {"type": "LPDDR4"}
        else:
            more = {"depth": 1 << 20}
        kind = "DRAM" if level.name == "DRAM" else "SRAM"
        return replace(level, component_class=kind, attributes=attributes | more)

    def path(arch: Architecture, unit: str) -> Architecture:
        nodes = tuple(sized(n) if isinstance(n, MemoryLevel) else n for n in arch.nodes)
        compute = replace(arch.compute, name=unit, component_class="intmac")
        return replace(arch, nodes=nodes, compute=replace(compute, attributes={"datawidth": 16}))

    assert platform.vector is not None
    return replace(
        platform, matrix=path(platform.matrix, "MAC"), vector=path(platform.vector, "VALU")
    )
