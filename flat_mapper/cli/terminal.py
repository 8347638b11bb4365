"""Printing, and how far the work is: nothing in a text can command the terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flat_mapper.base.formats import terminal_text

PATIENCE_S = 1.0  # work shorter than this shows no progress bar
PERIOD_S = 5.0  # off a terminal, between two lines about how far it is


def say(text: object, *, error: bool = False) -> None:
    """Print a text on stdout, or on stderr; control characters in names and logs are shown.

    raises: OSError of stdout; BrokenPipeError of both. A stderr that takes nothing changes nothing.
    """
    try:
        print(terminal_text(str(text)), file=sys.stderr if error else sys.stdout, flush=error)
    except OSError as failed:
        if not error or isinstance(failed, BrokenPipeError):
            raise


@contextmanager
def progress_bar(*, seldom: bool = False) -> Iterator[Callable[[float, str], None]]:
    """A callable that moves a bar on stderr; the bar appears once the patience is over.

    Off a terminal it is a line every few seconds; seldom: every half a minute.
    """
    if not sys.stderr.isatty():
        yield _lines(PERIOD_S * (6 if seldom else 1))
        return
    from threading import Timer

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    bar = Progress(
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
        console=Console(stderr=True),
        transient=True,
    )
    task = bar.add_task("", total=1.0)

    def show(share: float, text: str) -> None:
        bar.update(task, completed=share, description=terminal_text(text))

    timer = Timer(PATIENCE_S, bar.start)
    timer.daemon = True
    timer.start()
    try:
        yield show
    finally:
        timer.cancel()
        timer.join()  # a bar that starts just now has started before it is stopped
        bar.stop()


def _lines(period: float) -> Callable[[float, str], None]:
    """A callable that prints a line on stderr every few seconds."""
    begin = last = time.monotonic()

    def show(_: float, text: str) -> None:
        nonlocal last
        if time.monotonic() - last > period:
            last = time.monotonic()
            say(f"{last - begin:.0f} s: {text}", error=True)

    return show
