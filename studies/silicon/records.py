"""Records of the mappings of measured rows, which `evaluate` prices again, with their chips."""

from __future__ import annotations

from collections.abc import Sequence

from flat_mapper.arch.values import Architecture
from flat_mapper.mapping.record import record_text
from flat_mapper.published.silicon.rows import MeasuredRow
from flat_mapper.timeloop.write import Lowered
from flat_mapper.timeloop.write_arch import architecture_document


def record_files(rows: Sequence[MeasuredRow]) -> dict[str, bytes]:
    """A record for each row, named by its line in the file, and the architectures beside them.

    Chips of one name that differ, as kernels have them, are numbered.
    """
    files: dict[str, bytes] = {}
    named: dict[tuple[str, ...], tuple[str, ...]] = {}
    for line, row in enumerate(rows, 2):
        platform = row.case.platform
        texts = tuple(_text(arch) for arch in platform.paths)
        if texts not in named:
            alike = sum(names[0].startswith(platform.matrix.name) for names in named.values())
            stem = f"{platform.matrix.name}-{alike + 1}" if alike else platform.matrix.name
            ends = ("", ".sfu")
            named[texts] = tuple(f"{stem}{end}.yaml" for end, _ in zip(ends, texts, strict=False))
            files |= {name: text.encode() for name, text in zip(named[texts], texts, strict=True)}
        text = record_text(row.case.workload, row.result.mapping, named[texts])
        files[f"row-{line}.yaml"] = text.encode()
    return files


def _text(arch: Architecture) -> str:
    comment = (f"{arch.name} as a kernel has it; the records here refer to this copy.",)
    return Lowered(document=architecture_document(arch, dict), comment=comment).text
