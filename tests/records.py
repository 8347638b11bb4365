"""Records of mappings as text, as files have them."""

from flat_mapper.mapping.record import RECORD_COMMENT, record_document
from flat_mapper.mapping.values import FusedMapping
from flat_mapper.spec.yamlio import dump
from flat_mapper.workload.graph import Workload


def record_text(workload: Workload, fused: FusedMapping, arch: tuple[str, ...]) -> str:
    """The text of a record; see `record_document`."""
    comment = "".join(f"# {line}\n" for line in RECORD_COMMENT)
    return comment + dump(record_document(workload, fused, arch))
