"""The table of AccelForge's optima in README.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from studies.accelforge.rows import AccelforgeRow
from studies.common import markdown, put_table

PAGE = Path(__file__).parent / "README.md"
HEAD = ("chip", "workload", "", "energy", "latency", "objective", "CPU s", "its CPU s")


def write_page(rows: Sequence[AccelforgeRow]) -> None:
    """The rows that were searched, written between the marks of the page."""
    found = [row.to_dict() for row in rows if row.found is not None]
    put_table(PAGE, "optima", markdown(HEAD, lines(found)))


def lines(rows: Sequence[Mapping[str, object]]) -> Iterator[tuple[str, ...]]:
    """A line for each row, in the order of chips and workloads."""
    for row in sorted(rows, key=lambda row: [str(row[k]) for k in ("arch", "workload", "fusion")]):
        decode = " decode" if "DECODE=True" in str(row["parameters"]) else ""
        ratios = (_over(row, name) for name in ("energy", "latency"))
        seconds = (row.get(name) for name in ("our_seconds", "their_seconds"))
        yield (
            *(f"`{row['arch']}`", f"`{row['workload']}`{decode}", str(row["fusion"])),
            *(*ratios, _short(float(str(row["ratio"])))),
            *("-" if s is None else f"{float(str(s)):.1f}" for s in seconds),
        )


def _over(row: Mapping[str, object], name: str) -> str:
    """Ours over theirs; a dash where a row has none."""
    theirs = float(str(row[name]))
    return _short(float(str(row[f"our_{name}"])) / theirs) if theirs else "-"


def _short(ratio: float) -> str:
    """Four digits behind the point, more for what is nearly 1, and 1 for what counts as equal."""
    if abs(ratio - 1) <= 1e-5:
        return "1"
    return f"{ratio:.5f}" if abs(ratio - 1) < 1e-4 else f"{ratio:.4f}"
