"""Ctrl-C at a step that is chosen, not at a time: it is never lost and never a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sweep_files import written

from flat_mapper.base.process import uninterrupted

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("fault", [None, ValueError])
@pytest.mark.parametrize("by", ["the process", "another thread"])
def test_what_comes_inside_comes_after_the_block(by: str, fault: type[Exception] | None) -> None:
    end = threading.Event()
    other = threading.Thread(target=end.wait)
    other.start()
    heard, bell = os.pipe()
    os.set_blocking(bell, False)
    before = signal.set_wakeup_fd(bell)
    steps: list[int] = []

    @uninterrupted()
    def inside() -> None:
        if by == "the process":
            os.kill(os.getpid(), signal.SIGINT)
        else:  # which does not block it: Python hands it to the main thread
            assert other.ident is not None
            signal.pthread_kill(other.ident, signal.SIGINT)
        assert os.read(heard, 1) == bytes([signal.SIGINT])  # it has come
        steps.extend(range(9))
        for _ in steps:  # Python sees signals at the end of a loop
            pass
        if fault:
            raise fault

    try:
        with pytest.raises(KeyboardInterrupt):
            inside()
        assert len(steps) == 9
    finally:
        signal.set_wakeup_fd(before)
        end.set()
        other.join()
        os.close(heard)
        os.close(bell)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_nothing_comes_where_nothing_came() -> None:
    with uninterrupted():
        pass
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# Before the imports so many, Ctrl-C comes, as from the keyboard.
STEP = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
left = int(sys.argv.pop(1))

def imports(event, _):
    global left
    if event == "import":
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGINT)

from flat_mapper.cli.main import main
sys.addaudithook(imports)
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("step", [1, 2, 3, 20, 60, 150])
def test_ctrl_c_at_a_step_of_a_sweep_is_130_and_one_line(tmp_path: Path, step: int) -> None:
    sweep = written(tmp_path)
    words = ["sweep", str(sweep), "-o", "r.db", "--workers", "0"]
    done = subprocess.run(
        [sys.executable, "-c", STEP, str(step), *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr.count("\n")) == (130, 1), done.stderr
    assert "interrupted" in done.stderr
