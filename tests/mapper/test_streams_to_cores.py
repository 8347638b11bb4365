"""Bounds of tiles on cores that a level between, or what a core streams, serves: none is above.

Random small chips; the model prices mappings of every tile in every way to give it out, and none
takes fewer cycles than the bounds of its tile, or than the certificate says of all.
"""

from __future__ import annotations

import random
from dataclasses import replace
from math import inf
from typing import Any

import numpy as np
import pytest
from execution.tiny import many
from mapper.test_on_cores import on_cores, served
from oracles.brute_force import Case
from oracles.chip_cases import PRODUCTS, chip_question
from oracles.fused_questions import fused_question
from tile_questions import LEAST, laid_out, searches_between, with_level_between

from flat_mapper.api.execution import unpriced
from flat_mapper.arch.values import Architecture, ComputeUnit, Fanout, MemoryLevel, Platform
from flat_mapper.cost_model.chip.cores import Round, group_on_cores
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.chip.totals import chip_group, chip_stats
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.mapper.bounds.candidate_set import CandidateCache
from flat_mapper.mapper.chip.assignments import Assignment, cascades, every_assignment
from flat_mapper.mapper.chip.floors import (
    at_least,
    computes_pj,
    core_energies,
    core_rows,
    core_view,
)
from flat_mapper.mapper.chip.fullest import Fullest
from flat_mapper.mapper.chip.question import ChipIncumbent
from flat_mapper.mapper.group.group import GroupSearch
from flat_mapper.mapper.group.incumbent import Goal, GoalIncumbent
from flat_mapper.mapper.group.picks import GroupSolution
from flat_mapper.mapper.group.reconstruct import group_mapping
from flat_mapper.mapper.solve.certificate import Solution
from flat_mapper.mapper.solve.driver import search
from flat_mapper.mapper.solve.groups import solve_group
from flat_mapper.mapper.space.group import group_problem
from flat_mapper.mapping.cores import core_platform, lifted
from flat_mapper.mapping.space import Fusion, Mapspace, partitions
from flat_mapper.mapping.values import FusedMapping, Policy
from flat_mapper.workload.cascade import attention
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.mask import Mask
from flat_mapper.workload.notation import parse_einsum


def fastest(one: Assignment, core: Platform, space: Mapspace) -> GroupSolution | None:
    """The fastest mapping of a tile on a core, fused as the tile's group is."""
    problem = group_problem(one.core_workload, core, unpriced(core), one.inner(space), one.group)
    found, _ = solve_group(
        GroupSearch.of(problem, CandidateCache()),
        GoalIncumbent(Goal(kind="latency")),
    )
    return found if isinstance(found, GroupSolution) else None


def bound_of(one: Assignment, platform: Platform, space: Mapspace) -> float:
    """Cycles that no mapping of a tile beats: those of a core that all sources serve."""
    fullest = Fullest.of(platform, one, space.policy.buffering)
    found = fastest(one, core_view(platform, one, space.policy.buffering), space)
    least = found.cycles if found is not None else 0.0
    return max(at_least(platform, one, space.policy.buffering), fullest.cycles(least))


def assert_bounds_hold(seed: int, few: int) -> int:
    """Of so many tiles of a question; returns mappings that were priced."""
    case, rng = fused_question(seed), random.Random(seed)
    if case.mapspace.policy.softmax == "free":
        return 0
    platform = with_level_between(many(case.platform, rng.randint(2, 5)), rng)
    workload, ert, level = case.workload, unpriced(platform), case.platform.matrix.levels[1].name
    space = on_cores(case.mapspace, level)
    found = search(workload, platform, space, ert, objective="latency")
    priced = 0
    every = [
        (found, one, platform, space)
        for cascade in cascades(workload, platform, space)
        for groups in partitions(cascade, space)
        if len(groups) == 1
        for one in every_assignment(cascade, platform, space, groups[0])
    ]
    for what in rng.sample(every, min(few, len(every))):
        priced += priced_above(*what)
    return priced


