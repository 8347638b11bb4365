"""Child processes with a log, a time limit and an end: none outlives this process."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event

KEPT_BYTES = 2**16  # chosen: bytes of either end of a log that are looked at


def tail(log: Path) -> str:
    """The beginning and the end of a log, however long it is; Timeloop ends with its reason."""
    try:
        with log.open("rb") as file:
            said = file.read(KEPT_BYTES)
            size = file.seek(0, os.SEEK_END)
            if size > KEPT_BYTES:
                file.seek(max(KEPT_BYTES, size - KEPT_BYTES))
                said += b"\n" + file.read(KEPT_BYTES)
    except OSError:
        return ""
    return said.decode(errors="replace")


def run_logged(words: list[str], log: Path, limit_s: float) -> str | None:
    """Run a command with its output in the log; what went wrong, or None.

    It has a process group of its own, so that a signal reaches it through any wrapper, and it does
    not outlive this process, however that ends.
    """
    try:
        with log.open("wb") as output:
            process = subprocess.Popen(
                words,
                cwd=log.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
    except OSError as error:
        return f"got: {error.strerror or error}"
    _RUNNING.add(process.pid)
    if _STOP.is_set():  # it started while the others were ended
        _kill(process.pid)
    try:
        process.wait(limit_s)
    except subprocess.TimeoutExpired:
        return f"got nothing within {limit_s:g} s"
    finally:
        _RUNNING.discard(process.pid)
        _kill(process.pid)  # whatever its wrapper left behind, too
        process.wait()
    return f"got exit code {process.returncode}" if process.returncode else None


def die_with_parent() -> None:
    """In a new process: be killed when the thread that made it ends, this process's end included.

    Only Linux can (prctl with PR_SET_PDEATHSIG, 1); elsewhere the group is killed on the way out.
    """
    if _PRCTL is not None:
        _PRCTL(1, signal.SIGKILL, 0, 0, 0)


_PRCTL: Callable[..., int] | None = None
with suppress(ImportError, OSError, AttributeError, TypeError):
    import ctypes

    _PRCTL = ctypes.CDLL(None).prctl

_RUNNING: set[int] = set()  # process groups of tools that run now
_STOP = Event()  # set while all of them are to end


def waited_for[V, R](function: Callable[[V], R], values: Sequence[V], count: int) -> Iterator[R]:
    """The function's answers in order, so many at once; an interruption ends what still runs."""
    from concurrent.futures import ThreadPoolExecutor  # 10 ms that other commands do not pay

    with ThreadPoolExecutor(count) as pool:
        try:
            yield from pool.map(function, values)
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            pool.shutdown(wait=False, cancel_futures=True)
            with _stopping():
                pool.shutdown(wait=True)
            raise


@contextmanager
def _stopping() -> Iterator[None]:
    """End every tool that runs, or starts inside: threads that wait for one go on at once."""
    _STOP.set()
    try:
        for group in tuple(_RUNNING):
            _kill(group)
        yield
    finally:
        _STOP.clear()


def _kill(group: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def last_words(log: str) -> str:
    """The line of a log that says most: the last with ERROR in it, else the last."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    last = (errors or lines or [""])[-1][:200]
    return f" ({last})" if last else ""


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C waits until the block ends; processes made inside never see it.

    For imports: Python's own callbacks there print an interrupt with its traceback and drop it.
    For the start of workers: each would write its traceback to the terminal.

    Blocking the signal is for those processes, which inherit that. Here it is not enough: any
    other thread (NumPy's libraries start some) takes the signal in its place, and Python tells the
    main thread. So what comes is noted, and comes again when the block has ended.
    """
    here = threading.current_thread() is threading.main_thread()
    if not here or signal.getsignal(signal.SIGINT) in (signal.SIG_IGN, None):
        yield
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    can_block = hasattr(signal, "pthread_sigmask")
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if can_block else set()
    try:
        yield
    finally:
        if can_block:  # one that was kept back is noted now
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        signal.signal(signal.SIGINT, before)
        if came:
            signal.raise_signal(signal.SIGINT)
