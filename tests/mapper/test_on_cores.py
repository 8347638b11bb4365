"""The search on the cores of a chip: executed, beside all tiles one by one, and on one core."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from execution.tiny import chip, many
from oracles.brute_force import Case
from oracles.fused_questions import fused_question
from oracles.small_cases import prices

import flat_mapper as fm
from flat_mapper.api.calls import load_problem
from flat_mapper.api.execution import unpriced
from flat_mapper.arch.reader import load_platform
from flat_mapper.arch.values import Architecture, MemoryLevel, Platform
from flat_mapper.backends.agreement import compare_run
from flat_mapper.base.errors import SpecError
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.execution.reference import evaluated, random_inputs
from flat_mapper.execution.run import execute
from flat_mapper.mapper.group.incumbent import OBJECTIVES, Objective
from flat_mapper.mapper.solve.certificate import Solution
from flat_mapper.mapper.solve.driver import search
from flat_mapper.mapping.cores import core_platform, given_ranks, lifted
from flat_mapper.mapping.space import Mapspace
from flat_mapper.mapping.space_reader import load_mapspace
from flat_mapper.mapping.values import FusedMapping
from flat_mapper.reports.answers import SearchResult
from flat_mapper.spec.catalog import shipped_names
from flat_mapper.workload.cascade import attention
from flat_mapper.workload.graph import Workload

SEEDS = (6, 31, 63, 66, 87, 95, 157, 161, 189, 409)


def served(
    platform: Platform, cores: int, weights: Mapping[str, float], totals: Mapping[str, float]
) -> Platform:
    """One core of so many at work, with an equal share of DRAM.

    weights, totals: words that DRAM moves for one of a tensor's, or in all, beside an equal share
    of what the cores read one by one.
    """

    def slower(arch: Architecture) -> Architecture:
        dram, *inside = arch.nodes
        assert isinstance(dram, MemoryLevel)
        own = replace(dram.slowed(cores), weights=weights, totals=totals)
        return replace(arch, nodes=(own, *inside))

    return platform.changed(slower)


def on_cores(space: Mapspace, level: str) -> Mapspace:
    """A mapspace whose tiles are given out, with the level at which they are fused."""
    return replace(space, fusion=replace(space.fusion, level=level, cores="any"))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_best_mapping_on_cores_does_what_the_model_says(seed: int) -> None:
    case = fused_question(seed)
    if case.mapspace.policy.softmax == "free":
        pytest.skip("is refused")
    cores = random.Random(seed).randint(2, 5)
    platform, ert = many(case.platform, cores), unpriced(case.platform)
    level = platform.matrix.levels[1].name
    space = on_cores(case.mapspace, level)
    found = search(case.workload, platform, space, ert, objective="latency")
    if isinstance(found, Infeasible):
        return
    again = evaluate(found.workload, platform, found.result.mapping, ert)
    assert isinstance(again, Result)
    assert again.cycles == found.result.cycles
    executed = execute(found.workload, platform, found.result.mapping)
    assert executed.right
    assert compare_run(executed, found.result) == ()
    assert found.certificate.lower_bound <= found.result.latency_s * (1 + 1e-12)
    above = found.result.latency_s / found.certificate.proven_bound - 1
    assert found.certificate.gap == pytest.approx(max(above, 0.0), abs=1e-12)
    assert_no_tile_is_better(found, platform, case.mapspace, level)


def assert_no_tile_is_better(
    found: Solution, platform: Platform, space: Mapspace, level: str
) -> None:
    """The best of each tile on one core, laid over the cores, is no better than what was found."""
    workload, ert = found.workload, unpriced(platform)
    if workload.mask is not None:
        return
    core = core_platform(platform, level)
    names = tuple(workload.ancestors)
    for rank in given_ranks(workload, names):
        for extent in (n for n in (1, 2) if workload.rank_sizes[rank] % n == 0):
            tile = workload.with_ranks({rank: extent})
            one = search(tile, core, space, ert, objective="latency")
            if not isinstance(one, Solution):
                continue
            for whole in whole_mappings(
                workload, platform, one.result.mapping, level, {rank: extent}
            ):
                result = evaluate(workload, platform, whole, ert)
                if isinstance(result, Result):
                    assert found.result.cycles <= result.cycles
                    assert found.certificate.lower_bound <= result.latency_s * (1 + 1e-12)


def whole_mappings(
    workload: Workload,
    platform: Platform,
    mapping: FusedMapping,
    level: str,
    tiles: dict[str, int],
) -> Iterator[FusedMapping]:
    """A tile's groups laid over the cores, each in every way."""
    ways = [list(lifted(workload, platform, g, level, tiles)) for g in mapping.groups]
    for groups in product(*ways):
        yield replace(mapping, groups=groups)


