"""Schedules: how long a group takes, from what its turns and its transfers take.

Amounts are numbers of one mapping, or arrays over n choices of a search: one rule for both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from flat_mapper.cost_model.nest import FloatArray
from flat_mapper.cost_model.ports import Amount, largest
from flat_mapper.mapping.order import UnevenRows, rounds_behind
from flat_mapper.mapping.values import Phases
from flat_mapper.workload.graph import Workload


class PhaseCycles(NamedTuple):
    """One of `phases`, by unit: cycles of what runs in all passes; and of what runs in a few, in
    one of these.
    """

    units: Sequence[tuple[Amount, Amount]]
    times: Amount  # passes of the few


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupCycles:
    """Cycles of which the latency of a group is made.

    steady:  by compute unit, of its turns if none brought a tile that stays over others; where no
             Einsum waits for its turn, of its computes.
    once:    by compute unit, of one pass.
    uneven:  where units work at once, by which one waits for another that has a longer pass.
    loops:   the same two of Einsums that wait for one another from pass to pass, on both units.
    extra:   by which turns that bring new tiles are longer than the others.
    phases:  of the schedule `phases`.
    inside:  of the busiest level on chip.
    outside: of all words from and to outside, one tensor after another; without turns of the
             busiest level there.
    staged:  the same of whole tiles, of what comes and then of what goes.
    exposed: of the first inputs and the last outputs.
    rows:    of rows of tiles that a mask leaves, one by one; None where they are alike.
    """

    steady: Sequence[Amount]
    exposed: Amount
    once: Sequence[Amount] = ()
    uneven: Amount = 0.0
    loops: Sequence[tuple[Amount, Amount]] = ()
    extra: Amount = 0.0
    phases: Sequence[PhaseCycles] = ()
    inside: Amount = 0.0
    outside: Amount = 0.0
    staged: Amount = 0.0
    rows: Amount | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Schedule of a group, whatever its turns take.

    ahead:  whether whole tiles come and go beside the turns: the shared level has two copies.
    passes: of the shared loops.
    behind: rounds of `phases` between the first Einsum and the last.
    """

    overlapped: bool  # units work at once
    turns: bool  # Einsums wait for their turn
    ahead: bool = True
    passes: Amount = 1.0
    behind: int = 0

    def latency(self, cycles: GroupCycles) -> Timed:
        """The latency of a group; in each of `phases` as overlapped.

        Without turns every transfer overlaps every compute: the slowest of units and levels, which
        is Timeloop's rule for one Einsum, and that of FLAT's simulator for a group.

        interleaved: the turns of all units, one after another, or all words of DRAM if these take
                     longer; where a mask leaves rows of tiles more passes than others, so row by
                     row: two copies are no room for the words of more than the next. Then with what
                     turns that bring new tiles take more than the others, as transfers do not make
                     up for a late start. Whole tiles come and go beside the turns only where the
                     shared level has two copies of them; with fewer, nothing runs ahead, whatever
                     the schedule: a pass begins when its tiles are there, and ends when its outputs
                     are gone.
        overlapped:  the turns of the busiest unit, or of Einsums that wait for one another from
                     pass to pass, with one pass of the others as the way in and out; or all words
                     of a level, from outside with one pass of all units after the last, but for
                     what is exposed; turns that bring new tiles are not overlapped by how much
                     longer they are.

        It is never less than an execution of the turns and transfers one by one, nor than what
        ports need for the words that are counted: with remainders these are Timeloop's, which has
        some last passes of full length, and a result that stays and streams leaves in its last
        pass, not in its first.
        """
        busy: Amount
        exposed, late, slowest, floor = cycles.exposed, 0.0, cycles.outside, 0.0
        if not self.turns:
            busy = largest(cycles.steady) if self.overlapped else sum(cycles.steady)
            slowest = largest((cycles.inside, cycles.outside))
        elif not self.ahead:
            busy = sum(cycles.steady) + cycles.extra
            total = largest((busy + cycles.staged, cycles.inside, cycles.outside))
            return Timed(total, 0.0, busy, 0.0)
        elif not self.overlapped:
            busy, floor = sum(cycles.steady) + cycles.uneven, cycles.inside
        elif cycles.phases:
            busy = sum(map(self._phase, cycles.phases))
            exposed, slowest = exposed * (1 + self.behind), largest((cycles.inside, slowest))
        else:
            one = sum(cycles.once)
            late = largest((one - exposed, one - largest(cycles.once)))
            pairs = [*zip(cycles.steady, cycles.once, strict=True), *cycles.loops]
            busy = largest(steady + one - own for steady, own in pairs) + cycles.uneven
            slowest = largest((cycles.inside, slowest + late))
        total = largest((busy, slowest))
        if cycles.rows is not None:
            total = largest((total, cycles.rows))
        found = largest((total + cycles.extra, floor))
        return Timed(found, exposed, busy + cycles.extra, late)

    def _phase(self, phase: PhaseCycles) -> Amount:
        """Cycles of one phase in all rounds, at most.

        A unit that is not the busiest has that much room for what runs in some passes only. Rounds
        in which not all Einsums work yet, or any more, are as if the units took turns.
        """
        each = [every for every, _ in phase.units]
        most = largest(each)
        found = most + (sum(each) - most) * self.behind / self.passes
        for every, rare in phase.units:
            room = (most - every) / self.passes
            found = found + phase.times * largest((rare - room, 0.0))
            found = found + rare * self.behind  # in the last rounds the busiest has no more to do
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """Rounds of the schedule `phases`."""

    phases: Phases
    rare: frozenset[str]  # Einsums that do not run in every pass, but when a loop is done
    behind: int  # rounds between the first Einsum and the last