def priced_above(
    found: Solution | Infeasible | None, one: Assignment, platform: Platform, space: Mapspace
) -> int:
    """The number of mappings of a tile, none of which is below its bounds."""
    priced, ert = 0, unpriced(platform)
    bound = bound_of(one, platform, space)
    # With DRAM as fast as it is, and with a core's share of it.
    whole = core_platform(platform, one.level)
    for core in (whole, served(whole, one.at_work, {}, {})):
        alone = fastest(one, core, space)
        if alone is None:
            continue
        group = group_mapping(alone, dict(one.core_workload.rank_sizes))
        for whole in lifted(one.workload, platform, group, one.level, dict(one.tile)):
            mapping = FusedMapping(groups=(whole,), policy=space.policy)
            result = evaluate(one.workload, platform, mapping, ert)
            if isinstance(result, Result):
                priced += 1
                assert bound <= result.cycles * (1 + LEAST), (one, whole)
                assert isinstance(found, Solution)
                assert found.certificate.proven_bound <= result.latency_s * (1 + LEAST)
    return priced


@pytest.mark.parametrize("seed", [3, 9])
def test_no_mapping_is_below_the_bounds_of_its_tile(seed: int) -> None:
    """With 3: inputs that one read serves, of which DRAM moves none for itself."""
    assert assert_bounds_hold(seed, 2) > 0


def assert_pj_hold(seed: int, few: int) -> int:
    """Of so many tiles of a question; returns mappings that were priced, none below its bound."""
    priced, goal = 0, Goal(kind="energy")
    for tiles, some in searches_between(seed, goal, few):
        for item in some:
            found, bounds = tiles._bounded(item), list[float]()
            while found.left:
                bounds.append(found.least)
                found = tiles._bounded(found)
            assert found.least >= max(bounds)
            assert found.search is not None
            alone, _ = solve_group(found.search, GoalIncumbent(goal))
            for _, pj in laid_out(tiles, item.one, alone):
                priced += 1
                assert found.least <= pj * (1 + LEAST), item.one
    return priced


@pytest.mark.parametrize("seed", [0, 4, 9])
def test_no_mapping_takes_fewer_pj_than_the_bound_of_its_tile(seed: int) -> None:
    """Inputs are kept by a level between, or DRAM sends whatever cores draw."""
    assert assert_pj_hold(seed, 4) > 0


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(100))
def test_no_mapping_of_many_questions_takes_fewer_pj(seed: int) -> None:
    assert assert_pj_hold(seed, 4) >= 0


def with_slow_dram(platform: Platform) -> Platform:
    """The chip with eight cycles for a word of DRAM, and none for one of its cores' levels."""

    def slow(arch: Architecture) -> Architecture:
        rates = [1 / 8, *[None] * len(arch.nodes)]
        nodes = tuple(
            replace(n, shared_words_per_cycle=rate) if isinstance(n, MemoryLevel) else n
            for n, rate in zip(arch.nodes, rates, strict=False)
        )
        return replace(arch, nodes=nodes)

    assert platform.vector is not None
    return Platform(name="slow", matrix=slow(platform.matrix), vector=slow(platform.vector))


def assert_tiles_take_no_less(
    seed: int, few: int, monkeypatch: pytest.MonkeyPatch, *, slow: bool
) -> tuple[int, float]:
    """Tiles of unequal passes, of mappings of a core, that were priced; and see `tiles_above`."""
    case, rng = chip_question(4 * seed + 3), random.Random(seed)
    heads = {"B": 1, "H": rng.choice((2, 4)), "kv_heads": rng.choice((1, 2))}
    workload = attention(**heads, P=3, M=4, E=1, F=rng.choice((1, 2)), softmax="online")
    workload = replace(workload, mask=Mask(causal=True))
    case = replace(case, platform=with_slow_dram(case.platform) if slow else case.platform)
    platform, space = case.platform, case.mapspace
    every = [
        one
        for groups in partitions(workload, space)
        if len(groups) == 1
        for one in every_assignment(workload, platform, space, groups[0])
        if one.keys and len(one.passes()) > 1
    ]
    some = rng.sample(every, min(few, len(every)))
    found = [two for one in some for two in tiles_of_one_above(case, one, monkeypatch)]
    return sum(n for n, _ in found), min((times for _, times in found), default=inf)


