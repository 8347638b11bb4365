"""AccelForge's own optima beside the search's on the same chips and workloads.

python -m studies.accelforge --csv optima.csv [--json]
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
    rows = accelforge_rows(Path(asked.csv))
    document = {"rows": [row.to_dict() for row in rows], "summary": summary_of(rows)}
    return Answer(kind="reproduce-accelforge", document=document, text=accelforge_text(rows))


main = partial(run, __doc__, answer, csv="a file of AccelForge's optima")


if __name__ == "__main__":
    sys.exit(main())
