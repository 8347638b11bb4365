"""How far a kernel's predicted times are from the measured ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import correlation, median, quantiles

from flat_mapper.published.silicon.rows import MeasuredRow


def summary(rows: Sequence[MeasuredRow]) -> Iterator[dict[str, object]]:
    """Errors in percent, by kernel, phase, mask, and set aside or not."""

    def kind(row: MeasuredRow) -> tuple[str, str, str, str, bool]:
        at = row.case.columns
        mask = "window" if at.get("window", "0") != "0" else "full"
        return at.get("device", ""), at.get("kernel", ""), row.case.phase, mask, row.case.aside

    for which in sorted(dict.fromkeys(map(kind, rows))):
        some = [row for row in rows if kind(row) == which]
        device, kernel, phase, mask, aside = which
        yield {
            "device": device,
            "kernel": kernel,
            "phase": phase,
            "mask": mask,
            "set_aside": aside,
            "rows": len(some),
            **errors(some),
        }


def errors(rows: Sequence[MeasuredRow]) -> dict[str, float]:
    """Median and 90th percentile of |predicted / measured - 1| in percent, and rank correlation."""
    off = [100 * abs(r.error) for r in rows]
    tenths = quantiles(off, n=10, method="inclusive") if len(off) > 1 else off * 9
    return {"median_percent": median(off), "p90_percent": tenths[8], "spearman": _spearman(rows)}


def _spearman(rows: Sequence[MeasuredRow]) -> float:
    """Spearman's rank correlation of predicted and measured times; 1 where all are alike."""
    predicted = [r.predicted_s for r in rows]
    measured = [r.case.measured_s for r in rows]
    if min(len(set(predicted)), len(set(measured))) < 2:
        return 1.0
    return correlation(predicted, measured, method="ranked")
