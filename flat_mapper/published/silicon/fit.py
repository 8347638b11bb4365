"""The fitted numbers of a kernel: one factor and two fixed costs, from the rows not set aside.

The time of a row is `factor x cycles(tile_cycles) + launch + what other kernels take`, where
cycles are the model's with so many fixed cycles a tile; between some numbers of them the model's
times are joined by straight lines. The numbers are those of a grid with the least median error
and a third of the 90th percentile, every row counted once. Decodes of fewer than 128 keys, tiny
units of work, are in no fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from flat_mapper.arch.values import Platform
from flat_mapper.published.silicon.gpu import TINY
from flat_mapper.published.silicon.rows import Case, priced

TILES = (0.0, 4e3, 1e4, 2e4)  # fixed cycles of a tile at which the model is asked
BETWEEN = np.arange(0.0, 20001.0, 250.0)
FACTORS = np.exp(np.linspace(np.log(0.5), np.log(2.2), 300))
LAUNCHES = np.arange(0.0, 40.5e-6, 0.5e-6)
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Fitted numbers of a kernel, and to how many rows."""

    kernel: str
    rows: int
    factor: float
    tile_cycles: float
    launch_seconds: float
    median_percent: float
    p90_percent: float


def with_costs(
    platform: Platform, kernel: str, factor: float, tile: float, launch: float
) -> Platform:
    """A chip with other costs of a kernel."""
    own = {
        f"{kernel}_factor": factor,
        f"{kernel}_tile_cycles": tile,
        f"{kernel}_launch_seconds": launch,
    }
    variables = {**platform.matrix.variables, **own}
    return replace(platform, matrix=replace(platform.matrix, variables=variables))


def times(case: Case, tiles: Sequence[float] = TILES) -> tuple[list[float], float]:
    """Seconds of the attention at numbers of tile cycles, and of the kernels beside it."""
    found, beside = [], 0.0
    for tile in tiles:
        platform = with_costs(case.platform, case.kernel, 1.0, tile, 0.0)
        result = priced(replace(case, platform=platform)).result
        at = next(n for n, g in enumerate(result.mapping.groups) if g.kernel == case.kernel)
        own = result.groups[at].cycles * result.cycle_seconds
        found.append(own)
        beside = result.latency_s - own
    return found, beside


def fitted_to(cases: Iterable[Case]) -> Fit:
    """The costs of a kernel by its rows, none of which may be set aside."""
    rows = [case for case in cases if case.kind != TINY]
    assert rows
    assert not any(case.aside for case in rows)
    each = [times(case) for case in rows]
    own = np.array([[np.interp(t, TILES, found) for t in BETWEEN] for found, _ in each])
    beside = np.array([b for _, b in each])
    measured = np.array([case.measured_s for case in rows])
    best, numbers = np.inf, (1.0, 0.0, 0.0)
    for at, tile in enumerate(BETWEEN):
        for launch in LAUNCHES:
            if at % 4 or round(launch * 2e6) % 2:  # a coarse grid first
                continue
            score, factor = _least(own[:, at], beside + launch, measured)
            if score < best:
                best, numbers = score, (factor, float(tile), float(launch))
    best, numbers = _near(own, beside, measured, best, numbers)
    factor, tile, launch = numbers
    at = int(np.searchsorted(BETWEEN, tile))
    errors = 100 * np.abs((own[:, at] * factor + beside + launch) / measured - 1)
    return Fit(
        kernel=rows[0].kernel,
        rows=len(rows),
        factor=factor,
        tile_cycles=tile,
        launch_seconds=launch,
        median_percent=float(np.median(errors)),
        p90_percent=float(np.quantile(errors, 0.9)),
    )


def _near(
    own: Floats,
    beside: Floats,
    measured: Floats,
    best: float,
    numbers: tuple[float, float, float],
) -> tuple[float, tuple[float, float, float]]:
    """The best of the fine grid around the best of the coarse one."""
    at = int(np.searchsorted(BETWEEN, numbers[1]))
    for tile in range(max(0, at - 3), min(len(BETWEEN), at + 4)):
        for launch in LAUNCHES[np.abs(LAUNCHES - numbers[2]) < 1.1e-6]:
            score, factor = _least(own[:, tile], beside + launch, measured)
            if score < best:
                best, numbers = score, (factor, float(BETWEEN[tile]), float(launch))
    return best, numbers


def _least(own: Floats, beside: Floats, measured: Floats) -> tuple[float, float]:
    """The least score of any factor, and the factor."""
    off = np.abs((own[:, None] * FACTORS + beside[:, None]) / measured[:, None] - 1)
    found = score(off)
    at = int(np.argmin(found))
    return float(found[at]), float(FACTORS[at])


def score(off: Floats) -> Floats:
    """The median and a third of the 90th percentile of errors, one for each of the last axis."""
    return np.asarray(np.median(off, 0) + np.quantile(off, 0.9, axis=0) / 3)
