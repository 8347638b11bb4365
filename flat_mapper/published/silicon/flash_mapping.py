"""FlashAttention's mapping: a tile of queries on a core, keys tile by tile, K and V in L2."""

from __future__ import annotations

from math import prod

from flat_mapper.arch.values import Architecture, Fanout, Platform
from flat_mapper.mapping.values import Axis, EinsumMapping, FusedMapping, GroupMapping, Loop, Slot
from flat_mapper.workload.graph import Workload

Placed = tuple[Slot, tuple[Loop, ...]]
CORE, CACHE = "SMEM", "L2"  # levels of the shipped GPUs


def flash(
    workload: Workload,
    platform: Platform,
    rows: int,
    keys: int,
    *,
    whole: tuple[str, ...] = (),
    cached: tuple[str, ...] = ("K", "V"),
) -> FusedMapping:
    """Online attention in tiles of `rows` queries x `keys` keys, of one head or a group of heads.

    keys:   a divisor of the keys. whole: ranks that a tile has whole.
    cached: operands of which L2 holds a head.
    """
    sizes = workload.rank_sizes
    given = [r for r in ("B", "G", "H", "P") if r in sizes and r not in whole]
    tile = dict.fromkeys(given, 1) | {"P": rows}
    loops = [Loop(r, -(-sizes[r] // tile[r])) for r in given]
    outer = tuple(loop for loop in loops if loop.rank != "P")
    queries = tuple(loop for loop in loops if loop.rank == "P")
    nests = tuple(_nest(workload, platform, n, tile, keys, cached) for n in workload.ancestors)
    group = GroupMapping(
        einsums=nests,
        shared=(Loop("M", sizes["M"] // keys),),
        level=CORE,
        cores=tuple((lv, part) for lv, part in (("DRAM", outer), (CACHE, queries)) if part),
        schedule="interleaved",
    )
    return FusedMapping(groups=(group,))


def _nest(
    workload: Workload,
    platform: Platform,
    name: str,
    tile: dict[str, int],
    keys: int,
    cached: tuple[str, ...],
) -> EinsumMapping:
    einsum = workload.einsum(name)
    arch, sizes = platform.path(einsum.unit), workload.rank_sizes
    extents = {r: tile.get(r, sizes[r]) for r in einsum.ranks if r not in einsum.each}
    extents |= {"M": keys} if "M" in extents else {}
    passes = (Loop("M", sizes["M"] // keys),) if "M" in einsum.ranks else ()
    spatial, left = _spread(arch, extents)
    inner = tuple(Loop(r, n) for r, n in left.items() if n > 1)
    loops = ((Slot(CACHE, "temporal"), passes), (Slot(CORE, "temporal"), inner), *spatial)
    tensors = [a.tensor for a in einsum.accesses]
    crossing = tuple(t for t in tensors if t not in workload.intermediates)
    kept = (
        ("DRAM", crossing),
        (CACHE, tuple(t for t in crossing if t in cached)),
        (CORE, tuple(t for t in tensors if not (einsum.after and t == einsum.output.tensor))),
    )
    return EinsumMapping(
        einsum=name,
        loops=tuple((slot, at) for slot, at in loops if at),
        keep=tuple((level, some) for level, some in kept if some),
    )


def _spread(arch: Architecture, extents: dict[str, int]) -> tuple[list[Placed], dict[str, int]]:
    """The ranks over the arrays of a core, as many instances as divide; and what is left."""
    left, found = dict(extents), list[Placed]()
    nodes = arch.nodes[arch.nodes.index(arch.level(CORE)) :]
    axes: tuple[Axis, ...] = ("y", "x")
    for node, axis in ((n, a) for n in nodes if isinstance(n, Fanout) for a in axes):
        room = node.fanout_y if axis == "y" else node.fanout_x
        loops = list[Loop]()
        for rank in sorted(left, key=lambda r: -left[r]):
            free = room // prod(p.factor for p in loops)
            factor = max(d for d in range(1, free + 1) if left[rank] % d == 0)
            if factor > 1:
                loops.append(Loop(rank, factor))
                left[rank] //= factor
        if loops:
            found.append((Slot(node.name, axis), tuple(loops)))
    return found, left
