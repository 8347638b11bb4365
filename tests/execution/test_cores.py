"""Mappings on many cores, executed tile by tile: the model has to say what happens."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from execution.random_cores import random_cores_case

from flat_mapper.backends.agreement import compare_run
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Result
from flat_mapper.energy.tables import unpriced
from flat_mapper.execution.run import execute
from flat_mapper.mapping.cores import shrunk

WIDTHS = (4, 8, 12, 16, 24, 32)


def agree(seed: int, *, widths: bool = False, shrink: bool = False) -> None:
    """Nothing differs between an execution and what the model says."""
    workload, platform, mapping = random_cores_case(seed)
    if shrink:
        workload, mapping = shrunk(workload, mapping, platform)
    if widths:
        rng = random.Random(seed)
        bits = {tensor: rng.choice(WIDTHS) for tensor in sorted(workload.tensor_ranks)}
        workload = replace(workload, tensor_bits=bits)
    executed = execute(workload, platform, mapping)
    assert executed.right, f"seed {seed}: {executed.errors}"
    result = evaluate(workload, platform, mapping, unpriced(platform))
    assert isinstance(result, Result), f"seed {seed}: {result}"
    found = [*compare_run(executed, result)]
    assert found == [], f"seed {seed}"


# Beside the first: lists whose places share by multicast as little as one of them.
@pytest.mark.parametrize("seed", [*range(40), 65])
def test_the_model_says_what_cores_do(seed: int) -> None:
    agree(seed)


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 5, 8, 13, 21, 232])
def test_the_model_says_what_cores_do_with_tensors_of_their_own_widths(seed: int) -> None:
    """With 232: of two inputs whose place an output may take, the second is the wider."""
    agree(seed, widths=True)


@pytest.mark.parametrize("seed", range(20))
def test_the_model_says_what_cores_do_with_fewer_tiles(seed: int) -> None:
    agree(seed, shrink=True)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(20, 400))
def test_fewer_tiles_hundreds_of_times(seed: int) -> None:
    agree(seed, shrink=True)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(400))
def test_widths_of_their_own_hundreds_of_times(seed: int) -> None:
    agree(seed, widths=True)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(40, 400))
def test_the_model_says_what_cores_do_hundreds_of_times(seed: int) -> None:
    agree(seed)
