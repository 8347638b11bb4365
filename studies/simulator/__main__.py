"""FLAT's own simulator, row by row, beside this model; `--search`: beside a search of its mapspace.

python -m studies.simulator --csv flat_validation.csv [--search] [--json]
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from studies.common import Answer, Parser, each, grid, run
from studies.simulator.array import SPACES, Searched, mapping_text, search_row
from studies.simulator.rows import BesideSimulator, compare_rows, largest_errors, simulator_rows

_NAMES = {
    "offchip_bytes": "DRAM bytes",
    "latency_s": "latency",
    "spilled": "spilled fraction (difference)",
    "energy_pj": "energy",
}


def options(parser: Parser) -> None:
    """What the study reads."""
    parser.add_argument("--search", action="store_true", help="search its mapspace for each row")


def answer(asked: argparse.Namespace) -> Answer:
    """Every row of the file, priced or searched."""
    rows = simulator_rows(Path(asked.csv))
    if asked.search:
        searched = list(each(search_row, rows))
        listed = [row.to_dict() for row in searched]
        text = search_text(searched)
        return Answer(kind="reproduce-search", document={"rows": listed}, text=text)
    beside = compare_rows(rows)
    worst = {n: {"error": error, "row": row} for n, (error, row) in largest_errors(beside).items()}
    document = {"rows": [row.to_dict() for row in beside], "largest_errors": worst}
    return Answer(kind="reproduce-simulator", document=document, text=simulator_text(beside))


def simulator_text(comparisons: tuple[BesideSimulator, ...]) -> str:
    """The table: ours, theirs and the error of each quantity; the largest errors below it."""
    head = (
        f"{'row':<18} {'DRAM bytes':>12} {'theirs':>12} {'error':>9}  {'latency s':>11} "
        f"{'theirs':>11} {'error':>9}  {'spilled':>8} {'theirs':>8}  "
        f"{'energy pJ':>11} {'theirs':>11} {'error':>9}"
    )
    lines = [head, *(_line(comparison) for comparison in comparisons), ""]
    lines.append(f"largest errors over {len(comparisons)} rows")
    for name, (error, row) in largest_errors(comparisons).items():
        lines.append(f"  {_NAMES[name]:<30} {100 * error:.4f}%  ({row})")
    return "\n".join(lines)


def _line(comparison: BesideSimulator) -> str:
    row, result, errors = comparison.row, comparison.result, comparison.errors
    return (
        f"{row.key:<18} {result.offchip_bytes:12.5e} {row.offchip_bytes:12.5e} "
        f"{100 * errors['offchip_bytes']:+8.4f}%  {result.latency_s:11.5e} {row.latency_s:11.5e} "
        f"{100 * errors['latency_s']:+8.4f}%  {result.spilled:8.5f} {row.spilled:8.5f}  "
        f"{result.energy_pj:11.5e} {row.energy_pj:11.5e} {100 * errors['energy_pj']:+8.4f}%"
    )


def search_text(rows: list[Searched]) -> str:
    """Of every row and space: how much faster, how many bytes fewer, and why."""
    lines = []
    for row in rows:
        first = (row.row.key, mapping_text(row.theirs.mapping))
        for space in SPACES:
            more = f"{100 * row.gain(space):+.4f}%", f"{100 * row.bytes_saved(space):+.2f}%"
            lines.append((*first, space, *more, row.why(space)))
            first = ("", "")
    head = ("row", "the simulator's mapping", "space", "faster", "fewer bytes", "ours")
    table = grid(lines, head=head, right=(3, 4))
    ends = [
        f"{space}: ours is never slower by more than "
        f"{max(0.0, *(-row.gain(space) for row in rows)):.4%}; faster "
        f"by more than 0.01% in {sum(r.gain(space) > 1e-4 for r in rows)} of {len(rows)} rows, "
        f"by {max(r.gain(space) for r in rows):.2%} at most"
        for space in SPACES
    ]
    return "\n".join((table, "", *ends))


main = partial(
    run, __doc__, answer, options=options, csv="flat_validation.csv of the FuseMax artifact"
)


if __name__ == "__main__":
    sys.exit(main())
