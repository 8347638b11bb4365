"""The search under rules on every level, against an enumeration that reads them literally."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
from agreement import agree
from oracles.brute_force import Case
from oracles.small_cases import one_product, ruled_group, ruled_product, small_case

import flat_mapper as fm
from flat_mapper.cost_model.result import Infeasible
from flat_mapper.mapper.solve.certificate import Solution
from flat_mapper.mapper.solve.driver import search
from flat_mapper.mapping.space import KeepRule, SlotRule
from flat_mapper.mapping.values import EinsumMapping, Slot

# Of the first those that take a second or less.
QUICK = [s for s in range(20, 80, 2) if s % 10 and s not in (28, 52)]


def best(case: Case, *slots: SlotRule, keeps: tuple[KeepRule, ...] = ()) -> Solution | Infeasible:
    mapspace = replace(case.mapspace, slots=slots, keeps=keeps)
    return search(case.workload, case.platform, mapspace, case.ert)


def nest(found: Solution | Infeasible) -> EinsumMapping:
    assert isinstance(found, Solution), str(found)
    return found.result.mapping.groups[0].einsums[0]


def temporal(node: str, **factors: int) -> SlotRule:
    return SlotRule(node=node, kind="temporal", factors=factors)


def test_no_loops_at_the_shared_level() -> None:
    found = best(one_product(), temporal("GLB", I=1, J=1, K=1))
    assert nest(found).at(Slot("GLB", "temporal")) == ()


def test_a_loop_at_dram_though_nothing_is_staged() -> None:
    bypass = KeepRule(level="GLB", bypass=("A", "B", "Y"))
    found = best(one_product(), temporal("DRAM", I=4), keeps=(bypass,))
    factors = {loop.rank: loop.factor for loop in nest(found).at(Slot("DRAM", "temporal"))}
    assert factors["I"] == 4


def test_two_permutations_of_one_level_leave_one_of_two_loops() -> None:
    """K inside I, and I inside K: only one of them can have a loop of two passes."""
    rules = [
        SlotRule(node="GLB", kind="temporal", innermost=("K", "I")),
        SlotRule(node="GLB", kind="temporal", innermost=("I",)),
    ]
    case = one_product()
    case = replace(case, mapspace=replace(case.mapspace, slots=tuple(rules)))
    agree(case, 0)


@pytest.mark.parametrize(
    ("slots", "keeps", "named"),
    [
        ((temporal("DRAM", I=4), temporal("GLB", I=2)), (), "DRAM temporal I=4; GLB temporal I=2"),
        ((temporal("RF", K=3),), (), "RF temporal K=3"),
        ((), (KeepRule(level="DRAM", bypass=("A",)),), "DRAM bypass [A]"),
        (
            (),
            (KeepRule(level="GLB", keep=("A",)), KeepRule(level="GLB", bypass=("A",))),
            "GLB keep [A]; GLB bypass [A]",
        ),
        (
            (),
            (KeepRule(level="RF", keep=("A",)), KeepRule(level="RF", einsum="Y", bypass=("A",))),
            "RF keep [A]; RF of Y bypass [A]",
        ),
    ],
)
def test_a_contradiction_is_infeasible_and_names_its_rules(
    slots: tuple[SlotRule, ...], keeps: tuple[KeepRule, ...], named: str
) -> None:
    found = best(one_product(), *slots, keeps=keeps)
    assert isinstance(found, Infeasible)
    assert found.hint.endswith(f"relax one of: {named}")


def test_staging_that_a_rule_contradicts() -> None:
    case = one_product()
    fusion = replace(case.mapspace.fusion, staging="none")
    case = replace(case, mapspace=replace(case.mapspace, fusion=fusion))
    assert isinstance(best(case, keeps=(KeepRule(level="GLB", keep=("A",)),)), Infeasible)


def test_a_group_cannot_bypass_what_it_hands_on() -> None:
    """Enumeration finds no mapping of this one either, among the many below."""
    case = ruled_group(117)
    found = search(case.workload, case.platform, case.mapspace, case.ert)
    assert isinstance(found, Infeasible)
    assert found.hint.endswith("relax one of: GLB of A bypass [QK_exp]")


@pytest.mark.parametrize("seed", QUICK)
def test_products_under_rules(seed: int) -> None:
    agree(ruled_product(seed), seed)


@pytest.mark.parametrize("seed", [1, 3, 4, 8, 11, 27, 32, 166])
def test_groups_under_rules(seed: int) -> None:
    agree(ruled_group(seed), seed)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(200))
def test_many_products_under_rules(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if seed % 2:
        monkeypatch.setattr(import_module("flat_mapper.mapper.group.group"), "MOST_CANDIDATES", 0)
    agree(ruled_product(seed), seed)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(240))
def test_many_groups_under_rules(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if seed % 2:
        monkeypatch.setattr(import_module("flat_mapper.mapper.group.group"), "MOST_CANDIDATES", 0)
    agree(ruled_group(seed), seed)


@pytest.mark.parametrize("rank", ["I", "J"])
def test_a_permutation_at_dram_leaves_one_order_of_shared_loops(rank: str) -> None:
    """Free, J outside of I is the best of this question: 20 cycles, and 21 the other way round."""
    case = small_case(26)
    rule = SlotRule(node="DRAM", kind="temporal", innermost=(rank,))
    found = best(case, rule)
    assert isinstance(found, Solution)
    assert found.result.cycles == {"I": 20, "J": 21}[rank]
    agree(replace(case, mapspace=replace(case.mapspace, slots=(rule,))), 26)


CHIP = """
variables: {version: 0.4, technology: "22nm", global_cycle_seconds: 1e-9}
architecture:
  version: 0.4
  nodes:
  - !Component {name: DRAM, class: DRAM, attributes: {datawidth: 16, width: 16, type: "LPDDR4"}}
  - !Component {name: GLB, class: SRAM, attributes: {datawidth: 16, width: 16, depth: 30}}
  - !Component {name: L1, class: SRAM, attributes: {datawidth: 16, width: 16, depth: 16}}
  - !Component {name: MAC, class: intmac, attributes: {multiplier_width: 16, adder_width: 32}}
