"""Cycles of the fullest core of a chip, at least, by those of the largest of its tiles."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import ceil, inf

import numpy as np

from flat_mapper.arch.cores import core_facts
from flat_mapper.arch.values import Platform
from flat_mapper.cost_model.chip.rounds import given
from flat_mapper.mapper.chip.assignments import Assignment, key_rank
from flat_mapper.mapper.chip.floors import Peak, inputs_of, largest_tiles, outside_of, tile_words
from flat_mapper.mapper.cost.outside import in_turn_cycles, weight_of
from flat_mapper.mapper.space.candidates import Floats
from flat_mapper.mapping.order import overlaps
from flat_mapper.mapping.sharing import crosses_dram

PARTS = 8  # ranges of what the ends of a tile may take that are looked at one by one
MANY = 32  # tiles of each core, of which it hardly matters which are given out last


@dataclass(frozen=True, slots=True, kw_only=True)
class Fullest:
    """The fullest core's cycles at least, by what the largest tile takes.

    A tile of p passes over the keys, where one that sees all keys makes P, takes

        t(p) = max(F (1 - p / P) + T p / P, D (1 - p / P) + W p / P) + e

    or more: F is what does not depend on the passes, at peak, and D the same of what comes and goes
    beside the turns, W in all; e is what its ends take, which nothing overlaps. With one pass a
    tensor may stay where it is else brought again, so that such a tile counts at peak. What all
    cores are busy for depends on T + k e alone, where k is the number of tiles over the sum of all
    p / P: that is `least` below, what the search of one core minimises (`core_view`). Tiles are
    given out in an order that is known, each to the core that is free first, and what the fullest
    core takes grows with every t(p). So it is bounded for any e.
    """

    one: Assignment
    peak: Peak
    outside: Peak  # of what comes and goes beside the turns
    tile_cycles: float
    step_cycles: float
    launch: float  # cycles
    passes: tuple[tuple[int, int], ...]  # (passes, tiles that make so many), most passes first

    @classmethod
    def of(cls, platform: Platform, one: Assignment, buffering: float) -> Fullest:
        """That of an assignment."""
        facts = core_facts(platform.matrix)
        return cls(
            one=one,
            peak=Peak.of(platform, one),
            outside=_beside_turns(platform, one, buffering),
            tile_cycles=facts.tile_cycles,
            step_cycles=facts.step_cycles,
            launch=facts.launch_seconds / platform.matrix.cycle_seconds,
            passes=tuple(one.passes()),
        )

    @property
    def whole(self) -> int:
        """P."""
        return self.one.most_passes

    @property
    def alike(self) -> bool:
        """True if all tiles make P passes."""
        return all(passes == self.whole for passes, _ in self.passes)

    @property
    def largest(self) -> float:
        """The sum of all p / P."""
        return largest_tiles(self.one)

    @property
    def beside(self) -> float:
        """Cycles of all tiles beside `least`."""
        fixed = sum(
            n * (self.peak.fixed * (1 - p / self.whole) if self._grows(p) else self.peak.cycles(p))
            for p, n in self.passes
        )
        return fixed + self.tile_cycles * self.one.count

    def _grows(self, passes: int) -> bool:
        """True if a tile of so many passes is like one of all."""
        return passes > 1 or self.whole == 1

    def line(self, least: Floats) -> Floats:
        """Cycles of the fullest core, at least, if it is as busy as the others; float64[n].

        least: of a tile that sees all keys, its ends k times.
        """
        one, lowest = self.one, self._lowest
        least = np.maximum(least, lowest)
        if not self.alike:
            largest = self.largest if any(self._grows(p) for p, _ in self.passes) else 0.0
            return self.launch + (largest * least + self.beside) / one.cores
        rounds, left = divmod(one.count, one.cores)
        found = self.launch + max(rounds, 1) * (least + self.tile_cycles)
        if rounds and left:
            # Fewer cores have more of DRAM each; a tile takes no less than in proportion.
            found = found + np.maximum(lowest, least * left / one.cores) + self.tile_cycles
        return found

    def cycles(self, least: float = 0.0, parts: tuple[float, float] | None = None) -> float:
        """The same of one, with tiles given out one by one where they differ.

        parts: what is known of its ends, k times, and of what comes and goes beside turns.
        """
        found = float(self.line(np.array(least)))
        if not np.isfinite(found):
            return found
        if not self.alike and self.one.count <= MANY * self.one.cores:
            found = max(found, self.launch + self._given(max(least, self._lowest), parts))
        return float(ceil(found * (1 - 1e-14) - 1e-9))

    @property
    def _lowest(self) -> float:
        """Cycles at peak of a tile that sees all keys."""
        return self.peak.cycles(self.whole) + self._steps(self.whole)

    def _steps(self, passes: int) -> float:
        """Cycles of the steps of a tile, at least."""
        return self.step_cycles * (passes if self.one.keys else 1)

    def _given(self, least: float, parts: tuple[float, float] | None) -> float:
        """The fullest core's cycles where tiles differ, whatever part of `least` their ends are."""
        waits = self.one.count / self.largest
        most = (least - self._lowest) / waits
        ends = [most * i / PARTS for i in range(PARTS + 1)]
        known, outside = parts or (0.0, 0.0)
        if parts or not most:
            ends = [min(known / waits, most)] * 2
        times = [
            [self._tile(p, least - waits * e, outside) + e for p, _ in self.passes] for e in ends
        ]
        found = inf
        for low, high in pairwise(times):
            between = [min(pair) for pair in zip(low, high, strict=True)]
            found = min(found, *(self._fullest(between, o) for o in _tile_orders(self.one)))
        return found

    def _tile(self, passes: int, least: float, outside: float) -> float:
        """Cycles of a tile of some passes, without its ends; of one of all keys: T and W."""
        if not self._grows(passes):
            moved = self.outside.cycles(passes)
            return max(self.peak.cycles(passes), moved) + self._steps(passes) + self.tile_cycles
        share = passes / self.whole
        own = self.peak.fixed * (1 - share) + least * share
        peak = self.peak.cycles(passes) + self._steps(passes)
        moved = max(self.outside.cycles(passes), self.outside.fixed * (1 - share) + outside * share)
        return max(own, peak, moved + self._steps(passes)) + self.tile_cycles

    def _fullest(self, cycles: list[float], order: str) -> float:
        """The most that a core is given; cycles: by number of passes."""
        alike = [n for _, n in self.passes]
        if order == "queries":
            runs = list(zip(cycles, alike, strict=True))
        else:
            each = self.one.count // self.one.query_tiles
            runs = [(c, n // each) for c, n in zip(cycles, alike, strict=True)] * each
        loads, _ = given([0.0] * self.one.cores, runs)
        return max(loads)


def _beside_turns(platform: Platform, one: Assignment, buffering: float) -> Peak:
    """Cycles of every word that a tile brings and sends, once, one tensor after another.

    None where they do not run beside turns.
    """
    turns = len(one.group.names) > 1 and not overlaps(one.group.schedule)
    if buffering < 2 or not turns:
        return Peak(fixed=0.0, each=0.0)
    workload, dram = one.core_workload, outside_of(platform, one, buffering)
    inputs, names = inputs_of(one), one.group.names
    made = {workload.einsum(n).output.tensor for n in names}
    fixed = each = 0.0
    for tensor in [*inputs, *(t for t in made if crosses_dram(workload, names, t))]:
        words = tile_words(one, tensor)
        ways = (words, 0.0) if tensor in inputs else (0.0, words)
        weight = weight_of(dram, tensor, words)
        cycles = float(in_turn_cycles(dram, tensor, *ways, weight))
        if one.keys and key_rank(workload) in workload.tensor_ranks[tensor]:
            each += cycles / one.most_passes
        else:
            fixed += cycles
    return Peak(fixed=fixed, each=each)


def _tile_orders(one: Assignment) -> tuple[str, ...]:
    """Outermost loop over tiles: of queries, or the others."""
    return ("queries",) if one.count == one.query_tiles else ("queries", "others")
