"""The search on the cores of a chip against brute force: the same best value, bounds below it."""

from __future__ import annotations

import pytest
from agreement import value
from oracles.brute_force import Case
from oracles.chip_cases import chip_question
from oracles.many_cores import answers

from flat_mapper.backends.referee import compare
from flat_mapper.cost_model.result import Result
from flat_mapper.execution.run import execute
from flat_mapper.mapper.solve.optimum import search
from flat_mapper.mapper.solve.result import Solution


def agree(seed: int) -> dict[str, Result | None]:
    """For each objective the best value of all mappings; returns these."""
    case = chip_question(seed)
    truths = answers(case)
    for objective, truth in truths.items():
        found = search(case.workload, case.platform, case.mapspace, case.ert, objective=objective)
        where = f"seed {seed}, {objective}"
        if truth is None:
            assert not isinstance(found, Solution), where
            continue
        assert isinstance(found, Solution), f"{where}: {found}"
        best = value(truth, objective)
        assert value(found.result, objective) == pytest.approx(best, rel=1e-9), where
        assert found.certificate.proven_bound <= best * (1 + 1e-9), where
    return truths


# The quickest of each kind: products, row softmax, online softmax, under a mask.
SEEDS = (1, 2, 4, 8)


@pytest.mark.parametrize("seed", SEEDS)
def test_search_finds_what_brute_force_finds_on_a_chip(seed: int) -> None:
    agree(seed)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(300))
def test_search_finds_what_brute_force_finds_on_hundreds_of_chips(seed: int) -> None:
    truths = agree(seed)
    if truths["latency"] is not None:
        does_what_it_says(chip_question(seed), truths["latency"])


def does_what_it_says(case: Case, truth: Result) -> None:
    """A best mapping by brute force, executed core by core."""
    executed = execute(case.workload, case.platform, truth.mapping)
    assert executed.right
    assert [d for d in compare(executed, truth) if not d.reason] == []


def test_the_best_mapping_of_a_chip_does_what_brute_force_says() -> None:
    case = chip_question(8)
    truth = answers(case)["latency"]
    assert truth is not None
    does_what_it_says(case, truth)
