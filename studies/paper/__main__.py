"""FLAT's tables and figures (ASPLOS'23) by this model, on a page; `-o DIR` writes CSV and figures.

python -m studies.paper [--models P ...] [--platforms A ...] [--seq N ...] [-o DIR] [--json]
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from functools import partial
from math import inf

from studies.common import Answer, Parser, run, wrong
from studies.paper.plots import paper_figures
from studies.paper.points import TableRow
from studies.paper.tables import Grid, paper_files, paper_tables, paper_text


def options(parser: Parser) -> None:
    """The part of the grid that is meant."""
    parser.add_argument("--models", nargs="+", metavar="P", help="these; shipped names or files")
    parser.add_argument("--platforms", nargs="+", metavar="A", help="these: edge, cloud")
    parser.add_argument("--seq", nargs="+", metavar="N", dest="lengths", help="these lengths")


def answer(asked: argparse.Namespace) -> Answer:
    """Every table and figure of the paper, of the grid or of the part that was asked for."""
    part = grid_of(asked)
    tables = paper_tables(part)
    return Answer(
        kind="reproduce-paper",
        document={name: [finite(row) for row in rows] for name, rows in tables.items()},
        text=paper_text(tables, part).rstrip(),
        made=lambda: paper_files(tables, part) | paper_figures(tables),
    )


def finite(row: TableRow) -> dict[str, object]:
    """A row for machines: nothing in the place of what no buffer or bandwidth reaches."""
    return {key: None if value == inf else value for key, value in row.items()}


def grid_of(asked: argparse.Namespace) -> Grid:
    """The whole grid, or the models, platforms and lengths that were asked for."""
    whole = Grid()
    for name in asked.platforms or ():
        if name not in whole.platforms:
            raise wrong("--platforms", f"platforms among {', '.join(whole.platforms)}", name)
    for word in asked.lengths or ():
        if not word.isdecimal() or int(word) < 1:
            raise wrong("--seq", "a whole number > 0", word)
    lengths = tuple(map(int, asked.lengths or ()))
    return replace(
        whole,
        models=tuple(asked.models or whole.models),
        platforms=tuple(asked.platforms or whole.platforms),
        swept_model=(asked.models or [whole.swept_model])[0],
        lengths=lengths or whole.lengths,
        swept_lengths=lengths[:1] or whole.swept_lengths,
        shares=lengths or whole.shares,
        needs=lengths or whole.needs,
        charged=lengths or whole.charged,
        charged_models=tuple(asked.models or whole.charged_models),
    )


main = partial(run, __doc__, answer, options=options)


if __name__ == "__main__":
    sys.exit(main())
