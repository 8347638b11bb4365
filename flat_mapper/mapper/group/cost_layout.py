"""The layout of cost vectors, which add up over the Einsums of a group."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flat_mapper.cost_model.latency import port_loads
from flat_mapper.mapper.cost.price import Costs
from flat_mapper.mapper.cost.turns import TurnCycles
from flat_mapper.mapper.space.candidates import Floats
from flat_mapper.mapper.space.group import GroupProblem

UNITS = ("matrix", "vector")


@dataclass(frozen=True, slots=True)
class CostLayout:
    """The columns of a cost vector.

    Cycles by unit, of turns that overlap as if all were steady; where transfers run ahead of turns,
    what these have beyond the steady ones; cycles by port; cycles of whole tiles at DRAM where
    nothing runs ahead; first inputs and last outputs; energy; words.
    """

    ports: tuple[tuple[str, str], ...]  # (level, port): those of limited bandwidth
    overlapped: bool  # whether the units work at once
    takes_turns: bool = False
    runs_ahead: bool = True  # whether the shared level has two copies of what crosses DRAM
    passes: float = 1.0  # of the shared loops

    @classmethod
    def of(cls, problem: GroupProblem) -> CostLayout:
        """The columns that a group's cost vectors need."""
        dram, turns = problem.platform.dram.name, problem.takes_turns
        ahead = problem.runs_ahead
        overlapped = problem.group.schedule == "overlapped" and ahead
        ports = {
            (level.name, load.port): None
            for space in problem.spaces
            for level in space.arch.levels
            for load in port_loads(level, 0, 0)
            if not turns or overlapped or level.name == dram
        }
        return cls(
            ports=tuple(ports),
            overlapped=overlapped,
            takes_turns=turns,
            runs_ahead=ahead,
        )

    def vectors(
        self,
        unit: str,
        turns: TurnCycles,
        exposed: Floats,
        costs: Costs,
        words: Floats,
    ) -> Floats:
        """Cost vectors of n candidates of one Einsum; float64[n, D].

        turns: cycles on the Einsum's unit. exposed: cycles that nothing overlaps. words: streamed
        ones.
        """
        zero = np.zeros(len(words))
        steady = turns.steady if self.overlapped else turns.total
        units = [steady + zero if unit == name else zero for name in UNITS]
        extra = [turns.total - turns.steady + zero] if self.has_extra else []
        ports = [costs.ports.get(p, zero) + zero for p in self.ports]
        staged = [] if self.runs_ahead else [costs.staged + zero]
        return np.stack([*units, *extra, *ports, *staged, exposed, costs.energy, words], axis=1)

    @property
    def has_extra(self) -> bool:
        """Whether turns longer than the steady ones have a column."""
        return self.overlapped or (self.takes_turns and self.runs_ahead)

    @property
    def width(self) -> int:
        """Columns of a vector."""
        return len(UNITS) + self.has_extra + len(self.ports) + (not self.runs_ahead) + 3

    def energy(self, vectors: Floats) -> Floats:
        """pJ; float64[n]."""
        return vectors[:, -2]

    def words(self, vectors: Floats) -> Floats:
        """Words of the shared level that depend on the candidates; float64[n]."""
        return vectors[:, -1]

    def latency(self, vectors: Floats) -> Floats:
        """Cycles under the group's schedule; float64[n]."""
        matrix, vector, exposed = vectors[:, 0], vectors[:, 1], vectors[:, -3]
        first = len(UNITS) + self.has_extra
        extra = vectors[:, 2] if self.has_extra else 0.0
        busy = matrix + vector
        if self.overlapped:
            most = np.maximum(matrix, vector)
            busy = most + extra
            if self.takes_turns:
                busy = busy + (matrix + vector - most) / self.passes
        if not self.runs_ahead:
            return busy + vectors[:, -4]
        slowest = vectors[:, first:-3].max(axis=1, initial=0.0)
        return np.maximum(busy, slowest + extra) + exposed
