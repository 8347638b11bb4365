"""The command line: exit codes, what it writes, and that the written mapping is priced the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from prices import EDGE_ERT

from flat_mapper.api import calls
from flat_mapper.arch.values import Platform
from flat_mapper.backends.registry import BACKENDS
from flat_mapper.base.budget import Budget
from flat_mapper.base.errors import NothingFeasible, SpecError
from flat_mapper.cli.main import main
from flat_mapper.devices.cluster import Cluster
from flat_mapper.page import saved
from flat_mapper.reports import folder as output

ROOT = Path(__file__).parents[2]


@pytest.fixture
def ert(tmp_path: Path) -> str:
    path = tmp_path / "ert.yaml"
    path.write_text(EDGE_ERT)
    return str(path)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `flat-mapper map -o`, with the table that priced it beside it."""
    folder = tmp_path_factory.mktemp("map")
    (folder / "ert.yaml").write_text(EDGE_ERT)
    arguments = ["map", "--arch", "edge", "--problem", "tiny", "--ert", str(folder / "ert.yaml")]
    assert main([*arguments, "--seq", "4", "-o", str(folder / "out")]) == 0
    return folder


def result_in(folder: Path) -> dict[str, object]:
    document = json.loads((folder / "result.json").read_text())
    assert isinstance(document, dict)
    return document


def test_reading_inputs_counts_to_the_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Budget] = []
    read: list[float] = []
    arch_of = calls.arch_of

    def chip(*given: Any) -> Platform | Cluster:
        read.append(time.monotonic())
        return arch_of(*given)

    def search(*_: object, budget: Budget, **__: object) -> None:
        asked.append(budget)
        raise NothingFeasible("no search here")

    monkeypatch.setattr(calls, "arch_of", chip)
    monkeypatch.setattr(calls, "best_of_layers", search)
    assert main(["map", "--arch", "edge", "--problem", "tiny", "--time-limit", "5"]) == 1
    assert asked[0].seconds == 5
    assert asked[0].begin <= read[0]


def test_map_writes_the_record_the_result_and_timeloops_files(written: Path) -> None:
    files = {str(p.relative_to(written / "out")) for p in (written / "out").rglob("*.*")}
    assert {"result.json", "fused-mapping.yaml", "edge.yaml", "edge.sfu.yaml"} <= files
    assert {"QK/arch.yaml", "QK/problem.yaml", "QK/mapping.yaml", "AV/mapping.yaml"} <= files
    named = result_in(written / "out")["files"]
    assert isinstance(named, list)
    assert set(named) == files
    assert [p.name for p in written.iterdir() if p.name.endswith(".tmp")] == []


