"""AccelForge's mapper and ours on the same question."""

from __future__ import annotations

import json
import os

from measuring import HERE, PROGRAM, RUNS, Table, Usage, median_usage, usage

VARIABLE = "ACCELFORGE_PYTHON"  # a Python that has AccelForge
FOLDER = HERE / "accelforge"
BATCH, LENGTH = 64, 512
QUESTION = (
    *(*PROGRAM, "map", "--problem", "bert-base", "--set", f"B={BATCH}", "--seq", f"{LENGTH}"),
    *("--objective", "edp", "--arch", f"{FOLDER}/edge-ws.yaml", "--json"),
)
NAMES = (
    *("CPU s", "wall s", "search alone, wall s, last run", "peak MB"),
    *("latency s", "energy J", "EDP J*s", "latency without waits s", "EDP without waits J*s"),
)


def accelforge() -> list[Table]:
    """AccelForge beside ours, and ours with any dataflow; nothing where no Python is named."""
    python = os.environ.get(VARIABLE)
    if not python:
        return []
    words = (python, f"{FOLDER}/search.py", f"{FOLDER}", f"{BATCH}", f"{LENGTH}")
    theirs = usage(words, memory_mb=None)
    ours = median_usage((*QUESTION, "--mapspace", f"{FOLDER}/flat-ws.yaml"))
    free = median_usage((*QUESTION, "--mapspace", f"{FOLDER}/flat-any.yaml"))
    if theirs.failed or ours.failed or free.failed:
        return []
    its = json.loads(theirs.printed.splitlines()[-1])
    columns = [
        _measures(theirs, its["search_s"], its["latency_s"], its["latency_s"], its["energy_j"]),
        *(_our_measures(used) for used in (ours, free)),
    ]
    return [
        Table(
            title="Against AccelForge",
            text=f"AccelForge {its['version']}, one run, on the files in `benchmarks/accelforge/`; "
            f"ours are medians of {RUNS}. The question: QK and AV fused, the softmax free, "
            f"BERT-base, B = {BATCH}, N = {LENGTH}, the edge platform at 1 GHz with one word of "
            "registers in a PE, weight-stationary, single buffers, least energy-delay product. "
            "The last two columns are ours on the same hardware with any dataflow. Each tool "
            "prices its own mapping by its own rules, from the same energies per access; by ours "
            "the array waits for what a single buffer cannot bring meanwhile, by AccelForge's it "
            "does not, so that the last two rows have the cycles of the array alone. A ratio "
            "is AccelForge's over ours: above 1 is better; the goal of CPU s is 50. "
            "Peak MB is of the largest process of each. AccelForge's mapping shares loops over "
            f"{', '.join(its['shared_loops'])} (its m cuts the queries, p the keys); a row "
            "softmax forbids a cut through the keys, and ours never makes one.",
            head=("quantity", "AccelForge", "ours", "ratio", "ours, any dataflow", "ratio"),
            rows=tuple(
                (name, f"{a:.4g}", f"{b:.4g}", f"{a / b:.3g}", f"{c:.4g}", f"{a / c:.3g}")
                for name, a, b, c in zip(NAMES, *columns, strict=True)
            ),
        )
    ]


def _our_measures(used: Usage) -> tuple[float, ...]:
    found = json.loads(used.printed)
    seconds, joule = found["search"]["seconds"], found["energy_pj"] * 1e-12
    latency = found["latency_s"]
    busy = sum(sum(group["compute_cycles"].values()) for group in found["groups"])
    busy_s = latency * busy / found["cycles"]
    return _measures(used, seconds, latency, busy_s, joule)


def _measures(
    used: Usage, search_s: float, latency_s: float, busy_s: float, joule: float
) -> tuple[float, ...]:
    cost = (latency_s, joule, latency_s * joule, busy_s, busy_s * joule)
    return used.cpu_s, used.wall_s, search_s, used.peak_mb, *cost
