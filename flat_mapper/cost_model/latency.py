"""Cycles: what each level's transfers take beside the compute."""

from __future__ import annotations

import numpy as np

from flat_mapper.arch.values import MemoryLevel
from flat_mapper.cost_model.nest import FloatArray, IntArray


def transfer_cycles(level: MemoryLevel, reads: IntArray, writes: IntArray) -> FloatArray:
    """Cycles that a level's ports need for the words of one instance; 0 where unlimited.

    reads:  words read.
    writes: words filled and updated.
    """
    limits = (
        (level.read_words_per_cycle, reads),
        (level.write_words_per_cycle, writes),
        (level.shared_words_per_cycle, reads + writes),
    )
    cycles = np.zeros(1)
    for words_per_cycle, words in limits:
        if words_per_cycle is not None:
            cycles = np.maximum(cycles, words / words_per_cycle)
    return cycles


def throttling(
    level: MemoryLevel,
    compute: IntArray,
    reads: list[IntArray | FloatArray],
    writes: list[IntArray | FloatArray],
) -> FloatArray:
    """Factor in (0, 1] by which a level's bandwidth slows the compute down.

    reads, writes: words of one instance, one array per tensor. Rates are added tensor by tensor
    in floating point, in Timeloop's order, because its rounding up to whole cycles shows the
    last bit.
    """
    read_rate = sum((words / compute for words in reads), np.zeros(1))
    write_rate = sum((words / compute for words in writes), np.zeros(1))
    limits = (
        (level.read_words_per_cycle, read_rate),
        (level.write_words_per_cycle, write_rate),
        (level.shared_words_per_cycle, read_rate + write_rate),
    )
    slowdown = np.ones(1)
    for words_per_cycle, rate in limits:
        if words_per_cycle is not None:
            over = np.maximum(rate, words_per_cycle)
            slowdown = np.minimum(slowdown, words_per_cycle / over)
    return slowdown


def level_cycles(compute: IntArray, slowdown: FloatArray) -> IntArray:
    """Timeloop's cycles of a level: compute cycles over its throttling, rounded up."""
    return np.ceil(compute / slowdown).astype(np.int64)
