"""What the search leaves out by its bounds: as much as they allow, no more."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from flat_mapper.mapper.group.beam import narrowest
from flat_mapper.mapper.group.incumbent import GoalIncumbent
from flat_mapper.mapper.group.objective import Goal
from flat_mapper.mapper.group.promise import promising


def test_the_fewest_units_are_the_first_that_can_improve() -> None:
    """Of 64 steps, 8 units take 8 cycles and 7 units more than 9; 9 are known."""
    bounds = SimpleNamespace(
        problem=SimpleNamespace(spaces=[SimpleNamespace(lane_cycles=64.0, widest=16)]),
        busy=lambda position, cycles, outers: np.array([cycles]),
    )
    incumbent = GoalIncumbent.of((Goal(kind="latency"),), ((9.0, 1.0),))
    outers = SimpleNamespace(cycles=np.array([1.0]), energy=np.array([1.0]))
    assert narrowest(bounds, incumbent, outers) == [8]  # type: ignore[arg-type]


def test_what_dram_takes_at_least_is_added_to_every_candidate() -> None:
    """Of two candidates the one of 45 pJ inside is hopeless beside 10 pJ of DRAM: 50 are known."""
    energies = {True: np.array([10.0, 10.0]), False: np.array([10.0, 45.0])}
    candidates = SimpleNamespace(
        energy=lambda roles, priced, share: energies[priced], cycles=np.array([1.0, 1.0])
    )
    outers = SimpleNamespace(
        staged=np.array([0.0]), floors=np.array([10.0]), cycles=np.array([1.0])
    )
    problem = SimpleNamespace(cycles_add=[1.0], spaces=[None], masked_pair=None)
    bounds = SimpleNamespace(problem=problem)
    incumbent = GoalIncumbent.of((Goal(kind="energy"),), ((100.0, 50.0),))
    (left,) = promising(bounds, incumbent, None, [candidates], outers, None)  # type: ignore[arg-type]
    assert left.tolist() == [True, False]
