"""AccelForge's own optima beside the search's on the same chips and workloads.

python -m studies.accelforge --csv optima.csv [--page] [--json]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from studies.accelforge.page import write_page
from studies.accelforge.rows import accelforge_rows, accelforge_text, summary_of
from studies.common import Answer, Parser, csv_of, run

WHAT = "a file of AccelForge's optima"


def options(parser: Parser) -> None:
    """What the study reads."""
    parser.add_argument("--csv", metavar="FILE", help=WHAT)
    parser.add_argument("--page", action="store_true", help="write the table of README.md too")


def answer(asked: argparse.Namespace) -> Answer:
    """Every row of the file, searched."""
    rows = accelforge_rows(csv_of(asked, WHAT))
    if asked.page:
        write_page(rows)
    document = {"rows": [row.to_dict() for row in rows], "summary": summary_of(rows)}
    return Answer(kind="reproduce-accelforge", document=document, text=accelforge_text(rows))


def main(argv: Sequence[str] | None = None) -> int:
    """The command; its exit code."""
    return run(__doc__, answer, options, argv)


if __name__ == "__main__":
    sys.exit(main())
