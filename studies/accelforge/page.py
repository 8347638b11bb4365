"""The table of AccelForge's optima in docs/reproduction.md, from `reproduce accelforge --json`.

flat-mapper reproduce accelforge --csv optima.csv --json | python tools/accelforge_page.py
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs/reproduction.md"
HEAD = "| chip | workload | | energy | latency | objective | CPU s | its CPU s |\n"
TABLE = re.compile(re.escape(HEAD) + r"(?:\|.*\n)+")


def lines(rows: list[Mapping[str, object]]) -> Iterator[str]:
    """A line for each row, in the order of chips and workloads."""
    yield HEAD
    yield "|---" * 8 + "|\n"
    for row in sorted(rows, key=lambda row: (row["arch"], row["workload"], row["fusion"])):
        decode = " decode" if "DECODE=True" in str(row["parameters"]) else ""
        ratios = (_over(row, name) for name in ("energy", "latency"))
        seconds = (row.get(name) for name in ("our_seconds", "their_seconds"))
        cells = [
            *(f"`{row['arch']}`", f"`{row['workload']}`{decode}", str(row["fusion"])),
            *(*ratios, _short(float(str(row["ratio"])))),
            *("-" if s is None else f"{float(str(s)):.1f}" for s in seconds),
        ]
        yield f"| {' | '.join(cells)} |\n"


def _over(row: Mapping[str, object], name: str) -> str:
    """Ours over theirs; a dash where a row has none."""
    theirs = float(str(row[name]))
    return _short(float(str(row[f"our_{name}"])) / theirs) if theirs else "-"


def _short(ratio: float) -> str:
    """Four digits behind the point, more for what is nearly 1, and 1 for what counts as equal."""
    if abs(ratio - 1) <= 1e-5:
        return "1"
    return f"{ratio:.5f}" if abs(ratio - 1) < 1e-4 else f"{ratio:.4f}"


def main() -> None:
    """Write the table of the rows on standard input."""
    rows = [row for row in json.load(sys.stdin)["rows"] if "ratio" in row]
    page, count = TABLE.subn("".join(lines(rows)), PAGE.read_text(encoding="utf-8"))
    if count != 1:
        raise SystemExit(f"expected one table in {PAGE}, got {count}")
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