"""
PRICES = """
DRAM: {read: 100, write: 100}
GLB: {read: 10, write: 10}
L1: {read: 1, write: 1}
MAC: {compute: 1}
"""
HEADS = """
problem:
  ranks: {H: 2, P: 4, M: 4, E: 1, F: 1}
  word_bits: 16
  einsums: ["Y[h,p,m] = A[h,p,e] * B[h,m,e]", "Z[h,p,f] = Y[h,p,m] * C[h,m,f]"]
"""
SPACE = """
mapspace:
  fusion: {groups: [[Y, Z]], tiles: {H: [2], P: [1]}}
  policy: {buffering: 1}
"""
ORDER = """
  constraints:
  - {type: temporal, target: DRAM, einsum: Z, permutation: [H, P]}
"""


def test_a_rule_only_takes_away(tmp_path: Path) -> None:
    """C of both heads stays in L1 over the queries, so that heads are walked there."""
    files = {"chip": CHIP, "ert": PRICES, "problem": HEADS, "free": SPACE, "ruled": SPACE + ORDER}
    for name, text in files.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    chip, problem, ert = (tmp_path / f"{name}.yaml" for name in ("chip", "problem", "ert"))
    free, ruled = (
        fm.search(problem, chip, tmp_path / f"{name}.yaml", objective="energy", ert=ert, gap=0)
        for name in ("free", "ruled")
    )
    assert free.certificate.optimal
    assert free.result.energy_pj == pytest.approx(ruled.result.energy_pj, rel=1e-9)
    assert "C" in free.result.mapping.groups[0].einsums[1].stay
