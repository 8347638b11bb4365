"""Limits of latency and energy on the cores of a chip, against brute force."""

from __future__ import annotations

from functools import cache

import pytest
from agreement import answer, best_within, limits_at, value
from oracles.brute_force import Case
from oracles.chip_cases import chip_question
from oracles.many_cores import judged, options

from flat_mapper.base.budget import Limits
from flat_mapper.base.errors import SpecError
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.mapper.group.incumbent import OBJECTIVES
from flat_mapper.mapper.solve.certificate import Solution

SEEDS = (18, 25, 100)  # quick, with 5 to 8 mappings on the front


@cache
def every(seed: int) -> tuple[Case, list[Result]]:
    """A case, and the mappings on the front of latency and energy by brute force."""
    case = chip_question(seed)
    ranked = sorted(
        (judged(*option) for option in options(case)), key=lambda r: (r.latency_s, r.energy_pj)
    )
    front: list[Result] = []
    for result in ranked:
        if not front or result.energy_pj < front[-1].energy_pj * (1 - 1e-12):
            front.append(result)
    return case, front


@pytest.mark.parametrize("seed", SEEDS)
def test_limits_on_cores_leave_the_best_of_what_keeps_them(seed: int) -> None:
    case, front = every(seed)
    assert front
    for edge in (front[0], front[len(front) // 2], front[-1]):
        for limits in limits_at(edge):
            for objective in OBJECTIVES:
                found = answer(case, limits, objective)
                assert isinstance(found, Solution), found
                best = best_within(limits, front, objective)
                assert found.certificate.proven_bound <= best * (1 + 1e-9)
                assert value(found.result, objective) == pytest.approx(best, rel=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_no_mapping_on_cores_keeps_names_the_limit(seed: int) -> None:
    case, front = every(seed)
    fast, lean = front[0], front[-1]
    found = answer(case, Limits(latency_s=fast.latency_s * 0.9), "edp")
    assert isinstance(found, Infeasible)
    assert found.level == "--max-latency"
    assert found.needs == pytest.approx(fast.latency_s * 1e9, abs=1)
    found = answer(case, Limits(energy_j=lean.energy_pj * 0.9e-12), "edp")
    assert isinstance(found, Infeasible)
    assert found.level == "--max-energy"
    assert found.needs == pytest.approx(lean.energy_pj, abs=1)


def test_limits_that_the_search_on_cores_has_not_are_refused() -> None:
    with pytest.raises(SpecError, match=r"--max-buffer: expected none .*, got '100 bytes'"):
        answer(chip_question(1), Limits(buffer_bytes=100), "edp")
    with pytest.raises(SpecError, match=r"--max-energy: expected one fused group, .*'several'"):
        answer(chip_question(26), Limits(latency_s=1), "edp")
