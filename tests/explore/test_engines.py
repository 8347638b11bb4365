"""Sweeps on processes and on Dask: whoever dies, the rows are those of a run left in peace."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from threading import Thread

import pytest
from sweep_files import COUNTS, PIPE, POINTS, counted, digest, held, rows_in, wait_for, written

from flat_mapper.base.errors import BackendError
from flat_mapper.cli.main import main
from flat_mapper.explore.sweep import engines
from flat_mapper.explore.sweep import engines as sweep_engines
from flat_mapper.explore.sweep.engines import cluster_workers, local_workers
from flat_mapper.explore.sweep.inputs import Inputs, PointTask
from flat_mapper.explore.sweep.run import run_sweep
from flat_mapper.explore.sweep.spec import load_sweep
from flat_mapper.explore.sweep.store import PointRow, Store
from flat_mapper.explore.sweep.work import answered

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0
HELD = """
import sys
from pathlib import Path
from sweep_files import held, run_on_processes
run_on_processes(Path(sys.argv[1]), Path(sys.argv[2]), held, lambda _: None)
"""
KILLED = """
import os, signal, sys
from pathlib import Path
from sweep_files import answered, rows_in, run_on_processes
sweep, results, aim = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])

def watch(_):
    if rows_in(results) >= aim:
        os.kill(os.getpid(), signal.SIGKILL)

run_on_processes(sweep, results, answered, watch)
"""


def environment(pipe: Path | None = None) -> dict[str, str]:
    """That of a process which finds the package and the tests."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    return {**os.environ, "PYTHONPATH": paths} | ({PIPE: str(pipe)} if pipe else {})


