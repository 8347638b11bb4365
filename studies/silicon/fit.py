"""The fitted numbers of a kernel: one factor and two fixed costs, from the rows not set aside.

The time of a row is `factor x cycles(tile_cycles) + launch + what other kernels take`, where
cycles are the model's with so many fixed cycles a tile; between some numbers of them the model's
times are joined by straight lines. The numbers are those of a grid with the least median error
and a third of the 90th percentile, by one of two rules: every row counts once, or every kind of
rows alike (without and with a window, with a cache in DRAM and near L2). Decodes of fewer than 128
keys, tiny units of work, are in no fit. `held_out` says how a rule does on rows that it has not
seen, without those that are set aside: by that `rule.py` chose `RULE`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from flat_mapper.values import Platform
from studies.silicon.gpu import TINY
from studies.silicon.rows import Case, priced

Rule = Literal["rows", "kinds"]
RULE: Rule = "rows"
FOLDS = 5  # chosen: of the fitted rows, to choose the rule
TILES = (0.0, 4e3, 1e4, 2e4)  # fixed cycles of a tile at which the model is asked
BETWEEN = np.arange(0.0, 20001.0, 250.0)
FACTORS = np.exp(np.linspace(np.log(0.5), np.log(2.2), 300))
LAUNCHES = np.arange(0.0, 40.5e-6, 0.5e-6)
Floats = npt.NDArray[np.float64]
Which = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Fitted numbers of a kernel, and to how many rows."""

    rows: int
    factor: float
    tile_cycles: float
    launch_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """Rows of a kernel and the model's times of them, none of tiny units of work.

    own:    seconds of the attention, rows x tile cycles as `BETWEEN` has them.
    beside: of the kernels beside it. folds: of rows that stay together, 0 to FOLDS - 1.
    """

    own: Floats
    beside: Floats
    measured: Floats
    kinds: npt.NDArray[np.str_]
    folds: npt.NDArray[np.int64]

    def some(self, which: Which) -> Timed:
        """Some of the rows."""
        return Timed(
            own=self.own[which],
            beside=self.beside[which],
            measured=self.measured[which],
            kinds=self.kinds[which],
            folds=self.folds[which],
        )

    def errors(self, fit: Fit) -> Floats:
        """Of each row |predicted / measured - 1|."""
        at = int(np.searchsorted(BETWEEN, fit.tile_cycles))
        said = self.own[:, at] * fit.factor + self.beside + fit.launch_seconds
        return np.abs(said / self.measured - 1)


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


def fold_of(case: Case) -> int:
    """The fold of a row: by its shape, as what is set aside, and by other digits of its SHA-256."""
    return case.drawn(8, FOLDS)


def timed(cases: Iterable[Case]) -> Timed:
    """Rows of a kernel, none of which may be set aside, with the model's times."""
    rows = [case for case in cases if case.kind != TINY]
    assert rows
    assert not any(case.aside for case in rows)
    each = [times(case) for case in rows]
    return Timed(
        own=np.array([[np.interp(t, TILES, found) for t in BETWEEN] for found, _ in each]),
        beside=np.array([b for _, b in each]),
        measured=np.array([case.measured_s for case in rows]),
        kinds=np.array([case.kind for case in rows]),
        folds=np.array([fold_of(case) for case in rows]),
    )


def fitted_to(rows: Timed, rule: Rule = RULE) -> Fit:
    """The costs of a kernel by its rows."""
    kinds = [rows.kinds == name for name in dict.fromkeys(rows.kinds.tolist())]
    parts = kinds if rule == "kinds" else [np.ones(len(rows.measured), np.bool_)]
    grid = [(t, n) for t in range(0, len(BETWEEN), 4) for n in range(0, len(LAUNCHES), 2)]
    _, (_, tile, launch) = _best(rows, parts, grid)
    near = [
        (t, n)
        for t in range(max(0, tile - 3), min(len(BETWEEN), tile + 4))
        for n in range(max(0, launch - 2), min(len(LAUNCHES), launch + 3))
    ]
    _, (factor, tile, launch) = _best(rows, parts, near)
    return Fit(
        rows=len(rows.measured),
        factor=factor,
        tile_cycles=float(BETWEEN[tile]),
        launch_seconds=float(LAUNCHES[launch]),
    )


def held_out(rows: Timed, rule: Rule) -> Floats:
    """Errors of rows, each by the costs that are fitted to the rows of the other folds."""
    found = np.zeros(len(rows.measured))
    for fold in range(FOLDS):
        out = rows.folds == fold
        if out.any():
            found[out] = rows.some(out).errors(fitted_to(rows.some(~out), rule))
    return found


def _best(
    rows: Timed, parts: Sequence[Which], grid: Iterable[tuple[int, int]]
) -> tuple[float, tuple[float, int, int]]:
    """The least score in a grid of tile cycles and launches; its factor and where it is."""
    best, numbers = np.inf, (1.0, 0, 0)
    for tile, launch in grid:
        said = rows.own[:, tile, None] * FACTORS + (rows.beside + LAUNCHES[launch])[:, None]
        off = np.abs(said / rows.measured[:, None] - 1)
        scores = np.sum([score(off[part]) for part in parts], axis=0)
        at = int(np.argmin(scores))
        if scores[at] < best:
            best, numbers = float(scores[at]), (float(FACTORS[at]), tile, launch)
    return best, numbers


def score(off: Floats) -> Floats:
    """The median and a third of the 90th percentile of errors, one for each of the last axis."""
    return np.asarray(np.median(off, 0) + np.quantile(off, 0.9, axis=0) / 3)
