"""Widths of their own at each level: the model has to say what is executed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from execution.random_cores import random_cores_case
from execution.random_fused import random_case
from oracles.level_widths import with_level_widths

from flat_mapper.arch.values import Platform
from flat_mapper.backends.agreement import compare_run
from flat_mapper.base.formats import SUMS
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Result
from flat_mapper.energy.tables import unpriced
from flat_mapper.execution.run import execute
from flat_mapper.mapping.cores import levels_between
from flat_mapper.mapping.values import FusedMapping
from flat_mapper.workload.graph import Workload


def agree(workload: Workload, platform: Platform, mapping: FusedMapping, seed: int) -> bool:
    """Nothing differs between an execution and the model; whether widths change the latency."""
    between = {
        level.name
        for group in mapping.groups
        for level in levels_between(platform.matrix, group.level or platform.matrix.levels[1].name)
    }
    wide = with_level_widths(workload, platform, seed, between)
    executed = execute(wide, platform, mapping)
    assert executed.right, f"seed {seed}: {executed.errors}"
    result = evaluate(wide, platform, mapping, unpriced(platform))
    assert isinstance(result, Result), f"seed {seed}: {result}"
    assert compare_run(executed, result) == (), f"seed {seed}"
    same = replace(
        wide, tensor_bits={t: wide.width(t, platform.dram.name) for t in wide.tensor_bits}
    )
    other = evaluate(same, platform, mapping, unpriced(platform))
    return not isinstance(other, Result) or other.buffers() != result.buffers()


@pytest.mark.parametrize("cores", [False, True])
def test_the_model_says_what_levels_do_with_widths_of_their_own(cores: bool) -> None:
    case = random_cores_case if cores else random_case
    assert sum(agree(*case(seed), seed) for seed in range(20)) > 10


def agree_on_sums(workload: Workload, platform: Platform, mapping: FusedMapping) -> bool:
    """Nothing differs where sums are four times as wide as words; whether that moves more words."""
    wide = replace(workload, tensor_bits={SUMS: 4 * workload.word_bits})
    executed = execute(wide, platform, mapping)
    assert executed.right
    result, plain = (evaluate(w, platform, mapping, unpriced(platform)) for w in (wide, workload))
    assert isinstance(result, Result)
    assert isinstance(plain, Result)
    assert compare_run(executed, result) == ()
    words = [[lv.moved for e in one.einsums for lv in e.levels] for one in (result, plain)]
    return words[0] != words[1]


@pytest.mark.parametrize("cores", [False, True])
def test_the_model_says_what_levels_do_with_sums(cores: bool) -> None:
    case = random_cores_case if cores else random_case
    assert sum(agree_on_sums(*case(seed)) for seed in range(6)) > 3


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(6, 306))
def test_the_model_says_what_levels_do_with_sums_hundreds_of_times(seed: int) -> None:
    agree_on_sums(*random_case(seed))
    agree_on_sums(*random_cores_case(seed))


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(20, 420))
def test_widths_of_their_own_at_each_level_hundreds_of_times(seed: int) -> None:
    agree(*random_case(seed), seed)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(20, 220))
def test_widths_of_their_own_at_each_level_on_cores(seed: int) -> None:
    agree(*random_cores_case(seed), seed)
