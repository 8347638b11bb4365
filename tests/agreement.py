"""The search held against brute force."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest
from oracles.brute_force import Case, answers

from flat_mapper.base.budget import Budget, Limits
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.mapper.group.incumbent import Objective
from flat_mapper.mapper.solve.certificate import Solution
from flat_mapper.mapper.solve.driver import search


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


def answer(case: Case, limits: Limits, objective: Objective) -> Solution | Infeasible:
    """The search's answer under limits."""
    what = case.workload, case.platform, case.mapspace, case.ert
    return search(*what, objective=objective, budget=Budget(limits=limits))


def limits_at(edge: Result) -> tuple[Limits, Limits]:
    """Limits that a mapping just keeps: of latency, and of energy."""
    energy = edge.energy_pj * 1e-12 * (1 + 1e-9)
    return Limits(latency_s=edge.latency_s), Limits(energy_j=energy)


def best_within(limits: Limits, front: Sequence[Result], objective: Objective) -> float:
    """The best value of the mappings that keep limits."""
    return min(
        value(r, objective)
        for r in front
        if r.latency_s <= limits.latency_s * (1 + 1e-12) and r.energy_pj <= limits.energy_j * 1e12
    )
