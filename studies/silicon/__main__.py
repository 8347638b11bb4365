"""Measured kernels on real chips beside the model's time of the mapping that each uses.

    python -m studies.silicon --csv FILE [-o DIR] [--json]

Which kernel a file is of, its columns say; a file of busy cycles is compared in these.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from studies.common import Answer, grid, read_rows, run
from studies.silicon.accuracy import findings, fitted, summary
from studies.silicon.blackhole import are_counters, counted, counters_text
from studies.silicon.families import measured, row_files


def answer(asked: argparse.Namespace) -> Answer:
    """Every row of the file with the model's time or cycles."""
    path = Path(asked.csv)
    if are_counters(read_rows(path)):
        busy = counted(path)
        document: dict[str, object] = {"rows": [row.to_dict() for row in busy]}
        return Answer(kind="reproduce-counters", document=document, text=counters_text(busy))
    rows = measured(path)
    document = {
        "rows": [row.to_dict() for row in rows],
        "summary": list(summary(rows)),
        "fitted": fitted(rows),
        **findings(rows),
    }
    return Answer(
        kind="reproduce-silicon",
        document=document,
        text=answer_text(document),
        made=lambda: row_files(rows),
    )


def answer_text(document: dict[str, object]) -> str:
    """Errors by kernel, then what else was asked."""
    parts = []
    for name in ("summary", "fitted", "growth", "leave_one_out", "best_chunks"):
        some = document.get(name)
        if isinstance(some, list) and some:
            keys = dict.fromkeys(key for one in some for key in one)
            lines = [tuple(_cell(one.get(key, "")) for key in keys) for one in some]
            numeric = [all(isinstance(one.get(k, 0), int | float) for one in some) for k in keys]
            right = (i for i, number in enumerate(numeric) if number)
            table = grid(lines, head=[key.replace("_", " ") for key in keys], right=right)
            parts.append(f"{name.replace('_', ' ')}\n{table}")
    return "\n\n".join(parts)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


main = partial(run, __doc__, answer, csv="a file of measured times")


if __name__ == "__main__":
    sys.exit(main())
