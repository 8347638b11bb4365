"""`python -m studies.running misses [FIRST LAST [FILL]]`, or `speed my_cpu.yaml PLOT.svg`."""

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
    first, last = (int(word) for word in words[1:3] or ("0", "60"))
    fill = float(words[3]) if words[3:] else 0.5
    table(misses.HEAD)
    for cells in misses.rows(range(first, last), fill):
        line(cells)


main(sys.argv[1:])
