"""What files of measured rows say of a chip's kernels: errors, fitted costs, a picture.

`python -m studies.silicon.bands FILE...` prints, as variables of the chip's file, median and 90th
percentile of |predicted / measured - 1| of each kernel on the rows that nothing was fitted to, of
whatever mask and length; kernels with fewer than five such rows are left out. `--worst N` adds the
rows that are off most. `--costs` fits
factor, tile and launch of GPU kernels to the other rows and prints these instead. `--plot FILE`
also draws the rows. `--every N` takes one row in N.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import numpy as np

from studies.silicon import gpu
from studies.silicon.accuracy import errors
from studies.silicon.families import cases
from studies.silicon.fit import fitted_to, timed
from studies.silicon.rows import Case, MeasuredRow, priced

LEAST = 5  # chosen: rows from which a 90th percentile is taken
Named = tuple[str, str]  # chip and kernel


def unfitted(case: Case) -> bool:
    """Whether a row is set aside, or of a kernel whose factor is not fitted."""
    return case.aside or "factor" in case.sourced


def band_lines(rows: Sequence[MeasuredRow], worst: int) -> Iterator[str]:
    """The variables of error bands, and so many of the rows that are off most."""
    groups: dict[Named, list[MeasuredRow]] = {}
    for row in rows:
        groups.setdefault((row.case.platform.name, row.case.kernel), []).append(row)
    for (chip, kernel), own in groups.items():
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
    groups: dict[Named, list[Case]] = {}
    for case in found:
        groups.setdefault((case.platform.name, case.kernel), []).append(case)
    for (chip, kernel), own in groups.items():
        fit = fitted_to(timed(case for case in own if not case.aside))
        yield f"# {chip}, {fit.rows} rows"
        yield f"  {kernel}_factor: {fit.factor:.3f}"
        yield f"  {kernel}_tile_cycles: {fit.tile_cycles:g}"
        yield f"  {kernel}_launch_seconds: {fit.launch_seconds:g}"


def draw(rows: Sequence[MeasuredRow], path: Path) -> None:
    """Predicted over measured times, a panel for each chip and phase."""
    from matplotlib.figure import Figure

    panels: dict[Named, dict[str, list[MeasuredRow]]] = {}
    for row in rows:
        at = panels.setdefault((row.case.platform.name, row.case.phase), {})
        at.setdefault(row.case.kernel.removesuffix(f"_{row.case.phase}"), []).append(row)
    figure = Figure(figsize=(9, 3 * -(-len(panels) // 3)), layout="constrained")
    axes = figure.subplots(-(-len(panels) // 3), 3, squeeze=False).flat
    for axis, ((chip, phase), kernels) in zip(axes, panels.items(), strict=False):
        for kernel, some in kernels.items():
            took = np.array([1e3 * row.case.measured_s for row in some])
            said = np.array([1e3 * row.predicted_s for row in some])
            off = 100 * median(abs(said / took - 1))
            axis.plot(took, said / took, ".", ms=3, label=f"{kernel}, {off:.1f} %")
        axis.axhline(1, color="0.4", lw=0.8)
        axis.set(xscale="log", title=f"{chip}, {phase}", xlabel="measured, ms")
        axis.legend(fontsize=6, loc="lower right")
    for axis in list(figure.axes)[len(panels) :]:
        axis.set_axis_off()
    figure.axes[0].set_ylabel("predicted over measured")
    figure.savefig(path, dpi=110)


def main() -> None:
    """The lines of some files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--costs", action="store_true", help="fit the costs instead")
    parser.add_argument("--worst", type=int, default=0, help="rows of each kernel to show")
    parser.add_argument("--plot", type=Path, help="the rows as a picture")
    parser.add_argument("--every", type=int, default=1, help="one row in so many")
    arguments = parser.parse_args()
    found = [case for path in arguments.files for case in cases(path)[:: arguments.every]]
    if arguments.costs:
        lines = cost_lines([case for case in found if gpu.is_meant(case.columns)])
    else:
        rows = [priced(case) for case in found if unfitted(case)]
        lines = band_lines(rows, arguments.worst)
        if arguments.plot:
            draw(rows, arguments.plot)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
