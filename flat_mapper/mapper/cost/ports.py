"""Cycles that a level's ports need."""

from __future__ import annotations

import numpy as np

from flat_mapper.arch.values import MemoryLevel
from flat_mapper.mapper.space.candidates import Floats


def port_cycles(level: MemoryLevel, reads: Floats, writes: Floats) -> Floats:
    """Cycles for words read and written at one instance; 0 where unlimited."""
    cycles = np.zeros(len(reads))
    for rate, words in (
        (level.read_words_per_cycle, reads),
        (level.write_words_per_cycle, writes),
        (level.shared_words_per_cycle, reads + writes),
    ):
        if rate is not None:
            cycles = np.maximum(cycles, words / rate)
    return cycles
