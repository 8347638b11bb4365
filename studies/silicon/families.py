"""Families of measured kernels, all rows of a file priced, and the records of their mappings.

A family is a function from a row to a `Case`, with columns that no other family has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from flat_mapper.values import Platform, record_files
from studies.common import Columns, read_rows, rows_by, wrong
from studies.silicon import blackhole, blackhole_decode, gpu
from studies.silicon.rows import Case, MeasuredRow, priced

# A row may be none of ours, as one of a backward pass.
Family = tuple[set[str], str, Callable[[str, Columns], Case | None]]
FAMILIES: tuple[Family, ...] = (
    ({"heads", "latency_ms"}, gpu.COLUMNS, gpu.case),
    ({"positions", "measured_s"}, gpu.LONG, gpu.long_case),
    ({"q_chunk", "wall_us"}, blackhole.COLUMNS, blackhole.case),
    ({"cur_pos", "wall_us"}, blackhole_decode.COLUMNS, blackhole_decode.case),
)


def cases(path: Path) -> list[Case]:
    """The rows of a file of measured times as questions.

    raises: SpecError for a file of no family, and for rows that cannot be.
    """
    first = read_rows(path)[0]
    for own, _, case in FAMILIES:
        if own <= first.keys():
            found = [row for row in rows_by(path, case) if row is not None]
            if found:
                return found
            raise wrong(str(path), "rows of a forward pass", "none")
    condition = "the columns of " + "; or ".join(names for _, names, _ in FAMILIES)
    raise wrong(str(path), condition, ",".join(first))


def measured(path: Path) -> tuple[MeasuredRow, ...]:
    """The rows of a file of measured times, priced."""
    return tuple(priced(case) for case in cases(path))


def row_files(rows: Sequence[MeasuredRow]) -> dict[str, bytes]:
    """A record for each row, named by its line in the file, and the chips' files beside them.

    Chips of one name that differ, as kernels have them, are numbered.
    """
    files: dict[str, bytes] = {}
    named: list[tuple[Platform, str]] = []
    for line, row in enumerate(rows, 2):
        chip, name = row.case.platform, row.case.platform.matrix.name
        stem = next((stem for other, stem in named if other == chip), "")
        if not stem:
            alike = sum(other.matrix.name == name for other, _ in named)
            stem = f"{name}-{alike + 1}" if alike else name
            named.append((chip, stem))
        what = (row.case.workload, chip, row.result.mapping)
        record, *chips = record_files(*what, name=f"row-{line}.yaml", chip=stem).items()
        files |= {n: file.text.encode() for n, file in (*chips, record) if n not in files}
    return files
