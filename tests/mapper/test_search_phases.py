"""The search in the schedule `phases` against brute force."""

from __future__ import annotations

from dataclasses import replace

import pytest
from agreement import agree
from oracles.brute_force import BEHIND
from oracles.fused_questions import fused_question

PHASES = tuple(BEHIND)
# Questions of three Einsums T, G, Y on two units with two copies of what crosses DRAM.
SEEDS = tuple(
    seed
    for seed in range(400)
    if [(e.name, e.unit) for e in fused_question(seed).workload.einsums]
    == [("T", "matrix"), ("G", "vector"), ("Y", "matrix")]
)


@pytest.mark.parametrize("seed", SEEDS[:4])
def test_search_finds_what_brute_force_finds(seed: int) -> None:
    case = fused_question(seed)
    space = case.mapspace
    fusion = replace(space.fusion, schedule="phases", phases=PHASES[seed % 3], optional=False)
    policy = replace(space.policy, buffering=2.0)
    assert agree(replace(case, mapspace=replace(space, fusion=fusion, policy=policy)), seed)
