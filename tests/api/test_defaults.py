"""What is answered where nobody says how: the mapspace, the gap, the time, and the first line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import flat_mapper as fm
from flat_mapper.base import budget as budgets
from flat_mapper.base.budget import Budget
from flat_mapper.cli.main import main

PRODUCTS = """problem:
  ranks: {M: 8, K: 8, N: 8, J: 8}
  einsums: ["QK[m,n] = A[m,k] * B[k,n]", "AV[m,j] = QK[m,n] * C[n,j]"]
"""  # named as attention is


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> dict:
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.usefixtures("default_ends")
@pytest.mark.parametrize(
    ("arch", "problem", "taken"),
    [
        ("edge", "tiny", "QK, softmax, AV fused or not, at GLB"),
        ("h100", "tiny", "QK, softmax, AV fused or not, at SMEM, tiles on 132 cores"),
        pytest.param(
            *("tpu-v4i-cores", "tiny"),
            "QK, softmax, AV fused or not, at GLB or VMEM, tiles on 4 cores",
            marks=pytest.mark.nightly,
        ),
        ("edge", PRODUCTS, "any partition into fused groups, at GLB"),
        ("h100", PRODUCTS, "any partition into fused groups, at SMEM, tiles on 132 cores"),
    ],
)
def test_a_chip_and_a_problem_are_enough(
    arch: str, problem: str, taken: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "\n" in problem:
        path = tmp_path / "own.yaml"
        path.write_text(problem, encoding="utf-8")
        problem = str(path)
    found = answer(capsys, "map", "--arch", arch, "--problem", problem)
    assert found["mapspace"] == "default"
    units = "units in turn" if arch == "edge" else "units at once or in turn"
    assert f"mapspace default: {taken}, {units}" in found["notes"]
    proof = found["search"]
    assert proof["gap"] <= 0.001
    assert proof["optimal"] == (proof["gap"] == 0)


@pytest.mark.parametrize(
    ("arch", "problem", "names"),
    [
        ("edge", "tiny", ("naive", "flat")),
        ("h100", "tiny", ("cores",)),
        ("edge", PRODUCTS, ("flex", "any", "elementwise")),
    ],
)
def test_no_mapspace_that_ships_has_a_better_answer(
    arch: str, problem: str, names: tuple[str, ...]
) -> None:
    found = fm.compare(problem, arch, ("default", *names))
    best = found.rows["default"].result.edp_js
    assert all(row.result.edp_js >= best * (1 - 1e-12) for row in found.feasible.values())


@pytest.mark.nightly
@pytest.mark.parametrize("mask", ["causal", "window=4"])
def test_under_a_mask_nothing_need_be_fused_on_cores(mask: str) -> None:
    whole = fm.load_problem("tiny", mask=mask)
    rows = fm.compare(whole, "h100", objective="latency", budget=Budget(steps=300)).feasible
    assert rows["default"].result.latency_s <= rows["unfused"].result.latency_s


@pytest.mark.parametrize("arch", ["edge", "h100"])
def test_unfused_stands_beside_it(arch: str) -> None:
    rows = fm.compare("tiny", arch).rows
    assert list(rows) == ["unfused", "default"]
    assert {len(g.names) for g in rows["default"].result.groups} != {1}
    assert all("+" not in g.schedule for g in rows["unfused"].result.groups)
    assert rows["unfused"].result.fused.granularity == "none"


@pytest.mark.parametrize(
    ("words", "gap", "seconds"),
    [
        ((), 0.001, 60.0),
        (("--gap", "1%"), 0.01, None),
        (("--gap", "0"), 0.0, None),
        (("--time-limit", "500"), 0.001, 500.0),
        (("--time-limit", "none"), 0.001, None),
        (("--time-limit", "500", "--gap", "0"), 0.0, 500.0),
    ],
)
@pytest.mark.usefixtures("default_ends")
def test_a_search_ends_where_it_is_asked_to(
    words: tuple[str, ...], gap: float, seconds: float | None, capsys: pytest.CaptureFixture[str]
) -> None:
    for verb in ("map",) if words else ("map", "compare"):
        found = answer(capsys, verb, "--arch", "edge", "--problem", "tiny", *words)
        for row in found.get("rows", [found]):
            proof = row["search"]
            assert (proof["asked_gap"], proof["time_limit_s"]) == (gap, seconds)
            assert proof["stopped"] == ("gap" if proof["gap"] else "")
            assert proof["optimal"] == (proof["gap"] == 0)
            assert proof["gap"] <= gap


@pytest.mark.parametrize(
    "words",
    [
        *(("--gap", text) for text in ("-1%", "101%", "nan")),
        *(("--time-limit", text) for text in ("0", "never")),
        ("--memory-limit", "0"),
    ],
)
def test_what_is_no_end_is_refused(
    words: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    for verb in (
        "map --objective edp",
        "need buffer --latency 1",
        "generate --prefill 8 --decode 8",
    ):
        asked = [*verb.split(), "--arch", "edge", "--problem", "tiny"]
        assert main([*asked, *words]) == 2
        assert f"{words[0]}: expected" in capsys.readouterr().err


@pytest.mark.parametrize("ends", [{"gap": 2.0}, {"gap": "1%"}, {"time_limit": 0}, {"gap": -0.1}])
def test_what_is_no_end_is_refused_in_python(ends: dict) -> None:
    with pytest.raises(fm.SpecError, match=f"{next(iter(ends))}: expected"):
        fm.search("tiny", "edge", **ends)


def test_a_keyword_that_nobody_knows_is_no_end() -> None:
    with pytest.raises(TypeError, match="seconds"):
        fm.search("tiny", "edge", seconds=3)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("words", "value", "end"),
    [
        ({"gap": 0.0}, "edp 2.124 fJ*s", "gap 0 %, proven"),
        ({"gap": 0.0, "objective": "latency"}, "latency 27.66 ns", "gap 0 %, proven"),
        ({"gap": 0.0, "objective": "energy"}, "energy 76.58 nJ", "gap 0 %, proven"),
        ({"gap": 1.0}, "edp ", "within the 100 % asked"),
        ({"budget": Budget(steps=1)}, "edp ", "limit of steps"),
    ],
)
def test_the_first_line_has_the_value_and_what_ended_the_search(
    words: dict, value: str, end: str
) -> None:
    first, *_ = str(fm.search("tiny", "edge", **words)).splitlines()
    assert first.startswith(f"default: tiny on edge, {value}")
    assert first.endswith(f"{end}, among tiles that divide")


def test_the_first_lines_of_several_mappings_have_them_too() -> None:
    first, *_ = str(fm.compare("tiny", "edge", gap=0.0, objective="latency")).splitlines()
    assert first.endswith("27.66 ns, gap 0 %, proven, among tiles that divide")
    first, *_ = str(fm.front("tiny", "edge", gap=0.01)).splitlines()
    ended = "on the front of latency and energy, gap 1 %, within the 1 % asked"
    assert first.endswith(f"{ended}, among tiles that divide")
    first, *_ = str(fm.generate("tiny", "edge", prefill=8, decode=8, gap=0.0)).splitlines()
    assert first.endswith(" ns, gap 0 %, proven, among tiles that divide")


@pytest.mark.parametrize(
    ("objective", "unit"), [("latency", " ns"), ("energy", " nJ"), ("edp", " fJ*s")]
)
def test_progress_has_units(objective: str, unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgets, "REPORT_S", -1.0)
    said: list[str] = []
    fm.search("tiny", "edge", objective=objective, progress=lambda _, text: said.append(text))
    assert any("best " in text for text in said)
    for text in (t for t in said if "best " in t):
        best, bound = text.split("best ")[1].split(", gap")[0].split(", bound ")
        assert best.endswith(unit), text
        assert bound.split()[1], text


@pytest.mark.parametrize(
    ("arch", "quantity"),
    [
        ("edge", "buffer"),
        pytest.param("edge", "bandwidth", marks=pytest.mark.nightly),
    ],
)
def test_need_says_what_is_known_where_its_budget_ends(arch: str, quantity: str) -> None:
    best = fm.search("tiny", arch, objective="latency").result.latency_s
    asked = {"quantity": quantity, "latency_s": best * 1.001}
    whole = fm.need("tiny", arch, **asked)
    early = fm.need("tiny", arch, **asked, budget=Budget(steps=1))
    assert not whole.unproven
    assert whole.misses == whole.steps - 1
    if early:  # enough there, too little here, and between them nobody knows
        assert early.misses < whole.steps <= early.steps
        assert early.unproven or early.misses == early.steps - 1
    else:
        assert "allow more time" in str(early)


def test_limits_and_parts_are_no_budget_beside_one() -> None:
    assert fm.search("tiny", "edge", max_latency_s=1.0, gap=0.0).certificate.optimal


@pytest.mark.usefixtures("default_ends")
def test_a_front_is_whole_unless_a_gap_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("map", "--arch", "edge", "--problem", "bert-base", "--mapspace", "flat")
    words += ("--seq", "64", "--objective", "latency,energy")
    fronts = [answer(capsys, *words, *gap)["rows"] for gap in ((), ("--gap", "0"), ("--gap", "5%"))]
    points = [[(row["cycles"], row["energy_pj"]) for row in rows] for rows in fronts]
    assert points[0] == points[1]
    assert len(points[2]) < len(points[0])


@pytest.mark.parametrize("scope", ["attention", "block"])
def test_a_gap_within_rounding_is_none(scope: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("map", "--arch", "edge", "--problem", "bert-base", "--mapspace", "flat")
    words += ("--seq", "64", "--scope", scope)
    exact, near = (answer(capsys, *words, "--gap", gap) for gap in ("0", "1e-9"))
    assert (near["cycles"], near["energy_pj"]) == (exact["cycles"], exact["energy_pj"])
    assert near["search"]["optimal"]
