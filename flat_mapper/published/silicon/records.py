"""Records of the mappings of measured rows, which `evaluate` prices again, with their chips."""

from __future__ import annotations

from collections.abc import Sequence

from flat_mapper.mapping.record import record_text
from flat_mapper.published.silicon.rows import MeasuredRow
from flat_mapper.timeloop.write import Lowered
from flat_mapper.timeloop.write_arch import architecture_document


def records(rows: Sequence[MeasuredRow]) -> dict[str, bytes]:
    """A record for each row, named by its line in the file, and the architectures beside them."""
    files: dict[str, bytes] = {}
    for line, row in enumerate(rows, 2):
        platform = row.case.platform
        paths = [platform.matrix, *filter(None, [platform.vector])]
        names = [f"{arch.name}{end}.yaml" for arch, end in zip(paths, ("", ".sfu"), strict=False)]
        for name, arch in zip(names, paths, strict=True):
            if name not in files:
                comment = (f"{arch.name} as it was loaded; the records here refer to this copy.",)
                files[name] = Lowered(
                    document=architecture_document(arch, dict), comment=comment
                ).text.encode()
        text = record_text(row.case.workload, row.result.mapping, tuple(names))
        files[f"row-{line}.yaml"] = text.encode()
    return files
