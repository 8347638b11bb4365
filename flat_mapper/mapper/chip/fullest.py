"""Cycles of the fullest core of a chip, at least, by those of the largest of its tiles."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from math import inf

import numpy as np

from flat_mapper.arch.cores import core_facts
from flat_mapper.arch.values import Platform
from flat_mapper.cost_model.candidates import Floats
from flat_mapper.cost_model.chip.cores import given
from flat_mapper.cost_model.roles import FirstPasses
from flat_mapper.mapper.chip.assignments import Assignment, key_rank
from flat_mapper.mapper.chip.floors import Peak, largest_tiles, whole
from flat_mapper.mapper.chip.moved import MovedCycles
from flat_mapper.mapper.group.picks import BesideTurns

PARTS = 8  # ranges of what the ends of a tile may take that are looked at one by one
MANY = 32  # tiles of each core, of which it hardly matters which are given out last


@dataclass(frozen=True, kw_only=True)
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
    again: float = 0.0  # `least`, where some input may come again with every pass

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
        )

    @cached_property
    def whole(self) -> int:
        """P."""
        return self.one.most_passes

    @cached_property
    def passes(self) -> list[tuple[int, int]]:
        """Passes, and tiles that make so many; most passes first."""
        return self.one.passes()

    @cached_property
    def largest(self) -> float:
        """The sum of all (p - 1) / (P - 1)."""
        return largest_tiles(self.one)

    def _rest(self, passes: int) -> float:
        """(P - p) / (P - 1)."""
        return (self.whole - passes) / max(self.whole - 1, 1)

    @property
    def counted(self) -> float:
        """The same of pJ, of which tiles of one pass may take less than a share: then none."""
        return self.largest if self._grows(self.one.passed.most) else 0.0

    @property
    def short(self) -> float:
        """The sum of all (P - p) / (P - 1), of tiles of one pass too."""
        return (self.whole * self.one.count - self.one.passed.every) / max(self.whole - 1, 1)

    @property
    def firsts(self) -> FirstPasses | None:
        """First passes beside the largest tiles, for one of these; None where there are none."""
        if self.one.alike or not self.counted:
            return None
        single, times = self.one.passed.single, 1 / self.counted
        return FirstPasses(
            passes=self.whole,
            keys=key_rank(self.one.workload),
            later=times * (self.short - single),
            single=times * single,
        )

    @cached_property
    def beside(self) -> float:
        """Cycles of all tiles beside `least`."""
        single = 0 if self._grows(1) else self.one.passed.single
        fixed = single * self._once(1, BesideTurns()) if single else 0.0
        return fixed + (self.short - single) * self._alone + self.tile_cycles * self.one.count

    def _grows(self, passes: int) -> bool:
        """True if a tile of so many passes is like one of all."""
        return passes > 1 or self.whole == 1

    def _once(self, passes: int, beside: BesideTurns) -> float:
        """Cycles of a tile at peak, its steps among them."""
        unequal = beside.unequal * passes / self.whole
        moved = self.outside.cycles(passes, unequal, alone=not self._grows(passes))
        return max(self.peak.cycles(passes), moved) + self._steps(passes)

    def _first(self, turns: BesideTurns | None = None) -> float:
        """Cycles of one pass, of whatever takes longest in all; turns: beside those that do."""
        if turns is None or self.outside.overlaps:
            return self._alone
        return self.peak.cycles(1) + turns.once + self._steps(1)

    @cached_property
    def _alone(self) -> float:
        """The same where it is not known what does."""
        if self.outside.overlaps:
            return 0.0
        once = self.peak.cycles(1), self.outside.cycles(1, 0.0)
        return (min(once) if self.outside.ahead else once[0]) + self._steps(1)

    def knowing(self, staged: Sequence[frozenset[str]], cycles: Floats) -> Fullest:
        """The same, that knows of outer choices what they stage, and `least` of each; float64[n].

        What is staged stays in a tile for all passes.
        """
        coming = np.array([not self.outside.staying <= own for own in staged], np.bool_)
        return replace(self, again=float(cycles[coming].min(initial=inf)))

    @cached_property
    def _forms(self) -> list[Fullest]:
        """Those of which a mapping is one."""
        if self.one.alike or self.again == inf:  # or nothing may come again
            return [self]
        return [replace(self, outside=form) for form in self.outside.forms]

    def line(self, least: Floats) -> Floats:
        """Cycles of the fullest core, at least, if it is as busy as the others; float64[n].

        least: of a tile that sees all keys, its ends k times.
        """
        found = self._forms[0]._line(least)
        for form in self._forms[1:]:
            found = np.minimum(found, form._line(least))
        return found

    def _line(self, least: Floats) -> Floats:
        one, lowest = self.one, self._lowest
        least = np.maximum(least, max(lowest, self.again if self.outside.again else 0.0))
        if not one.alike:
            largest = self.counted
            return self.launch + (largest * least + self.beside) / one.cores
        fixed, found = self.launch + one.rounds * self.tile_cycles, one.rounds * least
        if one.remainder and not one.counts_mean:
            # Fewer cores have more of DRAM each; a tile takes no less than in proportion.
            last = np.maximum(lowest, least * one.remainder / one.cores)
            found = (one.rounds - 1) * least + last
        return fixed + found

    def cycles(
        self,
        least: float = 0.0,
        beside: BesideTurns | None = None,
        staged: Iterable[str] = (),
    ) -> float:
        """The same of one, with tiles given out one by one where they differ.

        beside: what is known to stand beside its turns, its ends k times.
        staged: tensors that are known to be kept whole, which so stay in a tile for all passes.
        """
        forms = self._forms[:1] if self.outside.staying <= set(staged) else self._forms
        found = min(form._cycles(least, beside) for form in forms)
        return whole(found) if np.isfinite(found) else found

    def _cycles(self, least: float, beside: BesideTurns | None) -> float:
        found = float(self._line(np.array(least)))
        if not self.one.alike and self.one.count <= MANY * self.one.cores and np.isfinite(found):
            least = max(least, self._lowest, self.again if self.outside.again else 0.0)
            found = max(found, self.launch + self._given(least, beside))
        return found

    @cached_property
    def _lowest(self) -> float:
        """Cycles of a tile that sees all keys, at peak or by an input that comes again."""
        return max(self.peak.cycles(self.whole), self.outside.floor) + self._steps(self.whole)

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
        limits = self._limits_of([p for p, _ in self.passes], beside) if beside else self._limits
        found = inf
        for low, high in pairwise(ends):
            # What is longest at some e between is the longer of two terms, whose sum with e may be
            # less there than at both ends: so each term counts at the e that makes it least.
            times = [
                max(
                    limit + low,
                    min(self._grown(p, least - waits * e, known) + e for e in (low, high)),
                )
                for limit, (p, _) in zip(limits, self.passes, strict=True)
            ]
            found = min(found, *(self._fullest(times, o) for o in _tile_orders(self.one)))
        return found

    def _tile(self, passes: int, least: float, beside: BesideTurns) -> float:
        """Cycles of a tile of some passes, without its ends; of one of all keys: T, W and V."""
        return max(*self._limits_of([passes], beside), self._grown(passes, least, beside))

    @cached_property
    def _limits(self) -> list[float]:
        """By number of passes, the next where nothing is known to stand beside turns."""
        return self._limits_of([p for p, _ in self.passes], BesideTurns())

    def _limits_of(self, some: Iterable[int], beside: BesideTurns) -> list[float]:
        """Cycles of tiles whatever all keys take, by their passes: at peak, and by their words."""
        first = self.outside.cycles(1, beside.unequal / self.whole)
        most, found = max(beside.outside, self.outside.floor), []
        for passes in some:
            cycles = self._once(passes, beside)
            if self._grows(passes):
                rest = self._rest(passes)
                moved = rest * first
                moved += (1 - rest) * most + self._steps(passes)
                cycles = max(cycles, moved)
            found.append(cycles + self.tile_cycles)
        return found

    def _grown(self, passes: int, least: float, beside: BesideTurns) -> float:
        """The same by T; none of one pass, where others have more."""
        if not self._grows(passes):
            return 0.0
        rest = self._rest(passes)
        turns = 0 < beside.outside < least and not self.outside.again  # take T
        return rest * self._first(beside if turns else None) + (1 - rest) * least + self.tile_cycles

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


def _tile_orders(one: Assignment) -> tuple[str, ...]:
    """Outermost loop over tiles: of queries, or the others."""
    return ("queries",) if one.count == one.query_tiles else ("queries", "others")
