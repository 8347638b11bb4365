"""Energy: vector accesses times the energy of one."""

from __future__ import annotations

import numpy as np

from flat_mapper.arch import MemoryLevel
from flat_mapper.model.accesses import Traffic
from flat_mapper.model.nest import FloatArray, IntArray


def tensor_energy(
    level: MemoryLevel, traffic: Traffic, instances: IntArray, action_pj: tuple[float, float, float]
) -> FloatArray:
    """pJ of one tensor at one level, all instances together; float64[n].

    action_pj: energy of one read, write and update; each moves up to `row_words` words of one
               tensor, so counts are rounded up to whole rows per instance, as Timeloop does.
    Instances that share a physical row are served by one access. Timeloop spreads those in use over
    all clusters (model/buffer.cpp, `utilized_clusters`).
    """
    read, write, update = action_pj
    rows: FloatArray = (
        _rows(traffic.reads, level.row_words) * read
        + _rows(traffic.fills, level.row_words) * write
        + _rows(traffic.updates, level.row_words) * update
    )
    if level.cluster_size > 1:
        instances = np.minimum(instances, level.clusters)
    return rows * instances


def _rows(words: IntArray, row_words: int) -> IntArray:
    return words if row_words == 1 else -(-words // np.int64(row_words))
