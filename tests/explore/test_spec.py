"""Sweep files: what they count, what they mean, and what they are refused for."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sweep_files import written

from flat_mapper.base.errors import SpecError
from flat_mapper.cli.main import main
from flat_mapper.explore.sweep.spec import SweepPoints, load_sweep

FIXED = "  fixed: {arch: edge, problem: tiny}\n"


def sweep(text: str) -> SweepPoints:
    return load_sweep(f"sweep:\n{text}")


def test_grid_zip_and_list_multiply() -> None:
    found = sweep(
        FIXED + "  grid: {arch.GLB.depth: {from: 1024, to: 4096, times: 2}, seq: [8, 16]}\n"
        "  zip: {arch.PE.meshX: [8, 16], arch.PE.meshY: [4, 8]}\n"
        "  list: [{rank.B: 1, rank.H: 2}, {rank.B: 2, rank.H: 1}]\n"
    )
    assert found.size == 3 * 2 * 2 * 2
    points = [found.point(i) for i in range(found.size)]
    assert [p["arch.GLB.depth"] for p in points] == [1024] * 8 + [2048] * 8 + [4096] * 8
    assert {(p["arch.PE.meshX"], p["arch.PE.meshY"]) for p in points} == {(8, 4), (16, 8)}
    assert {(p["rank.B"], p["rank.H"]) for p in points} == {(1, 2), (2, 1)}
    assert list(points[0]) == [
        *("arch", "arch.GLB.depth", "arch.PE.meshX", "arch.PE.meshY", "problem", "seq"),
        *("rank.B", "rank.H", "mapspace", "objective", "backend"),
    ]


@settings(max_examples=40)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_every_combination_has_one_number(sizes: list[int]) -> None:
    names = ("arch.GLB.depth", "seq", "rank.B", "rank.H")[: len(sizes)]
    axes = {name: list(range(1, n + 1)) for name, n in zip(names, sizes, strict=True)}
    found = sweep(FIXED + f"  grid: {json.dumps(axes)}\n")
    points = {tuple(found.point(i)[name] for name in names) for i in range(found.size)}
    assert points == set(itertools.product(*axes.values()))


CASES = [
    (
        "  grid: {seq: [8]}\n",
        "specification: sweep: expected the input 'arch', got seq; add it to fixed",
    ),
    (FIXED, "expected at least one of grid, zip and list, got fixed"),
    (FIXED + "  grid: {}\n", "grid: expected at least one input, got none"),
    (FIXED + "  grid: {seq: []}\n", "grid.seq: expected at least one value, got an empty list"),
    (FIXED + "  grid: {seq: 8}\n", r"grid.seq: expected a list, got 8; write \[8\]"),
    (FIXED + "  grid: {seq: [8, 8]}\n", "expected each value once, got seq 8 twice"),
    (FIXED + "  grid: {sek: [8]}\n", "expected inputs among arch, .*got 'sek'; did you mean 'seq'"),
    (FIXED + "  grid: {arch: [cloud]}\n", "expected each input once, got 'arch' twice"),
    (FIXED + "  grid: {seq: [8], rank.P: [8]}\n", "either seq .* or rank.P, got both"),
    (FIXED + "  grid: {seq: [[8]]}\n", "expected a word or a finite number, got a list"),
    (FIXED + "  grid: {seq: {from: 8}}\n", "expected the key 'to' .int., got the keys from"),
    (FIXED + "  grid: {seq: {from: 8, to: 4}}\n", r"expected to >= from \(8\), got 4"),
    (FIXED + "  grid: {seq: {from: 8, to: 9, times: 1}}\n", "times: expected number > 1, got 1"),
    (FIXED + "  grid: {seq: {from: 1, to: 9, by: 2}}\n", "expected keys among from, to.*got 'by'"),
    (FIXED + "  zip: {seq: [8, 16], rank.B: [1]}\n", "as many values each, got seq 2, rank.B 1"),
    (FIXED + "  list: [{seq: 8}, {rank.B: 8}]\n", "list.1: expected the inputs of the first point"),
    (FIXED + "  list: []\n", "list: expected at least one point, got none"),
    (FIXED + "  grids: {seq: [8]}\n", "keys among .*got 'grids'; .*did you mean 'grid'"),
]


@pytest.mark.parametrize(("text", "message"), CASES)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        sweep(text)


FILES = [
    ("arch.GLB.dept: [8]", r"GLB.dept: expected an attribute of GLB among .*did you mean 'depth'"),
    ("arch.GBL.depth: [8]", "GBL.depth: expected a node among DRAM, GLB, .*did you mean 'GLB'"),
    ("arch.variables.clock: [8]", "expected a variable of variables among technology"),
    ("arch.MAC.meshX: [8]", "MAC.meshX: expected an attribute of MAC among datawidth"),
    ("mapspace: [flatt]", "mapspaces: expected one of .*did you mean 'flat'"),
    ("objective: [edq]", "objective: expected one of .*did you mean 'edp'"),
    ("scope: [blok]", "scope: expected one of .*did you mean 'block'"),
    ("backend: [natve]", "backend: expected one of .*did you mean 'native'"),
]


@pytest.mark.parametrize(("axis", "message"), FILES)
def test_a_word_that_no_point_can_have(
    axis: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path)
    fixed = "{arch: nano.yaml, ert: ert.yaml, problem: attend.yaml}"
    path.write_text(f"sweep:\n  fixed: {fixed}\n  grid: {{{axis}}}\n", encoding="utf-8")
    assert main(["sweep", str(path), "-o", str(tmp_path / "r.db")]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert not (tmp_path / "r.db").exists()


def test_a_billion_points_are_counted_and_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path)
    path.write_text(
        "sweep:\n  fixed: {arch: nano.yaml, ert: ert.yaml, problem: attend.yaml}\n"
        "  grid: {arch.GLB.depth: {from: 1, to: 1000000}, seq: {from: 1, to: 1000}}\n",
        encoding="utf-8",
    )
    assert main(["sweep", str(path), "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith("1,000,000,000 points\n")
    assert main(["sweep", str(path), "-o", str(tmp_path / "r.db")]) == 2
    line = "expected at most 100,000 points without --yes, got 1,000,000,000"
    assert line in capsys.readouterr().err
    assert not (tmp_path / "r.db").exists()


@pytest.mark.parametrize(
    ("verb", "name", "told"),
    [("sweep", "buffer", "18 points"), ("sweep", "edge-design", "36 designs, 72 points")],
)
def test_the_examples(verb: str, name: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(__file__).parents[2] / "sweeps" / f"{name}.yaml"
    assert main([verb, str(path), "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith(told)
