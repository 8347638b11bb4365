"""Sweeps: every row is the answer of `map`, and nothing that happens on the way changes them."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import sqlite3
import tracemalloc
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
from sweep_files import COUNTS, POINTS, counted, digest, quick, rows_in, written

from flat_mapper.base.errors import BackendError, SpecError
from flat_mapper.cli.main import main
from flat_mapper.explore.sweep.engines import Engine
from flat_mapper.explore.sweep.inputs import Inputs, PointTask
from flat_mapper.explore.sweep.run import run_sweep
from flat_mapper.explore.sweep.spec import load_sweep
from flat_mapper.explore.sweep.store import PointRow, Store
from flat_mapper.explore.sweep.work import answered


def swept(sweep: Path, results: Path) -> int:
    return main(["sweep", str(sweep), "-o", str(results), "--workers", "0", "--json"])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep that nothing interrupted; its results are in whole.db."""
    folder = tmp_path_factory.mktemp("whole")
    assert swept(written(folder), folder / "whole.db") == 0
    return folder


def test_a_row_is_the_answer_of_map(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with sqlite3.connect(whole / "whole.db") as connection:
        query = "SELECT * FROM results WHERE status = 'done' AND coordinates LIKE '%depth\":256%'"
        connection.row_factory = sqlite3.Row
        rows = connection.execute(query).fetchall()
    assert len(rows) == 4
    given = json.loads(rows[0]["coordinates"])
    files = {"arch": "nano.yaml", "problem": "attend.yaml", "ert": "ert.yaml"}
    words = [w for k, f in files.items() for w in (f"--{k}", str(whole / f))]
    words += ["--seq", str(given["seq"]), "--mapspace", given["mapspace"], "--json"]
    assert main(["map", *words, "--objective", "latency"]) == 0
    answer = json.loads(capsys.readouterr().out)
    answer["search"].pop("seconds")
    assert answer.pop("schema") == "flat-mapper/map/2"
    assert json.loads(rows[0]["result"]) == answer
    assert rows[0]["latency_s"] == answer["latency_s"]
    assert set(json.loads(rows[0]["provenance"])["inputs"]) == {"arch", *files, "mapspace"}


def test_every_point_has_a_row_that_says_what_happened(whole: Path) -> None:
    with Store(whole / "whole.db") as store:
        assert store.counts() == COUNTS
        query = "SELECT status, reason FROM results WHERE status != 'done' ORDER BY position"
        reasons = store.connection.execute(query).fetchall()
    assert all("GLB.attributes.depth: expected int > 0, got -1" in r for _, r in reasons[:4])
    assert all("GLB: needs" in r and "has 16" in r for _, r in reasons[4:])


def test_the_same_command_computes_nothing_twice(
    whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = digest(whole / "whole.db")
    assert swept(whole / "sweep.yaml", whole / "whole.db") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["computed"], told["points"], told["content"]) == (0, POINTS, before)


def forked(action: Callable[[], object]) -> int:
    """A process that does it; its id."""
    child = os.fork()
    if child == 0:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        try:
            action()
        finally:
            os._exit(0)
    return child


def killed_at(sweep: Path, results: Path, rows: int) -> None:
    """Run a sweep in this process until so many rows are stored, and end it then."""

    def step(_: object) -> None:
        if rows_in(results) >= rows:
            os.kill(os.getpid(), signal.SIGKILL)

    with Store(results) as store:
        run_sweep(Inputs(load_sweep(sweep)), store, lambda: nullcontext(Engine(answered)), step)


def test_killed_five_times_it_ends_with_the_same_rows(whole: Path) -> None:
    results, chance = whole / "killed.db", random.Random(7)
    for _ in range(5):
        aim = min(rows_in(results) + chance.randint(1, 3), POINTS - 1)
        child = forked(lambda at=aim: killed_at(whole / "sweep.yaml", results, at))
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
        assert 0 < rows_in(results) < POINTS
    assert swept(whole / "sweep.yaml", results) == 0
    assert digest(results) == digest(whole / "whole.db")


def test_a_full_disk_loses_nothing_that_was_stored(whole: Path) -> None:
    results = whole / "full.db"

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (80_000, 80_000))
        code = swept(whole / "sweep.yaml", results)
        (whole / "code").write_text(str(code))

    os.waitpid(forked(limited), 0)
    assert (whole / "code").read_text() == "2"
    assert 0 < rows_in(results) < POINTS
    assert swept(whole / "sweep.yaml", results) == 0
    assert digest(results) == digest(whole / "whole.db")


def test_a_changed_file_is_computed_anew_and_the_old_one_is_remembered(tmp_path: Path) -> None:
    sweep, results = written(tmp_path), tmp_path / "r.db"
    assert counted(sweep, results).computed == POINTS
    first, problem = digest(results), (tmp_path / "attend.yaml").read_text()
    (tmp_path / "attend.yaml").write_text(f"# a comment\n{problem}")
    assert counted(sweep, results).computed == 0
    (tmp_path / "attend.yaml").write_text(problem.replace("H: 2", "H: 4"))
    assert counted(sweep, results).computed == POINTS
    assert digest(results) != first
    (tmp_path / "attend.yaml").write_text(problem)
    assert counted(sweep, results).computed == 0
    assert digest(results) == first


def test_a_file_that_changes_while_the_sweep_runs_stops_it(tmp_path: Path) -> None:
    sweep = written(tmp_path)
    inputs = Inputs(load_sweep(sweep))
    (tmp_path / "attend.yaml").write_text("problem: {ranks: {B: 2}, attention: {}}\n")
    with Store(tmp_path / "r.db") as store, pytest.raises(Exception, match="as it was when the"):
        run_sweep(inputs, store, lambda: nullcontext(Engine(quick)), lambda _: None)


