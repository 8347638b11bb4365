"""The documented container command, with a stand-in for docker that sees one mounted folder."""

from __future__ import annotations

import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import cases
import pytest
import small_platform as small

from flat_mapper.base.errors import BackendError
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Result
from flat_mapper.timeloop.accelergy import chosen_accelergy
from flat_mapper.timeloop.backend import TimeloopBackend
from flat_mapper.timeloop.run import VARIABLE, command_of

ROOT = Path(__file__).parents[2]


def documented() -> str:
    """What docs/timeloop.md says to put behind --timeloop-cmd."""
    found = re.search(r"--timeloop-cmd '(docker [^']*)'", (ROOT / "docs/timeloop.md").read_text())
    assert found
    return found[1]


@pytest.fixture(autouse=True)
def _docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `docker` on PATH, and the documented command in the environment."""
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    words = shlex.join([sys.executable, str(ROOT / "tests/replay/docker.py")])
    program.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setenv(VARIABLE, documented())


def test_a_fused_mapping_is_priced_in_the_container() -> None:
    inputs = small.workload(), small.platform(), small.fused(), cases.ERT
    result, native = TimeloopBackend(command=command_of()).evaluate(*inputs), evaluate(*inputs)
    assert isinstance(result, Result)
    assert isinstance(native, Result)
    assert result.cycles == native.cycles


def test_accelergy_runs_in_the_container() -> None:
    ert, _ = chosen_accelergy().price(cases.priced_by_accelergy()["priced"])
    assert ert.energy("GLB", "read") == 119.961  # as it was recorded again


def test_a_failure_in_the_container_names_the_command_to_repeat(tmp_path: Path) -> None:
    backend = TimeloopBackend(command=command_of(), folder=tmp_path / "runs")
    workload, nest = cases.remainder()
    other = replace(cases.ERT, levels={**cases.ERT.levels, "GLB": {"read": 1.0, "write": 1.0}})
    with pytest.raises(BackendError) as caught:
        backend.einsum(workload, small.platform().matrix, nest, other)
    folder = tmp_path / "runs" / "QK"
    assert f"re-run: cd {folder} && docker run --rm -v {folder}:/run -w /run" in str(caught.value)
