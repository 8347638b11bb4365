"""The search where fanouts serve each of their instances for itself, against brute force."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module

import pytest
from agreement import agree
from oracles.brute_force import Case
from oracles.chip_cases import chip_question
from oracles.many_cores import answers
from oracles.small_cases import apart_case, online_case, small_case, turns_case

from flat_mapper.arch.values import Architecture, Fanout
from flat_mapper.base.errors import SpecError
from flat_mapper.mapper.chip.assignments import fusion_levels
from flat_mapper.mapper.solve.driver import search

QUICK = (3, 5, 7, 11, 17, 18, 21, 24, 27)
DEAF = {"spatial": {"no_multicast_no_reduction": ["*"]}}


@pytest.mark.parametrize("seed", QUICK)
def test_questions_whose_instances_read_for_themselves(seed: int) -> None:
    agree(apart_case(seed), seed)


# With 4 a mask leaves whole tiles that fill no rows of DRAM, which a bound had rounded up twice.
@pytest.mark.parametrize("seed", [4, 6, 11])
def test_rows_thinned_on_the_way_lose_nothing(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("flat_mapper.mapper.group.group"), "MOST_CANDIDATES", 0)
    monkeypatch.setattr(import_module("flat_mapper.mapper.group.incremental"), "BEAM", 2)
    agree(apart_case(seed), seed)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(200))
def test_many_questions(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if seed % 2:
        monkeypatch.setattr(import_module("flat_mapper.mapper.group.group"), "MOST_CANDIDATES", 0)
    agree(apart_case(seed), seed)


def beside_its_own(case: Case) -> Case:
    """A question where an Einsum's transfers run beside its own computes alone."""
    policy = replace(case.mapspace.policy, prefetch="own")
    return replace(case, mapspace=replace(case.mapspace, policy=policy))


@pytest.mark.parametrize("seed", [3, 5, 7, 11, 17, 24, 27])
def test_einsums_whose_transfers_run_beside_their_own_computes(seed: int) -> None:
    agree(beside_its_own(apart_case(seed)), seed)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(200))
def test_many_einsums_with_transfers_of_their_own(seed: int) -> None:
    draw = (small_case, turns_case, online_case, apart_case)[seed % 4]
    agree(beside_its_own(draw(seed)), seed)


def outside_deaf_cores(seed: int) -> Case:
    """A question of a chip, fused at its outermost level, inside which cores read for themselves.

    No tiles are given out: all cores work on one.
    """
    case = chip_question(seed)

    def path(arch: Architecture) -> Architecture:
        nodes = [replace(n, constraints=DEAF) if n.name == "core" else n for n in arch.nodes]
        assert any(isinstance(n, Fanout) and n.constraints for n in nodes)
        return replace(arch, nodes=tuple(nodes))

    chip = case.platform
    assert chip.vector is not None
    platform = replace(chip, matrix=path(chip.matrix), vector=path(chip.vector))
    fusion = replace(case.mapspace.fusion, level=chip.matrix.levels[1].name)
    return replace(case, platform=platform, mapspace=replace(case.mapspace, fusion=fusion))


def has_outer_level(seed: int) -> bool:
    return chip_question(seed).platform.matrix.levels[1].name == "MID"


def test_a_chip_fused_outside_its_cores() -> None:
    agree(outside_deaf_cores(2), 2, answers)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", [s for s in range(12) if has_outer_level(s)])
def test_many_chips_fused_outside_their_cores(seed: int) -> None:
    agree(outside_deaf_cores(seed), seed, answers, proven=False)


def test_such_a_level_is_searched_where_it_is_named() -> None:
    case = next(outside_deaf_cores(seed) for seed in range(24) if has_outer_level(seed))
    fusion = replace(case.mapspace.fusion, level="any")
    anywhere = replace(case.mapspace, fusion=fusion)
    assert fusion_levels(case.platform, case.mapspace) == ["MID"]
    assert fusion_levels(case.platform, anywhere) == ["GLB"]


def test_a_tensor_that_the_problem_has_not() -> None:
    case = apart_case(5)
    rule = {"spatial": {"no_reuse": ["Weights"]}}
    nodes = [
        replace(n, constraints=rule) if isinstance(n, Fanout) else n
        for n in case.platform.matrix.nodes
    ]
    matrix = replace(case.platform.matrix, nodes=tuple(nodes))
    chip = replace(case.platform, matrix=matrix)
    with pytest.raises(SpecError, match=r"no_reuse: expected tensors of the problem.*'Weights'"):
        search(case.workload, chip, case.mapspace, case.ert)
