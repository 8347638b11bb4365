"""AccelForge's own searches beside ours as whole processes, in CPU seconds.

    python -m studies.accelforge.beside [--csv optima.csv]

In the environment ACCELFORGE_PYTHON names a Python that has AccelForge, ACCELFORGE_CHECKOUT a
checkout of its repository at 1c1929c2.
Without a file the question is QK and AV fused, the softmax free, BERT-base, B = 64, N = 512, on
the edge platform with one word of registers in a PE, weight-stationary, single buffers, least
energy-delay product: by AccelForge, by ours, and by ours with any dataflow. By our rules the array
waits for what a single buffer cannot bring meanwhile, by AccelForge's it does not: latency without
waits has the cycles of the array alone. With a file it is each of its rows, each a process.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from studies.common import ROOT, markdown, wrong

HERE = Path(__file__).parent
BATCH, LENGTH, SECONDS = 64, 512, 300.0
QUESTION = (
    *(sys.executable, "-m", "flat_mapper", "map", "--problem", "bert-base", "--json"),
    *("--set", f"B={BATCH}", "--seq", f"{LENGTH}", "--objective", "edp"),
    *("--arch", f"{HERE}/edge-ws.yaml", "--mapspace"),
)
NAMES = ("CPU s", "search alone, wall s", "latency s", "energy J", "EDP J*s", "without waits s")
Row = tuple[str, ...]


def used(argv: Sequence[str]) -> tuple[float, str]:
    """CPU seconds of a process and what it printed; empty where it had no end or failed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with TemporaryDirectory() as folder:  # AccelForge leaves a drawing where it runs
        try:
            done = subprocess.run(
                argv, capture_output=True, text=True, cwd=folder, env=environment, timeout=SECONDS
            )
            printed = "" if done.returncode else done.stdout
        except subprocess.TimeoutExpired:
            printed = ""
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, printed


def question(python: str) -> Iterator[Row]:
    """The one question, asked of both."""
    words = (python, f"{HERE}/search.py", f"{HERE}", f"{BATCH}", f"{LENGTH}")
    cpu_s, printed = used(words)
    its = json.loads(printed.splitlines()[-1])
    latency, joule = its["latency_s"], its["energy_j"]
    theirs = (cpu_s, its["search_s"], latency, joule, latency * joule, latency)
    columns = [theirs, *(_ours(name) for name in ("flat-ws", "flat-any"))]
    yield "quantity", "AccelForge", "ours", "ratio", "ours, any dataflow", "ratio"
    for name, a, b, c in zip(NAMES, *columns, strict=True):
        yield name, f"{a:.4g}", f"{b:.4g}", f"{a / b:.3g}", f"{c:.4g}", f"{a / c:.3g}"


def _ours(mapspace: str) -> tuple[float, ...]:
    cpu_s, printed = used((*QUESTION, f"{HERE}/{mapspace}.yaml"))
    found: dict[str, Any] = json.loads(printed)
    latency, joule = found["latency_s"], found["energy_pj"] * 1e-12
    busy = sum(sum(group["compute_cycles"].values()) for group in found["groups"])
    waits_not = latency * busy / found["cycles"]
    return cpu_s, found["search"]["seconds"], latency, joule, latency * joule, waits_not


def optima(python: str, checkout: str, path: Path) -> Iterator[Row]:
    """Each row of a file of optima, asked of both."""
    yield "chip", "workload", "", "its CPU s", "our CPU s", "search", "ratio", "verdict"
    with path.open(encoding="utf-8", newline="") as file, TemporaryDirectory() as folder:
        for row in csv.DictReader(file):
            one = Path(folder) / "row.csv"
            with one.open("w", encoding="utf-8", newline="") as alone:
                writer = csv.DictWriter(alone, row.keys())
                writer.writeheader()
                writer.writerow(row)
            yield _measured(row, (python, f"{HERE}/optima.py", checkout, f"{one}"), one)


def _measured(row: Mapping[str, str], theirs: Sequence[str], one: Path) -> Row:
    cpu_s, its = used(theirs)
    ours = (sys.executable, "-m", "studies.accelforge", "--csv", f"{one}", "--json")
    our_s, printed = used(ours)
    phase = " decode" if "DECODE=True" in row["parameters"] else ""
    name = (row["arch"], row["workload"] + phase, row["fusion"])
    said = f"{cpu_s:.1f}" if its else f"not within {SECONDS:g} s"
    if not printed:
        return *name, said, "failed", "", "", ""
    found = json.loads(printed)["rows"][0]
    ratio = f"{cpu_s / our_s:.1f}" if its else ""
    return *name, said, f"{our_s:.2f}", f"{found['our_seconds']:.2f}", ratio, found["verdict"]


def main() -> None:
    """The table in Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--csv", type=Path, help="AccelForge's optima")
    path = parser.parse_args().csv
    python, checkout = (os.environ.get(f"ACCELFORGE_{n}") for n in ("PYTHON", "CHECKOUT"))
    if not python or (path and not checkout):
        raise wrong("studies.accelforge.beside", "ACCELFORGE_PYTHON and its CHECKOUT", "none")
    head, *rows = question(python) if path is None else optima(python, checkout or "", path)
    print(markdown(head, rows))


if __name__ == "__main__":
    main()
