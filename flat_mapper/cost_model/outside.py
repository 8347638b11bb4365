"""All that stands outside a group's shared level: it moves words at the same time as others do.

Every limited port there is linear in the words of each tensor, so it is known by the cycles that a
word of it takes: one that comes to the core, and one that leaves it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from flat_mapper.arch.values import MemoryLevel
from flat_mapper.cost_model.nest import FloatArray
from flat_mapper.cost_model.ports import Amount, largest, port_loads, ways_compete

Words = Mapping[str, tuple[Amount, Amount]]  # by tensor: read there, written there
_NONE: Mapping[str, Amount] = {}
_NO_WAYS: Mapping[str, tuple[Amount, Amount]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePort:
    """A port of a level outside, as it serves the core whose time is asked for.

    comes, leaves: words that pass it for one of a tensor that comes to the core, or leaves it.
    """

    level: str
    words_per_cycle: float = 1.0
    comes: Mapping[str, Amount] = field(default_factory=dict)
    leaves: Mapping[str, Amount] = field(default_factory=dict)

    def cycles(self, words: Words) -> Amount:
        """Cycles for the words that a core moves."""
        total: Amount = 0.0
        for tensor, (read, written) in words.items():
            total = total + self.comes.get(tensor, 0.0) * read
            total = total + self.leaves.get(tensor, 0.0) * written
        return total / self.words_per_cycle


def source_ports(
    level: MemoryLevel,
    weights: Mapping[str, Amount],
    fills: Mapping[str, Amount] = _NONE,
    merged: Mapping[str, tuple[Amount, Amount]] = _NO_WAYS,
) -> Iterator[SourcePort]:
    """The limited ports of a level outside.

    weights: words that the level has to move for a word of a tensor that the core moves: all cores
             at work move theirs at the same time, and a multicast serves several at once.
    fills:   words that come to the level for a word that the core reads of what it keeps.
    merged:  words that the level reads, and writes, for a word that leaves the core, where it does
             not just write it.
    """
    ways = (port_loads(level, *way) for way in ((1, 0, 0), (0, 1, 0), (0, 1, 1)))
    for (_, rate, reads), (*_, writes), (*_, filled) in zip(*ways, strict=True):
        comes = weights if reads else fills if filled else _NONE
        if reads and filled and fills:
            comes = {t: weight + fills.get(t, 0.0) for t, weight in weights.items()}
        leaves = weights if writes else _NONE
        if merged:
            own = {t: read * reads + written * writes for t, (read, written) in merged.items()}
            leaves = {**leaves, **own}
        yield SourcePort(level=level.name, words_per_cycle=rate, comes=comes, leaves=leaves)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """The levels outside the shared one, and their ports."""

    levels: tuple[str, ...]
    ports: tuple[SourcePort, ...]
    both_ways: bool  # whether ways compete: see `ways_compete`

    @classmethod
    def of(
        cls, *sources: tuple[MemoryLevel, tuple[SourcePort, ...]], merges: bool = False
    ) -> Outside:
        """Some levels, each with its ports; merges: what leaves a core is read there too."""
        return cls(
            levels=tuple(level.name for level, _ in sources),
            ports=tuple(port for _, ports in sources for port in ports),
            both_ways=merges or any(ways_compete(level) for level, _ in sources),
        )

    def cycles(self, words: Words) -> Amount:
        """Cycles of the slowest port."""
        return largest(port.cycles(words) for port in self.ports)

    def by_name(self, words: Words) -> dict[str, Amount]:
        """Cycles of each level."""
        found: dict[str, list[Amount]] = {name: [] for name in self.levels}
        for port in self.ports:
            found[port.level].append(port.cycles(words))
        return {name: largest(cycles) for name, cycles in found.items()}

    @property
    def adds_up(self) -> bool:
        """True if no port waits for another, so that tensors may come in any order at once."""
        return len(self.levels) == 1 and not self.both_ways

    def one_by_one(self, words: Words) -> Amount:
        """Cycles of tensors that come one after another, each from the slowest of its sources.

        With one source that is all of its words; with several an execution may overlap some, as
        with what is read and what is written at ports of a source for one way and for both.
        """
        if self.adds_up:
            return self.cycles(words)
        total: Amount = 0.0
        for tensor, (read, written) in words.items():
            ways = ((read, 0.0), (0.0, written)) if self.both_ways else ((read, written),)
            for way in ways:
                total = total + self.cycles({tensor: way})
        return total

    def loads(self, words: Words, *, in_turn: bool) -> list[Amount]:
        """Cycles of each port, and of tensors one after another, where they come in turn."""
        ports = [port.cycles(words) for port in self.ports]
        return [*ports, self.one_by_one(words)] if in_turn else ports

    def each_way(self, words: Words) -> Amount:
        """The same of all that comes, and then of all that goes."""
        came = {t: (read, 0.0) for t, (read, _) in words.items()}
        left = {t: (0.0, written) for t, (_, written) in words.items()}
        return self.one_by_one(came) + self.one_by_one(left)


def around(dram: MemoryLevel, weights: Mapping[str, Amount]) -> Outside:
    """DRAM as one core finds it, and what serves that beside DRAM.

    weights: words that DRAM moves for one of a tensor's.
    """
    levels, ports = [dram.name], [*source_ports(dram, weights)]
    for number, port in enumerate(dram.beside):
        levels.append(f"beside {number}")
        each = {t: port.each(t) for t in weights}
        comes = {t: come + sent * weights[t] for t, (come, _, sent) in each.items()}
        leaves = {t: leave for t, (_, leave, _) in each.items()}
        ports.append(SourcePort(level=levels[-1], comes=comes, leaves=leaves))
    return Outside(levels=tuple(levels), ports=tuple(ports), both_ways=ways_compete(dram))


def weight_of(dram: MemoryLevel, tensor: str, words: FloatArray | float) -> FloatArray | float:
    """Words that DRAM moves for one of a tensor's; words: of it that a core moves in all."""
    if tensor not in dram.totals:
        return dram.weights.get(tensor, 1.0)
    return np.asarray(dram.totals[tensor] / np.maximum(words, 1e-300))


def least_weight(dram: MemoryLevel, tensor: str) -> float:
    """The same where it is not told how many a core moves."""
    return 0.0 if tensor in dram.totals else dram.weights.get(tensor, 1.0)