def test_a_larger_grid_keeps_what_it_shares(tmp_path: Path) -> None:
    sweep, results = written(tmp_path), tmp_path / "r.db"
    counted(sweep, results)
    sweep.write_text(sweep.read_text().replace("seq: [4, 8]", "seq: [2, 4, 8]"))
    assert counted(sweep, results).computed == POINTS // 2


def test_a_failure_is_no_answer(tmp_path: Path) -> None:
    sweep, results = written(tmp_path), tmp_path / "r.db"

    def breaks(task: PointTask) -> PointRow:
        return task.row

    assert counted(sweep, results, breaks).counts == {"invalid": 4, "failed": 12}
    assert counted(sweep, results).computed == 12
    assert counted(sweep, results).computed == 0


def test_a_worker_with_other_code_stops_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {"flat_mapper": "9.9", "code": "f00"}
    monkeypatch.setattr("flat_mapper.explore.sweep.work.own_versions", lambda: dict(other))
    with pytest.raises(BackendError, match=r"expected flat_mapper '0.*got '9.9'; install"):
        counted(written(tmp_path), tmp_path / "r.db", answered)
    with Store(tmp_path / "r.db") as store:
        assert store.counts()["failed"] == 0


def test_an_unexpected_error_is_the_row_of_its_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep, results = written(tmp_path), tmp_path / "r.db"
    monkeypatch.setattr("flat_mapper.explore.sweep.work.api.search", lambda *_, **__: 1 / 0)
    found = counted(sweep, results, answered)
    assert found.counts == {"invalid": 4, "failed": 12}
    with Store(results) as store:
        query = "SELECT DISTINCT reason FROM results WHERE status = 'failed'"
        reasons = store.connection.execute(query).fetchall()
    assert reasons == [("unexpected ZeroDivisionError: division by zero",)]


USAGE = [
    ((), "flat-mapper sweep: expected -o/--output, got none"),
    (("--workers", "two"), "--workers: expected int > -1, got 'two'"),
    (("-o", "r.db", "--workers", "4096"), "workers: expected at most 1024, got 4096"),
    (
        ("-o", "r.db", "--workers", "2", "--scheduler", "tcp://x:1"),
        "expected one of workers and scheduler, got 'tcp://x:1 and 2'",
    ),
]


@pytest.mark.parametrize(("words", "message"), USAGE)
def test_usage(
    words: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", str(written(tmp_path)), *words]) == 2
    assert message in capsys.readouterr().err


def test_one_writer(tmp_path: Path) -> None:
    with (
        Store(tmp_path / "r.db"),
        pytest.raises(SpecError, match=r"r.db: expected a file that no"),
    ):
        Store(tmp_path / "r.db")


def test_files_that_are_no_results(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("just words, and more of them than a header has" * 9)
    with pytest.raises(SpecError, match=r"text.db: expected the results of a sweep, got: file is"):
        Store(tmp_path / "text.db")
    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute("CREATE TABLE birds (name TEXT)")
    with pytest.raises(SpecError, match=r"other.db: expected the results of a sweep, got a data"):
        Store(tmp_path / "other.db")
    with pytest.raises(SpecError, match=r"text.db/r.db: expected a file that can be written"):
        Store(tmp_path / "text.db" / "r.db")
    with Store(tmp_path / "r.db") as store:  # as version 0 might be, with other columns
        store.connection.execute("UPDATE meta SET value = '0' WHERE name = 'schema'")
        store.connection.execute("ALTER TABLE timings DROP COLUMN digest")
    with pytest.raises(SpecError, match=r"r.db: expected results in schema 2, got '0'; run the"):
        Store(tmp_path / "r.db")


def test_an_attribute_that_only_one_chip_has(tmp_path: Path) -> None:
    sweep, results = written(tmp_path), tmp_path / "r.db"
    for name in ("nano", "nano.sfu"):
        other = (tmp_path / f"{name}.yaml").read_text().replace("GLB", "L2")
        (tmp_path / f"{name.replace('nano', 'other')}.yaml").write_text(other)
    sweep.write_text(
        "sweep:\n  fixed: {ert: ert.yaml, problem: attend.yaml, mapspace: flat-r}\n"
        "  grid: {arch: [nano.yaml, other.yaml], arch.L2.depth: [8, 16]}\n"
    )
    assert counted(sweep, results).counts == {"invalid": 2, "infeasible": 2}
    with Store(results) as store:
        query = "SELECT arch, reason FROM results WHERE status = 'invalid' ORDER BY position"
        (arch, reason), _ = store.connection.execute(query).fetchall()
    assert arch == "nano.yaml"
    assert "L2.depth: expected a node among DRAM, GLB, PE, MAC, lane, VALU, variables" in reason


@pytest.mark.nightly
def test_memory_does_not_grow_with_the_points(tmp_path: Path) -> None:
    sweep = written(tmp_path)
    fixed = "  fixed: {arch: nano.yaml, ert: ert.yaml, problem: attend.yaml}\n"
    peaks = []
    for points in (500, 501, 2500):  # the first one fills the caches
        grid = f"  grid: {{rank.B: {{from: 1, to: {points}}}}}\n"
        sweep.write_text(f"sweep:\n{fixed}{grid}")
        tracemalloc.start()
        assert counted(sweep, tmp_path / f"{points}.db").computed == points
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < peaks[1] + 4 * 2**20
