"""Energy: vector accesses times the energy of one."""

from __future__ import annotations

import numpy as np

from flat_mapper.arch.values import MemoryLevel
from flat_mapper.cost_model.nest import FloatArray, IntArray
from flat_mapper.cost_model.reuse import Traffic


def tensor_energy(
    level: MemoryLevel,
    traffic: Traffic,
    instances: IntArray,
    action_pj: tuple[float, float, float],
    share: float = 1,
) -> FloatArray:
    """pJ of one tensor at one level, all instances together; float64[n].

    action_pj: energy of one read, write and update; each moves up to `row_words` words of one
               tensor, so counts are rounded up to whole rows per instance, as Timeloop does.
    share:     words that a value of the tensor takes; values are packed in the rows.
    Instances that share a physical row are served by one access. Timeloop spreads those in use over
    all clusters (model/buffer.cpp, `utilized_clusters`).
    """
    read, write, update = action_pj
    rows = (
        _rows(traffic.reads, level.row_words, share) * read
        + _rows(traffic.fills, level.row_words, share) * write
        + _rows(traffic.updates, level.row_words, share) * update
    )
    if level.cluster_size > 1:
        instances = np.minimum(instances, level.clusters)
    return np.asarray(rows * instances, np.float64)


def _rows(values: IntArray, row_words: int, share: float) -> IntArray | FloatArray:
    if share != 1:
        return np.asarray(np.ceil(values * share / row_words), np.float64)
    return values if row_words == 1 else -(-values // np.int64(row_words))
