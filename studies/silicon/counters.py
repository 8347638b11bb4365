"""Busy cycles of Blackhole's matrix and vector units, counted on the card, beside the model's.

A second referee of the work of a mapping, whatever the time that it takes: cycles of the mean core.
The vector unit's are those of the exponentials; maximum and sum run on the matrix unit there, and
what the model charges its lanes for them stands for the packer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from studies.common import Columns, grid, number_of, rows_by
from studies.silicon import blackhole
from studies.silicon.rows import MeasuredRow, priced

UNITS = {"fpu_cycles": "matrix unit", "sfpu_cycles": "exponentials"}


def are_counters(rows: Sequence[Columns]) -> bool:
    """True if the rows of a file are busy cycles and not times."""
    return "fpu_cycles" in rows[0] and "wall_us" not in rows[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedRow(MeasuredRow):
    """A row of counters, and the model's answer."""

    @property
    def ours(self) -> dict[str, float]:
        """Cycles of the mean core by counter."""
        exp, matrix = 0.0, 0.0
        for one in self.result.einsums:
            einsum = self.case.workload.einsum(one.einsum)
            matrix += one.compute_cycles if einsum.unit == "matrix" else 0
            exp += one.compute_cycles if einsum.operation == "exp" else 0
        return {"fpu_cycles": matrix, "sfpu_cycles": exp}

    @property
    def ratios(self) -> dict[str, float]:
        """Ours over what was counted."""
        return {
            k: v / number_of(self.case.where, self.case.columns, k, positive=True)
            for k, v in self.ours.items()
        }

    def to_dict(self) -> dict[str, object]:
        """All columns, and what was found."""
        ours = {f"ours_{k}": v for k, v in self.ours.items()}
        ratios = {f"ratio_{k}": v for k, v in self.ratios.items()}
        return {**self.case.columns, **ours, **ratios, "left_out": list(self.case.left_out)}


def counted(path: Path) -> list[CountedRow]:
    """The rows of a file of counters, with the model's.

    raises: SpecError for rows that cannot be.
    """
    cases = rows_by(path, blackhole.case)
    return [CountedRow(case=case, result=priced(case).result) for case in cases]


def counters_text(rows: Sequence[CountedRow]) -> str:
    """A table: ours over what was counted, and the medians."""
    names = ("variant", "causal", "q_chunk", "k_chunk", "head_dim", "fidelity", "accum")
    lines = [
        (*(row.case.columns[n] for n in names), *(f"{row.ratios[k]:.2f}" for k in UNITS))
        for row in rows
    ]
    head = (*names, *(f"{unit} ratio" for unit in UNITS.values()))
    ends = [f"{unit} {median(r.ratios[k] for r in rows):.2f}" for k, unit in UNITS.items()]
    return f"{grid(lines, head=head, right=(2, 3, 4, 7, 8))}\n\nmedian ratios: {', '.join(ends)}"
