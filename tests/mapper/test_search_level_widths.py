"""The search with widths of their own at each level, against brute force."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module

import pytest
from agreement import agree
from oracles.chip_cases import chip_question
from oracles.level_widths import summed, widened
from oracles.many_cores import answers
from oracles.small_cases import apart_case, network_case, small_case

from flat_mapper.base.formats import Width
from flat_mapper.mapper.solve.certificate import Solution
from flat_mapper.mapper.solve.driver import search


@pytest.mark.parametrize("seed", [1, 4, 5, 6, 8, 9, 11, 17])
def test_search_finds_what_brute_force_finds(seed: int) -> None:
    agree(widened(small_case(seed), seed), seed)


@pytest.mark.parametrize("seed", [0, 1, 3, 4])
def test_networks_carry_words_of_the_level_outside(seed: int) -> None:
    agree(widened(network_case(seed), seed), seed)


@pytest.mark.parametrize("seed", [3, 5, 7])
def test_bounds_of_partial_candidates_are_sound(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("flat_mapper.mapper.group.group"), "MOST_CANDIDATES", 0)
    agree(widened(apart_case(seed), seed), seed)


@pytest.mark.parametrize("seed", [1, 2])
def test_search_finds_what_brute_force_finds_on_a_chip(seed: int) -> None:
    agree(widened(chip_question(seed), seed), seed, answers, proven=False)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(1000, 1400))
def test_search_finds_what_brute_force_finds_hundreds_of_times(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if seed % 3 == 1:
        monkeypatch.setattr(import_module("flat_mapper.mapper.group.group"), "MOST_CANDIDATES", 0)
    agree(widened(apart_case(seed) if seed % 2 else small_case(seed), seed), seed)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(5, 105))
def test_networks_carry_words_of_the_level_outside_many_times(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if seed % 2:
        monkeypatch.setattr(import_module("flat_mapper.mapper.group.group"), "MOST_CANDIDATES", 0)
    agree(widened(network_case(seed), seed), seed)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(100))
def test_search_finds_what_brute_force_finds_on_many_chips(seed: int) -> None:
    agree(widened(chip_question(seed), seed), seed, answers, proven=False)


@pytest.mark.parametrize("seed", [0, 2, 4, 6])
def test_search_finds_what_brute_force_finds_with_wide_sums(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if seed == 4:
        monkeypatch.setattr(import_module("flat_mapper.mapper.group.group"), "MOST_CANDIDATES", 0)
    agree(summed(small_case(seed), seed), seed)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(100))
def test_search_finds_what_brute_force_finds_with_wide_sums_many_times(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if seed % 3 == 1:
        monkeypatch.setattr(import_module("flat_mapper.mapper.group.group"), "MOST_CANDIDATES", 0)
    case = (small_case, apart_case, network_case)[seed % 3 if seed % 4 else 0]
    agree(summed(case(seed), seed), seed)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(10))
def test_search_finds_what_brute_force_finds_with_wide_sums_on_a_chip(seed: int) -> None:
    agree(summed(chip_question(seed), seed), seed, answers, proven=False)


def test_fractions_of_words_are_not_rounded_up_in_each_tile() -> None:
    """Three cores bring keys of a quarter of a word: DRAM rounds up what all tiles bring.

    The least energy is that of brute force, which takes 20 s.
    """
    case = chip_question(90)
    bits: dict[str, Width] = {"AV_div": 12, "K": 4, "QK": 4, "QK_exp": 12, "QK_sum": 32, "V": 4}
    wide = replace(case.workload, tensor_bits=bits)
    found = search(wide, case.platform, case.mapspace, case.ert, objective="energy")
    assert isinstance(found, Solution)
    assert found.certificate.proven_bound <= 1864.7906187464257 * (1 + 1e-9)
    assert found.result.energy_pj == pytest.approx(1864.7906187464257, rel=1e-12)


def test_what_comes_again_waits_less_for_dram() -> None:
    """A level between keeps the keys: brought again for every query, they come in smaller parts.

    The least cycles are those of brute force, which takes 20 s; with heads outside queries 103.
    """
    case = chip_question(93)
    bits: dict[str, Width] = {"A": 24, "AV": 8, "K": 4, "Q": 12, "QK_exp": 12, "V": 4}
    wide = replace(case.workload, tensor_bits=bits)
    found = search(wide, case.platform, case.mapspace, case.ert, objective="latency")
    assert isinstance(found, Solution)
    assert found.result.cycles == 101
    assert found.certificate.optimal
