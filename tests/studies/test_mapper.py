"""The comparisons with Timeloop's tools, as far as they go where the tools are missing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import flat_mapper as fm
from studies.mapper.__main__ import ALONE, array_given, main
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
