"""Processes of this machine: new ones, that run nothing of the working folder and hear nobody else.

Each is a fresh interpreter (a fork would copy whatever locks other threads hold) whose module path
lacks the working folder, where others may have put a `pickle.py`. It is spoken to through pipes
that have no name; nothing listens at an address.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager

from flat_mapper.base.errors import BackendError
from flat_mapper.base.process import die_with_parent, uninterrupted

SAFE_PATH = "PYTHONSAFEPATH"  # Python's own name (3.11): no working folder on the module path


class Processes(ProcessPoolExecutor):
    """Processes that answer questions, each within its share of the machine's memory.

    They start as they are needed, and end with the thread that made them. Where one dies, all do,
    and whatever they were asked raises BrokenExecutor.
    """

    def __init__(self, count: int) -> None:
        self.count, context = count, multiprocessing.get_context("spawn")
        with _starting(count):
            super().__init__(count, context, _begin, (os.getpid(), 1 / count))

    def submit[**P, R](self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Ask something, for which a process may start.

        raises: BackendError where it cannot.
        """
        with _starting(self.count):
            return super().submit(fn, *args, **kwargs)

    def end(self) -> None:
        """End every process, whatever it does."""
        for process in list((self._processes or {}).values()):
            process.kill()
        self.shutdown()


@contextmanager
def _starting(count: int) -> Iterator[None]:
    """Inside it no new Python looks for modules in the working folder, or hears Ctrl-C."""
    before = os.environ.get(SAFE_PATH)
    os.environ[SAFE_PATH] = "1"
    try:
        with uninterrupted():
            yield
    except OSError as error:
        raise BackendError(f"workers: expected {count} to start, got: {error}") from error
    finally:
        if before is None:
            del os.environ[SAFE_PATH]
        else:
            os.environ[SAFE_PATH] = before


def _begin(parent: int, memory_share: float) -> None:
    """The start of a process: it ends with its parent, and takes no more memory than its share."""
    die_with_parent()
    if os.getppid() != parent:
        os._exit(1)
    try:
        import resource

        size = int(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * memory_share)
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        if most == resource.RLIM_INFINITY or size < most:
            resource.setrlimit(resource.RLIMIT_DATA, (size, most))
    except (ImportError, OSError, ValueError):  # not a system that counts so
        return
