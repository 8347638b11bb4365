"""Tiles whose outer choices were bounded under one weight: no mapping is below under another."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from mapper.test_on_cores import many, on_cores
from mapper.test_streams_to_cores import LEAST, priced_between, with_level_between
from oracles.fused_questions import fused_question

from flat_mapper.base.budget import Budget
from flat_mapper.cost_model.chip.group import group_on_cores
from flat_mapper.cost_model.chip.totals import chip_stats
from flat_mapper.cost_model.result import Infeasible
from flat_mapper.mapper.chip.question import Question
from flat_mapper.mapper.group.objective import Goal
from flat_mapper.mapper.group.reconstruct import group_mapping
from flat_mapper.mapper.solve.on_cores import tiles_on_cores
from flat_mapper.mapper.solve.solve import solve_group
from flat_mapper.mapper.solve.tile_search import GroupOnTiles, _Waiting
from flat_mapper.mapping.cores.lift import lifted
from flat_mapper.mapping.space import partitions

WEIGHTS = (0.01, 1.0, 30.0)


def assert_no_mapping_below(search: GroupOnTiles, item: _Waiting) -> int:
    """Of the best mapping of a core, in every way to give its tile out; returns how many."""
    question, one, priced = search.question, item.one, 0
    where, policy = (search.workload, question.platform), question.mapspace.policy
    assert item.left == 0
    alone, _ = solve_group(search._of_core(one), question.goal, None)
    for group in alone if isinstance(alone, list) else []:
        mapping = group_mapping(group, dict(one.core_workload.rank_sizes))
        for whole in lifted(*where, mapping, one.level, dict(one.tile)):
            on = group_on_cores(*where, whole, policy, question.ert)
            if not isinstance(on, Infeasible):
                priced += 1
                energy = sum(stats.energy_pj for stats in chip_stats(on, question.ert))
                value = question.goal.weight * on.stats().cycles + energy
                assert item.least <= value * (1 + LEAST), (one, whole)
    return priced


def assert_weights_hold(seed: int, few: int) -> int:
    """Of so many tiles of a question; returns mappings that were priced, none below its bound."""
    case, rng, priced = fused_question(seed), random.Random(seed), 0
    if case.mapspace.policy.softmax == "free":
        return 0
    platform = with_level_between(many(case.platform, rng.randint(2, 5)), rng)
    workload, ert = case.workload, priced_between(case.ert, rng)
    space = on_cores(case.mapspace, case.platform.matrix.levels[1].name)
    goal = Goal(kind="weighted", weight=0.3)
    question = Question(
        platform=platform, mapspace=space, ert=ert, goal=goal, budget=Budget(), progress=None
    )
    for groups in partitions(workload, space):
        if len(groups) > 1:
            continue
        every = tiles_on_cores(question, workload, groups[0])
        search = GroupOnTiles(question=question, workload=workload, every=every)
        some = rng.sample(search._queue, min(few, len(search._queue)))
        for item in some:
            while item.left:
                item = search._bounded(item)
        for weight in WEIGHTS:
            own = replace(goal, weight=weight)
            other = GroupOnTiles(
                question=replace(question, goal=own),
                workload=workload,
                every=tiles_on_cores(replace(question, goal=own), workload, groups[0]),
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
