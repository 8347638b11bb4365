"""Whole processes: start-up and search, and where the time of one search goes."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from statistics import median

from measuring import HERE, PROGRAM, RUNS, Table, answer, median_usage

BERT = ("map", "--problem", "bert-base", "--set", "B=64", "--objective", "edp")
FOUR_LEVELS = str(HERE / "four-levels.yaml")
SEARCHES = {  # what is searched: architecture, N, goal
    "edge, N = 512": ("edge", 512, ""),
    "edge, N = 4096": ("edge", 4096, "2 s, 500 MB"),
    "edge, N = 65536": ("edge", 65536, "2 x N = 4096"),
    "cloud, N = 4096": ("cloud", 4096, "5 s"),
    "cloud, N = 65536": ("cloud", 65536, "5 s"),
    "four levels, N = 4096": (FOUR_LEVELS, 4096, "5 s"),
}


def processes() -> list[Table]:
    """Start-up and search."""
    commands: dict[str, tuple[tuple[str, ...], str]] = {
        "python, nothing else": ((sys.executable, "-c", "pass"), ""),
        "import flat_mapper": ((sys.executable, "-c", "import flat_mapper"), "0.3 s"),
        "flat-mapper --help": ((*PROGRAM, "--help"), "0.4 s"),
    }
    for name, (arch, length, goal) in SEARCHES.items():
        options = ("--mapspace", "flat", "--arch", arch, "--seq", str(length))
        commands[f"flat-mapper map, {name}"] = ((*PROGRAM, *BERT, *options), goal)
    rows = [(name, *median_usage(argv).cells(), goal) for name, (argv, goal) in commands.items()]
    return [
        Table(
            title="Whole processes",
            text=f"Medians of {RUNS} runs. `map` is BERT-base, B = 64, mapspace flat, objective "
            "edp, the softmax as Einsums of its own; its time includes the start of Python and "
            "the prices. Four levels: `benchmarks/four-levels.yaml`, the edge platform with a "
            "buffer of its own in each of 16 clusters of PEs.",
            head=("process", "wall s", "CPU s", "peak MB", "goal"),
            rows=tuple(rows),
        )
    ]


def stages() -> list[Table]:
    """Where the CPU time of one `flat-mapper map` goes."""
    runs = [answer("run_stages.py") for _ in range(RUNS)]
    with tempfile.TemporaryDirectory() as empty:
        anew, _ = answer("run_stages.py", cache=Path(empty))
    found = [stage for stage, _ in runs if stage]
    if not found or anew is None:
        return []
    spent = {name: median(stage[name] for stage in found) for name in found[0]}
    total = sum(spent.values())
    rows = [(name, f"{s:.3f}", f"{s / total:.0%}") for name, s in spent.items()]
    rows.append(("all", f"{total:.3f}", "100%"))
    rows.append(("prices, where none are remembered", f"{anew['prices']:.3f}", ""))
    return [
        Table(
            title="Where the time goes",
            text=f"`flat-mapper map` on edge at N = 4096, stage by stage; medians of {RUNS} runs. "
            "Prices of hwcomponents are remembered between runs, by question and by version.",
            head=("stage", "CPU s", "share"),
            rows=tuple(rows),
        )
    ]
