"""Cycles: what each level's transfers take beside the compute."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from flat_mapper.arch.values import MemoryLevel
from flat_mapper.cost_model.nest import FloatArray, IntArray

Port = Literal["read", "write", "shared"]
Amount = float | IntArray | npt.NDArray[np.floating[Any]]


class PortLoad(NamedTuple):
    """A limited port of a level, and what passes it."""

    port: Port
    words_per_cycle: float
    words: Amount


def port_loads(level: MemoryLevel, reads: Amount, writes: Amount) -> Iterator[PortLoad]:
    """The limited ports of a level, with the words that pass each.

    reads, writes: words, or words per cycle; numbers or arrays. A shared port passes their sum.
    """
    if level.read_words_per_cycle is not None:
        yield PortLoad("read", level.read_words_per_cycle, reads)
    if level.write_words_per_cycle is not None:
        yield PortLoad("write", level.write_words_per_cycle, writes)
    if level.shared_words_per_cycle is not None:
        yield PortLoad("shared", level.shared_words_per_cycle, reads + writes)


def transfer_cycles(level: MemoryLevel, reads: Amount, writes: Amount) -> FloatArray:
    """Cycles that a level's ports need for the words of one instance; 0 where unlimited.

    reads:  words read: a number, or one for each of n candidates.
    writes: words filled and updated; of the same shape.
    """
    cycles = np.zeros(np.shape(reads))
    for port in port_loads(level, reads, writes):
        cycles = np.maximum(cycles, port.words / port.words_per_cycle)
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
    slowdown = np.ones(1)
    for port in port_loads(level, read_rate, write_rate):
        over = np.maximum(port.words, port.words_per_cycle)
        slowdown = np.minimum(slowdown, port.words_per_cycle / over)
    return slowdown


def level_cycles(compute: IntArray, slowdown: FloatArray) -> IntArray:
    """Timeloop's cycles of a level: compute cycles over its throttling, rounded up."""
    return np.ceil(compute / slowdown).astype(np.int64)
