"""Loops of any extents: what the model counts is what runs, to the last pass."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from execution.random_extents import alone_case, fused_case

from flat_mapper.arch.values import Platform
from flat_mapper.backends.agreement import Disagreement, compare_run
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Result
from flat_mapper.energy.tables import unpriced
from flat_mapper.execution.run import execute
from flat_mapper.mapping.cores import shrunk
from flat_mapper.mapping.values import FusedMapping
from flat_mapper.workload.graph import Workload

Case = Callable[[int], tuple[Workload, Platform, FusedMapping]]
KINDS: dict[str, Case] = {
    "alone": alone_case,
    "fused": partial(fused_case, masked=False),
    "masked": partial(fused_case, masked=True),
}


def differences(kind: str, seed: int) -> list[Disagreement]:
    """What the model says otherwise than an execution, whose numbers are right."""
    workload, platform, mapping = KINDS[kind](seed)
    executed = execute(workload, platform, mapping)
    assert executed.right, f"{kind} {seed}: {executed.errors}"
    result = evaluate(workload, platform, mapping, unpriced(platform))
    assert isinstance(result, Result), f"{kind} {seed}: {result}"
    return [*compare_run(executed, result)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", range(0, 40, 10))
def test_what_is_counted_is_what_runs(kind: str, first: int) -> None:
    for seed in range(first, first + 10):
        assert differences(kind, seed) == [], f"{kind} {seed}"


@pytest.mark.parametrize("seed", [131, 668])
def test_a_result_that_is_done_is_read_before_its_unit_goes_on(seed: int) -> None:
    """Units at work at once: the division of a row's sum comes between two corrections."""
    assert differences("fused", seed) == []


@pytest.mark.parametrize("seed", [55, 756])
def test_a_division_comes_between_a_product_and_the_one_that_takes_its_place(seed: int) -> None:
    """Scores two passes on wait for room, and the products after these for the division."""
    assert differences("masked", seed) == []


@pytest.mark.parametrize(("kind", "seed"), [("fused", 172), ("fused", 534), ("masked", 302)])
def test_full_tiles_come_late_after_a_short_pass(kind: str, seed: int) -> None:
    """Units in turn; past some of these streams take all of DRAM's bandwidth."""
    assert differences(kind, seed) == []


@pytest.mark.nightly
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_counted_is_what_runs_at_night(kind: str) -> None:
    for seed in range(40, 400):
        assert differences(kind, seed) == [], f"{kind} {seed}"


def test_a_shrunk_mapping_runs_too() -> None:
    """Two passes of every loop outside, with last pieces further in."""
    cut = 0
    for seed in range(12):
        whole, platform, mapping = KINDS["fused"](seed)
        workload, small = shrunk(whole, mapping, platform)
        cut += workload.rank_sizes != whole.rank_sizes
        executed = execute(workload, platform, small)
        assert executed.right, f"{seed}: {executed.errors}"
        result = evaluate(workload, platform, small, unpriced(platform))
        assert isinstance(result, Result), seed
        assert compare_run(executed, result) == (), seed
    assert cut > 2
