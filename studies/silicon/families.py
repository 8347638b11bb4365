"""Families of measured kernels, all rows of a file priced, and the records of their mappings.

A family is a function from a row to a `Case`, and a test by the row's columns whether it is meant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from flat_mapper.values import Platform, record_files
from studies.common import Columns, read_rows, wrong
from studies.silicon import blackhole, blackhole_decode, gpu
from studies.silicon.rows import Case, MeasuredRow, priced

Family = tuple[str, Callable[[Columns], bool], Callable[[str, Columns], Case]]
FAMILIES: tuple[Family, ...] = (
    (gpu.COLUMNS, gpu.is_meant, gpu.case),
    (blackhole.COLUMNS, blackhole.is_meant, blackhole.case),
    (blackhole_decode.COLUMNS, blackhole_decode.is_meant, blackhole_decode.case),
)


def cases(path: Path) -> list[Case]:
    """The rows of a file of measured times as questions.

    raises: SpecError for a file of no family, and for rows that cannot be.
    """
    rows = read_rows(path)
    for _, meant, case in FAMILIES:
        if meant(rows[0]):
            return [case(f"{path}: row {i}", row) for i, row in enumerate(rows, 2)]
    condition = "the columns of " + "; or ".join(names for names, _, _ in FAMILIES)
    raise wrong(str(path), condition, ",".join(rows[0]))


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
