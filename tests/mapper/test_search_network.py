"""The search on chips whose networks have a price, against enumeration."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module

import pytest
from agreement import agree
from oracles.brute_force import Case, answers
from oracles.small_cases import network_case, one_product

from flat_mapper.arch.values import Fanout
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Result
from flat_mapper.energy.tables import Ert
from flat_mapper.mapper.solve.certificate import Solution
from flat_mapper.mapper.solve.driver import search

QUICK = [0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 15]  # those that take some seconds at most


def product_on_four(hop_pj: float) -> Case:
    """One product on two by two PEs, whose registers cost more than the buffer does."""
    case = one_product()
    workload = replace(case.workload, rank_sizes={"I": 2, "J": 2, "K": 4})
    arch = case.platform.matrix
    prices = {"DRAM": 10.0, "GLB": 1.0, "RF": 3.0}
    levels = {name: {"read": pj, "write": pj, "update": pj} for name, pj in prices.items()}
    nodes = (replace(n, hop_pj=hop_pj) if isinstance(n, Fanout) else n for n in arch.nodes)
    return replace(
        case,
        workload=workload,
        platform=replace(case.platform, matrix=replace(arch, nodes=tuple(nodes))),
        ert=Ert(levels={**levels, "MAC": {"compute": 1.0}}, source="by hand"),
    )


def best(case: Case) -> Result:
    found = search(case.workload, case.platform, case.mapspace, case.ert, objective="energy")
    assert isinstance(found, Solution)
    return found.result


def test_a_price_moves_the_best_mapping() -> None:
    """Priced after the search only, the network would find registers empty, and cost half more."""
    free, dear = product_on_four(0), product_on_four(20)
    without, found = best(free), best(dear)
    late = evaluate(dear.workload, dear.platform, without.mapping, dear.ert)
    truth = answers(dear)["energy"]
    assert isinstance(late, Result)
    assert truth is not None
    assert found.energy_pj == pytest.approx(truth.energy_pj, rel=1e-12)
    assert (without.energy_pj, round(late.energy_pj), round(found.energy_pj)) == (244, 1337, 879)


@pytest.mark.parametrize("seed", QUICK)
def test_questions_with_priced_networks(seed: int) -> None:
    agree(network_case(seed), seed)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(200))
def test_many_questions_with_priced_networks(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if seed % 2:
        monkeypatch.setattr(import_module("flat_mapper.mapper.group.group"), "MOST_CANDIDATES", 0)
    agree(network_case(seed), seed)
