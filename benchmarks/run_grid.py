"""The paper's grid, searched: the CPU seconds of every search as JSON.

Runs in a process of its own: python run_grid.py WORKERS [PLATFORM] [MODEL]

Workers are no children of this process and say themselves what they took.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product
from multiprocessing import get_context
from time import process_time

from flat_mapper import load_platform, load_problem, search
from flat_mapper.api.calls import energies
from flat_mapper.reports.answers import SearchResult

PLATFORMS = ("edge", "cloud")
MODELS = ("bert-base", "trxl", "t5-small", "xlm")  # those of FLAT's simulator
LENGTHS = tuple(512 << k for k in range(12))  # to 1M, as there
MAPSPACES = ("naive", "flex", "flat")


@dataclass(frozen=True, slots=True)
class Point:
    """A platform, a model and a length."""

    platform: str
    model: str
    length: int


@dataclass(frozen=True, slots=True)
class Searched:
    """The searches of a point, and what their process has taken so far."""

    spent: tuple[float, ...]  # CPU seconds, by mapspace
    fits: tuple[bool, ...]
    process: int
    cpu_s: float
    peak: int  # in the system's unit


def searched(point: Point) -> Searched:
    """A point in all mapspaces."""
    platform = load_platform(point.platform)
    sizes = {"B": 64, "P": point.length, "M": point.length}
    workload = load_problem(point.model, sizes=sizes)
    prices, _ = energies(platform, None)
    spent, fits = [], []
    for mapspace in MAPSPACES:
        start = process_time()
        fits.append(isinstance(search(workload, platform, mapspace, prices, gap=0.0), SearchResult))
        spent.append(process_time() - start)
    return Searched(
        spent=tuple(spent),
        fits=tuple(fits),
        process=os.getpid(),
        cpu_s=process_time(),
        peak=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    )


def main(workers: int, only: list[str]) -> dict[str, object]:
    """Search the grid, or what it has of some platforms and models."""
    platforms, models = (
        [name for name in names if not set(names) & set(only) or name in only]
        for names in (PLATFORMS, MODELS)
    )
    points = [Point(*point) for point in product(platforms, models, LENGTHS)]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        answers = list(pool.map(searched, points))
    spent: dict[str, list[float]] = {}
    unfit: dict[str, int] = {}
    used = {os.getpid(): process_time()}
    for point, found in zip(points, answers, strict=True):
        used[found.process] = max(found.cpu_s, used.get(found.process, 0))
        for mapspace, seconds, fits in zip(MAPSPACES, found.spent, found.fits, strict=True):
            name = f"{point.platform}, {mapspace}"
            spent.setdefault(name, []).append(seconds)
            unfit[name] = unfit.get(name, 0) + (not fits)
    return {
        "spent": spent,
        "unfit": unfit,
        "cpu_s": sum(used.values()),
        "peak": max(found.peak for found in answers),
    }


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), sys.argv[2:])))
