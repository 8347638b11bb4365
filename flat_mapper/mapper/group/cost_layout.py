"""The layout of cost vectors, which add up over the Einsums of a group."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flat_mapper.cost_model.latency import port_loads
from flat_mapper.mapper.cost.price import Costs
from flat_mapper.mapper.space.candidates import Floats
from flat_mapper.mapper.space.group import GroupProblem


@dataclass(frozen=True, slots=True)
class CostLayout:
    """The columns of a cost vector: compute by unit, cycles by port, cold start, energy, words."""

    ports: tuple[tuple[str, str], ...]  # (level, port): those of limited bandwidth
    overlapped: bool  # whether the units work at once

    @classmethod
    def of(cls, problem: GroupProblem) -> CostLayout:
        """The columns that a group's cost vectors need."""
        ports = {
            (level.name, load.port): None
            for space in problem.spaces
            for level in space.arch.levels
            for load in port_loads(level, 0, 0)
        }
        return cls(tuple(ports), problem.group.schedule == "overlapped")

    def vectors(
        self, unit: str, compute: Floats, cold: Floats, costs: Costs, words: Floats
    ) -> Floats:
        """Cost vectors of n candidates of one Einsum; float64[n, D].

        compute: cycles on the Einsum's unit. cold: cycles of a cold start. words: streamed ones.
        """
        zero = np.zeros(len(compute))
        units = [compute if unit == name else zero for name in ("matrix", "vector")]
        ports = [np.broadcast_to(costs.ports.get(p, zero), zero.shape) for p in self.ports]
        return np.stack([*units, *ports, cold, costs.energy, words], axis=1)

    def energy(self, vectors: Floats) -> Floats:
        """pJ; float64[n]."""
        return vectors[:, -2]

    def words(self, vectors: Floats) -> Floats:
        """Words of the shared level that depend on the candidates; float64[n]."""
        return vectors[:, -1]

    def latency(self, vectors: Floats) -> Floats:
        """Cycles under the group's schedule; float64[n]."""
        matrix, vector, cold = vectors[:, 0], vectors[:, 1], vectors[:, -3]
        busy = np.maximum(matrix, vector) if self.overlapped else matrix + vector
        slowest = vectors[:, 2:-3].max(axis=1, initial=0.0)
        return np.maximum(busy, slowest) + cold
