"""A mapping as Timeloop v0.4 files: architecture, problem and mapping of every Einsum.

Everything here is pure: documents in memory, by file name. Nothing is left to a default of
Timeloop's: every rank is in every factor list and permutation (innermost first), and every level
says what it keeps and what it bypasses.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from flat_mapper.arch import Architecture, Platform
from flat_mapper.document import Tagged
from flat_mapper.einsum_notation import format_einsum
from flat_mapper.errors import SpecError, expected
from flat_mapper.lower_processed import processed_document
from flat_mapper.mapping import EinsumMapping, FusedMapping
from flat_mapper.mapping_yaml import RECORD, RECORD_COMMENT, record_document
from flat_mapper.timeloop_terms import (
    VERSION,
    directives,
    has_remainders,
    kept_and_bypassed,
    problem_comment,
    problem_document,
)
from flat_mapper.workload import Workload
from flat_mapper.yamlio import dump, write_text

Edit = Callable[[Mapping[str, object]], dict[str, object]]  # of a node's body

_COMMENT_WIDTH = 98  # columns behind the mark


@dataclass(frozen=True, slots=True, kw_only=True)
class Lowered:
    """One file to write: its document, and the comment it opens with."""

    document: Mapping[str, object]
    comment: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The file's text."""
        lines = [part for line in self.comment for part in textwrap.wrap(line, _COMMENT_WIDTH)]
        return "".join(f"# {line}\n" for line in lines) + dump(self.document)


def lower_fused(workload: Workload, platform: Platform, fused: FusedMapping) -> dict[str, Lowered]:
    """Every file of a fused mapping by its path relative to the output folder.

    `fused-mapping.yaml` is the complete record; beside it stand copies of the architecture files,
    and a folder per Einsum holds the Timeloop files. Timeloop sees one ordinary problem per Einsum:
    the shared loops are its DRAM loops, and a tensor that stays on chip bypasses DRAM.
    """
    copies = {f"{platform.name}.yaml": platform.matrix}
    if platform.vector:
        copies[f"{platform.name}.sfu.yaml"] = platform.vector
    record = record_document(workload, fused, tuple(copies))
    files = {RECORD: Lowered(document=record, comment=RECORD_COMMENT)}
    for name, arch in copies.items():
        comment = (f"{arch.name} as it was loaded; {RECORD} refers to this copy.",)
        files[name] = Lowered(document=architecture_document(arch, dict), comment=comment)
    for mapping in fused.einsum_mappings.values():
        unit = workload.einsum(mapping.einsum).unit
        if unit == "vector" and platform.vector is None and fused.policy.softmax == "free":
            continue  # nothing runs it: it is accounted as costing nothing
        for name, lowered in lower_einsum(workload, platform.path(unit), mapping).items():
            files[f"{mapping.einsum}/{name}"] = lowered
    return files


def lower_einsum(
    workload: Workload, arch: Architecture, mapping: EinsumMapping
) -> dict[str, Lowered]:
    """The Timeloop files of one Einsum: arch.yaml, problem.yaml and mapping.yaml.

    Where a loop has a remainder, `processed.yaml` comes too: the raw timeloop-model reads
    `P=32,5` in it, and the Python front end reads it nowhere.
    """
    einsum = workload.einsum(mapping.einsum)
    title = f"{format_einsum(einsum)}, of {workload.name} on {arch.name}"
    files = {
        "arch.yaml": Lowered(
            document=architecture_document(arch),
            comment=(
                f"{arch.name}: the constraints of its nodes are left out; the mapping obeys them.",
            ),
        ),
        "problem.yaml": Lowered(
            document=problem_document(workload, einsum),
            comment=(title, *problem_comment(workload, einsum)),
        ),
        "mapping.yaml": Lowered(
            document=mapping_document(workload, arch, mapping),
            comment=(title, "Permutations are innermost first."),
        ),
    }
    if has_remainders(mapping):
        note = (
            "P=32,5 is 32 passes, and 5 in the last pass of the loops above. Timeloop's Python "
            "front end cannot read it: run `timeloop-model processed.yaml` instead."
        )
        mapped = files["mapping.yaml"]
        files["mapping.yaml"] = replace(mapped, comment=(*mapped.comment, note))
        files["processed.yaml"] = Lowered(
            document=processed_document(workload, arch, mapping),
            comment=(title, *problem_comment(workload, einsum)),
        )
    return files


def mapping_document(
    workload: Workload, arch: Architecture, mapping: EinsumMapping
) -> dict[str, object]:
    """The Timeloop mapping of one Einsum: loops and data spaces of every node, outermost first."""
    einsum = workload.einsum(mapping.einsum)
    entries: list[dict[str, object]] = []
    for directive in directives(arch, einsum, mapping):
        loops: dict[str, object] = {
            "target": directive.target,
            "type": directive.kind,
            "factors": directive.factors,
            "permutation": directive.permutation,
        }
        if directive.split is not None:
            entries.append({**loops, "split": directive.split})
            continue
        keep, bypass = kept_and_bypassed(einsum, mapping, directive.target)
        spaces: dict[str, object]
        spaces = {"target": directive.target, "type": "dataspace", "keep": keep, "bypass": bypass}
        entries += [loops, spaces]
    return {"mapping": entries}


def architecture_document(arch: Architecture, edit: Edit | None = None) -> dict[str, object]:
    """The architecture as it was loaded, every named node edited.

    edit: by default the nodes lose their constraints: Timeloop's front end joins those with the
          mapping's entries, and refuses a pair that says different things.
    """
    if "architecture" not in arch.document:
        condition = "an architecture loaded from v0.4 YAML, to write it again"
        raise SpecError(expected(arch.path or arch.name, condition, "one without a document"))
    document = dict(arch.document)
    document["architecture"] = _edited(document["architecture"], edit or without_constraints)
    if document.get("components"):
        document["components"] = {"version": VERSION, "classes": document["components"]}
    else:
        document.pop("components", None)
    return document


def without_constraints(body: Mapping[str, object]) -> dict[str, object]:
    """A node without its constraints."""
    return {key: value for key, value in body.items() if key != "constraints"}


def _edited(node: object, edit: Edit) -> object:
    if isinstance(node, Tagged):
        return Tagged(node.tag, _edited(node.body, edit))
    if not isinstance(node, Mapping):
        return node
    body = edit(node) if "name" in node else dict(node)
    if isinstance(body.get("nodes"), list):
        body["nodes"] = [_edited(child, edit) for child in node["nodes"]]
    return body


def write_lowered(folder: Path, files: Mapping[str, Lowered]) -> None:
    """Write lowered files under a folder."""
    for path, lowered in files.items():
        write_text(folder / path, lowered.text)
