"""Design questions: the front of a grid is that of its enumeration, and says what binds it."""

from __future__ import annotations

import csv
import json
import re
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sweep_files import written

from flat_mapper.arch.reader import load_platform
from flat_mapper.cli.main import main
from flat_mapper.explore.sweep.design_search import (
    Design,
    dominates,
    load_design_problem,
    uses,
    with_design,
)
from flat_mapper.explore.sweep.inputs import Chip

ASKED = """
optimize:
  fixed: {arch: nano.yaml, ert: ert.yaml, mapspace: flat-r}
  grid: {arch.GLB.depth: [16, 64, 256], arch.variables.dram_words: [1, 4, 8]}
  zip: {arch.PE.meshX: [1, 2], arch.PE.meshY: [1, 2]}
  workloads:
  - {problem: attend.yaml, seq: 4, weight: 3}
  - {problem: attend.yaml, seq: 8}
  budgets: {bandwidth: 8e+9, pes: 4, buffer: 1024}
"""


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("optimize")
    written(folder)
    (folder / "design.yaml").write_text(ASKED, encoding="utf-8")
    return folder / "design.yaml"


def answered(capsys: pytest.CaptureFixture[str], path: Path, *words: str) -> dict[str, object]:
    results = path.with_suffix(".db")
    arguments = ["sweep", str(path), "-o", str(results), "--workers", "0", "--json", *words]
    assert main(arguments) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_the_front_of_a_grid(asked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = answered(capsys, asked)
    assert found["designs"] == 18
    assert found["over_budget"] == {"bandwidth": 6, "buffer": 6}
    exact = enumerated(asked, capsys)
    assert {(d["scores"]["latency"], d["scores"]["energy"]) for d in found["front"]} == exact
    for design in found["front"]:
        parts = design["workloads"]
        weighted = 3 * parts["attend.yaml N=4"]["latency_s"] + parts["attend.yaml N=8"]["latency_s"]
        assert design["scores"]["latency"] == pytest.approx(weighted)
        assert any(" of the latency" in line for line in design["binds"])
    assert any("bandwidth 100% used stops arch.variables" in b for b in found["front"][0]["binds"])


def enumerated(asked: Path, capsys: pytest.CaptureFixture[str]) -> set[tuple[float, float]]:
    """The front by the sums over `map`'s own answers, worked out plainly."""
    out = asked.parent / "rows.csv"
    results = str(asked.with_suffix(".db"))
    assert main(["sweep", results, "--format", "csv", "-o", str(out)]) == 0
    capsys.readouterr()
    sums: dict[tuple[object, ...], list[float]] = {}
    names = ("arch.GLB.depth", "arch.variables.dram_words", "arch.PE.meshX")
    for row in csv.DictReader(out.read_text().splitlines()):
        weight = 3 if row["seq"] == "4" else 1
        entry = sums.setdefault(tuple(int(row[n]) for n in names), [0.0, 0.0])
        entry[0] += weight * float(row["latency_s"])
        entry[1] += weight * float(row["energy_pj"])
    allowed = set(product((16, 64), (1, 4), (1, 2)))
    assert set(sums) == allowed
    points = {tuple(v) for v in sums.values()}
    return {a for a in points if not any(b[0] <= a[0] and b[1] <= a[1] and b != a for b in points)}


def test_the_table_names_what_binds(asked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["sweep", str(asked), "-o", str(asked.with_suffix(".db")), "--workers", "0"]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "18 designs: 8 within the budgets with a mapping each, 6 over the bandwidth" in text
    assert re.search(
        r"^1: .*bandwidth 100% used stops arch\.variables\.dram_words; \w+ sets \d+% of", text, re.M
    )


def test_optuna_tries_some_and_goes_on_where_it_was(
    asked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("optuna")
    whole = answered(capsys, asked)["front"]
    words = ("--method", "optuna", "--seed", "3", "--trials")
    some = answered(capsys, asked, *words, "3")
    assert some["feasible"] > 0
    assert answered(capsys, asked, *words, "3") == some
    more = answered(capsys, asked, *words, "5")
    assert more["designs"] >= some["designs"]
    names = ("latency", "energy")
    for design in more["front"]:
        assert not any(dominates(design["scores"], best["scores"], names) for best in whole)


def test_what_a_chip_uses() -> None:
    chip = Chip(digest="", platform=load_platform("edge"), ert=None)
    used = uses(chip, ())
    assert used == {"buffer": 512 * 1024, "bandwidth": pytest.approx(50e9), "pes": 1024}


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=30))
def test_a_front_has_nothing_that_is_dominated(points: list[tuple[int, int]]) -> None:
    names = ("a", "b")
    front: tuple[Design, ...] = ()
    for i, point in enumerate(points):
        scores = dict(zip(names, map(float, point), strict=True))
        new = Design(number=i, coordinates={}, uses={}, answers=(), scores=scores)
        front = with_design(front, new, names)
    on = [d.scores for d in front]
    everyone = [dict(zip(names, map(float, p), strict=True)) for p in points]
    assert not any(dominates(other, one, names) for one in on for other in everyone)
    best = [p for p in everyone if not any(dominates(o, p, names) for o in everyone)]
    assert sorted(map(str, on)) == sorted(map(str, best))


BAD = [
    ("objectives: [speed]", "objectives: expected one of latency, .*got 'speed'"),
    ("budgets: {volume: 3}", "expected keys among area, buffer, bandwidth, pes.*got 'volume'"),
    ("budgets: {pes: 0}", "budgets.pes: expected number > 0, got 0"),
    ("budgets: {area: 3}", "area: expected hwcomponents or accelergy to price it, got: a table of"),
    ("workloads: []", "workloads: expected at least one workload, got none"),
    ("workloads: [{arch.GLB.depth: 4}]", "expected each input once, got 'arch.GLB.depth' twice"),
    ("grid: {seq: [4]}\n  workloads: [{problem: attend.yaml}]", "inputs of the architecture"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_refused(
    change: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path)
    key = change.partition(":")[0]
    text = re.sub(rf"\n  {key}:.*(\n  - .*)*", f"\n  {change}", ASKED, count=1)
    if "\n" in change:
        text = re.sub(r"\n  workloads:\n(  - .*\n)*", "\n", text, count=1)
    elif change not in text:
        text += f"  {change}\n"
    (tmp_path / "design.yaml").write_text(text, encoding="utf-8")
    results = str(tmp_path / "r.db")
    assert main(["sweep", str(tmp_path / "design.yaml"), "-o", results, "--workers", "0"]) == 2
    assert re.search(message, error := capsys.readouterr().err), error


def test_a_design_has_one_number(asked: Path) -> None:
    problem = load_design_problem(asked)
    choices = problem.choices
    numbers = [choices.position(choices.indices(d)) for d in range(choices.size)]
    assert numbers == list(range(18))
    points = [problem.sweep.point(p) for d in range(18) for p in problem.positions(d)]
    assert len({json.dumps(p) for p in points}) == 36
