"""The call by which long work says how far it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Progress = Callable[[float, str], None]  # the part that is done, 0 to 1, and what is being done
_SHORT = 3  # chosen: Einsums of a group that a line of progress has


def part_of(progress: Progress | None, index: int, count: int, name: str) -> Progress | None:
    """The progress of one piece of work among several; a single one goes by its own words."""
    if progress is None or count == 1:
        return progress
    return lambda share, text: progress((index + share) / count, f"{name}: {text}")


def shortened(names: Sequence[str]) -> str:
    """A group's Einsums in one line: of more than three the first and the last."""
    if len(names) <= _SHORT:
        return "+".join(names)
    return f"{names[0]}+..+{names[-1]}"