def test_one_query_spreads_its_keys_over_the_cores() -> None:
    """One head of one query: without parts of the keys three of four cores have nothing to do."""
    workload = attention(B=1, H=1, P=1, M=64, E=2, F=2, softmax="online")
    platform = many(chip(None), 4)
    space = on_cores(load_mapspace("flat"), "GLB")
    found = search(workload, platform, space, unpriced(platform), objective="latency")
    assert isinstance(found, Solution)
    (first, merging) = found.result.mapping.groups
    assert [(p.rank, p.factor) for p in first.given_out if p.factor > 1] == [("S", 4)]
    assert merging.names == ("QK_top", "QK_scale", "QK_all", "AV_all", "AV_div")
    executed = execute(found.workload, platform, found.result.mapping)
    assert executed.right
    assert compare_run(executed, found.result) == ()
    # The parts of a row add up to what the online softmax makes of it whole.
    inputs = random_inputs(found.workload, 0)
    parts = evaluated(found.workload, inputs)["AV_div"]
    joined = {t: inputs[t].transpose(0, 1, 4, 2, 3).reshape(1, 1, 64, 2) for t in ("K", "V")}
    joined["Q"] = inputs["Q"]
    assert parts == pytest.approx(evaluated(workload, joined)["AV_div"])


@pytest.mark.parametrize("seed", SEEDS[1:4])
def test_one_core_is_the_chip_without_cores(seed: int) -> None:
    """To the last digit."""
    case = fused_question(seed)
    if case.mapspace.policy.softmax == "free":
        pytest.skip("is refused")
    for objective in OBJECTIVES:
        assert_one_core_is_none(case, objective)


def test_one_core_is_a_shipped_chip() -> None:
    one_core_of("tiny", "edge", objective="latency")


@pytest.mark.nightly
@pytest.mark.parametrize("chip_name", ["edge", "cloud"])
@pytest.mark.parametrize("problem", [name for name, _ in shipped_names("problems")])
def test_one_core_is_a_shipped_chip_on_every_problem(problem: str, chip_name: str) -> None:
    for objective in OBJECTIVES:
        one_core_of(problem, chip_name, objective)


def one_core_of(problem: str, chip_name: str, objective: Objective) -> None:
    """A shipped problem on a shipped chip of FLAT's, with the attention that the command maps."""
    platform = load_platform(chip_name)
    case = Case(
        workload=load_problem(problem),
        platform=platform,
        ert=prices(np.random.default_rng(0), platform),
        mapspace=load_mapspace("flat"),
    )
    assert_one_core_is_none(case, objective)


def assert_one_core_is_none(case: Case, objective: Objective) -> None:
    """A chip of one core, and the same chip without cores."""
    level = case.platform.matrix.levels[1].name
    chip = case.workload, many(case.platform, 1), on_cores(case.mapspace, level), case.ert
    try:
        plain = search(case.workload, case.platform, case.mapspace, case.ert, objective=objective)
    except SpecError as error:  # a cascade that the mapspace does not go with
        with pytest.raises(SpecError, match=re.escape(str(error))):
            search(*chip, objective=objective)
        return
    one = search(*chip, objective=objective)
    assert isinstance(plain, Solution) == isinstance(one, Solution)
    if isinstance(plain, Solution) and isinstance(one, Solution):
        assert one.result.cycles == plain.result.cycles
        assert one.result.energy_pj == plain.result.energy_pj
        assert one.certificate.gap == pytest.approx(plain.certificate.gap)


@pytest.mark.parametrize("seed", [9, 12])
def test_the_search_has_dram_as_one_core_sees_it(seed: int) -> None:
    """Words weighted by tensor, or so many in all: as fast as the model says, and proven."""
    case, rng = fused_question(seed), random.Random(seed)
    tensors = sorted(case.workload.tensor_ranks)
    made = {e.output.tensor for e in case.workload.einsums}
    weights = {t: rng.choice((0.0, 0.5, 1.0, 2.0, 3.5)) for t in tensors}
    totals = {t: rng.choice((3.0, 17.0, 40.0)) for t in tensors if t not in made}
    chip = served(case.platform, 1, weights, totals)
    found = search(case.workload, chip, case.mapspace, case.ert, objective="latency")
    assert isinstance(found, Solution)
    assert found.certificate.optimal
    again = evaluate(found.workload, chip, found.result.mapping, case.ert)
    assert isinstance(again, Result)
    assert again.cycles == found.result.cycles
    assert found.certificate.proven_bound == pytest.approx(again.latency_s, rel=1e-12)


# On a100 what is exposed takes a share of DRAM, on blackhole DRAM binds full rounds alone.
@pytest.mark.parametrize("chip", ["a100", "blackhole-p100a"])
def test_what_a_last_round_of_fewer_cores_takes_is_known(chip: str) -> None:
    found = fm.search("t5-small", chip, schedule="interleaved", gap=1e-3)
    assert isinstance(found, SearchResult)
    (group,) = found.result.groups
    assert group.cores is not None
    assert group.cores.tiles % group.cores.cores
    assert found.certificate.gap <= 1e-3
