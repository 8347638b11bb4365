"""Cycles of the fullest core of a chip, at least, by those of the largest of its tiles."""

from __future__ import annotations

from itertools import pairwise
from math import inf

import numpy as np

from flat_mapper.arch.cores import core_facts
from flat_mapper.arch.values import Platform
from flat_mapper.base.records import dataclass
from flat_mapper.cost_model.chip.rounds import given
from flat_mapper.mapper.chip.assignments import Assignment, key_rank
from flat_mapper.mapper.chip.floors import (
    Peak,
    inputs_of,
    largest_tiles,
    outside_of,
    tile_words,
    whole,
)
from flat_mapper.mapper.cost.outside import in_turn_cycles, weight_of
from flat_mapper.mapper.group.picks import BesideTurns
from flat_mapper.mapper.space.candidates import Floats
from flat_mapper.mapping.order import overlaps
from flat_mapper.mapping.sharing import crosses_dram

PARTS = 8  # ranges of what the ends of a tile may take that are looked at one by one
MANY = 32  # tiles of each core, of which it hardly matters which are given out last


@dataclass(frozen=True, slots=True, kw_only=True)
class Fullest:
    """The fullest core's cycles at least, by what the largest tile takes.

    Whatever takes longest in a tile that sees all keys, in P passes over them, grows alike with
    every pass from the second on. So a tile of p passes, two or more, takes

        t(p) = (F (P - p) + T (p - 1)) / (P - 1) + e

    or more: T is what all P take, F what one does at least, at peak, and e the ends of a tile,
    which nothing overlaps (lemma 23). The same holds of the words that come and go beside the
    turns, W in all and D of one pass, at least; V of them grow with every pass. With one pass a
    tensor may stay where it is else brought again, so that such a tile counts at peak, and D.
    What all cores are busy for depends on T + k e alone, where k is the number of tiles over the
    sum of all (p - 1) / (P - 1): that is `least` below, what the search of one core minimises
    (`core_view`). Tiles are given out in an order that is known, each to the core that is free
    first, and what the fullest core takes grows with every t(p). So it is bounded for any e.
    """

    one: Assignment
    peak: Peak
    outside: MovedCycles  # beside the turns
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
            outside=MovedCycles.of(platform, one, buffering),
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
        """The sum of all (p - 1) / (P - 1)."""
        return largest_tiles(self.one)

    def _rest(self, passes: int) -> float:
        """(P - p) / (P - 1)."""
        return (self.whole - passes) / max(self.whole - 1, 1)

    @property
    def short(self) -> float:
        """The sum of all (P - p) / (P - 1), of tiles of one pass too."""
        return sum(n * self._rest(p) for p, n in self.passes)

    @property
    def beside(self) -> float:
        """Cycles of all tiles beside `least`."""
        first = self._first()
        fixed = sum(
            n * (self._rest(p) * first if self._grows(p) else self._once(p, BesideTurns()))
            for p, n in self.passes
        )
        return fixed + self.tile_cycles * self.one.count

    def _grows(self, passes: int) -> bool:
        """True if a tile of so many passes is like one of all."""
        return passes > 1 or self.whole == 1

    def _once(self, passes: int, beside: BesideTurns) -> float:
        """Cycles of a tile at peak, its steps among them."""
        moved = self.outside.cycles(passes, beside.unequal * passes / self.whole)
        return max(self.peak.cycles(passes), moved) + self._steps(passes)

    def _first(self, turns: BesideTurns | None = None) -> float:
        """Cycles of one pass, of whatever takes longest in all; turns: beside those that do."""
        if self.outside.overlaps:
            return 0.0
        if turns is not None:
            return self.peak.cycles(1) + turns.once + self._steps(1)
        once = self.peak.cycles(1), self.outside.cycles(1, 0.0)
        return (min(once) if self.outside.ahead else once[0]) + self._steps(1)

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

    def cycles(self, least: float = 0.0, beside: BesideTurns | None = None) -> float:
        """The same of one, with tiles given out one by one where they differ.

        beside: what is known to stand beside its turns, its ends k times.
        """
        found = float(self.line(np.array(least)))
        if not np.isfinite(found):
            return found
        if not self.alike and self.one.count <= MANY * self.one.cores:
            found = max(found, self.launch + self._given(max(least, self._lowest), beside))
        return whole(found)

    @property
    def _lowest(self) -> float:
        """Cycles at peak of a tile that sees all keys."""
        return self.peak.cycles(self.whole) + self._steps(self.whole)

    def _steps(self, passes: int) -> float:
        """Cycles of the steps of a tile, at least."""
        return self.step_cycles * (passes if self.one.keys else 1)

    def _given(self, least: float, beside: BesideTurns | None) -> float:
        """The fullest core's cycles where tiles differ, whatever part of `least` their ends are."""
        waits = self.one.count / self.largest
        most = (least - self._lowest) / waits
        ends, known = [most * i / PARTS for i in range(PARTS + 1)], beside or BesideTurns()
        if beside or not most:
            ends = [min(known.exposed / waits, most)] * 2
        times = [
            [self._tile(p, least - waits * e, known) + e for p, _ in self.passes] for e in ends
        ]
        found = inf
        for low, high in pairwise(times):
            between = [min(pair) for pair in zip(low, high, strict=True)]
            found = min(found, *(self._fullest(between, o) for o in _tile_orders(self.one)))
        return found

    def _tile(self, passes: int, least: float, beside: BesideTurns) -> float:
        """Cycles of a tile of some passes, without its ends; of one of all keys: T, W and V."""
        once = self._once(passes, beside)
        if not self._grows(passes):
            return once + self.tile_cycles
        rest = self._rest(passes)
        moved = rest * self.outside.cycles(1, beside.unequal / self.whole)
        moved += (1 - rest) * beside.outside + self._steps(passes)
        first = self._first(beside if 0 < beside.outside < least else None)
        return max(once, moved, rest * first + (1 - rest) * least) + self.tile_cycles

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


