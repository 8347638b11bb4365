"""The mapping that a kernel's tile is: tiles of queries on cores, keys tile by tile in each.

It is that of the measured kernels (`flash_mapping`). Without a mask keys are
worked on in whole tiles; under one the last tile is as long as the keys are. With its keys in
parts, each part is given out by itself and a group of its own merges them.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import cast

from flat_mapper.arch.cores import phase_kernels
from flat_mapper.arch.edits import set_path
from flat_mapper.arch.values import Platform
from flat_mapper.kernels.flash_mapping import flash_groups
from flat_mapper.kernels.kernel import Kernel, Shape, Tile
from flat_mapper.mapping.values import FusedMapping, TileOrder
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
    merge = workload.operators.get(MERGE, ())
    groups = flash_groups(
        workload,
        platform,
        tuple(n for n in workload.ancestors if n not in merge),
        tile.rows,
        tile.keys,
        shape.together if tile.packed else 1,
        cached=("K", "V") if kept else (),
        order=cast("TileOrder", kernel.order),
        kernel=_fitted(platform, kernel, shape),
    )
    return FusedMapping(groups=tuple(groups))


def _fitted(platform: Platform, kernel: Kernel, shape: Shape) -> str:
    """The kernel whose measured costs the chip's file has, if any."""
    known = phase_kernels(platform.matrix, masked=bool(shape.mask), queries=shape.queries)
    names = (n for own in kernel.fitted for n in known if n.rpartition("_")[0] == own)
    return next(names, "")


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
