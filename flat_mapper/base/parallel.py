"""Processes of this machine: new ones, that run nothing of the working folder and hear nobody else.

Each is a fresh interpreter (a fork would copy whatever locks other threads hold) whose module path
lacks the working folder, where others may have put a `pickle.py`. It is spoken to through a pipe
that has no name; nothing listens at an address.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from flat_mapper.base.errors import BackendError, FlatMapperError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

SAFE_PATH = "PYTHONSAFEPATH"  # Python's own name (3.11): no working folder on the module path


@contextmanager
def safe_path() -> Iterator[None]:
    """Inside it no new Python looks for modules in the working folder."""
    before = os.environ.get(SAFE_PATH)
    os.environ[SAFE_PATH] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[SAFE_PATH]
        else:
            os.environ[SAFE_PATH] = before


class Died(Exception):
    """A worker that is no more."""


class Worker:
    """A process that answers one question after another; it ends with whoever made it."""

    def __init__(self, answer: Callable[[Any], Any], memory_share: float = 1.0) -> None:
        """Start it. `answer` travels there once; `memory_share` of the machine's is its bound."""
        import multiprocessing

        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        given = (theirs, answer, os.getpid(), memory_share)
        with theirs, safe_path():
            try:
                self.process = context.Process(target=_serve, args=given, daemon=True)
                self.process.start()
            except BaseException:
                self.pipe.close()
                raise

    def ask(self, question: object) -> None:
        """Give it something to answer; `answer` says where it is dead already."""
        with suppress(BrokenPipeError):
            self.pipe.send(question)

    def answer(self) -> Any:
        """Answer of the worker; waits for it.

        raises: Died; FlatMapperError as it was raised there.
        """
        try:
            found = self.pipe.recv()
        except (EOFError, OSError) as error:
            raise Died from error
        if isinstance(found, FlatMapperError):
            raise found
        return found

    def end(self) -> None:
        """End the process, whatever it does."""
        self.process.kill()
        self.process.join()
        self.process.close()
        self.pipe.close()


def first_done(workers: Sequence[Worker]) -> Worker:
    """The one of several that answers, or dies, first."""
    from multiprocessing.connection import wait

    ready = wait([worker.pipe for worker in workers])[0]
    return next(worker for worker in workers if worker.pipe is ready)


def _serve(
    pipe: Connection, answer: Callable[[Any], Any], parent: int, memory_share: float
) -> None:
    """A process's whole life: answers, until nobody is at the other end."""
    from flat_mapper.base.process import die_with_parent  # what only a worker needs

    die_with_parent()
    if os.getppid() != parent:
        return
    _bound_memory(memory_share)
    with pipe, suppress(EOFError, OSError):
        while True:
            question = pipe.recv()
            try:
                found = answer(question)
            except FlatMapperError as error:
                found = error
            except Exception as error:
                said = " ".join(f"{type(error).__name__}: {error}".split())
                found = BackendError(f"worker: expected an answer, got: {said[:300]}")
            pipe.send(found)


def _bound_memory(share: float) -> None:
    """Let this process take no more than a share of the machine's memory."""
    try:
        import resource

        size = int(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * share)
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        if most == resource.RLIM_INFINITY or size < most:
            resource.setrlimit(resource.RLIMIT_DATA, (size, most))
    except (ImportError, OSError, ValueError):  # not a system that counts so
        return
