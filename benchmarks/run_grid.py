"""The paper's grid, searched: the CPU seconds of every search as JSON.

Runs in a process of its own: python run_grid.py WORKERS [PLATFORM] [MODEL]
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from itertools import product
from time import process_time

from flat_mapper import load_platform, load_problem, search
from flat_mapper.answers import Mapped
from flat_mapper.api import energies
from flat_mapper.parallel import each

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


def searched(point: Point) -> list[tuple[float, bool]]:
    """CPU seconds of the search of each mapspace, and whether anything fits."""
    platform = load_platform(point.platform)
    sizes = {"B": 64, "P": point.length, "M": point.length}
    workload = load_problem(point.model, sizes=sizes)
    prices, _ = energies(platform, None)
    found = []
    for mapspace in MAPSPACES:
        start = process_time()
        fits = isinstance(search(workload, platform, mapspace, prices), Mapped)
        found.append((process_time() - start, fits))
    return found


def main(workers: int, only: list[str]) -> None:
    """Search the grid, or what it has of some platforms and models."""
    platforms, models = (
        [name for name in names if not set(names) & set(only) or name in only]
        for names in (PLATFORMS, MODELS)
    )
    points = [Point(*point) for point in product(platforms, models, LENGTHS)]
    spent: dict[str, list[float]] = {}
    unfit: dict[str, int] = {}
    for point, found in zip(points, each(searched, points, workers=workers), strict=True):
        for mapspace, (seconds, fits) in zip(MAPSPACES, found, strict=True):
            name = f"{point.platform}, {mapspace}"
            spent.setdefault(name, []).append(seconds)
            unfit[name] = unfit.get(name, 0) + (not fits)
    print(json.dumps({"spent": spent, "unfit": unfit}))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
