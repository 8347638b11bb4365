"""`python -m studies.running misses SEED [COUNT]`, or `speed my_cpu.yaml PLOT.svg`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from studies.running import misses, speed


def table(head: Sequence[str]) -> None:
    """The head of a table, whose rows follow."""
    line(head)
    print("|---" * len(head) + "|")


def line(cells: Sequence[str]) -> None:
    """A row."""
    print("| " + " | ".join(cells) + " |", flush=True)


def main(words: list[str]) -> None:
    """Print a table, row by row."""
    if words[:1] == ["speed"]:
        found = []
        table(speed.HEAD)
        for length, ran in speed.rows(Path(words[1])):
            found.append((length, ran))
            line(speed.cells(length, ran))
        speed.plot(found, Path(words[2]))
        return
    table(misses.HEAD)
    for cells in misses.rows(int(words[1]), int(words[2]) if words[2:] else 40):
        line(cells)


main(sys.argv[1:])
