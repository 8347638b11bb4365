"""`python -m studies.running misses SEED [COUNT]`, `fills SEED COUNT`, `speed CPU.yaml P.svg`."""

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
    seed, count = int(words[1]), int(words[2]) if words[2:] else 40
    if words[:1] == ["fills"]:
        table(("case", *(f"fill {fill}" for fill in (misses.FILL, *misses.FILLS))))
        for case in misses.cases(seed, count, misses.FILLS):
            line((case.name, *(f"{misses.ratio(one) or 0:.3f}" for one in case.counts)))
        return
    table(misses.HEAD)
    cases = []
    for case in misses.cases(seed, count):
        cases.append(case)
        line(misses.cells(case))
    print(misses.summary(cases))


main(sys.argv[1:])
