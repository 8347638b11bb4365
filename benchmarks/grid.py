"""The paper's grid: how long all its searches take."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from measuring import Table, Usage, answer, megabytes

GOAL_S = 30
PART = ("edge", "bert-base")  # of the grid, for the table of workers


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the grid, or of a part of it."""

    workers: int
    used: Usage
    spent: dict[str, list[float]]  # CPU seconds of each search, by platform and mapspace
    unfit: dict[str, int]


def cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(workers: int, *part: str) -> Run:
    """The grid, or a part, on so many workers."""
    found, used = answer("run_grid.py", str(workers), *part)
    if found is None:
        return Run(workers, used, {}, {})
    used = replace(used, cpu_s=found["cpu_s"], peak_mb=megabytes(found["peak"]))
    return Run(workers, used, found["spent"], found["unfit"])


def grid() -> list[Table]:
    """The whole grid with one worker and with all cores."""
    runs = [run(workers) for workers in dict.fromkeys((1, cores()))]
    rows = []
    for name, spent in runs[0].spent.items():
        cells = (
            f"{len(spent)}",
            f"{runs[0].unfit[name]}",
            f"{sum(spent):.1f}",
            f"{max(spent):.2f}",
        )
        rows.append((name, *cells, "", "", ""))
    for one in runs:
        wall, cpu, peak = one.used.cells()
        spent = [s for all_of in one.spent.values() for s in all_of]
        slowest = f"{max(spent):.2f}" if spent else ""
        counts = (f"{len(spent)}", f"{sum(one.unfit.values())}")
        goal = f"{GOAL_S} s" if one is runs[-1] else ""
        rows.append((f"all, {_workers(one.workers)}", *counts, cpu, slowest, wall, peak, goal))
    return [
        Table(
            title="The paper's grid",
            text="FLAT's 2 platforms x 4 models (BERT-base, TrXL, T5-small, XLM; B = 64) x 12 "
            "lengths (512 to 1M) x 3 mapspaces, least energy-delay product, as one process: "
            "loading, pricing and searching. Peak MB is of the largest process.",
            head=(
                *("searches", "count", "do not fit", "CPU s", "slowest, CPU s"),
                *("wall s", "peak MB", "goal"),
            ),
            rows=tuple(rows),
        )
    ]


def by_workers() -> list[Table]:
    """A part of the grid on more and more workers."""
    counts = [2**k for k in range(cores().bit_length()) if 2**k <= cores()]
    runs = [run(count, *PART) for count in dict.fromkeys((*counts, cores()))]
    alone = runs[0].used
    rows = []
    for one in runs:
        gain = "" if one.used.failed else f"{alone.wall_s / one.used.wall_s:.2f}"
        rows.append((f"{one.workers}", *one.used.cells(), gain))
    return [
        Table(
            title="Search time with workers",
            text=f"The part of the paper's grid on {' and '.join(PART)}, as one process that "
            "starts the workers. Peak MB is of the largest process.",
            head=("workers", "wall s", "CPU s", "peak MB", "times as fast"),
            rows=tuple(rows),
        )
    ]


def _workers(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"