def test_evaluate_prices_the_record_identically(
    written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = str(written / "out" / "fused-mapping.yaml")
    assert main(["evaluate", record, "--ert", str(written / "ert.yaml"), "--json"]) == 0
    again, before = json.loads(capsys.readouterr().out), result_in(written / "out")
    for name in ("cycles", "energy_pj", "energy_by_pj", "buffer", "flat_tile", "granularity"):
        assert again[name] == before[name]


def test_lower_writes_the_same_files_again(written: Path, tmp_path: Path) -> None:
    record = written / "out" / "fused-mapping.yaml"
    assert main(["lower", str(record), "-o", str(tmp_path / "low")]) == 0
    for name in ("QK/mapping.yaml", "AV/problem.yaml"):
        text = (tmp_path / "low" / name).read_text()
        assert text == (written / "out" / name).read_text()
    again = (tmp_path / "low" / "fused-mapping.yaml").read_text()
    assert again == record.read_text()


def test_lower_for_the_mapper_leaves_room_for_the_others(written: Path, tmp_path: Path) -> None:
    record = str(written / "out" / "fused-mapping.yaml")
    assert main(["lower", record, "-o", str(tmp_path / "low"), "--for", "mapper"]) == 0
    folder = tmp_path / "low" / "mapper" / "AV"
    names = {path.name for path in folder.iterdir()}
    assert names == {"arch.yaml", "problem.yaml", "constraints.yaml", "mapper.yaml"}
    assert "words that AV may not take" in (folder / "arch.yaml").read_text().replace("\n# ", " ")


def test_check_of_what_was_written_finds_nothing(
    written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = written / "out"
    files = [out / "fused-mapping.yaml", *(out / "QK" / f"{n}.yaml" for n in ("arch", "mapping"))]
    files.append(out / "QK" / "problem.yaml")
    assert main(["check", *map(str, files), str(written / "ert.yaml")]) == 0
    said = capsys.readouterr().out
    assert said.count(", fine") == 5
    assert "Timeloop mapping, fine" in said


def test_model_reads_what_was_written(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(written / "out" / "QK" / f"{n}.yaml") for n in ("arch", "problem", "mapping")]
    assert main(["evaluate", *files, "--ert", str(written / "ert.yaml"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    qk = result_in(written / "out")["einsums"]
    assert isinstance(qk, dict)
    assert found["cycles"] == qk["QK"]["cycles"]
    assert found["macs"] == 2 * 2 * 4 * 4 * 4
    names = {"scalar_reads", "scalar_fills", "scalar_updates", "utilized_capacity"}
    assert set(found["levels"]["DRAM"]["tensors"]["Q"]) >= names | {"utilized_instances"}


def test_compare_has_a_row_per_mapspace(
    ert: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["compare", "--arch", "edge", "--problem", "tiny", "--ert", ert]
    arguments += ["--mapspace", "naive", "flat", "--seq", "4", "-o", str(tmp_path / "out")]
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["mapspace"] for row in found["rows"]] == ["naive", "flat"]
    assert found["rows"][0]["ranks"]["P"] == 4
    assert (tmp_path / "out" / "flat" / "fused-mapping.yaml").is_file()
    assert result_in(tmp_path / "out")["rows"] == found["rows"]


def test_list_names_what_ships(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    text = capsys.readouterr().out
    assert "edge " in text
    assert main(["list", "mapspaces", "--json"]) == 0
    assert "flat" in json.loads(capsys.readouterr().out)["mapspaces"]


def test_nothing_feasible_is_exit_1_with_the_line(
    ert: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = tmp_path / "small.yaml"
    text = (ROOT / "arch" / "edge.yaml").read_text()
    small.write_text(text.replace("512 * 1024 * 8 // width", "2"))
    vector = (ROOT / "arch" / "edge.sfu.yaml").read_text()
    small.with_name("small.sfu.yaml").write_text(vector.replace("512 * 1024 * 8 // width", "2"))
    arguments = ["map", "--arch", str(small), "--problem", "tiny", "--ert", ert]
    out = tmp_path / "out"
    assert main([*arguments, "--mapspace", "flat-m", "-o", str(out)]) == 1
    said = capsys.readouterr()
    assert said.err.startswith("Infeasible: ")
    assert ": needs " in said.err
    assert ", has 64" in said.err
    assert said.out == ""
    assert not out.exists()


def run(*arguments: str, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flat_mapper", *arguments]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, cwd=ROOT)


def test_help_and_version() -> None:
    assert "compare" in run("--help").stdout
    assert "--mapspace" in run("map", "--help").stdout
    assert run("--version").stdout.startswith("flat-mapper 0")


def test_a_reader_that_goes_away_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    done = run("list", stdout=write)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize(
    ("words", "code"),
    [(("list",), 0), (("map", "--arch", "nope", "--problem", "tiny"), 2), (("lst",), 2)],
)
def test_a_full_stderr_changes_no_exit_code(words: tuple[str, ...], code: int) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full on this system")
    with full.open("w") as nowhere:
        command = [
            sys.executable,
            "-c",
            "from flat_mapper.cli.main import run; exit(run())",
            *words,
        ]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=nowhere, cwd=ROOT)
    assert done.returncode == code


@pytest.mark.parametrize("mib", [40, 80, 120])
def test_too_little_address_space_is_said(mib: int) -> None:
    resource = pytest.importorskip("resource")
    most = mib * 2**20
    done = subprocess.run(
        [sys.executable, "-m", "flat_mapper", "map", "--arch", "edge", "--problem", "tiny"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (most, most)),
    )
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert line.startswith("BackendError: flat-mapper: expected at least 128 MiB of address space")


def test_a_log_replaces_logs_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log.csv"
    asked = [
        "map",
        "--arch",
        "edge",
        "--problem",
        "tiny",
        "--mapspace",
        "flat-h",
        "--log",
        str(log),
    ]
    assert main(asked) == main(asked) == 0
    log.write_text("a file of one's own")
    capsys.readouterr()
    assert main(asked) == 2
    assert "expected a new file, or one that flat-mapper wrote" in capsys.readouterr().err
    assert log.read_text() == "a file of one's own"


def test_a_poor_encoding_is_no_error(written: Path) -> None:
    record = str(written / "out" / "fused-mapping.yaml")
    command = [sys.executable, "-m", "flat_mapper", "evaluate", record]
    command += ["--ert", str(written / "ert.yaml")]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr
    assert "for " in done.stdout


# What a search of one group on one array has no use for, by who asks for it.
ELSEWHERE = {
    "windows of a convolution": "cost_model.windows",
    "several cores": "cost_model.chip.cores cost_model.chip.totals",
    "--objective latency,energy": "explore.pareto",
    "intermediates inside": "mapper.space.handover",
    "why-not": "api.checks",
    "-o, evaluate": "mapping.record reports.files",
    "chips in words of other bits": "arch.edits",
    "Timeloop's files and tools": "workload.timeloop timeloop.terms timeloop.backend",
}


def test_a_plain_question_imports_no_more_than_it_needs(ert: str) -> None:
    code = "import sys; from flat_mapper.cli.main import run; run(); print(*sys.modules)"
    words = ("map", "--arch", "edge", "--problem", "bert-base", "--ert", ert)
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "flat_mapper.mapper.group.fused" in loaded
    for who, names in ELSEWHERE.items():
        assert loaded.isdisjoint(f"flat_mapper.{name}" for name in names.split()), who


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(argv: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("flat_mapper.cli.main._run", interrupted)
    assert main(["list"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_writing_again_removes_what_was_written_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    first = {"a/x.yaml": b"1", "b.yaml": b"2"}
    output.write_folder(folder, first | {"result.json": json.dumps({"files": [*first]}).encode()})
    (folder / "notes.txt").write_text("mine")
    output.write_folder(folder, {"b.yaml": b"3", "result.json": b"{}"})
    left = sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))
    assert left == ["b.yaml", "notes.txt", "result.json"]
    assert (folder / "b.yaml").read_bytes() == b"3"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_list_of_files_cannot_reach_outside(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("kept")
    folder = tmp_path / "out"
    folder.mkdir()
    listed = {"files": ["../victim", str(victim), 3]}
    (folder / "result.json").write_text(json.dumps(listed))
    output.write_folder(folder, {"result.json": b"{}"})
    assert victim.read_text() == "kept"


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="'a/b': expected names that do not clash, got the"):
        output.write_folder(tmp_path / "out", {"a": b"1", "a/b": b"2"})
    assert list(tmp_path.iterdir()) == []


def test_a_front_is_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inputs = ["--arch", "edge", "--problem", "tiny", "--objective", "latency,energy"]
    folder = tmp_path / "front"
    assert main(["map", "--json", "-o", str(folder), *inputs]) == 0
    answer = json.loads(capsys.readouterr().out)
    rows = answer["rows"]
    latency = [row["latency_s"] for row in rows]
    assert latency == sorted(latency)
    assert [row["energy_pj"] for row in rows] == sorted(
        (r["energy_pj"] for r in rows), reverse=True
    )
    assert {str(n + 1) for n in range(len(rows))} | {"result.json"} == {
        p.name for p in folder.iterdir()
    }
    assert main(["map", *inputs]) == 0
    assert f"{len(rows)} mappings on the front" in capsys.readouterr().out


def test_an_interrupted_sweep_says_what_is_stored_and_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, out = tmp_path / "s.yaml", tmp_path / "r.db"
    spec.write_text(
        "sweep:\n  fixed: {arch: edge, problem: tiny, mapspace: flat-h}\n  grid: {seq: [8, 16]}\n"
    )
    real = saved.run_sweep

    def interrupted(inputs: object, store: object, engine: object, watch: object) -> None:
        real(inputs, store, engine, watch, positions=[0])  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(saved, "run_sweep", interrupted)
    command = ["sweep", str(spec), "-o", str(out), "--workers", "0"]
    assert main(command) == 130
    said = f"interrupted: 1 points are stored in {out}; the same command goes on\n"
    assert capsys.readouterr().err == said
    monkeypatch.undo()
    assert main(command) == 0
    assert "1 computed now" in capsys.readouterr().out


def test_the_version_names_the_backends(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "  backend native: found"
    assert [line.split()[1].rstrip(":") for line in lines[1:]] == list(BACKENDS)
