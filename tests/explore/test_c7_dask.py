"""C7: Dask that cannot start, is not there or is interrupted: one line, exit 3, no empty file."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from sweep_files import written

from flat_mapper.cli.main import main
from flat_mapper.explore.sweep import engines

if find_spec("distributed") is None:
    pytest.skip("needs the extra `sweep`", allow_module_level=True)
ROOT = Path(__file__).parents[2]


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    return written(tmp_path)


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("BackendError: ")
    return said


@pytest.mark.parametrize("text", ["not JSON", "[]", "{}", '{"address": 3}', '{"address": "x"}', ""])
def test_c7_a_scheduler_file_that_is_none(
    sweep: Path, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(engines, "CONNECT_S", 0.5)
    file, results = sweep.parent / "scheduler.json", sweep.parent / "r.db"
    file.write_text(text)
    assert main(["sweep", str(sweep), "-o", str(results), "--scheduler", str(file)]) == 3
    assert "expected the address of a Dask scheduler that runs" in one_line(capsys)
    assert not list(sweep.parent.glob("r.db*"))


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense://x", "tcp://127.0.0.1:99999"])
def test_c7_an_unreachable_scheduler_leaves_no_database(
    sweep: Path, address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(engines, "CONNECT_S", 0.5)
    results = sweep.parent / "r.db"
    assert main(["sweep", str(sweep), "-o", str(results), "--scheduler", address]) == 3
    one_line(capsys)
    assert not list(sweep.parent.glob("r.db*"))


TWICE = """
import sys
from flat_mapper.cli.main import main
from flat_mapper.explore.sweep import engines

engines.CONNECT_S = 0.5
words = ["sweep", sys.argv[1], "-o", "r.db", "--scheduler", "scheduler.json"]
print([main(words) for _ in "ab"])
"""


def test_c7_a_client_that_failed_is_no_lock_on_the_next(sweep: Path) -> None:
    (sweep.parent / "scheduler.json").write_text("not JSON")
    words = [sys.executable, "-c", TWICE, str(sweep)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=sweep.parent, env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "[3, 3]"
    assert done.stderr.count("\n") == 2


INTERRUPTED_IMPORT = """
import os, signal, threading

end = threading.Event()
other = threading.Thread(target=end.wait, daemon=True)
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # as a thread that was there before
other.start()
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})

class Callback:
    def __del__(self):
        heard, bell = os.pipe()
        os.set_blocking(bell, False)
        signal.set_wakeup_fd(bell)
        os.kill(os.getpid(), signal.SIGINT)
        os.read(heard, 1)  # it has come
        for _ in range(9):  # Python sees signals at the end of a loop
            pass

Callback()
"""


def test_c7_ctrl_c_inside_a_callback_of_the_import_is_not_lost(sweep: Path) -> None:
    """Python prints what such a callback raises, and goes on."""
    (sweep.parent / "distributed.py").write_text(INTERRUPTED_IMPORT)
    words = [sys.executable, "-m", "flat_mapper", "sweep", str(sweep), "-o", "r.db"]
    done = subprocess.run(
        [*words, "--scheduler", "tcp://127.0.0.1:9"],
        cwd=sweep.parent,
        env={**os.environ, "PYTHONPATH": f"{sweep.parent}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == 130
