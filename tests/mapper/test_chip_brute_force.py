"""The search on the cores of a chip against brute force: the same best value, bounds below it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from math import prod

import pytest
from agreement import agree, value
from execution.test_fill_ports import with_fill_ports
from oracles.brute_force import Case
from oracles.chip_cases import (
    chip_question,
    core_ports_question,
    ports_question,
    prime_question,
    streaming_question,
)
from oracles.many_cores import answers

from flat_mapper.backends.agreement import compare_run
from flat_mapper.cost_model.result import Result
from flat_mapper.execution.run import execute
from flat_mapper.mapper.chip.assignments import cascades, every_assignment
from flat_mapper.mapper.solve.certificate import Solution
from flat_mapper.mapper.solve.driver import search
from flat_mapper.mapping.space import partitions
from flat_mapper.workload.cascade import attention
from flat_mapper.workload.mask import Mask
from flat_mapper.workload.softmax import SPLIT


def agree_on_a_chip(seed: int, *, proven: bool = False) -> Mapping[str, Result | None]:
    """For each objective the best value of all mappings; returns these."""
    return agree(chip_question(seed), seed, answers, proven=proven)


# The quickest of each kind: products, row softmax, online softmax, under a mask.
# With 21 it is cheapest to read a query from DRAM once, though a level between is cheaper a word.
# With 172 one read of an input serves all cores, another is read once a core, in rows of two words.
# With 81 there is one core, for which a level between keeps what DRAM would bring again.
# With 0 the last round of equal tiles has fewer cores.
SEEDS = (0, 1, 2, 4, 8, 21, 81, 172)


@pytest.mark.parametrize("seed", SEEDS)
def test_search_finds_what_brute_force_finds_on_a_chip(seed: int) -> None:
    agree_on_a_chip(seed, proven=True)


# Ports of one way, or of each and of both.
@pytest.mark.parametrize("seed", [0, 8])
def test_what_comes_to_a_level_between_counts_in_the_search(seed: int) -> None:
    agree(ports_question(seed), seed, answers)


@pytest.mark.parametrize("seed", [0, 3, 8])
def test_ports_of_fills_count_in_the_search(seed: int) -> None:
    case = ports_question(seed)
    names = [lv.name for lv in case.platform.matrix.levels[1:]]
    rates = dict(zip(names, (0.25, 0.5, 1.0), strict=False))
    agree(replace(case, platform=with_fill_ports(case.platform, rates)), seed, answers)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(100))
def test_what_comes_to_a_level_between_counts_in_hundreds_of_searches(seed: int) -> None:
    agree(ports_question(seed), seed, answers, proven=False)


def test_tiles_of_a_window_need_keys_of_their_own() -> None:
    """Two queries see two of four keys each, not the same ones: no read serves both."""
    agree_on_a_chip(51)


@pytest.mark.parametrize(("seed", "most"), [(28, 0), (28, 200_000), (46, 200_000)])
def test_what_streams_past_a_level_between_may_come_again(
    seed: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then no turn waits for many of its words from DRAM: with 28 it takes 59 cycles, else 60."""
    monkeypatch.setattr(import_module("flat_mapper.mapper.group.group"), "MOST_CANDIDATES", most)
    agree(streaming_question(seed), seed, answers)


@pytest.mark.parametrize("seed", [0, 2, 5, 9])
def test_search_finds_what_brute_force_finds_where_cores_have_ports(seed: int) -> None:
    agree(core_ports_question(seed), seed, answers, proven=True)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(200))
def test_search_finds_what_brute_force_finds_on_cores_with_ports_many_times(seed: int) -> None:
    truths = agree(core_ports_question(seed), seed, answers, proven=False)
    if truths["latency"] is not None:
        does_what_it_says(core_ports_question(seed), truths["latency"])


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(100))
def test_what_streams_past_a_level_between_may_come_again_many_times(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if seed % 2:
        monkeypatch.setattr(import_module("flat_mapper.mapper.group.group"), "MOST_CANDIDATES", 0)
    agree(streaming_question(seed), seed, answers)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(300))
