"""The search in the schedule `phases` against brute force."""

from __future__ import annotations

from dataclasses import replace

import pytest
from agreement import agree
from oracles.brute_force import BEHIND
from oracles.fused_questions import fused_question

from flat_mapper.mapping.values import Prefetch

PHASES = tuple(BEHIND)
# Questions of three Einsums T, G, Y on two units with two copies of what crosses DRAM.
SEEDS = tuple(
    seed
    for seed in range(130)
    if [(e.name, e.unit) for e in fused_question(seed).workload.einsums]
    == [("T", "matrix"), ("G", "vector"), ("Y", "matrix")]
)
BY_NIGHT = ((1, "ideal"), (2, "held"), (6, "held"), (9, "ideal"))


@pytest.mark.parametrize(
    ("number", "prefetch"),
    [
        (6, "ideal"),
        (0, "held"),
        (1, "held"),
        *(pytest.param(*own, marks=pytest.mark.nightly) for own in BY_NIGHT),
    ],
)
def test_search_finds_what_brute_force_finds(number: int, prefetch: Prefetch) -> None:
    case = fused_question(SEEDS[number])
    space = case.mapspace
    fusion = replace(space.fusion, schedule="phases", phases=PHASES[number % 3], optional=False)
    policy = replace(space.policy, buffering=2.0, prefetch=prefetch)
    assert agree(replace(case, mapspace=replace(space, fusion=fusion, policy=policy)), number)
