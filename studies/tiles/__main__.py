"""Tiles that kernels ship with, beside the best one of the same kernel's lattice.

python -m studies.tiles --csv fa3_sm90.csv [--json]
python -m studies.tiles --page FOLDER      # the table of README.md, from all files in it
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from studies.common import Answer, Parser, csv_of, grid, markdown, put_table, run
from studies.tiles.rows import TileRow, summary, tile_rows

FILES = ("fa3_sm90", "fa3_sm8x", "fa2", "tpu_rpa_v3", "tenstorrent")


def options(parser: Parser) -> None:
    """What the study reads."""
    parser.add_argument("--csv", metavar="FILE", help="shipped tile sizes")
    parser.add_argument("--page", metavar="FOLDER", help="write the table of README.md")


def answer(asked: argparse.Namespace) -> Answer:
    """Every row of the file, ranked."""
    if asked.page:
        lines = list(page_lines(Path(asked.page)))
        table = markdown(HEAD, lines)
        put_table(Path(__file__).parent / "README.md", "tiles", table)
        return Answer(kind="reproduce-tiles", document={"rows": lines}, text=table)
    rows = list(tile_rows(csv_of(asked, "a file of shipped tile sizes")))
    found = summary(rows)
    document = {"rows": [row.to_dict() for row in rows], "summary": found}
    return Answer(kind="reproduce-tiles", document=document, text=shipped_text(rows, found))


HEAD = ("kernel", "chip", "rows", "feasible", "within 5 %", "median", "worst", "terms beyond")


def page_lines(folder: Path) -> Iterator[tuple[str, ...]]:
    """Shipped tiles over the best ones."""
    for name in FILES:
        for one in summary(tile_rows(folder / f"{name}.csv")):
            if one["median_shipped_over_best"] is None:
                continue
            terms = one["terms_beyond"]
            assert isinstance(terms, dict)
            listed = sorted(terms.items(), key=lambda item: -item[1])
            yield (
                *(str(one[k]) for k in ("kernel", "arch")),
                str(int(str(one["rows"])) - int(str(one["left_out"]))),
                *(str(one[k]) for k in ("feasible", "within_5_percent")),
                f"{one['median_shipped_over_best']:.3f}",
                f"{one['worst_shipped_over_best']:.2f}",
                ", ".join(f"{term} {n}" for term, n in listed) or "-",
            )


def shipped_text(rows: Sequence[TileRow], found: Sequence[dict[str, object]]) -> str:
    """A line for each kernel and chip, and why rows were left out."""
    head = (
        "kernel",
        "chip",
        "rows",
        "left out",
        "feasible",
        "median",
        "worst",
        "within 5 %",
        "term",
    )
    lines = [
        (
            *(str(s["kernel"]), str(s["arch"] or "-"), str(s["rows"]), str(s["left_out"])),
            str(s["feasible"]),
            _ratio(s["median_shipped_over_best"]),
            _ratio(s["worst_shipped_over_best"]),
            str(s["within_5_percent"]),
            _most(s["terms_beyond"]),
        )
        for s in found
    ]
    reasons = dict.fromkeys(row.left_out for row in rows if row.left_out)
    return "\n".join(
        (
            grid(lines, head=head, right=range(2, 8)),
            "",
            "median, worst: time of the shipped tile over that of the best one; term: what most",
            "rows beyond 5 % have more of",
            *(f"left out: {reason}" for reason in reasons),
        )
    )


def _ratio(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else "-"


def _most(terms: object) -> str:
    """The commonest term, and of how many rows."""
    if not isinstance(terms, dict) or not terms:
        return "-"
    name = max(terms, key=lambda n: terms[n])
    return f"{name} ({terms[name]})"


def main(argv: Sequence[str] | None = None) -> int:
    """The command; its exit code."""
    return run(__doc__, answer, options, argv)


if __name__ == "__main__":
    sys.exit(main())