def rounds_of(
    workload: Workload,
    names: Sequence[str],
    phases: Phases,
    level: str,
    inside: Mapping[str, str] | None = None,
) -> Rounds | None:
    """The rounds of a group's phases; None where it has none.

    level: the shared one. inside: that of each tensor that is handed over inside it.
    """
    if not phases:
        return None
    rare = frozenset(n for n in names if workload.einsum(n).after)
    behind = max(rounds_behind(workload, names, phases, level, inside).values())
    return Rounds(phases=phases, rare=rare, behind=behind)


class Timed(NamedTuple):
    """Cycles of a group."""

    cycles: Amount  # without what nothing overlaps
    exposed: Amount  # first inputs and last outputs
    turns: Amount  # of `cycles`, if no transfer took longer
    late: Amount  # by which the way in or out of words from outside is longer than what is exposed


def is_exposed(*, first: bool, last: bool, output: bool, staged: bool, turns: bool) -> bool:
    """True if nothing overlaps the first tile of an input from outside, or the last of an output.

    That is so of the first Einsum's inputs and the last one's output, and where Einsums take turns
    of whatever others have staged, too. Without turns, outputs leave beside the computes.
    """
    if output:
        return turns and (last or staged)
    return first or (turns and staged)


def row_by_row(every: FloatArray, once: FloatArray, rows: UnevenRows) -> FloatArray:
    """Cycles of rows of tiles, each as long as its turns or its words; float64[n].

    every: cycles of what goes on in every pass of a row, once: of what does so once in a row; of
           the turns, and of each port outside; float64[D, n], of all rows.
    """
    every, once = every / rows.passes, once / rows.rows
    # What takes longest in the shortest rows and in the longest ones does so in all.
    ends = [once + every * passes for passes in (rows.counts[0][0], rows.counts[-1][0])]
    longest = [end == end.max(axis=0) for end in ends]
    found: FloatArray = (once * rows.rows + every * rows.passes).max(axis=0)
    some = np.flatnonzero(~(longest[0] & longest[1]).any(axis=0))
    once, every = once.take(some, axis=1), every.take(some, axis=1)
    found[some] = sum(n * (once + every * passes).max(axis=0) for passes, n in rows.counts)
    return found
