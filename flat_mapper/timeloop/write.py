"""A mapping as Timeloop v0.4 files: architecture, problem and mapping of every Einsum.

Everything here is pure: documents in memory, by file name. Nothing is left to a default of
Timeloop's: every rank is in every factor list and permutation (innermost first), and every level
says what it keeps and what it bypasses.

timeloop-mapper searches one Einsum at a time. The fusion becomes, for each Einsum: DRAM loops fixed
to the shared loops, keep and bypass fixed at DRAM and at the shared level, and a shared level
with only the words that the other Einsums and the double buffering leave.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass

from flat_mapper.arch.values import Architecture, MemoryLevel, Platform
from flat_mapper.base.errors import MappingError
from flat_mapper.energy.tables import Ert, priced_for
from flat_mapper.mapping.record import RECORD, RECORD_COMMENT, record_document
from flat_mapper.mapping.values import EinsumMapping, FusedMapping, Slot, sized_workload
from flat_mapper.spec.yamlio import dump
from flat_mapper.timeloop.rounds import Posed, asked_of
from flat_mapper.timeloop.terms import (
    TIMELOOP_VERSION,
    Bodies,
    architecture_document,
    art_document,
    as_loaded,
    ert_document,
    holding,
    node_entries,
    problem_comment,
    problem_document,
    processed_document,
    unfolded,
    with_depth,
    without_constraints,
)
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.notation import format_einsum

_COMMENT_WIDTH = 98  # columns behind the mark


@dataclass(frozen=True, slots=True, kw_only=True)
class LoweredFile:
    """One file to write: its document, and the comment it opens with."""

    document: Mapping[str, object]
    comment: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The file's text."""
        lines = [part for line in self.comment for part in textwrap.wrap(line, _COMMENT_WIDTH)]
        return "".join(f"# {line}\n" for line in lines) + dump(self.document)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lowering:
    """A fused mapping as files."""

    files: Mapping[str, LoweredFile]  # by path relative to the output folder
    asked: tuple[Posed, ...]  # a folder each, named after its Einsum
    refused: Mapping[str, str]  # Einsums without a folder, by group: why


def lowered(
    workload: Workload, platform: Platform, fused: FusedMapping, ert: Ert | None = None
) -> Lowering:
    """Every file of a fused mapping, and of what there is no folder.

    `fused-mapping.yaml` is the complete record; beside it stand copies of the architecture files,
    and a folder per Einsum holds the Timeloop files. Timeloop sees one ordinary problem per Einsum:
    the shared loops are its DRAM loops, and a tensor that stays on chip bypasses DRAM. On many
    cores the problem is a round of tiles (`timeloop.rounds`). Where tensors share a buffer, that
    Einsum's architecture has the room that Timeloop asks for.
    ert: the energies of the answer; without one there are no ERT.yaml and ART.yaml.
    """
    asked, refused = asked_of(workload, platform, fused)
    said = tuple(f"No Timeloop files: {reason}." for reason in refused.values())
    files = record_files(workload, platform, fused, said=said)
    for one in asked:
        about = _of_a_round(one)
        own = lower_einsum(one.workload, one.arch, one.nest, ert, about, one.notes)
        files |= {f"{one.nest.einsum}/{name}": file for name, file in own.items()}
    return Lowering(files=files, asked=asked, refused=refused)


def _of_a_round(one: Posed) -> tuple[str, ...]:
    if one.rounds == one.cores == 1:
        return ()
    times = f"of {one.rounds} alike: multiply by {one.rounds}" if one.rounds > 1 else "the only one"
    return (f"One round of tiles, one on each of {one.cores} cores ({times}).",)


def record_files(
    workload: Workload,
    platform: Platform,
    fused: FusedMapping,
    name: str = RECORD,
    chip: str = "",
    said: tuple[str, ...] = (),
) -> dict[str, LoweredFile]:
    """The record of a mapping, and the files of the chip that it refers to, by name.

    name: of the record's file. chip: of the chip's, without an ending; by default its own. said:
    lines of the record's comment.
    """
    stem = chip or platform.name
    copies = {f"{stem}.yaml": platform.matrix}
    if platform.vector:
        copies[f"{stem}.sfu.yaml"] = platform.vector
    record = record_document(workload, fused, tuple(copies))
    files = {name: LoweredFile(document=record, comment=(*RECORD_COMMENT, *said))}
    for copy, arch in copies.items():
        comment = (f"{arch.name} as it was loaded; {name} refers to this copy.",)
        files[copy] = LoweredFile(document=architecture_document(arch, as_loaded), comment=comment)
    return files


