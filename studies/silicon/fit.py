"""What files of measured rows say of a chip's kernels: fitted costs, errors on rows set aside.

`python -m studies.silicon.fit FILE...` prints, as variables of the chip's file, median and 90th
percentile of |predicted / measured - 1| of each kernel on the rows that nothing was fitted to, of
whatever mask and length; kernels with fewer than five such rows are left out. `--worst N` adds the
rows that are off most. `--costs` fits factor, tile and launch of GPU kernels to the other rows and
prints these instead.

The time of a row is `factor x cycles(tile_cycles) + launch + what other kernels take`, where
cycles are the model's with so many fixed cycles a tile; between some numbers of them the model's
times are joined by straight lines. The numbers are those of a grid with the least median error
and a third of the 90th percentile, every row counting once. Decodes of fewer than 128 keys, tiny
units of work, are in no fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from studies.common import grouped, parser_of
from studies.silicon import gpu
from studies.silicon.accuracy import errors
from studies.silicon.families import cases
from studies.silicon.rows import COSTS, Case, MeasuredRow, priced

TILES = (0.0, 4e3, 1e4, 2e4)  # fixed cycles of a tile at which the model is asked
BETWEEN = np.arange(0.0, 20001.0, 250.0)
FACTORS = np.exp(np.linspace(np.log(0.5), np.log(2.2), 300))
LAUNCHES = np.arange(0.0, 40.5e-6, 0.5e-6)
LEAST = 5  # chosen: rows from which a 90th percentile is taken
Floats = npt.NDArray[np.float64]


def times(case: Case) -> tuple[Floats, float]:
    """Seconds of the attention at each of `BETWEEN` tile cycles, and of the kernels beside it."""
    found, beside, kernel = [], 0.0, case.kernel
    for tile in TILES:
        own = {f"{kernel}_{name}": cost for name, cost in zip(COSTS, (1.0, tile, 0.0), strict=True)}
        matrix = case.platform.matrix
        matrix = replace(matrix, variables={**matrix.variables, **own})
        result = priced(replace(case, platform=replace(case.platform, matrix=matrix))).result
        at = next(n for n, g in enumerate(result.mapping.groups) if g.kernel == kernel)
        found.append(result.groups[at].cycles * result.cycle_seconds)
        beside = result.latency_s - found[-1]
    return np.interp(BETWEEN, TILES, found), beside


def fitted_to(cases: Iterable[Case]) -> tuple[int, dict[str, float]]:
    """The costs of a kernel by its rows, and how many these are; none may be set aside."""
    rows = [case for case in cases if case.kind != gpu.TINY]
    assert rows
    assert not any(case.aside for case in rows)
    each = [times(case) for case in rows]
    own, beside = np.array([found for found, _ in each]), np.array([b for _, b in each])
    measured = np.array([case.measured_s for case in rows])

    def best(grid: Iterable[tuple[int, int]]) -> tuple[float, int, int]:
        """The factor, and where in a grid of tile cycles and launches the score is least."""
        least, numbers = np.inf, (1.0, 0, 0)
        for tile, launch in grid:
            said = own[:, tile, None] * FACTORS + (beside + LAUNCHES[launch])[:, None]
            off = np.abs(said / measured[:, None] - 1)
            scores = np.median(off, 0) + np.quantile(off, 0.9, axis=0) / 3
            at = int(np.argmin(scores))
            if scores[at] < least:
                least, numbers = float(scores[at]), (float(FACTORS[at]), tile, launch)
        return numbers

    wide = [(t, n) for t in range(0, len(BETWEEN), 4) for n in range(0, len(LAUNCHES), 2)]
    _, tile, launch = best(wide)
    tiles = range(max(0, tile - 3), min(len(BETWEEN), tile + 4))
    launches = range(max(0, launch - 2), min(len(LAUNCHES), launch + 3))
    factor, tile, launch = best((t, n) for t in tiles for n in launches)
    numbers = (factor, float(BETWEEN[tile]), float(LAUNCHES[launch]))
    return len(rows), dict(zip(COSTS, numbers, strict=True))


def _named(case: Case) -> tuple[str, str]:
    """The chip and the kernel."""
    return case.platform.name, case.kernel


def band_lines(rows: Sequence[MeasuredRow], worst: int) -> Iterator[str]:
    """The variables of error bands, and so many of the rows that are off most."""
    for (chip, kernel), own in grouped(rows, lambda row: _named(row.case)).items():
        if len(own) < LEAST:
            yield f"# {chip} {kernel}: {len(own)} rows set aside, no band"
            continue
        off = errors(own)
        yield f"# {chip}, {len(own)} rows"
        yield f"  {kernel}_median_error: {off['median_percent'] / 100:.3f}"
        yield f"  {kernel}_p90_error: {off['p90_percent'] / 100:.3f}"
        for row in sorted(own, key=lambda row: -abs(row.error))[:worst]:
            yield f"#   {100 * row.error:+.0f} %: {','.join(row.case.columns.values())}"


def cost_lines(found: Sequence[Case]) -> Iterator[str]:
    """The variables of fitted costs."""
    fitted = (case for case in found if "latency_ms" in case.columns and not case.aside)
    for (chip, kernel), own in grouped(fitted, _named).items():
        rows, costs = fitted_to(own)
        yield f"# {chip}, {rows} rows"
        yield f"  {kernel}_factor: {costs['factor']:.3f}"
        yield from (f"  {kernel}_{name}: {costs[name]:g}" for name in COSTS[1:])


def main() -> None:
    """The lines of some files."""
    parser = parser_of(__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--costs", action="store_true", help="fit the costs instead")
    parser.add_argument("--worst", type=int, default=0, help="rows of each kernel to show")
    asked = parser.parse_args()
    found = [case for path in asked.files for case in cases(path)]
    if asked.costs:
        lines = cost_lines(found)
    else:  # rows that are set aside, or of a kernel whose factor is not fitted
        aside = [case for case in found if case.aside or "factor" in case.sourced]
        lines = band_lines([priced(case) for case in aside], asked.worst)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
