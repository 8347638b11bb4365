"""Fused pairs of products, simulated in RTL, beside the model's of the same loops.

python -m studies.rtl [--csv fused_gemms.csv] [--json]
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from studies.common import Answer, Parser, run
from studies.rtl.rows import ROWS, equal_links, errors_of, rtl_rows, rtl_text


def options(parser: Parser) -> None:
    """What the study reads."""
    about = "rows of the RTL (default: those beside the study)"
    parser.add_argument("--csv", metavar="FILE", default=ROWS, help=about)


def answer(asked: argparse.Namespace) -> Answer:
    """Every row of the file, priced."""
    rows = rtl_rows(Path(asked.csv))
    document = {
        "rows": [row.to_dict() for row in rows],
        "summary": {**errors_of(rows), "equal": equal_links(rows)},
    }
    return Answer(kind="reproduce-rtl", document=document, text=rtl_text(rows))


main = partial(run, __doc__, answer, options=options)


if __name__ == "__main__":
    sys.exit(main())
