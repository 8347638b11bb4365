"""Limits of latency, energy and buffer beside the objective, against brute force."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import small_platform as small
from agreement import answer, best_within, limits_at, value
from oracles.brute_force import Case, judged, options, total_cycles, total_energy
from oracles.small_cases import online_case, small_case, turns_case
from prices import PRICES

import flat_mapper as fm
from flat_mapper.base.budget import Limits
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.mapper.group.incumbent import OBJECTIVES
from flat_mapper.mapper.solve.certificate import Solution
from flat_mapper.mapper.solve.driver import search
from flat_mapper.mapping.sharing import shared_level
from flat_mapper.mapping.space_reader import load_mapspace
from flat_mapper.workload.cascade import attention

KINDS = {"small": small_case, "online": online_case, "turns": turns_case}
QUESTIONS = (("small", 1), ("small", 4), ("small", 9), ("online", 5), ("turns", 4), ("turns", 10))


@cache
def every(kind: str, seed: int) -> tuple[Case, list[Result]]:
    """A case, and the mappings on the front of latency and energy by brute force."""
    case = KINDS[kind](seed)
    ranked = sorted(options(case), key=lambda o: (total_cycles(*o), total_energy(*o)))
    front, least = [], float("inf")
    for option in ranked:
        if total_energy(*option) < least * (1 - 1e-12):
            least = total_energy(*option)
            front.append(judged(*option))
    return case, front


@pytest.mark.parametrize(("kind", "seed"), QUESTIONS)
def test_limits_leave_the_best_of_what_keeps_them(kind: str, seed: int) -> None:
    case, front = every(kind, seed)
    for edge in front:
        for limits in limits_at(edge):
            for objective in OBJECTIVES:
                found = answer(case, limits, objective)
                assert isinstance(found, Solution), found
                assert found.certificate.optimal
                best = best_within(limits, front, objective)
                assert value(found.result, objective) == pytest.approx(best, rel=1e-9)


@pytest.mark.parametrize(("kind", "seed"), QUESTIONS)
def test_what_no_mapping_keeps_names_the_limit(kind: str, seed: int) -> None:
    case, front = every(kind, seed)
    if not front:
        return
    fast, lean = front[0], front[-1]
    found = answer(case, Limits(latency_s=fast.latency_s * 0.9), "edp")
    assert isinstance(found, Infeasible)
    assert found.level == "--max-latency"
    assert found.needs == pytest.approx(fast.latency_s * 1e9, abs=1)
    found = answer(case, Limits(energy_j=lean.energy_pj * 0.9e-12), "edp")
    assert isinstance(found, Infeasible)
    assert found.level == "--max-energy"
    assert found.needs == pytest.approx(lean.energy_pj, abs=1)
    if len(front) > 1:
        both = Limits(latency_s=fast.latency_s, energy_j=lean.energy_pj * 1e-12 * (1 + 1e-9))
        found = answer(case, both, "edp")
        assert isinstance(found, Infeasible)
        assert found.needs == pytest.approx(lean.latency_s * 1e9, abs=1)


@pytest.mark.parametrize(("kind", "seed"), QUESTIONS[:3])
def test_a_limit_of_the_buffer_is_a_smaller_buffer(kind: str, seed: int) -> None:
    case, _ = every(kind, seed)
    level = shared_level(case.platform)
    assert level.usable_words is not None
    for words in range(1, level.usable_words, max(1, level.usable_words // 4)):
        limits = Limits(buffer_bytes=words * level.word_bits / 8)
        found = answer(case, limits, "energy")
        smaller = replace(case, platform=_with_words(case, words))
        truth = answer(smaller, Limits(), "energy")
        if isinstance(truth, Infeasible):
            assert isinstance(found, Infeasible)
            assert found.has == words
        else:
            assert isinstance(found, Solution)
            assert found.result.energy_pj == pytest.approx(truth.result.energy_pj, rel=1e-12)
            assert found.result.groups[0].buffer.live_words <= words


def _with_words(case: Case, words: int):  # type: ignore[no-untyped-def]
    name = shared_level(case.platform).name

    def path(arch):  # type: ignore[no-untyped-def]
        nodes = tuple(replace(n, capacity_words=words) if n.name == name else n for n in arch.nodes)
        return replace(arch, nodes=nodes)

    vector = case.platform.vector
    return replace(
        case.platform,
        matrix=path(case.platform.matrix),
        vector=None if vector is None else path(vector),
    )


def test_what_is_not_fused_for_want_of_two_words_is_named() -> None:
    """Four rows of 64 keys and two scalars, of a softmax alone, in 256 words; then in 288."""
    problem, space = attention(B=1, H=1, P=8, M=64, E=4, F=4), load_mapspace("flat")
    tight, roomy = (search(problem, small.platform(rows=n), space, PRICES) for n in ("8", "9"))
    assert isinstance(tight, Solution)
    assert isinstance(roomy, Solution)
    (reason,) = tight.certificate.infeasible.values()
    assert "GLB: needs 258 words" in reason
    assert len(tight.result.mapping.groups) == 1
    assert roomy.certificate.infeasible == {}


def test_of_equal_latency_the_least_energy_is_taken_gap_or_not() -> None:
    problem = fm.load_problem("bert-base", seq=512)
    near = fm.search(problem, "edge", objective="latency")
    whole = fm.search(problem, "edge", objective="latency", gap=0)
    limit = near.result.latency_s
    least = fm.search(problem, "edge", objective="energy", max_latency_s=limit)
    assert near.result.cycles == whole.result.cycles
    for found in (near, whole):
        assert found.result.energy_pj <= least.result.energy_pj * (1 + 2e-3)