def lower_einsum(
    workload: Workload,
    arch: Architecture,
    mapping: EinsumMapping,
    ert: Ert | None = None,
    about: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
) -> dict[str, LoweredFile]:
    """The Timeloop files of one Einsum.

    arch.yaml, problem.yaml and mapping.yaml are v0.4, for Timeloop's Python front end.
    processed.yaml is the same for the raw timeloop-model (`timeloop.terms`). Both take ERT.yaml and
    ART.yaml, which there are with an ert: the energies of the answer.
    about, notes: on the problem and on the architecture, for the comments.
    raises: MappingError where the loops do not hold the problem: such files are never written.
    """
    workload = sized_workload(workload, mapping)
    einsum = workload.einsum(mapping.einsum)
    title = f"{format_einsum(einsum)}, of {workload.name} on {arch.name}"
    prices, widths = arch, workload.widths
    arch, mapping, twice = unfolded(arch, mapping)
    if twice:
        notes += (
            f"{', '.join(twice)}: one container for each axis, because Timeloop writes one factor "
            "per rank and container.",
        )
    arch, deep = holding(arch, sum(workload.tensor_words(a.tensor) for a in einsum.accesses))
    if deep:
        notes += (
            f"{arch.levels[0].name} is as deep as its tensors: Timeloop's Python bindings want a "
            "depth of every memory.",
        )
    filled = [level.name for level in arch.levels if level.fill_words_per_cycle is not None]
    if filled:
        notes += (f"{', '.join(filled)}: Timeloop has no fill_bandwidth: fills pass write ports.",)
    about = (title, *about, *problem_comment(workload, prices, einsum))
    read: tuple[str, ...] = (title, "Permutations are innermost first.")
    if mapping.has_remainders:
        read += (
            "P=32,5 is 32 passes, and 5 in the last pass of the loops above. Timeloop's Python "
            "front end cannot read it: run `timeloop-model processed.yaml` instead.",
        )
    how = "For `timeloop-model processed.yaml ERT.yaml ART.yaml -o .`, without a front end."
    left_out = f"{arch.name}: the constraints of its nodes are left out; the mapping obeys them."
    files = {
        "arch.yaml": LoweredFile(
            document=architecture_document(arch, without_constraints), comment=(left_out, *notes)
        ),
        "problem.yaml": LoweredFile(document=problem_document(workload, einsum), comment=about),
        "mapping.yaml": LoweredFile(
            document={"mapping": node_entries(workload, arch, mapping)}, comment=read
        ),
        "processed.yaml": LoweredFile(
            document=processed_document(workload, arch, mapping), comment=(*about, *notes, how)
        ),
    }
    if ert is not None:
        table = priced_for(prices, ert, einsum, widths)
        what = "of one operation here" if einsum.states_operation else "of one compute"
        files["ERT.yaml"] = LoweredFile(
            document=ert_document(arch, table),
            comment=(
                f"Energies in pJ from {ert.source}; `compute` is {what} ({einsum.operation}).",
                "Leakage is not in it: it is one number of the whole mapping.",
            ),
        )
        files["ART.yaml"] = LoweredFile(
            document=art_document(arch),
            comment=("Areas are left at 0: Timeloop wants the table, and no energy hangs on it.",),
        )
    return files


# A seeded random search that stops by itself. chosen: a timeout long enough for mapspaces where few
# samples fit, and a victory condition short enough to end in about a minute.
SETTINGS: Mapping[str, object] = {
    "mapper": {
        "version": TIMELOOP_VERSION,
        "optimization_metrics": ["edp"],
        "algorithm": "random_pruned",
        "num_threads": 2,
        "timeout": 20000,
        "victory_condition": 2000,
        "live_status": False,
        "log_stats": False,
        "diagnostics": False,
    }
}


def lower_for_mapper(
    workload: Workload, platform: Platform, fused: FusedMapping, held_words: Mapping[str, int]
) -> dict[str, LoweredFile]:
    """The files of timeloop-mapper for every Einsum, by path relative to the output folder.

    Each has arch.yaml, problem.yaml, constraints.yaml and mapper.yaml.

    held_words: by Einsum, the words of the shared level that its own single-buffered tiles may not
                take: what the other Einsums of its group hold, second copies, streamed tiles
                (`cost_model.residence.tile_occupancies`).
    """
    files: dict[str, LoweredFile] = {}
    for group in fused.groups:
        for mapping in group.einsums:
            arch = platform.path(workload.einsum(mapping.einsum).unit)
            free, held = len(group.einsums) == 1 and not group.shared, held_words
            own = _mapper_files(workload, arch, mapping, held.get(mapping.einsum, 0), free=free)
            files |= {f"{mapping.einsum}/{name}": file for name, file in own.items()}
    return files


