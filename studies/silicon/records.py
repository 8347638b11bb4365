"""Records of the mappings of measured rows, which `evaluate` prices again, with their chips."""

from __future__ import annotations

from collections.abc import Sequence

from flat_mapper.values import Platform, record_files
from studies.silicon.rows import MeasuredRow


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
