"""Ctrl-C kept from where it would be lost, or would end in a traceback."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


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
