"""The mapping that a kernel's tile is: tiles of queries on cores, keys tile by tile in each.

It is that of the measured kernels (`published.silicon.flash_mapping`). Without a mask keys are
worked on in whole tiles; under one the last tile is as long as the keys are. With its keys in
parts, each part is given out by itself and a group of its own merges them.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import cast

from flat_mapper.arch.cores import kernels
from flat_mapper.arch.edits import set_path
from flat_mapper.arch.values import Platform
from flat_mapper.kernels.kernel import Kernel, Shape, Tile
from flat_mapper.mapping.resize import resized_mapping
from flat_mapper.mapping.values import FusedMapping, TileOrder
from flat_mapper.published.silicon.flash_mapping import GIVEN, flash_group, spread_group
from flat_mapper.spec.document import Section
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.softmax import MERGE, with_splits


def worked_on(workload: Workload, tile: Tile) -> Workload:
    """The problem that the kernel works on: without a mask, its keys in whole tiles and parts."""
    keys = workload.rank_sizes["M"]
    step = min(tile.keys, keys)
    blocks = ceil(keys / step)
    if workload.mask is not None:
        return workload
    each = ceil(blocks / tile.parts)
    parts = ceil(blocks / each)
    whole = workload.with_ranks({"M": parts * each * step})
    return with_splits(whole, parts) if parts > 1 else whole


def mapping_of_tile(
    workload: Workload, platform: Platform, kernel: Kernel, shape: Shape, tile: Tile, *, kept: bool
) -> FusedMapping:
    """The mapping of a tile of a problem that is `worked_on`.

    kept: whether the level between DRAM and the cores keeps the K and V of a head.
    """
    keys = workload.rank_sizes["M"]
    step = min(tile.keys, keys)
    whole = workload.with_ranks({"M": ceil(keys / step) * step})
    merge = whole.operators.get(MERGE, ())
    packed = shape.together if tile.packed else 1
    sizes = {r: 1 for r in GIVEN if r in whole.rank_sizes} | {"H": packed, "M": step}
    sizes["P"] = min(shape.queries, max(1, tile.rows // packed))
    group = flash_group(
        whole,
        platform,
        tuple(n for n in whole.ancestors if n not in merge),
        sizes,
        cached=("K", "V") if kept else (),
        order=cast("TileOrder", kernel.order),
        kernel=_fitted(platform, kernel, shape),
    )
    groups = [group]
    if merge:
        rest = {r: 1 for r in ("B", "G") if r in whole.rank_sizes} | {"H": packed}
        groups.append(spread_group(whole, platform, merge, rest))
    found = FusedMapping(groups=tuple(groups))
    return found if whole is workload else resized_mapping(found, whole, "M", keys)


def _fitted(platform: Platform, kernel: Kernel, shape: Shape) -> str:
    """The kernel whose measured costs the chip's file has, if any."""
    phase = "prefill" if shape.mask else "decode" if shape.queries == 1 else "encoder"
    ends = (phase, "causal" if shape.mask else "full")
    known = kernels(platform.matrix)
    names = (f"{name}_{end}" for name in kernel.fitted for end in ends)
    return next((name for name in names if name in known), "")


def streaming(platform: Platform, shape: Shape) -> Platform:
    """A chip whose cores take in K and V as it was measured of them, where its file says.

    Under a mask each core reads for itself, at the variable `sdpa_stream_N` of the nearest number
    of cores N; without one they pass on what one of them reads, at `sdpa_stream_passed_on`.
    """
    variables, prefix = platform.matrix.variables, "sdpa_stream_"
    name = f"{prefix}passed_on"
    if shape.mask is not None:
        ends = (n.removeprefix(prefix) for n in variables if n.startswith(prefix))
        known = [int(end) for end in ends if end.isdecimal()]
        cores = platform.matrix.levels[1].instances
        name = f"{prefix}{min(known, key=lambda n: abs(n - cores))}" if known else ""
    if name not in variables:
        return platform
    rate, key = variables[name], "core_stream_bytes_per_cycle"
    document = set_path(Section(platform.matrix.document), f"variables.{key}", rate)
    own = {**variables, key: rate}
    return replace(platform, matrix=replace(platform.matrix, variables=own, document=document))