def _mapper_files(
    workload: Workload, arch: Architecture, mapping: EinsumMapping, held_words: int, *, free: bool
) -> dict[str, LoweredFile]:
    """The files of one Einsum; free: nothing of it is fixed."""
    workload = sized_workload(workload, mapping)
    einsum = workload.einsum(mapping.einsum)
    arch, mapping, _ = unfolded(arch, mapping)
    change = f"reduced by the {held_words} words that {einsum.name} may not take."
    if held_words < 0:
        change = (
            f"enlarged by {-held_words} words: tensors of {einsum.name} that share a buffer "
            "count in full here."
        )
    comment = (
        f"{arch.name} with {arch.levels[1].name} {change}",
        "Price it with the ERT of the full size: a smaller memory has cheaper accesses.",
    )
    fixed = _fixed(workload, arch, mapping)
    constraints = {"version": TIMELOOP_VERSION, "targets": [] if free else fixed}
    said = "The fusion, as far as this Einsum goes; all else is free."
    return {
        "arch.yaml": LoweredFile(document=_constrained(arch, held_words), comment=comment),
        "problem.yaml": LoweredFile(
            document=problem_document(workload, einsum),
            comment=problem_comment(workload, arch, einsum),
        ),
        "constraints.yaml": LoweredFile(
            document={"constraints": constraints},
            comment=() if free else (said,),
        ),
        "mapper.yaml": LoweredFile(document=SETTINGS),
    }


def _fixed(
    workload: Workload, arch: Architecture, mapping: EinsumMapping
) -> list[dict[str, object]]:
    """The part of one Einsum's mapspace that the fusion fixes.

    DRAM's loops are the shared loops, in their order. DRAM and the shared level keep and bypass
    what the mapping says, because that is what staging and fusion are.
    raises: MappingError where a shared loop has a remainder: constraints hold whole factors only.
    """
    dram, shared = (level.name for level in arch.levels[:2])
    loops = mapping.at(Slot(dram, "temporal"))
    if cut := next((loop for loop in loops if loop.final != loop.factor), None):
        raise MappingError(
            f"{mapping.einsum}: {dram}: expected shared loops without a remainder for "
            f"timeloop-mapper, got {cut.rank}={cut.factor},{cut.final}; choose a tile that divides "
            f"{cut.rank} ({workload.rank_sizes[cut.rank]})"
        )
    fixed = {(dram, "temporal"), (dram, "dataspace"), (shared, "dataspace")}
    entries = node_entries(workload, arch, mapping)
    return [entry for entry in entries if (entry["target"], entry["type"]) in fixed]


def _constrained(arch: Architecture, held_words: int) -> dict[str, object]:
    """The architecture with the shared level's depth reduced by the words held there.

    Constraints stay, also those from beside the nodes, but for what the fusion fixes.
    """
    dram, shared = arch.levels[:2]
    replaced = {dram.name: ("temporal", "dataspace"), shared.name: ("dataspace",)}
    constraints: dict[str, dict[str, object]] = {}
    for node in arch.nodes:
        kept = {k: c for k, c in node.constraints.items() if k not in replaced.get(node.name, ())}
        constraints.setdefault(node.name, {}).update(kept)
    depth = remaining_depth(shared, held_words)
    left = arch if depth is None else with_depth(arch, shared.name, depth)

    def edit(body: Mapping[str, object]) -> Bodies:
        said = constraints.get(str(body["name"]))
        (bare,) = without_constraints(body)
        return ({**bare, **({"constraints": said} if said else {})},)

    return architecture_document(left, edit)


def remaining_depth(level: MemoryLevel, held_words: int) -> int | None:
    """Rows left of a level when some of its usable words are taken; None where it has no bound."""
    if level.usable_words is None:
        return None
    left = level.usable_words - held_words
    if left < level.row_words:
        raise MappingError(
            f"{level.name}: expected at least {level.row_words} words (a row) beside the "
            f"{held_words} held by the other Einsums, got {left} of {level.usable_words}; choose "
            "a smaller FLAT-tile or stage fewer tensors"
        )
    return int(left * level.multiple_buffering) // level.row_words
