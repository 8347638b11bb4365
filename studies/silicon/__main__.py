"""Measured kernels on real chips beside the model's time of the mapping that each uses.

    python -m studies.silicon --csv FILE [--best] [--sensitivity] [-o DIR] [--json]

Which kernel a file is of, its columns say; a file of busy cycles is compared in these.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from studies.common import Answer, Parser, csv_of, read_rows, run
from studies.silicon.answer import answer_text, said
from studies.silicon.counters import are_counters, counted, counters_text
from studies.silicon.families import measured
from studies.silicon.records import row_files


def options(parser: Parser) -> None:
    """What the study reads, and what else is asked of it."""
    parser.add_argument("--csv", metavar="FILE", help="measured times, or busy cycles")
    text = "the best mapping's time too, some 8 s a row"
    parser.add_argument("--best", action="store_true", help=text)
    text = "which number of a chip moves the times most"
    parser.add_argument("--sensitivity", action="store_true", help=text)


def answer(asked: argparse.Namespace) -> Answer:
    """Every row of the file with the model's time or cycles."""
    path = csv_of(asked, "a file of measured times")
    if are_counters(read_rows(path)):
        busy = counted(path)
        document: dict[str, object] = {"rows": [row.to_dict() for row in busy]}
        return Answer(kind="reproduce-counters", document=document, text=counters_text(busy))
    rows = measured(path)
    document = said(rows, best=asked.best, moved=asked.sensitivity)
    return Answer(
        kind="reproduce-silicon",
        document=document,
        text=answer_text(document),
        made=lambda: row_files(rows),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command; its exit code."""
    return run(__doc__, answer, options, argv)


if __name__ == "__main__":
    sys.exit(main())
