"""Tiles that kernels ship with, beside the best one of the same kernel's lattice.

python -m studies.tiles --csv fa3_sm90.csv [--json]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from studies.common import Answer, grid, run
from studies.tiles.rows import TileRow, summary, tile_rows


def answer(asked: argparse.Namespace) -> Answer:
    """Every row of the file, ranked."""
    rows = list(tile_rows(Path(asked.csv)))
    found = summary(rows)
    document = {"rows": [row.to_dict() for row in rows], "summary": found}
    return Answer(kind="reproduce-tiles", document=document, text=shipped_text(rows, found))


def shipped_text(rows: Sequence[TileRow], found: Sequence[dict[str, object]]) -> str:
    """A line for each kernel and chip, and why rows were left out."""
    head = ("kernel", "chip", "rows", "left out", "feasible", "median", "worst", "within 5 %")
    lines = [
        (
            *(str(s["kernel"]), str(s["arch"] or "-"), str(s["rows"]), str(s["left_out"])),
            str(s["feasible"]),
            *(_ratio(s[f"{which}_shipped_over_best"]) for which in ("median", "worst")),
            *(str(s["within_5_percent"]), _most(s["terms_beyond"])),
        )
        for s in found
    ]
    reasons = dict.fromkeys(row.left_out for row in rows if row.left_out)
    parts = (
        grid(lines, head=(*head, "term"), right=range(2, 8)),
        "",
        "median, worst: time of the shipped tile over that of the best one; term: what most",
        "rows beyond 5 % have more of",
        *(f"left out: {reason}" for reason in reasons),
    )
    return "\n".join(parts)


def _ratio(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else "-"


def _most(terms: object) -> str:
    """The commonest term, and of how many rows."""
    if not isinstance(terms, dict) or not terms:
        return "-"
    name = max(terms, key=lambda n: terms[n])
    return f"{name} ({terms[name]})"


main = partial(run, __doc__, answer, csv="a file of shipped tile sizes")


if __name__ == "__main__":
    sys.exit(main())
