"""The scripts of examples/ run, and say what their first lines promise."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from flat_mapper.mapping.check import handed_inside, read_checked_record
from flat_mapper.timeloop.write import lowered

EXAMPLES = Path(__file__).parent.parent / "examples"
SAYS = {
    "first_mapping": ("tiny on edge", "the best of", " flat  ", "limited by DRAM", "QK_max"),
    "own_architecture": ("bert-base on my_chip", " naive ", " flat ", "128 KiB: ", "32 KiB: "),
    "own_cascade": ("my_cascade on my_chip", "my_fusion", "G[i,k] = exp(T[i,k])", "GLB: "),
}


def test_every_example_is_run() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(SAYS)


@pytest.mark.parametrize("name", SAYS)
def test_an_example_runs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    said = capsys.readouterr().out
    for words in SAYS[name]:
        assert words in said, said


def test_a_record_hands_scores_over_inside_its_fusion_level() -> None:
    record = read_checked_record(EXAMPLES / "scores_in_vmem.yaml")
    inside = handed_inside(record.workload, record.platform, record.mapping.groups[0])
    assert inside == {"QK": "VMEM", "QK_exp": "VMEM", "A": "VMEM"}
    assert "QK/mapping.yaml" in lowered(record.workload, record.platform, record.mapping).files
