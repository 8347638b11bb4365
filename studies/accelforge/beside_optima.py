"""AccelForge's optima, one process a row: its own search beside `reproduce accelforge`."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from beside_accelforge import FOLDER, VARIABLE
from measuring import PROGRAM, Table, median_usage, usage

CHECKOUT = "ACCELFORGE_CHECKOUT"  # of its repository at 1c1929c2, for the examples
OPTIMA = "ACCELFORGE_OPTIMA"  # the file of its optima
GOAL = 50.0  # its CPU seconds over ours


def optima() -> list[Table]:
    """A row for each of the file's; nothing where one of the three variables is not set."""
    python, checkout, path = (os.environ.get(name) for name in (VARIABLE, CHECKOUT, OPTIMA))
    if not python or not checkout or not path:
        return []
    script = (python, f"{FOLDER}/optima.py", checkout)
    with TemporaryDirectory() as folder, Path(path).open(encoding="utf-8", newline="") as file:
        one = Path(folder) / "row.csv"
        rows = [_measured(row, script, one) for row in csv.DictReader(file)]
    return [
        Table(
            title="Against AccelForge's optima",
            text="Whole processes of one row each, start and imports of both included: AccelForge "
            "1.0.467 with one job, one run, ended after 300 s, and `flat-mapper reproduce "
            "accelforge` of the same row, the median of 3, of which the search takes the part that "
            f"stands beside it. The goal is {GOAL:g} times as fast.",
            head=("chip", "workload", "", "its CPU s", "our CPU s", "search", "ratio", "verdict"),
            rows=tuple(rows),
        )
    ]


def _measured(row: Mapping[str, str], script: tuple[str, ...], one: Path) -> tuple[str, ...]:
    with one.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, row.keys())
        writer.writeheader()
        writer.writerow(row)
    theirs = usage((*script, f"{one}"), memory_mb=None)
    ours = median_usage((*PROGRAM, "reproduce", "accelforge", "--csv", f"{one}", "--json"))
    phase = " decode" if "DECODE=True" in row["parameters"] else ""
    name = (row["arch"], row["workload"] + phase, row["fusion"])
    its = theirs.failed or f"{theirs.cpu_s:.1f}"
    if ours.failed:
        return *name, its, ours.failed, "", "", ""
    found = json.loads(ours.printed)["rows"][0]
    ratio = "" if theirs.failed else f"{theirs.cpu_s / ours.cpu_s:.1f}"
    return *name, its, f"{ours.cpu_s:.2f}", f"{found['our_seconds']:.2f}", ratio, found["verdict"]
