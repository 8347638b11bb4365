"""Mappings on many cores, executed tile by tile: the model has to say what happens."""

from __future__ import annotations

import pytest
from execution.random_cores import random_cores_case

from flat_mapper.backends.referee import compare
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Result
from flat_mapper.energy.tables import unpriced
from flat_mapper.execution.run import execute


def agree(seed: int) -> None:
    """Nothing differs between an execution and what the model says."""
    workload, platform, mapping = random_cores_case(seed)
    executed = execute(workload, platform, mapping)
    assert executed.right, f"seed {seed}: {executed.errors}"
    result = evaluate(workload, platform, mapping, unpriced(platform))
    assert isinstance(result, Result), f"seed {seed}: {result}"
    found = [d for d in compare(executed, result) if not d.reason]
    assert found == [], f"seed {seed}"


@pytest.mark.parametrize("seed", range(40))
def test_the_model_says_what_cores_do(seed: int) -> None:
    agree(seed)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(40, 400))
def test_the_model_says_what_cores_do_hundreds_of_times(seed: int) -> None:
    agree(seed)
