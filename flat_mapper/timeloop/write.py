"""A mapping as Timeloop v0.4 files: architecture, problem and mapping of every Einsum.

Everything here is pure: documents in memory, by file name. Nothing is left to a default of
Timeloop's: every rank is in every factor list and permutation (innermost first), and every level
says what it keeps and what it bypasses.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from flat_mapper.arch.values import Architecture, Platform
from flat_mapper.base.classes import dataclass
from flat_mapper.mapping.record import RECORD, RECORD_COMMENT, record_document
from flat_mapper.mapping.values import EinsumMapping, FusedMapping, sized_workload
from flat_mapper.spec.yamlio import dump, write_text
from flat_mapper.timeloop.headroom import depth_for, overfull_words
from flat_mapper.timeloop.terms import (
    directives,
    has_remainders,
    kept_and_bypassed,
    problem_comment,
    problem_document,
)
from flat_mapper.timeloop.write_arch import architecture_document, unfolded, with_depth
from flat_mapper.timeloop.write_processed import processed_document
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.notation import format_einsum

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
    the shared loops are its DRAM loops, and a tensor that stays on chip bypasses DRAM. Where
    tensors share a buffer, that Einsum's architecture has the room that Timeloop asks for.
    Under a mask there is the record alone: Timeloop's loops are as long for every query.
    """
    overfull = overfull_words(workload, platform, fused)
    files = record_files(workload, platform, fused)
    for mapping in fused.einsum_mappings.values() if not workload.mask else ():
        unit = workload.einsum(mapping.einsum).unit
        if unit == "vector" and platform.vector is None and fused.policy.softmax == "free":
            continue  # nothing runs it: it is accounted as costing nothing
        arch, words = platform.path(unit), overfull.get(mapping.einsum, 0)
        for name, lowered in lower_einsum(workload, arch, mapping, words).items():
            files[f"{mapping.einsum}/{name}"] = lowered
    return files


def record_files(
    workload: Workload,
    platform: Platform,
    fused: FusedMapping,
    name: str = RECORD,
    chip: str = "",
) -> dict[str, Lowered]:
    """The record of a mapping, and the files of the chip that it refers to, by name.

    name: of the record's file. chip: of the chip's, without an ending; by default its own.
    """
    stem = chip or platform.name
    copies = {f"{stem}.yaml": platform.matrix}
    if platform.vector:
        copies[f"{stem}.sfu.yaml"] = platform.vector
    record = record_document(workload, fused, tuple(copies))
    files = {name: Lowered(document=record, comment=RECORD_COMMENT)}
    for copy, arch in copies.items():
        comment = (f"{arch.name} as it was loaded; {name} refers to this copy.",)
        files[copy] = Lowered(document=architecture_document(arch, dict), comment=comment)
    return files


def lower_einsum(
    workload: Workload, arch: Architecture, mapping: EinsumMapping, overfull: int = 0
) -> dict[str, Lowered]:
    """The Timeloop files of one Einsum: arch.yaml, problem.yaml and mapping.yaml.

    Where a loop has a remainder, `processed.yaml` comes too: the raw timeloop-model reads
    `P=32,5` in it, and the Python front end reads it nowhere.
    overfull: words of its tiles at the shared level where these are more than that holds
             (`model.held.overfull_words`); the level is then written deep enough for them.
    """
    workload = sized_workload(workload, mapping)
    einsum = workload.einsum(mapping.einsum)
    title = f"{format_einsum(einsum)}, of {workload.name} on {arch.name}"
    room: tuple[str, ...] = ()
    arch, mapping, twice = unfolded(arch, mapping)
    if twice:
        room += (
            f"{', '.join(twice)}: one container for each axis, because Timeloop writes one factor "
            "per rank and container.",
        )
    if overfull:
        arch, note = _with_room(arch, overfull)
        room += (note,)
    files = {
        "arch.yaml": Lowered(
            document=architecture_document(arch),
            comment=(
                f"{arch.name}: the constraints of its nodes are left out; the mapping obeys them.",
                *room,
            ),
        ),
        "problem.yaml": Lowered(
            document=problem_document(workload, einsum),
            comment=(title, *problem_comment(workload, arch, einsum)),
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
            comment=(title, *problem_comment(workload, arch, einsum), *room),
        )
    return files


def _with_room(arch: Architecture, words: int) -> tuple[Architecture, str]:
    """The architecture with room for so many words at its shared level, and a note on that."""
    level = arch.levels[1]
    rows, has = depth_for(level, words), depth_for(level, level.usable_words or 0)
    note = (
        f"{level.name} is {rows} rows deep here, and {has} in {arch.name}: Timeloop counts the "
        f"tile of every tensor in full, {words} words. The fused group is judged as a whole: "
        "tensors that share a buffer (softmax in place) count once there, and what spills is "
        "charged. No count depends on the depth; energies would: give Timeloop the ERT of the real "
        "size."
    )
    return with_depth(arch, level.name, rows), note


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
            tensors = [a.tensor for a in einsum.accesses]
            apart = {"no_link_transfer": tensors} if directive.bare else {}
            entries.append({**loops, "split": directive.split, **apart})
            continue
        keep, bypass = kept_and_bypassed(einsum, mapping, directive.target)
        spaces: dict[str, object]
        spaces = {"target": directive.target, "type": "dataspace", "keep": keep, "bypass": bypass}
        entries += [loops, spaces]
    return {"mapping": entries}


def write_lowered(folder: Path, files: Mapping[str, Lowered]) -> None:
    """Write lowered files under a folder."""
    for path, lowered in files.items():
        write_text(folder / path, lowered.text)
