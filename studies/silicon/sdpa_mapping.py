"""Mapping of ttnn's scaled_dot_product_attention: chunks of queries on Tensix cores, in lists.

A core holds a chunk of queries, and goes over the keys chunk by chunk; products and exponentials
take turns on its L1. Chunks of all heads in a row are given to the cores from the start.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from flat_mapper.values import (
    EinsumMapping,
    FusedMapping,
    GroupMapping,
    Loop,
    Platform,
    Slot,
    Workload,
    spread,
)

Order = Literal["lists", "loop"]
CORE, DRAM = "L1", "DRAM"
GIVEN = ("B", "G", "H", "P", "S")  # in the order in which chunks are given out


def chunk_mapping(
    workload: Workload,
    platform: Platform,
    tile: Mapping[str, int],
    kernel: str,
    order: Order,
) -> FusedMapping:
    """Chunks of `tile` over the cores: of ranks that are given out their part, of M a chunk.

    Keys in parts are merged by a group of their own, row by row.
    """
    sizes = workload.rank_sizes
    merge = workload.operators.get("merge", ())
    names = tuple(n for n in workload.ancestors if n not in merge)
    given = [Loop(r, -(-sizes[r] // tile[r])) for r in GIVEN if r in tile]
    passes = Loop("M", sizes["M"] // tile["M"])
    once = passes.factor == 1  # one chunk of keys: nothing to correct
    own = tuple(n for n in names if not (once and workload.einsum(n).each))
    group = GroupMapping(
        einsums=tuple(_nest(workload, platform, n, tile, passes, names) for n in own),
        shared=() if once else (passes,),
        level=CORE,
        cores=((DRAM, tuple(given)),),
        schedule="interleaved",
        order=order,
        kernel=kernel,
    )
    if not merge:
        return FusedMapping(groups=(group,))
    rows = tuple(loop for loop in given if loop.rank != "S")
    none = Loop("M", 1)
    whole = {r: n for r, n in tile.items() if r != "S"}
    after = GroupMapping(
        einsums=tuple(_nest(workload, platform, n, whole, none, merge) for n in merge),
        level=CORE,
        cores=((DRAM, rows),),
        schedule="interleaved",
        order=order,
    )
    return FusedMapping(groups=(group, after))


def _nest(
    workload: Workload,
    platform: Platform,
    name: str,
    tile: Mapping[str, int],
    passes: Loop,
    group: tuple[str, ...],
) -> EinsumMapping:
    einsum = workload.einsum(name)
    arch, sizes = platform.path(einsum.unit), workload.rank_sizes
    extents = {r: tile.get(r, sizes[r]) for r in einsum.ranks if r not in einsum.each}
    time = (passes,) if "M" in einsum.ranks and passes.factor > 1 else ()
    spatial, left = spread(arch, CORE, extents)
    inner = tuple(Loop(r, n) for r, n in left.items() if n > 1)
    loops = ((Slot(DRAM, "temporal"), time), (Slot(CORE, "temporal"), inner), *spatial)
    tensors = tuple(dict.fromkeys(a.tensor for a in einsum.accesses))
    # An operand that another Einsum of the group has fetched is there.
    first = {a.tensor: n for n in reversed(group) for a in workload.einsum(n).inputs}
    made = {workload.einsum(n).output.tensor: n for n in group}  # by whom at last
    output = einsum.output.tensor
    crossing = tuple(
        t
        for t in tensors
        if (t not in made and first.get(t, name) == name)
        or (t == output and made[t] == name and _leaves(workload, group, t))
    )
    here = tuple(t for t in tensors if not (einsum.after and t == output))
    return EinsumMapping(
        einsum=name,
        loops=tuple((slot, at) for slot, at in loops if at),
        keep=tuple((level, some) for level, some in ((DRAM, crossing), (CORE, here)) if some),
    )


def _leaves(workload: Workload, group: tuple[str, ...], made: str) -> bool:
    """True where a tensor that a group makes is used outside it, or is the result."""
    readers = workload.readers(made)
    return not readers or any(e.name not in group and not e.each for e in readers)
