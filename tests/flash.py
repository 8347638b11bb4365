"""FlashAttention's mapping by hand: a tile of queries on a core, keys tile by tile."""

from __future__ import annotations

from math import prod

from flat_mapper.arch.values import Architecture, Fanout, Platform
from flat_mapper.mapping.values import (
    EinsumMapping,
    FusedMapping,
    GroupMapping,
    Loop,
    Policy,
    Slot,
)
from flat_mapper.workload.graph import Workload


def flash(
    workload: Workload,
    platform: Platform,
    rows: int,
    keys: int,
    *,
    level: str = "SMEM",
    order: tuple[str, ...] = ("B", "G", "H", "P"),
    at: str = "DRAM",
    keep: tuple[str, ...] = (),
    whole: tuple[str, ...] = (),
) -> FusedMapping:
    """Online attention in tiles of `rows` queries x `keys` keys, one head of one sequence each.

    order: of the loops whose passes are given out; at: the level at which all of them stand.
    keep:  operands that this level keeps as well; whole: ranks that a tile has whole.
    """
    sizes = workload.rank_sizes
    given = [r for r in order if r in sizes and r not in whole]
    tile = {r: 1 for r in given} | {"P": rows} if "P" in given else {r: 1 for r in given}
    shared = Loop("M", -(-sizes["M"] // keys))
    loops = [Loop(r, -(-sizes[r] // tile[r])) for r in given]
    nests = [
        nest
        for name in workload.ancestors
        if (nest := _nest(workload, platform, name, tile, keys, level, at, keep))
    ]
    group = GroupMapping(
        einsums=tuple(nests),
        shared=(shared,),
        level=level,
        cores=((at, tuple(loops)),),
        schedule="interleaved",
    )
    return FusedMapping(groups=(group,), policy=Policy())


def _nest(
    workload: Workload,
    platform: Platform,
    name: str,
    tile: dict[str, int],
    keys: int,
    level: str,
    at: str,
    keep: tuple[str, ...],
) -> EinsumMapping:
    einsum = workload.einsum(name)
    arch = platform.path(einsum.unit)
    sizes = workload.rank_sizes
    extents = {r: tile.get(r, sizes[r]) for r in einsum.ranks if r not in einsum.each}
    extents |= {"M": keys} if "M" in extents else {}
    outer = (Loop("M", -(-sizes["M"] // keys)),) if "M" in einsum.ranks else ()
    where = at if at != "DRAM" else "DRAM"
    slots = [(Slot(where, "temporal"), outer)] if outer else []
    spatial, left = _spread(arch, level, extents)
    inner = tuple(Loop(r, n) for r, n in left.items() if n > 1)
    last = sizes["M"] - (outer[0].factor - 1) * keys if outer else keys
    assert last == keys, "keys divide"
    tensors = [a.tensor for a in einsum.accesses]
    crossing = tuple(t for t in tensors if t not in workload.intermediates)
    held = tuple(t for t in tensors if t not in ("AV_div",))
    kept = [("DRAM", crossing), (level, held)]
    if keep and at != "DRAM":
        kept.insert(1, (at, tuple(t for t in crossing if t in keep)))
    return EinsumMapping(
        einsum=name,
        loops=tuple((s, p) for s, p in (*slots, (Slot(level, "temporal"), inner), *spatial) if p),
        keep=tuple((n, t) for n, t in kept if t),
    )


def _spread(
    arch: Architecture, level: str, extents: dict[str, int]
) -> tuple[list[tuple[Slot, tuple[Loop, ...]]], dict[str, int]]:
    """The ranks over the arrays inside a level, as many instances as divide; what is left."""
    left, found = dict(extents), []
    nodes = arch.nodes[arch.nodes.index(arch.level(level)) :]
    for node in (n for n in nodes if isinstance(n, Fanout)):
        for axis, room in (("y", node.fanout_y), ("x", node.fanout_x)):
            loops = []
            for rank in sorted(left, key=lambda r: -left[r]):
                used = prod(p.factor for p in loops)
                factor = max(d for d in range(1, room // used + 1) if left[rank] % d == 0)
                if factor > 1:
                    loops.append(Loop(rank, factor))
                    left[rank] //= factor
            if loops:
                found.append((Slot(node.name, axis), tuple(loops)))
    return found, left
