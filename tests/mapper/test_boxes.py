"""The bound of any size: no mapping of whatever extents is below it."""

from __future__ import annotations

import random

import pytest
from execution.random_extents import fused_case

import flat_mapper as fm
from flat_mapper.base.budget import Budget
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Result
from flat_mapper.energy.tables import Ert, unpriced
from flat_mapper.mapper.group.incumbent import OBJECTIVES, Goal
from flat_mapper.mapper.solve.driver import Question
from flat_mapper.mapping.sharing import shared_level
from flat_mapper.mapping.space import Fusion, Mapspace
from flat_mapper.reports.answers import SearchResult


def beaten(seed: int) -> tuple[int, list[str]]:
    """Objectives in which a drawn mapping is below the bound; and how many were compared."""
    workload, platform, mapping = fused_case(seed, masked=False)
    rng, none = random.Random(seed), unpriced(platform)
    prices = {
        name: {action: rng.choice((0.0, 1.0, 30.0, 500.0)) for action in own}
        for name, own in none.levels.items()
    }
    ert = Ert(levels=prices, source="chosen")
    result = evaluate(workload, platform, mapping, ert)
    group = mapping.groups[0]
    inputs = [a.tensor for n in group.names for a in workload.einsum(n).inputs]
    twice = {t for t in inputs if inputs.count(t) > 1 and t not in workload.producers}
    kept = {t for nest in group.einsums for t in nest.kept_at(shared_level(platform).name)}
    if not isinstance(result, Result) or group.names != (*workload.ancestors,) or twice - kept:
        return 0, []  # what two Einsums read stays between them in every mapspace
    fusion = Fusion(groups=(group.names,), schedule=group.schedule)
    space = Mapspace(name="own", fusion=fusion, policy=mapping.policy)
    opened = Question(workload, platform, space, ert, Budget()).opened()
    wrong = []
    for kind in OBJECTIVES:
        goal = Goal(kind=kind)
        value = goal.first(result.cycles, result.energy_pj)
        least = opened.least_of_any_size(goal, look=True)
        if least > value * (1 + 1e-9):
            wrong.append(f"{seed}: {kind} {value} below {least}")
    return 1, wrong


def test_a_tile_that_fills_the_buffer_is_found_though_it_does_not_divide() -> None:
    """FLAT's question, against a mapping by hand with tiles of 60 rows and a last one of 16."""
    best = fm.search("bert-base", "edge", "flat", seq=4096, gap=1e-3)
    assert isinstance(best, SearchResult)
    assert best.result.edp_js <= 12.34
    assert best.certificate.gap < 1e-3
    asked = fm.search("bert-base", "edge", "flat", seq=4096, gap=0.0)
    assert isinstance(asked, SearchResult)
    assert asked.certificate.gap == 0.0
    assert asked.result.edp_js > best.result.edp_js


def test_a_limit_is_held_against_tiles_that_do_not_divide() -> None:
    """No mapping with tiles that divide takes less than 2.27 s."""
    best = fm.search("bert-base", "edge", "flat", seq=4096, gap=1e-3, max_latency_s=2.0)
    assert isinstance(best, SearchResult)
    assert best.result.latency_s < 2.0
    none = fm.search("bert-base", "edge", "flat", seq=4096, gap=1e-3, max_latency_s=1.9)
    assert isinstance(none, fm.Infeasible)
    assert 1.9e9 < none.needs < 1.94e9


def test_no_drawn_mapping_is_below_the_bound_of_any_size() -> None:
    found = [beaten(seed) for seed in range(8)]
    assert sum(one for one, _ in found) > 4
    assert [line for _, lines in found for line in lines] == []


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(8, 400))
def test_no_drawn_mapping_is_below_the_bound_of_any_size_hundreds_of_times(seed: int) -> None:
    assert beaten(seed)[1] == []
