"""`flat-mapper crosscheck`, `--backend timeloop` and `--timeloop-cmd`, with recorded runs."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path

import cases
import pytest
import small_platform as small
from small_platform import write_lowered

from flat_mapper.cli.main import main
from flat_mapper.spec.yamlio import dump
from flat_mapper.timeloop.write import lowered

REPLAY = Path(__file__).parents[1] / "replay" / "stand_in.py"
WRAPPED = ("--timeloop-cmd", f"{shlex.join([sys.executable, str(REPLAY)])} {{}}")
ABSENT = ("--timeloop-cmd", "no-such-program {}")


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No AccelForge, whatever is installed, and no wrapper in the environment."""
    lacking = "flat_mapper.backends.accelforge.AccelforgeBackend.missing"
    monkeypatch.setattr(lacking, lambda _: "accelforge: not here")
    monkeypatch.delenv("FLAT_MAPPER_TIMELOOP", raising=False)


@pytest.fixture
def record(tmp_path: Path) -> tuple[str, ...]:
    """The recorded fused mapping with its architectures, and the energies it was run with."""
    write_lowered(tmp_path, lowered(small.workload(), small.platform(), small.fused()).files)
    (tmp_path / "ert.yaml").write_text(dump(cases.ERT.levels))
    return (str(tmp_path / "fused-mapping.yaml"), "--ert", str(tmp_path / "ert.yaml"))


def test_crosscheck_prints_differences_and_a_verdict(
    record: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "--crosscheck", *record, *WRAPPED]) == 0
    out = capsys.readouterr().out
    assert "accelforge did not answer: accelforge: not here" in out
    assert "printed with two decimals" in out
    assert "0 by more than allowed" in out.splitlines()[-1]


def test_crosscheck_in_json(record: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--crosscheck", *record, "--json", *WRAPPED]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["agrees"] is True
    assert found["backends"] == ["native", "timeloop"]
    assert "FLAT_MAPPER_TIMELOOP" not in os.environ


def test_a_difference_that_exceeds_leaves_with_1(
    record: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("flat_mapper.backends.agreement.PRINTED_PJ", 0.0)
    monkeypatch.setattr("flat_mapper.backends.agreement.ENERGY_TOLERANCE", 0.0)
    assert main(["evaluate", "--crosscheck", *record, *WRAPPED]) == 1
    assert "EXCEEDS" in capsys.readouterr().out


def test_nobody_to_compare_with_leaves_with_3(
    record: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "--crosscheck", *record, *ABSENT]) == 3
    line = "BackendError: crosscheck: nothing to compare with: no-such-program: expected an exec"
    assert capsys.readouterr().err.startswith(line)


def test_crosscheck_of_nothing_is_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--crosscheck", *WRAPPED]) == 2
    assert "flat-mapper evaluate: expected FILE, got none" in capsys.readouterr().err


def test_the_backend_prices_a_record(
    record: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", *record, "--backend", "timeloop", "--json", *WRAPPED]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["backend"] == "timeloop"
    assert found["cycles"] == 592774


def test_an_absent_backend_is_one_line(
    record: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", *record, "--backend", "timeloop", *ABSENT]) == 3
    err = capsys.readouterr().err
    assert err.startswith("BackendError: no-such-program: expected an executable on PATH, got none")
    assert err.count("\n") == 1


def test_a_record_on_cores_without_tiles_is_no_question_of_one_array(
    record: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """It says where it is fused, and gives nothing out: Timeloop is asked for it in rounds."""
    file = Path(record[0])
    text = file.read_text()
    assert "  - einsums: [" in text
    file.write_text(text.replace("  - einsums: [", "  - level: GLB\n    einsums: ["))
    assert main(["evaluate", "--crosscheck", *record, *WRAPPED]) != 3
    assert "use crosscheck" not in capsys.readouterr().err


def test_a_mapping_that_does_not_fit_is_infeasible(
    record: tuple[str, ...], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for file in tmp_path.glob("small*.yaml"):
        file.write_text(file.read_text().replace("depth: rows", "depth: 4"))
    on_cores = (
        Path(record[0]).read_text().replace("  - einsums: [", "  - level: GLB\n    einsums: [")
    )
    Path(record[0]).write_text(on_cores)
    assert main(["evaluate", "--crosscheck", *record, *WRAPPED]) == 1
    assert capsys.readouterr().err.startswith("Infeasible: ")


@pytest.mark.parametrize("word", ["--crosscheck", "--execute"])
def test_timeloops_own_files_are_told_where_to_go(
    word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(tmp_path / name) for name in ("arch.yaml", "problem.yaml", "mapping.yaml")]
    assert main(["evaluate", word, *files]) == 2
    said = (
        f"{word}: expected the one record of a mapping, as map -o writes it, got \"Timeloop's own"
    )
    assert said in capsys.readouterr().err
