"""Mapping of ttnn's scaled_dot_product_attention: chunks of queries on Tensix cores, in lists.

A core holds a chunk of queries, and goes over the keys chunk by chunk; products and exponentials
take turns on its L1. Chunks of all heads in a row are given to the cores from the start.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import flat_mapper.values as v

Order = Literal["lists", "loop"]
DRAM = "DRAM"
GIVEN = ("B", "G", "H", "P", "S")  # in the order in which chunks are given out


def chunk_mapping(
    workload: v.Workload,
    platform: v.Platform,
    tile: Mapping[str, int],
    kernel: str,
    order: Order,
) -> v.FusedMapping:
    """Chunks of `tile` over the cores: of ranks that are given out their part, of M a chunk.

    Keys in parts are merged by a group of their own, row by row. The rest is FlashAttention's, but
    for operands that two Einsums read, which are fetched once.
    """
    merge = workload.operators.get("merge", ())
    names = tuple(n for n in workload.ancestors if n not in merge)
    sizes = (tile["P"], tile["M"], 1)
    group = v.flash_groups(
        workload, platform, names, *sizes, cached=(), order=order, kernel=kernel
    )[0]
    if not group.shared:  # one chunk of keys: nothing to correct
        own = tuple(n for n in group.einsums if not workload.einsum(n.einsum).each)
        group = replace(group, einsums=own)
    given = sorted(group.cores[0][1], key=lambda loop: GIVEN.index(loop.rank))
    group = _fetched_once(workload, replace(group, cores=((DRAM, tuple(given)),)))
    if not merge:
        return v.FusedMapping(groups=(group,))
    rows = {rank: count for rank, count in tile.items() if rank not in ("S", "M")}
    after = _fetched_once(workload, v.spread_group(workload, platform, merge, rows))
    return v.FusedMapping(groups=(group, replace(after, order=order)))


def _fetched_once(workload: v.Workload, group: v.GroupMapping) -> v.GroupMapping:
    """A group in which an operand that another Einsum has fetched is there."""
    nests, fetched = list[v.EinsumMapping](), set[str]()
    for nest in group.einsums:
        keep = [
            (at, tuple(t for t in some if at != DRAM or t not in fetched)) for at, some in nest.keep
        ]
        nests.append(replace(nest, keep=tuple((level, some) for level, some in keep if some)))
        fetched |= {access.tensor for access in workload.einsum(nest.einsum).inputs}
    return replace(group, einsums=tuple(nests))
