"""Leakage: power times the cycles of the whole answer, in every cut of the energy, by hand."""

from __future__ import annotations

from dataclasses import replace
from math import fsum

import pytest
from oracles.small_cases import online_case
from prices import PRICES
from small_platform import platform

from flat_mapper.arch.reader import load_platform
from flat_mapper.arch.values import Platform
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Result
from flat_mapper.energy.hwcomponents import price_with_hwcomponents
from flat_mapper.energy.tables import Ert
from flat_mapper.mapper.solve.certificate import Solution
from flat_mapper.mapper.solve.driver import search
from flat_mapper.mapping.space import Mapspace
from flat_mapper.workload.cascade import attention

LEAKS = {"DRAM": 7.0, "GLB": 5.0, "VRF": 0.25, "VALU": 0.5, "MAC": 0.125}  # pJ a cycle


def leaking() -> Ert:
    levels = {n: {**e, "leak": LEAKS.get(n, 0.0)} for n, e in PRICES.levels.items()}
    return replace(PRICES, levels=levels)


def answered(ert: Ert, repeat: int = 1) -> Result:
    workload = replace(attention(B=2, H=1, P=4, M=4, E=2, F=2), repeat=repeat)
    found = search(workload, platform(), Mapspace(name="flex"), ert, objective="energy")
    assert isinstance(found, Solution)
    return found.result


def test_components_leak_in_every_cycle_and_shared_ones_once() -> None:
    chip = platform()
    assert chip.vector is not None
    units = {a.compute.name: a.compute.instances for a in (chip.matrix, chip.vector)}
    # DRAM and GLB stand in both files and are one of each; registers of a lane as often as lanes.
    lanes = chip.vector.level("VRF").instances
    hand = {"DRAM": 7.0, "GLB": 5.0, "VRF": 0.25 * lanes}
    hand |= {"MAC": 0.125 * units["MAC"], "VALU": 0.5 * units["VALU"]}
    assert leaking().leak_per_cycle(chip) == pytest.approx(hand)
    result = answered(leaking(), repeat=3)
    assert result.leakage_by == pytest.approx({n: result.cycles * pj for n, pj in hand.items()})
    assert result.energy_pj == result.dynamic_pj + sum(hand.values()) * result.cycles
    assert PRICES.leak_per_cycle(chip) == {}


def test_every_cut_adds_up_to_the_last_digit() -> None:
    for repeat in (1, 7):
        result = answered(leaking(), repeat)
        for cut in result.energy_by().values():
            assert fsum(cut.values()) == result.energy_pj
            assert cut["leakage"] == pytest.approx(sum(result.leakage_by.values()))
    assert all("leakage" not in cut for cut in answered(PRICES).energy_by().values())


def test_leakage_doubles_at_half_the_clock() -> None:
    whole = load_platform("edge")
    assert whole.vector is not None
    slow = 2 * whole.matrix.cycle_seconds
    parts = (replace(a, cycle_seconds=slow) for a in (whole.matrix, whole.vector))
    half = Platform(name="edge", **dict(zip(("matrix", "vector"), parts, strict=True)))
    before, after = (price_with_hwcomponents(p)[0].leak_per_cycle(p) for p in (whole, half))
    assert set(before) == {"GLB", "RF", "LREG", "MAC", "VALU"}  # hwcomponents: DRAM does not
    assert after == pytest.approx({name: 2 * pj for name, pj in before.items()})


def test_leakage_makes_slow_mappings_dear() -> None:
    case = online_case(5)
    found = []
    for leak in (0, 1e6):
        table = {n: {**e, "leak": leak * (n == "GLB")} for n, e in case.ert.levels.items()}
        ert = replace(case.ert, levels=table)
        best = search(case.workload, case.platform, case.mapspace, ert, objective="energy")
        assert isinstance(best, Solution)
        found.append(best.result)
    slow, fast = found
    assert fast.cycles < slow.cycles
    assert fast.dynamic_pj > slow.dynamic_pj
    assert fast.energy_pj == fast.dynamic_pj + 1e6 * fast.cycles
    assert fast.bound.energy_pj == pytest.approx(slow.bound.energy_pj + 1e6 * fast.bound.cycles)


def test_an_einsum_on_its_own_has_no_leakage_as_in_timeloop_model() -> None:
    without = answered(PRICES)
    workload = attention(B=2, H=1, P=4, M=4, E=2, F=2)
    again = evaluate(workload, platform(), without.mapping, leaking())
    assert isinstance(again, Result)
    assert again.einsums == without.einsums
    assert again.energy_pj > without.energy_pj