def test_search_finds_what_brute_force_finds_on_hundreds_of_chips(seed: int) -> None:
    truths = agree_on_a_chip(seed)
    if truths["latency"] is not None:
        does_what_it_says(chip_question(seed), truths["latency"])


def does_what_it_says(case: Case, truth: Result) -> None:
    """A best mapping by brute force, executed core by core."""
    groups = truth.mapping.groups
    names = {nest.einsum for group in groups for nest in group.einsums}
    parts = max(prod(p.factor for p in g.given_out if p.rank == SPLIT) for g in groups)
    (workload,) = (
        one
        for one in cascades(case.workload, case.platform, case.mapspace)
        if names <= {e.name for e in one.einsums} and one.rank_sizes.get(SPLIT, 1) == parts
    )
    executed = execute(workload, case.platform, truth.mapping)
    assert executed.right
    assert compare_run(executed, truth) == ()


def test_the_best_mapping_of_a_chip_does_what_brute_force_says() -> None:
    case = chip_question(8)
    truth = answers(case)["latency"]
    assert truth is not None
    does_what_it_says(case, truth)


def hold_primes(seed: int) -> tuple[bool, bool]:
    """No answer is worse than the best whose factors divide, and the best of latency is executed.

    returns: whether some answer is better than that, and whether it is padded.
    """
    case, better, padded = prime_question(seed), False, False
    every = answers(case)
    for objective, truth in every.items():
        found = search(case.workload, case.platform, case.mapspace, case.ert, objective=objective)
        if not isinstance(found, Solution):
            assert truth is None, f"seed {seed}: {found}"
            continue
        if objective == "latency":
            executed = execute(found.workload, case.platform, found.result.mapping)
            assert executed.right, seed
            assert compare_run(executed, found.result) == (), seed
        padded |= any("padded" in note for note in found.result.notes)
        if truth is None:  # parts of longer keys may fit
            assert not found.certificate.optimal
            continue
        best, own = value(truth, objective), value(found.result, objective)
        assert own <= best * (1 + 1e-9), f"seed {seed}, {objective}"
        assert found.certificate.proven_bound <= own * (1 + 1e-9), f"seed {seed}, {objective}"
        if found.certificate.optimal:
            assert own == pytest.approx(best, rel=1e-9), f"seed {seed}, {objective}"
        better |= own < best * (1 - 1e-9)
    return better, padded


def test_prime_sizes_take_no_more_than_the_best_whose_factors_divide() -> None:
    found = [hold_primes(seed) for seed in (1, 3, 5, 59)]  # 59: steps of cores under a mask
    assert any(better for better, _ in found)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(300))
def test_prime_sizes_hundreds_of_times(seed: int) -> None:
    hold_primes(seed)


def test_queries_under_a_mask_are_cut_by_the_cores_or_in_time_with_keys() -> None:
    """A group without products, whose keys may stand in shared loops beside its queries."""
    case = chip_question(15)
    workload = attention(B=1, H=1, P=4, M=4, E=1, F=1).subset(("QK_exp", "QK_sum"))
    workload = replace(workload, mask=Mask(causal=True))
    fusion = replace(case.mapspace.fusion, groups=(("QK_exp", "QK_sum"),), level="GLB")
    space = replace(case.mapspace, fusion=fusion)
    ((group,),) = partitions(workload, space)
    every = list(every_assignment(workload, case.platform, space, group))
    cut = [one for one in every if one.cuts_queries]
    assert {one.keys for one in cut} == {1, 2, 4}
    for one in cut:
        tiles = one.inner(space).fusion.tiles
        assert tiles["M"] == (one.keys,)
        assert one.keys == 4 or tiles["P"] == (dict(one.tile)["P"],)
