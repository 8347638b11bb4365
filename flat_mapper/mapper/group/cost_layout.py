"""The layout of cost vectors, which add up over the Einsums of a group."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from flat_mapper.arch.values import MemoryLevel
from flat_mapper.cost_model.group import Rounds, phase_cycles
from flat_mapper.cost_model.latency import limited, loads_in_turn
from flat_mapper.mapper.cost.price import Costs, beside, own_ports
from flat_mapper.mapper.cost.turns import TurnCycles
from flat_mapper.mapper.group.picks import BesideTurns
from flat_mapper.mapper.space.candidates import Floats
from flat_mapper.mapper.space.group import GroupProblem
from flat_mapper.mapper.space.roles import Outer
from flat_mapper.mapping.order import UnevenRows, overlaps
from flat_mapper.workload.einsum import Einsum

UNITS = ("matrix", "vector")


@dataclass(frozen=True, slots=True)
class CostLayout:
    """The columns of a cost vector.

    Cycles by unit, and in the schedule `phases` by phase, of turns that overlap as if all were
    steady; where units overlap, cycles of one pass by unit; where transfers run ahead of turns,
    what these have beyond the steady ones; cycles by port; cycles of whole tiles at DRAM where
    nothing runs ahead; first inputs and last outputs; energy; words.

    Where a mask leaves rows of tiles that are not alike, and units take turns, cycles of what goes
    on in every pass, and of what does so once in a row: of steady turns in the place of units, and
    of each port.
    """

    ports: tuple[tuple[str, str], ...]  # (level, port): those of limited bandwidth
    overlapped: bool  # whether the units work at once
    takes_turns: bool = False
    runs_ahead: bool = True  # whether the shared level has two copies of what crosses DRAM
    uneven: bool = False  # whether ports on chip may make turns longer than the steady ones
    dram: str = ""  # its name
    passes: float = 1.0  # of the shared loops
    rounds: Rounds | None = None
    rare_passes: float = 1.0  # of Einsums that run when a loop is done
    fixed: float = 0.0  # cycles of the passes beside all that
    rows: UnevenRows | None = None
    returns: bool = False  # whether something that stays private may as well return each turn

    @classmethod
    def of(cls, problem: GroupProblem) -> CostLayout:
        """The columns that a group's cost vectors need."""
        dram, turns = problem.platform.dram.name, problem.takes_turns
        ahead = problem.runs_ahead
        overlapped = overlaps(problem.group.schedule) and ahead
        ports: dict[tuple[str, str], None] = {
            (level.name, load.port): None
            for space in problem.spaces
            for level in space.arch.levels
            for load in loads_in_turn(level, 0, 0)
            if (turns and level.name == dram)
            or (load.port != "in turn" and (overlapped or not turns))
        }
        for space in problem.spaces:
            outermost = space.arch.levels[0]
            ports |= dict.fromkeys([*beside(outermost), *own_ports(outermost, turns=turns)])
        return cls(
            ports=tuple(ports),
            overlapped=overlapped,
            takes_turns=turns,
            runs_ahead=ahead,
            uneven=turns and ahead and any(map(limited, _on_chip(problem))),
            rounds=problem.rounds if overlapped else None,
            dram=dram,
        )

    def under(
        self, problem: GroupProblem, tile: tuple[int, ...], order: tuple[int, ...]
    ) -> CostLayout:
        """The layout under one outer choice; tile, order (innermost first): by group rank."""
        every = prod(r.size // t for r, t in zip(problem.ranks, tile, strict=True))
        return replace(
            self,
            passes=every * problem.visited_of(tile),
            rare_passes=problem.rare_turns(tile, order),
            fixed=every * problem.platform.dram.step_cycles,
            rows=problem.rows(tile, order),
        )

    def vectors(
        self,
        einsum: Einsum,
        outer: Outer,
        turns: TurnCycles,
        exposed: Floats,
        costs: Costs,
        words: Floats,
    ) -> Floats:
        """Cost vectors of n candidates of one Einsum; float64[n, D].

        outer: the loops outside. turns: cycles on its unit.
        exposed: cycles that nothing overlaps. words: streamed ones.
        """
        zero, count = np.zeros(len(words)), outer.turns
        steady = turns.total if self.rows is None and not self.overlapped else turns.steady
        units = [zero] * self.unit_columns
        column = self._column(einsum) if self.rows is None else int(not outer.masked)
        units[column] = zero + self._column_cycles(einsum, steady, count)
        if self.has_once:
            units[len(UNITS) + UNITS.index(einsum.unit)] = zero + steady / count
        extra = [turns.total - turns.steady + zero] if self.has_extra else []
        ports = [costs.ports.get(p, zero) + zero for p in self.ports]
        if self.rows is not None:
            held = [costs.held.get(p, zero) + zero for p in self.ports]
            ports = [*(all_ - own for all_, own in zip(ports, held, strict=True)), *held]
        staged = [] if self.runs_ahead else [costs.staged + zero]
        return np.stack([*units, *extra, *ports, *staged, exposed, costs.energy, words], axis=1)

    @property
    def unit_columns(self) -> int:
        """Columns of cycles by unit; of each phase two sets, one of rare Einsums."""
        return len(UNITS) * (2 * len(self.rounds.phases) if self.rounds else 1 + self.has_once)

    @property
    def has_once(self) -> bool:
        """True if one pass has columns of its own."""
        return self.overlapped and self.takes_turns and self.rounds is None

    def _column(self, einsum: Einsum) -> int:
        unit = UNITS.index(einsum.unit)
        if self.rounds is None:
            return unit
        phase = next(i for i, names in enumerate(self.rounds.phases) if einsum.name in names)
        return 2 * len(UNITS) * phase + len(UNITS) * (einsum.name in self.rounds.rare) + unit

    def _column_cycles(self, einsum: Einsum, steady: Floats, count: float) -> Floats:
        """Of what runs in a few passes the cycles in one of them; else as if it ran in all."""
        if self.rounds is None:
            return steady
        if einsum.name in self.rounds.rare:
            return steady / count
        return steady * self.passes / count

    def _phased(self, vectors: Floats, rounds: Rounds) -> Floats:
        """Cycles of the turns of units that work at once, phase by phase; float64[n]."""
        total = np.zeros(len(vectors))
        for columns in vectors[:, : self.unit_columns].T.reshape(
            len(rounds.phases), 2, len(UNITS), len(vectors)
        ):
            pairs = list(zip(columns[0], columns[1], strict=True))
            total += phase_cycles(pairs, self.passes, self.rare_passes, rounds.behind)
        return total

    def _by_row(self, vectors: Floats, rows: UnevenRows) -> Floats:
        """Cycles of rows one by one, each as long as its turns or its words; float64[n]."""
        ports = vectors[:, self.unit_columns + self.has_extra : -3].T
        count = len(self.ports)
        every = np.concatenate([vectors[:, :1].T, ports[:count]]) / rows.passes
        once = np.concatenate([vectors[:, 1:2].T, ports[count:]]) / rows.rows
        # What takes longest in the shortest rows and in the longest ones does so in all.
        ends = [once + every * passes for passes in (rows.counts[0][0], rows.counts[-1][0])]
        longest = [end == end.max(axis=0) for end in ends]
        found: Floats = (once * rows.rows + every * rows.passes).max(axis=0)
        some = np.flatnonzero(~(longest[0] & longest[1]).any(axis=0))
        once, every = once.take(some, axis=1), every.take(some, axis=1)
        found[some] = sum(n * (once + every * passes).max(axis=0) for passes, n in rows.counts)
        return found

    @property
    def has_extra(self) -> bool:
        """True if turns longer than the steady ones have a column."""
        return self.overlapped or (self.takes_turns and self.runs_ahead)

    @property
    def width(self) -> int:
        """Columns of a vector."""
        ports = len(self.ports) * (1 if self.rows is None else 2)
        return self.unit_columns + self.has_extra + ports + (not self.runs_ahead) + 3

    def energy(self, vectors: Floats) -> Floats:
        """pJ; float64[n]."""
        return vectors[:, -2]

    def beside_turns(self, vector: Floats) -> BesideTurns:
        """Cycles of one vector that stand beside turns which are taken one by one; else none."""
        if not self.runs_ahead or not self.takes_turns or self.overlapped:
            return BesideTurns()
        ports, unequal = self._ports(vector[None, :])[0], (self.dram, "unequal")
        return BesideTurns(
            exposed=float(vector[-3]),
            outside=float(ports.max(initial=0.0)),
            unequal=float(ports[self.ports.index(unequal)]) if unequal in self.ports else 0.0,
        )

    def _ports(self, vectors: Floats) -> Floats:
        """Cycles by port; float64[n, ports]."""
        columns = vectors[:, self.unit_columns + self.has_extra : -3]
        if self.rows is None:
            return columns
        return columns[:, : len(self.ports)] + columns[:, len(self.ports) :]

    def words(self, vectors: Floats) -> Floats:
        """Words of the shared level that depend on the candidates; float64[n]."""
        return vectors[:, -1]

    def least_latency(self, vectors: Floats) -> Floats:
        """The same at least, whatever returns of what stays; float64[n].

        It makes turns longer, but may leave none of them longer than the steady ones.
        """
        return self.latency(vectors, alike=self.returns)

    def latency(self, vectors: Floats, *, alike: bool = False) -> Floats:
        """Cycles under the group's schedule; float64[n].

        alike: as if no turn took more than the steady ones.
        """
        matrix, vector, exposed = vectors[:, 0], vectors[:, 1], vectors[:, -3]
        extra = vectors[:, self.unit_columns] if self.has_extra and not alike else 0.0
        busy, ports = matrix + vector, self._ports(vectors)
        if self.rows is not None:
            return self._by_row(vectors, self.rows) + extra + exposed + self.fixed
        if self.rounds is not None:
            busy = self._phased(vectors, self.rounds) + extra
            exposed = exposed * (1 + self.rounds.behind)
        elif self.overlapped:
            if self.has_once:
                matrix_once, vector_once = vectors[:, 2], vectors[:, 3]
                matrix, vector = matrix + vector_once, vector + matrix_once
                late = np.maximum(
                    matrix_once + vector_once - exposed, np.minimum(matrix_once, vector_once)
                )
                outside = np.array([level == self.dram for level, _ in self.ports])
                ports = ports + late[:, None] * outside
            busy = np.maximum(matrix, vector) + extra
        if not self.runs_ahead:
            return busy + vectors[:, -4] + self.fixed
        return np.maximum(busy, ports.max(axis=1, initial=0.0) + extra) + exposed + self.fixed


def _on_chip(problem: GroupProblem) -> Iterator[MemoryLevel]:
    """The shared level and those inside it, of every Einsum."""
    for space in problem.spaces:
        yield from space.arch.levels[space.shared :]
