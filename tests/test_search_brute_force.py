"""The search against brute force: the same best value, or both find that nothing fits."""

from __future__ import annotations

import pytest
from oracles.brute_force import Case, best
from oracles.small_cases import small_case

from flat_mapper.model.evaluate import evaluate
from flat_mapper.model.result import Result
from flat_mapper.search import search
from flat_mapper.search.solution import Solution

OBJECTIVES = ("latency", "energy", "edp")


def value(result: Result, objective: str) -> float:
    costs = {"latency": result.latency_s, "energy": result.energy_pj, "edp": result.edp_js}
    return costs[objective]


def agree(case: Case, seed: int) -> None:
    for objective in OBJECTIVES:
        truth = best(case, objective)
        found = search(case.workload, case.platform, case.mapspace, case.ert, objective=objective)
        where = f"seed {seed}, {objective}"
        if truth is None:
            assert not isinstance(found, Solution), where
            continue
        assert isinstance(found, Solution), f"{where}: {found}"
        assert found.certificate.optimal, where
        priced = evaluate(case.workload, case.platform, found.result.mapping, case.ert)
        assert isinstance(priced, Result), f"{where}: {priced}"
        assert value(priced, objective) == pytest.approx(value(found.result, objective), rel=1e-12)
        assert value(found.result, objective) == pytest.approx(value(truth, objective), rel=1e-9), (
            where
        )


@pytest.mark.parametrize("seed", range(10))
def test_search_finds_what_brute_force_finds(seed: int) -> None:
    agree(small_case(seed), seed)
