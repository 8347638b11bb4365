"""The comparisons with Timeloop's tools, as far as they go where the tools are missing."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cases
import pytest
import small_platform as small

import flat_mapper as fm
from flat_mapper.cli.main import main as flat_mapper
from flat_mapper.values import MappingRecord
from studies.mapper.__main__ import ALONE, array_given, main
from studies.mapper.beside import Pair, beside, best_found, raw_limits, table
from studies.mapper.exercises import differences, modelled, without

FILES = {
    "arch.yaml": """architecture:
  version: 0.4
  nodes:
  - !Component {name: DRAM, class: DRAM, attributes: {width: 64, datawidth: 8}}
  - !Component {name: Buffer, class: SRAM, attributes: {depth: 64, width: 8, datawidth: 8}}
  - !Component {name: MAC, class: intmac, attributes: {datawidth: 8}}
""",
    "prob.yaml": """problem:
  shape:
    name: product
    dimensions: [K, N]
    data_spaces:
    - {name: Weights, projection: [[[K]], [[N]]]}
    - {name: Inputs, projection: [[[K]]]}
    - {name: Outputs, projection: [[[N]]], read_write: true}
  instance: {K: 4, N: 4}
""",
    "map.yaml": """mapping:
- {target: DRAM, type: temporal, factors: [K=1, N=4]}
- {target: Buffer, type: temporal, factors: [K=4, N=1]}
""",
}


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return [tmp_path / name for name in FILES]


def test_alone_counts_single_buffers_as_timeloop_does() -> None:
    space = fm.load_mapspace(ALONE)
    assert (space.policy.buffering, space.policy.softmax) == (1, "free")
    found = fm.search(fm.load_problem("tiny").subset(("QK",)), "edge", space)
    assert not isinstance(found, fm.Infeasible)
    assert len(found.mapping.groups) == 1
    (array,) = array_given(found).platform.matrix.fanouts
    assert "spatial" in array.constraints


def test_an_exercise_differs_from_itself_in_nothing(files: list[Path]) -> None:
    found = modelled(files)
    count, wrong = differences(found.stats, found.stats, energy=True)
    assert count > 20
    assert wrong == []
    with without(files[2:], "Buffer") as mapping:
        (line,) = mapping[0].read_text(encoding="utf-8").splitlines()
    assert "Buffer" not in line
    assert "DRAM" in line


@pytest.mark.skipif(shutil.which("timeloop-model") is not None, reason="timeloop-model is there")
def test_a_missing_tool_is_named(files: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(fm.BackendError, match="timeloop-model"):
        modelled(files, None, "timeloop")
    with pytest.raises(fm.SpecError, match=r"model: backend: expected native or timeloop, got 'x'"):
        fm.model(files, backend="x")
    assert main(["--seconds", "1"]) == 3
    assert "timeloop-mapper" in capsys.readouterr().err


# --- timeloop-mapper beside ours: recorded runs ---------------------------------------------------

STAND_IN = Path(__file__).parents[1] / "replay/stand_in.py"


def fused() -> Any:
    """The mapping of the recorded runs: six Einsums in one group."""
    mapping = MappingRecord(
        workload=small.workload(), platform=small.platform(), mapping=small.fused(), arch=()
    )
    found = fm.evaluate(mapping, ert=cases.ERT)
    assert not isinstance(found, fm.Infeasible)
    return found


def searches(monkeypatch: pytest.MonkeyPatch, fault: str = "", seconds: float = 30.0) -> list[Pair]:
    option = ["--fault", fault] if fault else []
    words = shlex.join([sys.executable, str(STAND_IN), *option])
    monkeypatch.setenv("FLAT_MAPPER_TIMELOOP", f"{words} {{}}")
    found, pairs = fused(), []
    for pair in beside(found, seconds=seconds, algorithm="linear_pruned", threads=1):
        pairs.append(pair)
        if fault:
            break  # one is enough
    return pairs


def test_six_recorded_searches_stand_beside_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has the very input of the recorded run, or the stand-in would know no answer."""
    pairs = searches(monkeypatch)
    assert [pair.einsum for pair in pairs] == list(small.fused().einsum_mappings)
    for pair, stats in zip(pairs, fused().result.einsums, strict=True):
        assert pair.theirs is not None
        assert pair.ours == (stats.cycles, stats.energy_pj)
    found = {pair.einsum: pair.theirs and pair.theirs[0] for pair in pairs}
    assert found["QK"] == 196608
    assert found["QK_exp"] == 49152  # 12 x 512 x 512 points on 64 lanes
    assert "QK_exp" in table(pairs)
    said = json.loads(json.dumps([pair.to_dict() for pair in pairs]))
    assert said[0]["timeloop_mapper"]["cycles"] == 196608