def tiles_of_one_above(
    case: Case, one: Assignment, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[int, float]]:
    """`tiles_above` of a core's mappings, all that it has for one assignment."""
    taken, space = list[GroupSolution](), case.mapspace
    monkeypatch.setattr(ChipIncumbent, "take", lambda self, found: taken.append(found))
    what = case.platform, one, space.policy.buffering
    where = case.ert, case.platform, one
    view, fullest = core_view(*what, rows=core_rows(*where)), Fullest.of(*what)
    ert = core_energies(*where)
    problem = group_problem(one.core_workload, view, ert, one.inner(space), one.group)
    search = GroupSearch.of(replace(problem, firsts=fullest.firsts), CandidateCache())
    search.prepare()
    goal = Goal(kind="latency")
    search.solve(ChipIncumbent(goal=goal, fullest=fullest, beside_pj=0.0, price=lambda _: None))
    return [tiles_above(case, one, fullest, found) for found in taken]


def tiles_above(
    case: Case, one: Assignment, fullest: Fullest, found: GroupSolution
) -> tuple[int, float]:
    """The number of tiles that a core's mapping has, none of which takes less than its bound.

    And how many times what they are known to take in pJ all tiles take at least.
    """
    waits, priced, times = one.count / fullest.largest, 0, inf
    ends = found.beside.exposed / waits
    stays = fullest.outside.staying <= set(found.staging.staged)
    forms = fullest._forms[:1] if stays else fullest._forms
    where = one.workload, case.platform
    group = group_mapping(found, dict(one.core_workload.rank_sizes))
    least_pj = pj_at_least(case, fullest, found)
    for whole in lifted(*where, group, one.level, dict(one.tile)):
        on = group_on_cores(*where, whole, case.mapspace.policy, case.ert)
        if isinstance(on, Infeasible):
            continue
        stats = chip_stats(on, case.ert)
        taken_in_all = chip_group(on, stats).cycles * (1 + LEAST)
        assert fullest.cycles(found.cycles, found.beside, found.staging.staged) <= taken_in_all
        assert fullest.cycles(found.cycles) <= taken_in_all
        energy = sum(one.energy_pj for one in stats)
        assert least_pj <= energy * (1 + LEAST)
        times = min(times, energy / least_pj if least_pj else inf)
        for kind, tile in enumerate(on.tiles.classes):
            passes = -(-dict(tile.sizes)["M"] // one.keys)
            turns = found.cycles - found.beside.exposed
            least = min(form._tile(passes, turns, found.beside) for form in forms)
            taken = on.latency(Round(cores=on.at_work), np.array([kind]))
            assert least + ends <= (taken.cycles[0] + taken.exposed[0]) * (1 + LEAST) + LEAST
            priced += 1
    return priced, times


def pj_at_least(case: Case, fullest: Fullest, found: GroupSolution) -> float:
    """pJ of all tiles, at least, by what a core's mapping of the largest takes (lemma 29)."""
    one = fullest.one
    once = one.core_workload.with_ranks({"M": one.keys})
    computes = computes_pj(case.platform, case.ert, once, one.group.names)
    return fullest.counted * found.energy + fullest.short * computes


@pytest.mark.parametrize(
    ("seed", "slow", "few"), [(10, False, 1), (12, False, 1), (13, True, 1), (30, True, 2)]
)
def test_no_tile_takes_less_than_the_mapping_of_the_largest_says(
    seed: int, slow: bool, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 10 and 12: a buffer that reads nothing of an accumulator in the first pass.

    With 13: keys that come for each query head, but stay for all of them where there is one pass.
    Of it no read is shared, so the pJ of all tiles are known.
    With 30: queries that come again with every pass, from a level between, and so seldom to tiles
    of few passes.
    """
    tiles, times = assert_tiles_take_no_less(seed, few, monkeypatch, slow=slow)
    assert tiles > 0
    assert times == pytest.approx(1, abs=1e-9) or seed != 13


def three_cores(**dram: float) -> Platform:
    """Three cores of 60 words, which read for themselves; a level between; a vector unit."""

    def level(name: str, words: int | None, count: int = 1) -> MemoryLevel:
        rates: dict[str, Any] = {f"{port}_words_per_cycle": rate for port, rate in dram.items()}
        return MemoryLevel(
            name=name,
            component_class="DRAM" if words is None else "SRAM",
            capacity_words=words,
            word_bits=16,
            row_words=1,
            instances=count,
            **(rates if words is None else {}),
        )

    deaf = {"spatial": {"no_multicast_no_reduction": ["*"]}}
    core = Fanout(name="core", fanout_x=3, constraints=deaf)
    mid = replace(level("MID", 1000), shared_words_per_cycle=4.0)
    nodes = (level("DRAM", None), mid, core, level("GLB", 60, 3))

    def path(name: str, inside: tuple[MemoryLevel | Fanout, ...]) -> Architecture:
        unit = ComputeUnit(name=name, component_class="alu", instances=3)
        return Architecture(name=name, nodes=inside, compute=unit, cycle_seconds=1e-9, variables={})

    rf = Fanout(name="PE"), level("RF", 4, 3)
    return Platform(name="chip", matrix=path("mac", (*nodes, *rf)), vector=path("alu", nodes))


def test_queries_that_come_with_every_pass_are_not_paid_for_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of four queries two see all keys in two passes, and share a core's time as six passes do."""
    workload = attention(B=1, H=1, P=4, M=4, E=8, F=1, softmax="online")
    case = chip_question(3)
    fusion = Fusion(groups=(("QK", "softmax", "AV"),), level="GLB", cores="any")
    space = replace(case.mapspace, fusion=fusion, policy=Policy(buffering=2.0))
    case = replace(case, platform=three_cores(shared=1 / 64), mapspace=space)
    case = replace(case, workload=replace(workload, mask=Mask(causal=True)))
    case = replace(case, ert=unpriced(case.platform))
    (one,) = (
        one
        for groups in partitions(case.workload, space)
        for one in every_assignment(case.workload, case.platform, space, groups[0])
        if one.keys == 2 and dict(one.tile)["P"] == 1
    )
    assert sum(n for n, _ in tiles_of_one_above(case, one, monkeypatch)) > 0


def test_what_leaves_by_a_port_of_its_own_is_beside_what_comes() -> None:
    """Products whose inputs are 9 words and whose outputs 16, at a quarter of a word a cycle."""
    sizes = {"B": 2, "I": 2, "J": 1, "K": 1, "L": 4}
    einsums = (replace(parse_einsum(line), unit="matrix") for line in PRODUCTS)
    workload = Workload(name="products", rank_sizes=sizes, einsums=tuple(einsums))
    platform = replace(three_cores(read=0.25, write=0.25), vector=None)
    fusion = Fusion(groups=(("Y", "Z"),), level="GLB", cores="any")
    space = Mapspace(name="cores", fusion=fusion, policy=Policy(buffering=2.0))
    found = search(workload, platform, space, unpriced(platform), objective="latency")
    every = [
        one
        for groups in partitions(workload, space)
        for one in every_assignment(workload, platform, space, groups[0])
    ]
    assert sum(priced_above(found, one, platform, space) for one in every) > len(every)


@pytest.mark.nightly
@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("seed", range(40))
def test_no_tile_of_many_questions_takes_less(
    seed: int, slow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert assert_tiles_take_no_less(seed, 2, monkeypatch, slow=slow)[0] >= 0


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(100))
def test_no_mapping_of_many_questions_is_below_them(seed: int) -> None:
    assert assert_bounds_hold(seed, 3) >= 0
