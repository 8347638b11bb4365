"""The same function over independent values, on a process for each core."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence


def cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def each[V, R](
    function: Callable[[V], R],
    values: Sequence[V],
    *,
    workers: int | None = None,
    done: Callable[[float, str], None] | None = None,
) -> list[R]:
    """The function's answers in the order of the values, whoever finished first.

    function: of a module, with values that travel between processes.
    workers:  processes; by default one for each core. One worker: this process itself.
    done:     called with the share that is done.
    """
    count = min(workers or cores(), len(values))
    found: list[R] = []
    for answer in _serial(function, values) if count < 2 else _pooled(function, values, count):
        found.append(answer)
        if done:
            done(len(found) / len(values), f"{len(found)} of {len(values)}")
    return found


def _serial[V, R](function: Callable[[V], R], values: Sequence[V]) -> Iterator[R]:
    for value in values:
        yield function(value)


def _pooled[V, R](function: Callable[[V], R], values: Sequence[V], count: int) -> Iterator[R]:
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    # A fork would copy whatever locks other threads hold.
    ways = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in ways else "spawn")
    with ProcessPoolExecutor(count, mp_context=context) as pool:
        yield from pool.map(function, values)