def test_a_search_is_interrupted_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    (pair,) = searches(monkeypatch, "long", seconds=1.0)
    assert pair.theirs is not None
    assert pair.theirs[0] == 196608


def test_nothing_found_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    (pair,) = searches(monkeypatch, "none")
    assert (pair.theirs, pair.note) == (None, "no valid mapping within 30 s")
    assert table([pair]).endswith("QK: no valid mapping within 30 s")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("crash", r"got exit code 134 and .*ERROR: boost: out of memory"),
        ("silent", r"expected out/timeloop-mapper\.stats\.txt, .*ERROR: key not found"),
        ("cut", r"expected Timeloop's statistics to their end, got less"),
        ("deaf", r"nothing within 0\.5 s, nor when interrupted.*re-run:"),
    ],
)
def test_failures_name_what_happened(
    fault: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("studies.mapper.beside.GRACE_S", 0.1)
    with pytest.raises(fm.BackendError, match=message):
        searches(monkeypatch, fault, seconds=0.5 if fault == "deaf" else 30.0)


def test_limits_are_what_the_raw_reader_knows() -> None:
    einsum = small.workload().einsum("QK")
    said = {"target": "GLB", "type": "temporal", "factors": ["P<=4", "Z=2"], "permutation": "PZ"}
    assert raw_limits(einsum, said, "GLB") == {
        **{"target": "GLB", "type": "temporal"},
        **{"factors": "P<=4", "permutation": "P"},
    }
    with pytest.raises(fm.BackendError, match=r"QK: RF: constraints\.temporal: .*got factors_only"):
        raw_limits(einsum, {"target": "RF", "type": "temporal", "factors_only": ["P=4"]}, "RF")


def test_energies_must_be_numbers() -> None:
    text = "  Energy (total)   : x pJ\n\nSummary Stats\n-----\nCycles: 5\n"
    with pytest.raises(fm.BackendError, match=r"stats: Energy \(total\): expected a number"):
        best_found(text, "stats")


@pytest.mark.parametrize(
    "words",
    [
        ["--backend", "timeloop-mapper"],
        ["--backend", "timeloop-mapper", "--mapper-seconds", "3"],
        ["--mapper-algorithm", "linear_pruned"],
    ],
)
def test_the_words_that_were_say_where_it_is(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert flat_mapper(["map", "--arch", "edge", "--problem", "tiny", *words]) == 2
    assert "it is now python -m studies.mapper --record FILE" in capsys.readouterr().err


@pytest.mark.needs_timeloop
def test_the_real_one_finds_nothing_better_for_the_optimum(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    if shutil.which("timeloop-mapper") is None:
        if os.environ.get("FLAT_MAPPER_REQUIRE_TIMELOOP"):
            pytest.fail("timeloop-mapper is missing")
        pytest.skip("timeloop-mapper is missing")
    found = fm.search("tiny", "edge")
    assert not isinstance(found, fm.Infeasible)
    pairs = list(beside(found, seconds=3.0, algorithm="linear_pruned", folder=tmp_path))
    for pair in pairs:
        # Timeloop prints hundredths of a pJ, and the cheapest Einsum here takes about 1000 pJ.
        assert pair.theirs is not None
        assert pair.edp_js(pair.theirs) >= pair.edp_js(pair.ours) * (1 - 1e-4)
    record_property("searches of timeloop-mapper, 3 s each, none better", len(pairs))
