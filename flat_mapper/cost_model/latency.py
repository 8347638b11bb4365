"""Cycles: what each level's transfers take beside the compute."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from flat_mapper.arch.values import MemoryLevel
from flat_mapper.cost_model.nest import FloatArray, IntArray

Port = Literal["read", "write", "shared", "in turn"]
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


def limited(level: MemoryLevel) -> bool:
    """True if some port of a level passes so many words a cycle and no more."""
    return any(True for _ in port_loads(level, 0, 0))


def transfer_cycles(level: MemoryLevel, reads: Amount, writes: Amount) -> FloatArray:
    """Cycles that a level's ports need for the words of one instance; 0 where unlimited.

    reads:  words read: a number, or one for each of n candidates.
    writes: words filled and updated; of the same shape.
    """
    cycles = np.zeros(np.shape(reads))
    for port in port_loads(level, reads, writes):
        cycles = np.maximum(cycles, port.words / port.words_per_cycle)
    return cycles


def ways_compete(level: MemoryLevel) -> bool:
    """True if words that go one way may leave a port idle that words of both ways need."""
    one_way = (level.read_words_per_cycle, level.write_words_per_cycle)
    return level.shared_words_per_cycle is not None and one_way != (None, None)


def loads_in_turn(level: MemoryLevel, reads: Amount, writes: Amount) -> Iterator[PortLoad]:
    """The limited ports of a level, and where its ways compete, one way after the other."""
    yield from port_loads(level, reads, writes)
    if ways_compete(level):
        none = reads * 0
        cycles = transfer_cycles(level, reads, none) + transfer_cycles(level, none, writes)
        yield PortLoad("in turn", 1.0, cycles)


def throttling(
    level: MemoryLevel,
    compute: IntArray | FloatArray,
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


def level_cycles(compute: IntArray | FloatArray, slowdown: FloatArray) -> IntArray:
    """Timeloop's cycles of a level: compute cycles over its throttling, rounded up."""
    return np.ceil(compute / slowdown).astype(np.int64)


Words = Mapping[str, tuple[float, float]]  # by tensor: read, written


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A level outside the shared one, as it serves the core whose time is asked for.

    weights: words that the level has to move for a word of a tensor that the core moves: all
             cores at work move theirs at the same time, and a multicast serves several at once.
    other:   the weight of the tensors that are not listed.
    fills:   words that come to the level for a word that the core reads of what it keeps.
    """

    level: MemoryLevel
    weights: Mapping[str, float] = field(default_factory=dict)
    other: float = 1.0
    fills: Mapping[str, float] = field(default_factory=dict)

    def cycles(self, words: Words) -> float:
        """Cycles that its ports need for the words that a core moves."""
        weights = {t: self.weights.get(t, self.other) for t in words}
        reads = sum(weights[t] * read for t, (read, _) in words.items())
        writes = sum(weights[t] * written for t, (_, written) in words.items())
        filled = sum(self.fills.get(t, 0.0) * read for t, (read, _) in words.items())
        loads = port_loads(self.level, reads, writes + filled)  # numbers: no arrays of one
        return max((float(port.words) / port.words_per_cycle for port in loads), default=0.0)


class InTurn(NamedTuple):
    """Cycles of words that come one tensor after another, and the level that takes longest."""

    level: str
    cycles: float
    least: float  # if all of them could come at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """All that stands outside the shared level: what serves it moves words at the same time."""

    sources: tuple[Source, ...]

    def cycles(self, words: Words) -> float:
        """Cycles of the slowest source."""
        return max(source.cycles(words) for source in self.sources)

    def in_turn(self, words: Words) -> InTurn:
        """Cycles of tensors that come one after another, each from the slowest of its sources.

        With one source that is all of its words; with several an execution may overlap some, as
        with what is read and what is written at ports of a source for one way and for both.
        """
        names = self.by_name(words)
        slowest = max(names, key=lambda name: names[name])
        cycles = least = names[slowest]
        if any(ways_compete(source.level) for source in self.sources):
            cycles = sum(
                self.cycles({t: (read, 0.0)}) + self.cycles({t: (0.0, written)})
                for t, (read, written) in words.items()
            )
        elif len(self.sources) > 1:
            cycles = sum(self.cycles({tensor: both}) for tensor, both in words.items())
        return InTurn(level=slowest, cycles=cycles, least=least)

    def by_name(self, words: Words) -> dict[str, float]:
        """Cycles of each source, by its level."""
        return {source.level.name: source.cycles(words) for source in self.sources}


def only_dram(dram: MemoryLevel, moved: Words) -> Outside:
    """DRAM alone, for one core alone; moved: all words."""
    weights = {t: dram.weight(t, read + written) for t, (read, written) in moved.items()}
    return Outside(sources=(Source(level=dram, weights=weights),))
