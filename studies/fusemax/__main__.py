"""FuseMax's own results (MICRO'24) beside the model: its cascade in its artifact's mappings.

    python -m studies.fusemax --csv attn-binding.csv [--json]

Which of the artifact's files it is (attn-binding, attn-arch, attn-cascade, pareto), its name says.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from studies.common import Answer, run
from studies.fusemax.rows import fusemax_rows, fusemax_text


def answer(asked: argparse.Namespace) -> Answer:
    """Every row of the file, priced."""
    rows = fusemax_rows(Path(asked.csv))
    document = {"rows": [row.to_dict() for row in rows]}
    return Answer(kind="reproduce-fusemax", document=document, text=fusemax_text(rows))


main = partial(run, __doc__, answer, csv="a file of the FuseMax artifact's results")


if __name__ == "__main__":
    sys.exit(main())
