"""AccelForge's own optima beside the search's on the same chips and workloads.

python -m studies.accelforge --csv optima.csv --workloads FOLDER [--json]
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from studies.accelforge.rows import accelforge_rows, accelforge_text, summary_of
from studies.common import Answer, run


def answer(asked: argparse.Namespace) -> Answer:
    """Every row of the file, searched."""
    rows = accelforge_rows(Path(asked.csv), Path(asked.workloads))
    document = {"rows": [row.to_dict() for row in rows], "summary": summary_of(rows)}
    return Answer(kind="reproduce-accelforge", document=document, text=accelforge_text(rows))


def _folder(parser: argparse.ArgumentParser) -> None:
    about = "where its workload files are, in folders too (default: the working folder)"
    parser.add_argument("--workloads", metavar="FOLDER", default=".", help=about)


main = partial(run, __doc__, answer, csv="a file of AccelForge's optima", options=_folder)


if __name__ == "__main__":
    sys.exit(main())
