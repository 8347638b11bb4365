"""Findings on constraints (A4) and energy (A6), asked on the command line."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from agreement import agree
from findings_inputs import answer, chip, file, refusal
from oracles.small_cases import one_product

from flat_mapper.cli.main import main
from flat_mapper.mapping.space import KeepRule, SlotRule

PRODUCT = """
problem:
  name: product
  word_bits: 16
  ranks: {I: 4, J: 4, K: 4}
  einsums:
  - "Y[i,j] = A[i,k] * B[k,j]"
"""
ONE = """
architecture:
  version: 0.4
  nodes:
  - !Component {name: DRAM, class: DRAM, attributes: {type: "LPDDR4", width: 16, datawidth: 16}}
  - !Component {name: GLB, class: SRAM, attributes: {width: 16, depth: 64, datawidth: 16}}
  - !Container {name: PE, spatial: {meshX: 2, meshY: 2}}
  - !Component {name: RF, class: regfile, attributes: {width: 16, depth: 4, datawidth: 16}}
  - !Component {name: MAC, class: intmac, attributes: {multiplier_width: 16}}
"""
ERT = "{DRAM: {read: 100, write: 100}, GLB: {read: 10, write: 10}, RF: {read: 1, write: 1}, "
ERT += "MAC: {compute: 1}}"


@pytest.mark.parametrize(
    ("rules", "obeyed"),
    [
        (  # (a): it returned J = 2 and I = 4 at GLB
            "{target: GLB, type: temporal, factors: [I=1, J=1, K=1]}",
            {"GLB": []},
        ),
        (  # (b): it was ignored where nothing is staged
            "{target: DRAM, type: temporal, factors: [I=4]}, "
            "{target: GLB, type: dataspace, bypass: [A, B, Y]}",
            {"DRAM": ["I=4"]},
        ),
    ],
)
def test_a4_rules_on_outer_levels_are_obeyed(
    rules: str, obeyed: dict[str, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [
        *("--arch", file(tmp_path, ONE, "one.yaml")),
        *("--problem", file(tmp_path, PRODUCT, "product.yaml")),
        *("--ert", file(tmp_path, ERT, "ert.yaml")),
        *("--mapspace", file(tmp_path, f"mapspace: {{constraints: [{rules}]}}", "ruled.yaml")),
    ]
    found = answer(capsys, "map", *files)
    loops = found["einsums"]["Y"]["mapping"]["loops"]
    for level, wanted in obeyed.items():
        assert set(wanted) <= set(loops.get(level, ())), loops
    assert "GLB" not in loops, loops  # no loops there in (a); nothing is kept there in (b)


def test_a4_what_is_alike_is_not_so_under_rules() -> None:
    """(c): I4 J4 K2, J in RF at most 2, I = 2 in the PEs, GLB without B, J = 2 at DRAM."""
    rules = (
        SlotRule(node="RF", kind="temporal", at_most={"J": 2}),
        SlotRule(node="PE", kind="spatial", factors={"I": 2}),
        SlotRule(node="DRAM", kind="temporal", factors={"J": 2}),
    )
    keeps = (KeepRule(level="GLB", keep=("A",), bypass=("B",)),)
    case = one_product()
    agree(replace(case, mapspace=replace(case.mapspace, slots=rules, keeps=keeps)), 0)


def energy(capsys: pytest.CaptureFixture[str], path: str) -> dict[str, float]:
    found = answer(capsys, "map", "--arch", path, "--problem", "tiny", "--mapspace", "flat-r")
    parts = found["energy_by_pj"]["component"]
    assert math.fsum(parts.values()) == found["energy_pj"]
    assert found["zero_energies"] == ["networks between levels", "leakage of DRAM"]
    assert sum(found["power_w"].values()) == pytest.approx(
        found["energy_pj"] * 1e-12 / found["latency_s"]
    )
    return {**parts, "latency_s": found["latency_s"], "total": found["energy_pj"]}


def test_a6_deep_registers_exponentials_and_slow_clocks_cost_energy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = energy(capsys, chip(tmp_path, ("name: GLB", "name: GLB")))
    deep = energy(
        capsys, chip(tmp_path, ("width: 16, depth: 32", "width: 16, depth: 4096"), "deep")
    )
    assert deep["total"] > own["total"]
    slow = energy(
        capsys,
        chip(tmp_path, ("global_cycle_seconds: 2e-9", "global_cycle_seconds: 4e-9"), "slow"),
    )
    assert slow["latency_s"] >= 2 * own["latency_s"]
    assert slow["leakage"] >= 2 * own["leakage"] > 0
    dear = energy(
        capsys,
        chip(
            tmp_path,
            ("global_cycle_seconds: 2e-9}", "global_cycle_seconds: 2e-9, exp_energy: 40}"),
            "dear",
        ),
    )
    assert dear["total"] > own["total"]


def test_power_beyond_the_limit_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for watts, over in (("1e-6", True), ("1e6", False)):
        limit = (
            "global_cycle_seconds: 2e-9}",
            f"global_cycle_seconds: 2e-9, power_limit_w: {watts}}}",
        )
        path = chip(tmp_path, limit)
        assert main(["map", "--arch", path, "--problem", "tiny"]) == 0
        out = capsys.readouterr().out
        assert ("exceed power_limit_w 1e-06" in out) == over
        assert "average power" in out
    path = chip(tmp_path, ("2e-9}", "2e-9, power_limit_w: 0}"))
    line = refusal(capsys, "map", "--arch", path, "--problem", "tiny")
    assert "variables.power_limit_w: expected number > 0" in line


def test_a_chip_of_unknown_energies_is_searched_for_latency(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit = (
        "class: intmac, attributes: {multiplier_width: 16",
        "class: fpmac, attributes: {width: 16",
    )
    path = chip(tmp_path, edit)
    known = chip(tmp_path, ("name: GLB", "name: GLB"), "known")
    assert main(["map", "--arch", path, "--problem", "tiny"]) == 0
    out = capsys.readouterr().out
    assert "energy of MAC, VALU unknown, searched for latency alone" in out
    lacks = "that of MAC, VALU is unknown"
    assert out.splitlines()[0].endswith(f"; energy in part, no edp: {lacks}")
    assert re.search(rf"^energy +[0-9.]+ .J +of the rest: {lacks}$", out, re.MULTILINE)
    assert re.search(r"^energy-delay product +unknown$", out, re.MULTILINE)
    fast = answer(capsys, "map", "--arch", path, "--problem", "tiny")
    best = answer(capsys, "map", "--arch", known, "--problem", "tiny", "--objective", "latency")
    assert fast["cycles"] == best["cycles"]
    assert list(fast["provenance"]["unknown"]) == ["MAC", "VALU"]
    assert set(fast["zero_energies"]) >= {"MAC", "VALU"}
    parts, whole = fast["energy_by_pj"]["component"], best["energy_by_pj"]["component"]
    assert parts["DRAM"] == pytest.approx(whole["DRAM"])
    assert parts["DRAM"] > 0
    assert parts["MAC"] == parts["VALU"] == 0
    line = refusal(capsys, "map", "--arch", path, "--problem", "tiny", "--objective", "energy")
    assert "expected a class that hwcomponents prices" in line
    assert main(["check", path]) == 0