@dataclass(frozen=True, slots=True, kw_only=True)
class MovedCycles:
    """Cycles of every word that a tile brings and sends, once, one tensor after another.

    None where they do not run beside turns.
    """

    ahead: bool = True  # whether they do
    overlaps: bool = False  # whether units work at once
    fixed: float = 0.0  # of what does not depend on its passes over keys
    unequal: float = 0.0  # of each pass: of inputs
    sent: float = 0.0  # and of outputs

    @classmethod
    def of(cls, platform: Platform, one: Assignment, buffering: float) -> MovedCycles:
        """That of the largest tile, at least."""
        at_once = overlaps(one.group.schedule)
        if buffering < 2 or at_once or len(one.group.names) == 1:
            return cls(ahead=False, overlaps=at_once and buffering >= 2)
        workload, dram = one.core_workload, outside_of(platform, one, buffering)
        inputs, names = inputs_of(one), one.group.names
        outputs = {workload.einsum(n).output.tensor for n in names}
        found = {"fixed": 0.0, "unequal": 0.0, "sent": 0.0}
        for tensor in [*inputs, *(t for t in outputs if crosses_dram(workload, names, t))]:
            words = tile_words(one, tensor)
            ways = (words, 0.0) if tensor in inputs else (0.0, words)
            cycles = float(in_turn_cycles(dram, tensor, *ways, weight_of(dram, tensor, words)))
            if not one.keys or key_rank(workload) not in workload.tensor_ranks[tensor]:
                found["fixed"] += cycles
            else:
                found["unequal" if tensor in inputs else "sent"] += cycles / one.most_passes
        return cls(fixed=found["fixed"], unequal=found["unequal"], sent=found["sent"])

    def cycles(self, passes: int, unequal: float) -> float:
        """Cycles of a tile of some passes; unequal: of its inputs that grow with them, or more."""
        return self.fixed + passes * self.sent + max(passes * self.unequal, unequal)


def _tile_orders(one: Assignment) -> tuple[str, ...]:
    """Outermost loop over tiles: of queries, or the others."""
    return ("queries",) if one.count == one.query_tiles else ("queries", "others")
