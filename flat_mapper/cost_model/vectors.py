"""Cost vectors: what an Einsum adds to its group, in named columns that add up over the Einsums."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import batched

import numpy as np

from flat_mapper.cost_model.candidates import Floats
from flat_mapper.cost_model.counts import CandidateCosts
from flat_mapper.cost_model.schedule import GroupCycles, PhaseCycles, Rounds, Timing, row_by_row
from flat_mapper.cost_model.turns import Turn
from flat_mapper.mapping.order import UnevenRows
from flat_mapper.workload.notation import UNITS


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns of cost vectors float64[n, D], by name; of each round that differs, one by one.

    steady:  cycles of turns if none brought a tile that stays over others, by unit; with `rounds`
             by phase, then of what runs in all passes and in few, then by unit; under `rows` of
             what goes on in every pass, and once in a row. Where no turn is told from others, of
             all turns, or of the computes.
    once:    cycles of one pass by unit, where units overlap.
    loops:   of each of `waits`, cycles of steady turns and of one pass.
    extra:   cycles by which turns that bring new tiles are longer.
    chip:    cycles of each limited port on chip.
    outside: cycles of each limited port outside, and where tensors come in turn, of all of them one
             after another; `held`: under `rows`, of it what comes once in a row.
    unequal: of the last of these, of inputs of which tiles of other cores have fewer words.
    staged:  cycles of whole tiles at DRAM, where nothing runs ahead.
    exposed: cycles of first inputs and last outputs. energy: pJ.
    words:   of the shared level, that depend on the candidate.
    """

    timing: Timing
    chip: tuple[tuple[str, str], ...]  # (level, port)
    ports: int  # limited ones outside
    in_turn: bool  # whether tensors come one after another there
    unequal: bool = False
    waits: tuple[Mapping[str, float], ...] = ()  # Einsums, see `carried_loops`
    rounds: Rounds | None = None
    rare_passes: float = 1.0  # of Einsums that run when a loop is done
    fixed: float = 0.0  # cycles of the passes beside all that
    rows: UnevenRows | None = None
    shares: tuple[float, ...] = ()  # of rounds of tiles that differ

    @cached_property
    def at(self) -> dict[str, slice]:
        """The place of each, by name."""
        found, begin = {}, 0
        for name, count in self._counts():
            found[name] = slice(begin, begin + count)
            begin += count
        return found

    def _counts(self) -> Iterator[tuple[str, int]]:
        """Numbers of columns, by name."""
        timing, outside = self.timing, self.ports + self.in_turn
        yield "steady", len(UNITS) * (2 * len(self.rounds.phases) if self.rounds else 1)
        yield "once", len(UNITS) * self._has_once
        yield "loops", 2 * len(self.waits)
        yield "extra", int(timing.turns and timing.ahead)
        yield "chip", len(self.chip)
        yield "outside", outside
        yield "held", outside * (self.rows is not None)
        yield "unequal", int(self.unequal)
        yield "staged", int(not timing.ahead)
        yield from (("exposed", 1), ("energy", 1), ("words", 1))

    @property
    def _has_once(self) -> bool:
        timing = self.timing
        return timing.overlapped and timing.turns and timing.ahead and self.rounds is None

    @property
    def width(self) -> int:
        """D."""
        return self._alone * (len(self.shares) or 1)

    @property
    def _alone(self) -> int:
        """Columns of one round."""
        return sum(count for _, count in self._counts())

    def named(self, vectors: Floats, name: str) -> Floats:
        """The columns of a name; float64[n, columns]."""
        return vectors[:, self.at[name]]

    def one(self, vectors: Floats, name: str) -> Floats:
        """The one column of a name; float64[n]."""
        return vectors[:, self.at[name].start]

    def vectors(
        self,
        einsum: str,
        turn: Turn,
        costs: CandidateCosts,
        exposed: Floats,
        words: Floats,
        *,
        masked: bool,
    ) -> Floats:
        """Cost vectors of n candidates of one Einsum, in one round; float64[n, D].

        exposed: cycles that nothing overlaps. words: of the shared level. masked: whether a mask
        decides how often the Einsum runs.
        """
        found = np.zeros((len(words), self._alone))

        def put(name: str, *columns: Floats | float) -> None:
            for i, column in enumerate(columns, self.at[name].start):
                found[:, i] += column

        unit = UNITS.index(turn.unit)
        place, steady = self._steady(einsum, turn, unit, masked)
        found[:, self.at["steady"].start + place] += steady
        if self._has_once:
            found[:, self.at["once"].start + unit] += turn.once
            every = (own.get(einsum, 0.0) for own in self.waits)
            put("loops", *(n * cycles for n in every for cycles in (turn.steady, turn.once)))
        if self.timing.turns and self.timing.ahead:
            put("extra", turn.extra)
        put("chip", *(costs.ports.get(port, 0.0) for port in self.chip))
        outside = costs.outside
        put("outside", *outside.loads(costs.moved, in_turn=self.in_turn))
        if self.rows is not None:
            held = outside.loads(costs.held, in_turn=self.in_turn)
            put("held", *held)
            put("outside", *(-cycles for cycles in held))
        if self.unequal:
            put("unequal", outside.one_by_one(costs.once))
        if not self.timing.ahead:
            put("staged", outside.each_way(costs.staged))
        put("exposed", exposed)
        put("energy", costs.energy)
        put("words", words)
        return found

    def _steady(
        self, einsum: str, turn: Turn, unit: int, masked: bool
    ) -> tuple[int, Floats | float]:
        """Place among the columns of turns that an Einsum adds to, and cycles."""
        if self.rows is not None:
            return int(not masked), turn.steady
        if self.rounds is not None:
            phase = next(i for i, names in enumerate(self.rounds.phases) if einsum in names)
            rare = einsum in self.rounds.rare
            each = turn.steady / turn.passes
            cycles = each if rare else each * self.timing.passes
            return (2 * phase + rare) * len(UNITS) + unit, cycles
        return unit, turn.steady if self.timing.ahead else turn.cycles

    def latency(self, vectors: Floats, *, alike: bool = False) -> Floats:
        """Cycles under the group's schedule; float64[n]. Of rounds that differ, of their mean.

        alike: at least, whatever returns of what stays: it makes turns longer, but may leave none
               of them longer than the steady ones.
        """
        if not self.shares:
            return self._latency(vectors, alike=alike)
        alike |= self.timing.overlapped  # with fewer cores these need not be shorter in proportion
        parts = np.split(vectors, len(self.shares), axis=1)
        each = zip(self.shares, parts, strict=True)
        cycles: Floats = sum(
            (share * self._latency(part, alike=alike) for share, part in each), np.zeros(1)
        )
        return cycles

    def _latency(self, vectors: Floats, *, alike: bool) -> Floats:
        timing = self.timing
        extra = self.one(vectors, "extra") if timing.turns and timing.ahead else 0.0
        outside = self.named(vectors, "outside")
        steady = [*self.named(vectors, "steady").T]
        rows = None
        if self.rows is not None:
            held = self.named(vectors, "held")
            every, once = (
                np.concatenate([cycles[None, :], ports.T])
                for cycles, ports in zip(steady, (outside, held), strict=True)
            )
            rows, outside = row_by_row(every, once, self.rows), outside + held
        elif alike and not timing.overlapped:
            steady.append(extra)
        chip = self.named(vectors, "chip")
        found = timing.latency(
            GroupCycles(
                steady=steady,
                once=[*self.named(vectors, "once").T],
                loops=[*batched(self.named(vectors, "loops").T, 2, strict=True)],
                extra=0.0 if alike else extra,
                phases=self._phases(steady),
                inside=chip.max(axis=1) if chip.shape[1] else 0.0,
                outside=outside.max(axis=1) if outside.shape[1] else 0.0,
                staged=0.0 if timing.ahead else self.one(vectors, "staged"),
                exposed=self.one(vectors, "exposed"),
                rows=rows,
            )
        )
        cycles: Floats = found.cycles + found.exposed + self.fixed
        return cycles

    def _phases(self, columns: Sequence[Floats]) -> list[PhaseCycles]:
        """The columns of turns by phase."""
        found, count = [], len(UNITS)
        for begin in range(0, len(columns) if self.rounds else 0, 2 * count):
            every, rare = columns[begin : begin + count], columns[begin + count : begin + 2 * count]
            found.append(PhaseCycles([*zip(every, rare, strict=True)], self.rare_passes))
        return found
