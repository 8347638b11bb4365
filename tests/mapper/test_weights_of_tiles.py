"""Tiles whose outer choices were bounded under one weight: no mapping is below under another."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tile_questions import LEAST, laid_out, searches_between

from flat_mapper.mapper.group.objective import Goal
from flat_mapper.mapper.solve.on_cores import tiles_on_cores
from flat_mapper.mapper.solve.solve import solve_group
from flat_mapper.mapper.solve.tile_search import GroupOnTiles, _Waiting

WEIGHTS = (0.01, 1.0, 30.0)


def assert_no_mapping_below(search: GroupOnTiles, item: _Waiting) -> int:
    """Of the best mapping of a core, in every way to give its tile out; returns how many."""
    goal, priced = search.question.goal, 0
    assert item.left == 0
    alone, _ = solve_group(search._of_core(item.one), goal, None)
    for cycles, pj in laid_out(search, item.one, alone):
        priced += 1
        assert item.least <= (goal.weight * cycles + pj) * (1 + LEAST), item.one
    return priced


def assert_weights_hold(seed: int, few: int) -> int:
    """Of so many tiles of a question; returns mappings that were priced, none below its bound."""
    goal, priced = Goal(kind="weighted", weight=0.3), 0
    for search, some in searches_between(seed, goal, few):
        for item in some:
            while item.left:
                item = search._bounded(item)
        for weight in WEIGHTS:
            question = replace(search.question, goal=replace(goal, weight=weight))
            group = some[0].one.group
            other = GroupOnTiles(
                question=question,
                workload=search.workload,
                every=tiles_on_cores(question, search.workload, group),
            )
            other.learn([search])
            known = {item.number: item for item in other._queue}
            priced += sum(assert_no_mapping_below(other, known[item.number]) for item in some)
    return priced


@pytest.mark.parametrize("seed", [0, 4, 9])
def test_bounds_of_one_weight_hold_under_another(seed: int) -> None:
    assert assert_weights_hold(seed, 4) > 0


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(100))
def test_bounds_of_one_weight_hold_under_another_of_many_questions(seed: int) -> None:
    assert assert_weights_hold(seed, 4) >= 0
