"""The search held against brute force."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from oracles.brute_force import Case, answers

from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Result
from flat_mapper.mapper.solve.optimum import search
from flat_mapper.mapper.solve.result import Solution


def value(result: Result, objective: str) -> float:
    costs = {"latency": result.latency_s, "energy": result.energy_pj, "edp": result.edp_js}
    return costs[objective]


def agree(
    case: Case,
    seed: int,
    answered: Callable[[Case], Mapping[str, Result | None]] = answers,
    *,
    proven: bool = True,
) -> Mapping[str, Result | None]:
    """The same best value for each objective, or both find that nothing fits; returns the truths.

    answered: the brute force. proven: whether the search says that its answer is the best; else
              its bound is held below that of brute force.
    """
    truths = answered(case)
    for objective, truth in truths.items():
        found = search(case.workload, case.platform, case.mapspace, case.ert, objective=objective)
        where = f"seed {seed}, {objective}"
        if truth is None:
            assert not isinstance(found, Solution), where
            continue
        assert isinstance(found, Solution), f"{where}: {found}"
        best = value(truth, objective)
        assert found.certificate.optimal or not proven, where
        assert found.certificate.proven_bound <= best * (1 + 1e-9), where
        priced = evaluate(found.workload, case.platform, found.result.mapping, case.ert)
        assert isinstance(priced, Result), f"{where}: {priced}"
        assert value(priced, objective) == pytest.approx(value(found.result, objective), rel=1e-12)
        assert value(found.result, objective) == pytest.approx(best, rel=1e-9), where
    return truths
