"""A whole process measured, and the tables that say what it took."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent  # so that the package is found from any folder
RUNS = 3  # whole processes per median
PROCESS_S = 300.0  # chosen: of one process; a part that needs more is told, not waited for
MEMORY_MB = 4000  # chosen: address space of one process of ours, 8 times its goal
PROGRAM = (sys.executable, "-m", "flat_mapper")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a whole process took."""

    wall_s: float
    cpu_s: float  # user and system, of the process and the children it waited for
    peak_mb: float  # 10^6 bytes, of the largest process
    printed: str
    failed: str = ""  # why there is no answer

    def cells(self) -> tuple[str, str, str]:
        """Wall, CPU and peak, or why there are none."""
        if self.failed:
            return self.failed, f"{self.cpu_s:.1f}", f"{self.peak_mb:.0f}"
        return f"{self.wall_s:.2f}", f"{self.cpu_s:.2f}", f"{self.peak_mb:.0f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table of the report, with the sentence that goes before it."""

    title: str
    text: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def usage(
    argv: Sequence[str],
    *,
    seconds: float = PROCESS_S,
    memory_mb: int | None = MEMORY_MB,
    cache: Path | None = None,
    root: Path = ROOT,
) -> Usage:
    """What one run of a command took, or why it came to nothing.

    It runs in a temporary folder: AccelForge leaves a drawing of its mapping where it runs.
    memory_mb: of address space that each of its processes may have; None: as much as there is.
    cache:     the folder that remembers prices, in place of the user's.
    root:      the checkout whose package it imports.
    """
    path = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # nobody compiles the package for each run
    if cache is not None:
        environment["XDG_CACHE_HOME"] = str(cache)
    limited = ("sh", "-c", f'ulimit -v {(memory_mb or 0) * 1000}; exec "$@"', "sh", *argv)
    with tempfile.TemporaryFile() as errors, tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        process = subprocess.Popen(
            argv if memory_mb is None else limited,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=folder,
            env=environment,
            start_new_session=True,  # so that its children end with it
        )
        printed, used = _waited(process, seconds)
        wall_s = time.perf_counter() - start
        errors.seek(0)
        said = errors.read().decode(errors="replace")
    late = seconds if wall_s >= seconds else None
    return Usage(
        wall_s=wall_s,
        cpu_s=used.ru_utime + used.ru_stime,
        peak_mb=megabytes(used.ru_maxrss),
        printed=printed,
        failed=_failure(argv, process.returncode, said, late, memory_mb),
    )


def megabytes(peak: int) -> float:
    """10^6 bytes of what the system calls ru_maxrss: bytes on macOS, KiB on Linux."""
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6


def _waited(process: subprocess.Popen[str], seconds: float) -> tuple[str, resource.struct_rusage]:
    """What a process printed and used until its end, which comes after some seconds at the latest.

    It does not outlive this process's own interruption.
    """
    end = threading.Timer(seconds, os.killpg, (process.pid, signal.SIGKILL))
    end.start()
    try:
        assert process.stdout is not None
        with process.stdout:
            printed = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    finally:
        end.cancel()
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
    return printed, used


def _failure(
    argv: Sequence[str], code: int, said: str, seconds: float | None, memory_mb: int | None
) -> str:
    """Why a process failed, in few words; the whole on stderr where no limit was the reason.

    seconds: its time limit, where it reached that.
    """
    if not code:
        return ""
    if seconds is not None:
        return f"not within {seconds:g} s"
    if memory_mb is not None and "MemoryError" in said:
        return f"needs more than {memory_mb / 1000:g} GB"
    print(f"{' '.join(argv)}: exit {code}\n{said}", file=sys.stderr)
    return f"failed (exit {code})"


def median_usage(argv: Sequence[str]) -> Usage:
    """The medians of several runs, each quantity on its own; one run where it fails."""
    runs: list[Usage] = []
    while len(runs) < RUNS and not (runs and runs[-1].failed):
        runs.append(usage(argv))
    return replace(
        runs[-1],
        wall_s=median(r.wall_s for r in runs),
        cpu_s=median(r.cpu_s for r in runs),
        peak_mb=median(r.peak_mb for r in runs),
    )


def answer(
    script: str,
    *words: str,
    seconds: float = PROCESS_S,
    memory_mb: int | None = MEMORY_MB,
    cache: Path | None = None,
) -> tuple[Any, Usage]:
    """What a script of this folder prints as JSON, and what it took; None where it failed."""
    argv = (sys.executable, str(HERE / script), *words)
    used = usage(argv, seconds=seconds, memory_mb=memory_mb, cache=cache)
    return (None if used.failed else json.loads(used.printed.splitlines()[-1])), used


def left_out(title: str, why: str) -> Table:
    """A table that was not measured."""
    return Table(title=title, text=f"Not measured: {why}.", head=("",), rows=())


def markdown(tables: Sequence[Table]) -> str:
    """The report as a file."""
    parts = ["# Performance\n\nWritten by `make -C tools bench`; every number is of one run.\n"]
    for table in tables:
        lines = [table.head, ("---",) * len(table.head), *table.rows] if table.rows else []
        grid = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        parts.append(f"## {table.title}\n\n{table.text}\n" + (f"\n{grid}\n" if grid else ""))
    return "\n".join(parts)


def show(tables: Sequence[Table]) -> None:
    """The report on the terminal."""
    from rich.console import Console
    from rich.table import Table as Grid

    console = Console()
    for table in tables:
        caption = None if table.rows else table.text
        grid = Grid(title=table.title, title_justify="left", caption=caption)
        for i, name in enumerate(table.head):
            grid.add_column(name, justify="right" if i else "left")
        for row in table.rows:
            grid.add_row(*row)
        console.print(grid)
