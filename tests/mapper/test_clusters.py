"""Instances that share a physical row (Timeloop's cluster_size): one access serves them all."""

from __future__ import annotations

import pytest

from flat_mapper.arch.reader import load_architecture
from flat_mapper.arch.values import Platform
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Result
from flat_mapper.energy.tables import ert_of
from flat_mapper.mapper.solve.certificate import Solution
from flat_mapper.mapper.solve.driver import search
from flat_mapper.mapping.space import KeepRule, Mapspace, SlotRule
from flat_mapper.workload.reader import load_workload

ARCH = """
variables: {{technology: "45nm", global_cycle_seconds: 1e-9}}
architecture:
  version: 0.4
  nodes:
  - !Component
    {{name: DRAM, class: DRAM, attributes: {{type: "LPDDR4", width: 64, datawidth: 16}}}}
  - !Component {{name: GLB, class: SRAM, attributes: {{depth: 512, width: 64, datawidth: 16}}}}
  - !Container {{name: PE, spatial: {{meshX: 16}}}}
  - !Component {{name: RF, class: regfile, attributes: {{depth: 4, datawidth: 16, {row}}}}}
  - !Component {{name: MAC, class: intmac, attributes: {{datawidth: 16}}}}
"""
SHARED = "width: 64, cluster_size: 4"
PROBLEM = """
problem: {ranks: {I: 16, J: 8, K: 4}, einsums: ["T[i,k] = A[i,j] * B[j,k]"]}
"""
ACTIONS = ("read", "write", "update")
PRICES = ert_of(
    {
        "DRAM": dict.fromkeys(ACTIONS, 100),
        "GLB": dict.fromkeys(ACTIONS, 6),
        "RF": dict.fromkeys(ACTIONS, 3),
        "MAC": {"compute": 1},
    },
    "prices",
)


def platform(row: str) -> Platform:
    return Platform(name="array", matrix=load_architecture(ARCH.format(row=row)))


def best(chip: Platform, width: int) -> Result:
    """The best mapping that uses so many of the 16 instances."""
    rule = SlotRule(node="PE", kind="spatial", factors={"I": width, "J": 1, "K": 1})
    keep = KeepRule(level="RF", keep=("T",))
    mapspace = Mapspace(name="free", slots=(rule,), keeps=(keep,))
    found = search(load_workload(PROBLEM), chip, mapspace, PRICES, objective="energy")
    assert isinstance(found, Solution), str(found)
    return found.result


def energy_of(chip: Platform, result: Result) -> float:
    found = evaluate(load_workload(PROBLEM), chip, result.mapping, PRICES)
    assert isinstance(found, Result)
    return found.energy_pj


@pytest.mark.parametrize(("width", "rows"), [(16, 4), (8, 4), (4, 4), (2, 2)])
def test_instances_of_a_cluster_share_the_energy_of_its_row(width: int, rows: int) -> None:
    """16 instances in 4 clusters: those in use lie in as many clusters as there are."""
    shared, apart = platform(SHARED), platform("width: 16")
    chosen = best(apart, width)
    difference = chosen.energy_pj - energy_of(shared, chosen)
    registers = chosen.energy_by()["component"]["RF"]
    assert difference == pytest.approx(registers * (1 - rows / width))


@pytest.mark.parametrize("width", [16, 8, 2])
def test_the_search_prices_clusters_as_the_model_does(width: int) -> None:
    shared = platform(SHARED)
    assert best(shared, width).energy_pj <= energy_of(shared, best(platform("width: 16"), width))