@contextmanager
def started(
    module: str, *words: str, pipe: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process of Dask's, gone when the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"distributed.cli.{module}", *words],
        env=environment(pipe),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.skipif(not find_spec("distributed"), reason="Dask is missing")
def test_a_scheduler_elsewhere_and_a_worker_killed(tmp_path: Path, pipe: Path) -> None:
    sweep, results, file = written(tmp_path), tmp_path / "r.db", tmp_path / "scheduler.json"
    counted(sweep, tmp_path / "whole.db", answered)
    at = ("--scheduler-file", str(file))  # Dask's own word
    alone = ("--nthreads", "1", "--no-nanny", "--no-dashboard")
    with (
        started("dask_scheduler", *at, "--host", "127.0.0.1", "--port", "0", "--no-dashboard"),
        started("dask_worker", *at, *alone, pipe=pipe) as victim,
        ExitStack() as later,
    ):

        def another_worker() -> None:
            wait_for(pipe)
            later.enter_context(started("dask_worker", *at, *alone))
            victim.kill()

        killer = Thread(target=another_worker, daemon=True)
        killer.start()
        with Store(results) as store:
            workers = cluster_workers(str(file), answer=held)
            run_sweep(Inputs(load_sweep(sweep)), store, lambda: workers, lambda _: None)
        killer.join()
        assert victim.wait() == -signal.SIGKILL
    assert digest(results) == digest(tmp_path / "whole.db")


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """A named pipe, see `sweep_files.held`."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


def deadly(task: PointTask) -> PointRow:
    """A row, but at one point the end of the worker."""
    if task.row.coordinates["arch.GLB.depth"] == 64 and task.row.position == 9:
        os._exit(1)
    return answered(task)


def test_a_point_that_kills_its_workers_is_a_failed_row(tmp_path: Path) -> None:
    sweep, results = written(tmp_path), tmp_path / "r.db"
    with Store(results) as store:
        inputs = Inputs(load_sweep(sweep))
        run_sweep(inputs, store, lambda: local_workers(2, deadly), lambda _: None)
        assert store.counts() == {**COUNTS, "done": COUNTS["done"] - 1, "failed": 1}
        query = "SELECT position, reason FROM results WHERE status = 'failed'"
        rows = store.connection.execute(query).fetchall()
    assert rows == [(9, "worker: expected an answer, got every worker killed")]
    assert counted(sweep, results, answered).computed == 1
    counted(sweep, tmp_path / "whole.db", answered)
    assert digest(results) == digest(tmp_path / "whole.db")


@pytest.mark.skipif(not find_spec("distributed"), reason="Dask is missing")
def test_no_scheduler_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_engines, "CONNECT_S", 0.3)
    with (
        pytest.raises(BackendError, match=r"127.0.0.1:9: expected the address of a Dask scheduler"),
        cluster_workers("tcp://127.0.0.1:9"),
    ):
        pass
    with (
        pytest.raises(
            BackendError,
            match=r"no.json: expected a file that a Dask scheduler wrote",
        ),
        cluster_workers("no.json"),
    ):
        pass


@pytest.mark.nightly
def test_killed_itself_it_leaves_no_worker_behind(tmp_path: Path, pipe: Path) -> None:
    sweep, results = written(tmp_path), tmp_path / "r.db"
    sweep.write_text(sweep.read_text().replace("[-1, 4, 64, 256]", "{from: 16, to: 80, step: 4}"))
    psutil = pytest.importorskip("psutil")
    words = ("sweep", str(sweep), "-o", str(results), "--workers", "2")
    process = subprocess.Popen(
        [sys.executable, "-c", HELD, str(sweep), str(results)], env=environment(pipe)
    )
    wait_for(pipe, workers=2)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    process.kill()
    process.wait()
    assert 0 < rows_in(results) < 17 * 4
    assert psutil.wait_procs(children, timeout=PATIENCE_S)[1] == []
    assert main(list(words)) == 0
    counted(sweep, tmp_path / "whole.db", answered)
    assert digest(results) == digest(tmp_path / "whole.db")


@pytest.mark.nightly
def test_a_scheduler_that_is_lost_ends_the_command(
    tmp_path: Path,
    pipe: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(engines, "cluster_workers", partial(cluster_workers, answer=held))
    sweep, results, file = written(tmp_path), tmp_path / "r.db", tmp_path / "scheduler.json"
    at = ("--scheduler-file", str(file))  # Dask's own word
    with (
        started(
            "dask_scheduler", *at, "--host", "127.0.0.1", "--port", "0", "--no-dashboard"
        ) as hub,
        started("dask_worker", *at, "--nthreads", "1", "--no-nanny", "--no-dashboard", pipe=pipe),
    ):
        killer = Thread(target=lambda: (wait_for(pipe), hub.kill()), daemon=True)
        killer.start()
        assert main(["sweep", str(sweep), "-o", str(results), "--scheduler", str(file)]) == 3
        killer.join()
    lines = capfd.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("BackendError: dask: expected the scheduler to answer, got ")
    assert 5 <= rows_in(results) < POINTS
    counted(sweep, results, answered)
    counted(sweep, tmp_path / "whole.db", answered)
    assert digest(results) == digest(tmp_path / "whole.db")


@pytest.mark.nightly
def test_a_thousand_points(tmp_path: Path) -> None:
    sweep, results, whole = written(tmp_path), tmp_path / "r.db", tmp_path / "whole.db"
    sweep.write_text(
        "sweep:\n  fixed: {arch: nano.yaml, ert: ert.yaml, problem: attend.yaml}\n"
        "  grid:\n    arch.GLB.depth: {from: 16, to: 160, step: 16}\n"
        "    arch.variables.dram_words: [1, 2, 4, 8, 16]\n"
        "    seq: [2, 4]\n    rank.B: {from: 1, to: 5}\n    mapspace: [flat-h, flat-r]\n"
    )
    words = ("sweep", str(sweep), "--workers", "2", "-o")
    assert main([*words, str(whole)]) == 0
    chance = random.Random(5)
    for _ in range(5):
        aim = rows_in(results) + chance.randint(50, 150)
        call = [sys.executable, "-c", KILLED, str(sweep), str(results), str(aim)]
        assert subprocess.run(call, env=environment()).returncode == -signal.SIGKILL
        assert aim <= rows_in(results) < 1000
    assert main([*words, str(results)]) == 0
    assert digest(results) == digest(whole)
