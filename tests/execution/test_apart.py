"""Fanouts whose instances each read for themselves: the model has to say what is executed."""

from __future__ import annotations

import pytest
from execution.random_apart import random_apart_case
from execution.random_fused import random_case

from flat_mapper.backends.agreement import compare_run
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Result
from flat_mapper.energy.tables import unpriced
from flat_mapper.execution.run import execute


def agree(seed: int) -> bool:
    """Nothing differs between an execution and the model; whether words are read apart in it."""
    workload, platform, mapping = random_apart_case(seed)
    executed = execute(workload, platform, mapping)
    assert executed.right, f"seed {seed}: {executed.errors}"
    result = evaluate(workload, platform, mapping, unpriced(platform))
    assert isinstance(result, Result), f"seed {seed}: {result}"
    assert compare_run(executed, result) == (), f"seed {seed}"
    return executed.counts != execute(workload, random_case(seed)[1], mapping).counts


def test_the_model_says_what_instances_read_for_themselves() -> None:
    assert sum(agree(seed) for seed in range(60)) > 30


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(60, 660))
def test_the_model_says_what_instances_read_for_themselves_hundreds_of_times(seed: int) -> None:
    agree(seed)
