"""Answers about measured rows: a document for machines, tables for people."""

from __future__ import annotations

from collections.abc import Sequence

from studies.common import grid
from studies.silicon.accuracy import findings, fitted, summary
from studies.silicon.headroom import best_of_row, headroom_lines
from studies.silicon.rows import MeasuredRow
from studies.silicon.sensitivity import moved_times


def said(rows: Sequence[MeasuredRow], *, best: bool, moved: bool) -> dict[str, object]:
    """All rows, errors by kernel, and what was fitted.

    best: with the best mapping's time of each row, and by kernel. moved: with what each number of
    the chips changes.
    """
    found = [best_of_row(row) if best else None for row in rows]
    listed = [r.to_dict() | (h.to_dict() if h else {}) for r, h in zip(rows, found, strict=True)]
    document: dict[str, object] = {
        "rows": listed,
        "summary": list(summary(rows)),
        "fitted": fitted(rows),
        **findings(rows),
    }
    if best:
        document["headroom"] = list(headroom_lines(rows, [h for h in found if h]))
    return document | ({"sensitivity": list(moved_times(rows))} if moved else {})


def answer_text(document: dict[str, object]) -> str:
    """Errors by kernel, then what else was asked."""
    parts = []
    for name in ("summary", "fitted", "leave_one_out", "best_chunks", "headroom", "sensitivity"):
        some = document.get(name)
        if isinstance(some, list) and some:
            head = tuple(dict.fromkeys(key for one in some for key in one))
            lines = [tuple(_cell(one.get(key, "")) for key in head) for one in some]
            numbers = [
                i
                for i, key in enumerate(head)
                if all(isinstance(one.get(key, 0), int | float) for one in some)
            ]
            names = tuple(key.replace("_", " ") for key in head)
            parts.append(f"{name.replace('_', ' ')}\n" + grid(lines, head=names, right=numbers))
    return "\n\n".join(parts)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
