"""Limits of latency and energy on the cores of a chip, against brute force."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from agreement import answer, best_within, limits_at, value
from oracles.brute_force import Case
from oracles.chip_cases import chip_question
from oracles.many_cores import judged, options

import flat_mapper as fm
from flat_mapper.arch.values import Architecture
from flat_mapper.base.budget import Budget, Limits
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.mapper.group.incumbent import OBJECTIVES
from flat_mapper.mapper.solve.certificate import Solution
from flat_mapper.mapper.solve.driver import frontier

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


def points_of(found: tuple[Solution, ...]) -> np.ndarray:
    """Seconds and pJ of each; float64[n, 2]."""
    return np.array([(s.result.latency_s, s.result.energy_pj) for s in found])


@pytest.mark.parametrize("seed", [*SEEDS, 26])
def test_the_front_on_cores_is_that_of_all_mappings(seed: int) -> None:
    """Of one group, and of several (26); some of it within limits, and near it within a gap."""
    case, front = every(seed)
    what = case.workload, case.platform, case.mapspace, case.ert
    costs = [(r.latency_s, r.energy_pj) for r in front]
    found = frontier(*what)
    assert isinstance(found, tuple)
    assert points_of(found) == pytest.approx(np.array(costs), rel=1e-9)
    assert all(s.certificate.optimal and s.certificate.gap == 0 for s in found)
    middle = Limits(latency_s=costs[-1][0] * (1 - 1e-9), energy_j=costs[0][1] * (1 - 1e-9) * 1e-12)
    inner = frontier(*what, budget=Budget(limits=middle))
    kept = [c for c in costs if c[0] <= middle.latency_s and c[1] <= middle.energy_j * 1e12]
    if kept:
        assert isinstance(inner, tuple)
        assert points_of(inner) == pytest.approx(np.array(kept), rel=1e-9)
    else:
        assert isinstance(inner, Infeasible)
    near = frontier(*what, budget=Budget(gap=0.1))
    assert isinstance(near, tuple)
    gap = near[0].certificate.gap
    points = points_of(near)
    for c, e in costs:
        assert any(max(x / c, y / e) <= (1 + gap) * (1 + 1e-9) for x, y in points)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_limit_of_the_buffer_on_cores_is_a_smaller_buffer(seed: int) -> None:
    case, _ = every(seed)
    has = case.platform.matrix.level("GLB")
    assert has.usable_words is not None
    words = max(1, has.usable_words // 2)

    def path(arch: Architecture) -> Architecture:
        nodes = (replace(n, capacity_words=words) if n.name == "GLB" else n for n in arch.nodes)  # type: ignore[arg-type]
        return replace(arch, nodes=tuple(nodes))

    small = replace(case, platform=case.platform.changed(path))
    limit = Limits(buffer_bytes=words * has.word_bits / 8)
    one, other = answer(case, limit, "energy"), answer(small, Limits(), "energy")
    assert isinstance(one, Solution) == isinstance(other, Solution)
    if isinstance(one, Solution) and isinstance(other, Solution):
        assert value(one.result, "energy") == pytest.approx(value(other.result, "energy"))


def test_a_limit_that_the_best_keeps_takes_nothing() -> None:
    problem = fm.load_problem("bert-base", sizes={"B": 1}, seq=128, softmax="online")
    free = fm.search(problem, "a100", "cores", objective="edp")
    limit = 1.5e-12 * free.result.energy_pj
    under = fm.search(problem, "a100", "cores", objective="edp", max_energy_j=limit)
    assert under.result.edp_js == pytest.approx(free.result.edp_js, rel=1e-9)
    assert under.certificate.gap <= 1e-3


@pytest.mark.nightly
@pytest.mark.parametrize("budget", [{"gap": 0}, {"gap": 0, "time_limit": 150}, {}])
def test_of_equal_latency_on_cores_the_least_energy_is_taken(budget: dict[str, float]) -> None:
    """65,539 cycles of 14.24 mJ were the answer; 3.1 mJ are enough, and 1.74 at 72,709 cycles."""
    problem = fm.load_problem("llama3-8b", seq=512, softmax="row", mask="none")
    found = fm.search(problem, "tpu-v4i-cores", "cores", objective="latency", **budget)
    assert found.result.cycles == 65_539
    assert found.result.energy_pj < 3.2e9
