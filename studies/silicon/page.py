"""The tables of README.md, written between their marks from files of measured rows.

`python -m studies.silicon.page FOLDER [--only NAME...]` reads gpu/ and blackhole/ in a folder, and
writes reference (roofline, formula and model on rows set aside), rule (held-out errors of the rules
of the fit), fitted, sensitivity and blackhole; `--only` leaves the others as they are.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from studies.common import markdown, put_table
from studies.silicon import reference as formulas
from studies.silicon import rule as rules
from studies.silicon.accuracy import errors, findings
from studies.silicon.families import cases
from studies.silicon.rows import Case, MeasuredRow, costs_of, priced
from studies.silicon.sensitivity import moved_times

PAGE = Path(__file__).parent / "README.md"
GPU = ("h100_prefill", "h100_encoder", "h100_decode", "a100_prefill", "a100_decode")
SAMPLES = {"h100_prefill": 60, "h100_decode": 60, "h100_encoder": 20}  # one row in so many
Rows = Iterator[tuple[str, ...]]


@cache
def cases_of(path: Path) -> tuple[Case, ...]:
    """The rows of a file that have 16-bit floats."""
    return tuple(case for case in cases(path) if "fp8" not in case.columns.get("dtype", ""))


@cache
def aside(path: Path) -> dict[str, MeasuredRow]:
    """The rows of a file that are set aside, priced, by their place."""
    return {case.where: priced(case) for case in cases_of(path) if case.aside}


def reference(folder: Path) -> Rows:
    """The roofline, the reference formula and the model, by kernel and kind of rows."""
    yield "chip", "kernel and phase", "rows", "n", "roofline", "formula", "model"
    for name in GPU:
        path = folder / f"gpu/{name}.csv"
        known = aside(path)

        def said(case: Case, known: dict[str, MeasuredRow] = known) -> MeasuredRow:
            return known[case.where]

        yield from formulas.tables(cases_of(path), said)


def rule(folder: Path) -> Rows:
    """Held-out errors of rows that are not set aside, by both rules and the formula."""
    found = [h for n in GPU for h in rules.held_of(cases_of(folder / f"gpu/{n}.csv"))]
    yield "chip", "kernel and phase", "rows", "n", "a row each", "a kind each", "formula"
    for one in found:
        yield from one.lines()
    means = rules.means(found)
    yield (
        "",
        "**mean of the sums**",
        "",
        "",
        *(f"**{means[r]:.2f}**" for r in rules.RULES),
        "",
    )


def fitted(folder: Path) -> Rows:
    """Fitted costs, and the errors on all rows set aside of a kernel and phase."""
    yield (
        "chip",
        "kernel and phase",
        "factor",
        "cycles a tile",
        "launch, us",
        "median error",
        "90th percentile",
    )
    for name in GPU:
        for kernel, own in by_kernel(list(aside(folder / f"gpu/{name}.csv").values())):
            arch = own[0].case.platform.matrix
            costs = costs_of(arch, kernel)
            number = [costs[c] for c in ("factor", "tile_cycles", "launch_seconds")]
            off = errors(own)
            yield (
                *(arch.name, kernel, f"{number[0]:.3f}", f"{number[1]:g}", f"{1e6 * number[2]:g}"),
                *(f"{off[k]:.1f} %" for k in ("median_percent", "p90_percent")),
            )


def sensitivity(folder: Path) -> Rows:
    """Percent by which predicted times move, up and down, by phase."""
    found: dict[tuple[str, str], list[str]] = {}
    for name, every in SAMPLES.items():
        rows = [priced(case) for case in cases_of(folder / f"gpu/{name}.csv")[::every]]
        for one in moved_times(rows):
            key = str(one["number"]), f"{one['changed_percent']:g} %"
            found.setdefault(key, []).append(f"{one['up']:+.1f}, {one['down']:+.1f}")
    yield "number", "changed by", *(name.partition("_")[2] for name in SAMPLES)
    for key, cells in found.items():
        yield *key, *cells


def blackhole(folder: Path) -> Rows:
    """Errors by kernel, and what the rows of the plain kernels say together."""
    yield "kernel", "rows", "set aside", "factor", "median error", "90th percentile", "Spearman"
    for name in ("prefill_walls", "decode"):
        rows = [priced(case) for case in cases_of(folder / f"blackhole/{name}.csv")]
        for kernel, own in by_kernel(rows):
            factor = costs_of(own[0].case.platform.matrix, kernel).get("factor")
            fit = "factor" not in own[0].case.sourced and factor is not None
            for told in ("no", "yes") if fit else ("-",):
                some = [row for row in own if not fit or row.case.aside == (told == "yes")]
                if some:
                    yield (
                        kernel,
                        str(len(some)),
                        told,
                        f"{factor:.3f}" if fit else "1",
                        *_three(errors(some)),
                    )
        said = findings(rows)
        for one in said.get("leave_one_out", ()):
            yield "plain, leave one out", str(one["rows"]), "each", "of the others", *_three(one)
        for one in said.get("best_chunks", ()):
            mask = "causal" if one["causal"] == "1" else "without a mask"
            chunks = f"{one['q_chunk']} x {one['k_chunk']}"
            named = f"fastest of {one['pairs']} chunk pairs, {mask}: {chunks}"
            yield (
                named,
                str(one["pairs"]),
                "-",
                "-",
                f"{one['longer_percent']:.1f} % longer",
                "-",
                "-",
            )


def by_kernel(rows: Sequence[MeasuredRow]) -> Iterator[tuple[str, list[MeasuredRow]]]:
    """Rows by their kernel."""
    for kernel in dict.fromkeys(row.case.kernel for row in rows):
        yield kernel, [row for row in rows if row.case.kernel == kernel]


def _three(off: Mapping[str, object]) -> tuple[str, str, str]:
    return f"{off['median_percent']:.1f} %", f"{off['p90_percent']:.1f} %", f"{off['spearman']:.3f}"


TABLES: dict[str, Callable[[Path], Rows]] = {
    one.__name__: one for one in (reference, rule, fitted, sensitivity, blackhole)
}


def main() -> None:
    """The page, written again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="with gpu/ and blackhole/")
    parser.add_argument("--only", nargs="+", choices=TABLES, default=list(TABLES))
    arguments = parser.parse_args()
    for name in arguments.only:
        head, *rows = TABLES[name](arguments.folder)
        put_table(PAGE, name, markdown(head, rows))
        print(f"{name}: {len(rows)} lines", flush=True)


if __name__ == "__main__":
    main()
