"""What a batch of mappings of one Einsum takes as a whole, beside each mapping's statistics."""

from __future__ import annotations

import numpy as np

from flat_mapper.cost_model.einsum import EinsumCosts
from flat_mapper.cost_model.nest import BoolArray, FloatArray, IntArray


def occupied(costs: EinsumCosts, level: int) -> IntArray:
    """Words of all tiles kept at a level."""
    tiles = (costs.tile(level, tensor) for at, tensor in costs.tiles if at == level)
    return sum(tiles, np.zeros(1, np.int64))


def fits(costs: EinsumCosts) -> BoolArray:
    """True if every level holds its tiles."""
    found = np.ones(costs.factors.count, np.bool_)
    for i, level in enumerate(costs.nest.arch.levels):
        if level.usable_words is not None:
            found = found & (occupied(costs, i) <= level.usable_words)
    return found


def energy(costs: EinsumCosts) -> FloatArray:
    """pJ of every access, network and compute."""
    moved = [*costs.tensor_energy.values(), *(one.energy_pj for one in costs.network)]
    return sum(moved, np.full(1, costs.compute_energy))
