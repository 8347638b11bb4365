"""Ports of a level: what its transfers take beside the compute."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from flat_mapper.arch.values import MemoryLevel
from flat_mapper.cost_model.nest import FloatArray, IntArray

# A number of one mapping, or an array over n: the rules are the same arithmetic for both.
Amount = Any


class Moved(NamedTuple):
    """Words, or words per cycle, through the ports of one instance of a level."""

    reads: Amount
    writes: Amount
    fills: Amount = 0.0  # of the writes, what comes from above

    @classmethod
    def total(cls, parts: Iterable[Moved]) -> Moved:
        """All of them together."""
        return cls(*map(sum, zip(cls(0, 0, 0), *parts, strict=True)))


class PortLoad(NamedTuple):
    """A limited port of a level, and what passes it."""

    port: str  # read, write, fill or shared
    words_per_cycle: float
    words: Amount


def port_loads(
    level: MemoryLevel, reads: Amount, writes: Amount, fills: Amount = 0.0
) -> Iterator[PortLoad]:
    """The limited ports of a level, with the words that pass each.

    reads, writes: words, or words per cycle; numbers or arrays. A shared port passes their sum.
    fills: of the writes, what comes from above; a port of its own takes it from the write port.
    """
    own = level.fill_words_per_cycle
    if level.read_words_per_cycle is not None:
        yield PortLoad("read", level.read_words_per_cycle, reads)
    if level.write_words_per_cycle is not None:
        inside = writes if own is None else writes - fills
        yield PortLoad("write", level.write_words_per_cycle, inside)
    if own is not None:
        yield PortLoad("fill", own, fills)
    if level.shared_words_per_cycle is not None:
        yield PortLoad("shared", level.shared_words_per_cycle, reads + writes)


def limited(level: MemoryLevel) -> bool:
    """True if some port of a level passes so many words a cycle and no more."""
    return any(True for _ in port_loads(level, 0, 0))


def largest(values: Iterable[Amount]) -> Amount:
    """The largest of numbers, or of arrays at each place; 0 of none."""
    found = list(values)
    if any(isinstance(value, np.ndarray) for value in found):
        return reduce(np.maximum, found)
    return max(found, default=0.0)


def added_up(parts: Iterable[tuple[str, Amount]]) -> dict[str, Amount]:
    """Amounts added up by name."""
    found: dict[str, Amount] = {}
    for name, amount in parts:
        found[name] = found.get(name, 0) + amount
    return found


def name_of_largest(values: Mapping[str, Amount]) -> Any:
    """The name of the largest of numbers, or of arrays at each place; of equals the first."""
    if any(isinstance(value, np.ndarray) for value in values.values()):
        columns = np.stack(np.broadcast_arrays(*values.values()))
        return np.array([*values], np.object_)[columns.argmax(axis=0)]
    return max(values, key=values.__getitem__)


def chosen(condition: Any, yes: Any, no: Any) -> Any:
    """One of two amounts or names, at each place where the condition is an array."""
    if isinstance(condition, np.ndarray):
        return np.where(condition, yes, no)
    return yes if condition else no


def transfer_cycles(
    level: MemoryLevel, reads: Amount, writes: Amount, fills: Amount = 0.0
) -> Amount:
    """Cycles that a level's ports need for the words of one instance; 0 where unlimited.

    reads:  words read: a number, or one for each of n candidates.
    writes: words filled and updated; of the same shape. fills: of them, those filled.
    """
    ports = port_loads(level, reads, writes, fills)
    return largest([reads * 0.0, *(port.words / port.words_per_cycle for port in ports)])


def ways_compete(level: MemoryLevel) -> bool:
    """True if words that go one way may leave a port idle that words of both ways need."""
    *one_way, shared = level.rates
    return shared is not None and one_way != [None] * len(one_way)


def throttling(
    level: MemoryLevel, compute: IntArray | FloatArray, moved: Iterable[Moved]
) -> FloatArray:
    """Factor in (0, 1] by which a level's bandwidth slows the compute down.

    moved: of each tensor. Rates are added tensor by tensor in floating point, in Timeloop's order,
    because its rounding up to whole cycles shows the last bit.
    """
    rates = Moved.total(Moved(*(words / compute for words in one)) for one in moved)
    slowdown = np.ones(1)
    for port in port_loads(level, *map(np.atleast_1d, rates)):
        over = np.maximum(port.words, port.words_per_cycle)
        slowdown = np.minimum(slowdown, port.words_per_cycle / over)
    return slowdown


def level_cycles(compute: IntArray | FloatArray, slowdown: FloatArray) -> IntArray:
    """Timeloop's cycles of a level: compute cycles over its throttling, rounded up."""
    return np.ceil(compute / slowdown).astype(np.int64)
