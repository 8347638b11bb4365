"""A whole process measured, and the tables that say what it took."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent  # so that the package is found from any folder
RUNS = 3  # whole processes per median


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a whole process took."""

    wall_s: float
    cpu_s: float  # user and system, of the process and the children it waited for
    peak_mb: float  # 10^6 bytes, of the largest process
    printed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table of the report, with the sentence that goes before it."""

    title: str
    text: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def usage(argv: Sequence[str]) -> Usage:
    """What one run of a command took; stops the benchmark where the command fails.

    It runs in a temporary folder: AccelForge leaves a drawing of its mapping where it runs.
    """
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path}
    with tempfile.TemporaryFile() as errors, tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        process = subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=folder, env=environment
        )
        assert process.stdout is not None
        printed = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - start
        process.stdout.close()
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            sys.exit(f"{' '.join(argv)}: exit {process.returncode}\n{errors.read().decode()}")
    per_unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB on Linux
    return Usage(
        wall_s=wall_s,
        cpu_s=used.ru_utime + used.ru_stime,
        peak_mb=used.ru_maxrss * per_unit / 1e6,
        printed=printed,
    )


def median_usage(argv: Sequence[str]) -> Usage:
    """The medians of several runs, each quantity on its own."""
    runs = [usage(argv) for _ in range(RUNS)]
    return Usage(
        wall_s=median(r.wall_s for r in runs),
        cpu_s=median(r.cpu_s for r in runs),
        peak_mb=median(r.peak_mb for r in runs),
        printed=runs[-1].printed,
    )


def markdown(tables: Sequence[Table]) -> str:
    """The report as a file."""
    parts = ["# Performance\n\nWritten by `make bench`; every number is of one run of it.\n"]
    for table in tables:
        lines = [table.head, ("---",) * len(table.head), *table.rows]
        grid = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        parts.append(f"## {table.title}\n\n{table.text}\n\n{grid}\n")
    return "\n".join(parts)


def show(tables: Sequence[Table]) -> None:
    """The report on the terminal."""
    from rich.console import Console
    from rich.table import Table as Grid

    console = Console()
    for table in tables:
        grid = Grid(title=table.title, title_justify="left")
        for i, name in enumerate(table.head):
            grid.add_column(name, justify="right" if i else "left")
        for row in table.rows:
            grid.add_row(*row)
        console.print(grid)
