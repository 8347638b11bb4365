"""C6: tools that hang, shout, die or answer rubbish; nothing of them is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flat_mapper.base.process import KEPT_BYTES, tail
from flat_mapper.cli.main import main
from flat_mapper.timeloop.run import TIMEOUT, Command, call, command_of, run_folder

ROOT = Path(__file__).parents[2]
MAP = ("map", "--arch", "edge", "--problem", "tiny", "--backend", "timeloop")


def tool(folder: Path, body: str) -> str:
    """A command that runs a line of Python in the place of a tool."""
    script = folder / "tool.py"
    script.write_text(f"import os, pathlib, signal, subprocess, sys\n{body}\n")
    return f"{sys.executable} {script} {{}}"


def left(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith("flat-mapper-")]


@contextmanager
def held(folder: Path) -> Iterator[tuple[str, int, int]]:
    """A pipe that tools hold open: its name, and the ends of it that we hold."""
    path = folder / "held"
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reading, True)
    writing = os.open(path, os.O_WRONLY)
    try:
        yield str(path), reading, writing
    finally:
        os.close(reading)


def let_go(reading: int, writing: int) -> None:
    """Wait until nobody else holds the pipe."""
    os.close(writing)
    while os.read(reading, 4096):
        pass


def test_c6_a_hanging_tool_ends_at_the_time_limit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = tool(tmp_path, "signal.pause()")
    assert main([*MAP, "--timeloop-cmd", command, "--backend-timeout", "0.3"]) == 3
    assert "got nothing within 0.3 s" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", ".inf", "1e99", "soon"])
def test_c6_a_time_limit_is_a_number(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*MAP, "--backend-timeout", seconds]) == 2
    assert "--backend-timeout: expected number" in capsys.readouterr().err


def test_c6_the_limit_reaches_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TIMEOUT, "7")
    assert command_of().timeout_s == 7


def test_c6_what_a_tool_started_ends_with_it(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    with held(tmp_path) as (path, *ends):
        inner = f"import signal; at = open({path!r}, 'w'); print(flush=True); signal.pause()"
        start = f"started = subprocess.Popen([sys.executable, '-c', {inner!r}], stdout=-1)"
        body = f"{start}\nstarted.stdout.read(1)  # it holds the pipe\nos._exit(7)"
        words = tool(tmp_path, body).split()[:2]
        run = call(Command(wrapper=(*words, "{}")), run_dir, ())
        assert run.problem == "got exit code 7"
        let_go(*ends)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_c6_signals_leave_no_orphan_and_no_folder(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "tmp").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path / "tmp")}
    with held(tmp_path) as (path, *ends):
        body = f"at = open({path!r}, 'w')\nat.write('x')\nat.flush()\nsignal.pause()"
        words = [sys.executable, "-m", "flat_mapper", *MAP, "--timeloop-cmd", tool(tmp_path, body)]
        process = subprocess.Popen(
            words,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored below nohup
        )
        try:
            assert os.read(ends[0], 1) == b"x"  # a tool is at work
            process.send_signal(number)
            _, said = process.communicate()
        finally:
            process.kill()
        let_go(*ends)
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
    assert "Traceback" not in said
    if number != signal.SIGKILL:
        assert left(tmp_path / "tmp") == []


def test_c6_one_failure_keeps_its_own_folder_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert main([*MAP, "--timeloop-cmd", tool(tmp_path, "sys.exit(1)")]) == 3
    kept = left(tmp_path)
    assert len(kept) == 1
    assert kept[0] in capsys.readouterr().err


def test_c6_a_run_that_is_interrupted_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(KeyboardInterrupt), run_folder(None, "QK"):
        raise KeyboardInterrupt
    assert left(tmp_path) == []


def test_c6_a_long_log_is_read_at_its_ends(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as file:
        file.write(b"first\n")
        file.seek(300 * 2**20)
        file.write(b"\nERROR: last")
    said = tail(log)
    assert len(said) <= 2 * KEPT_BYTES + 1
    assert said.startswith("first")
    assert said.endswith("ERROR: last")


def test_c6_an_answer_that_is_no_text_is_the_tools_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    body = "pathlib.Path('out/timeloop-model.stats.txt').write_bytes(b'\\xff\\xfe')"
    assert main([*MAP, "--timeloop-cmd", tool(tmp_path, body)]) == 3
    assert "stats.txt: expected text in UTF-8, got 'byte 0xff at 0'" in capsys.readouterr().err
