"""A fused mapping as constraints under which timeloop-mapper searches inside the fusion.

timeloop-mapper searches one Einsum at a time. The fusion becomes, for each Einsum: DRAM loops fixed
to the shared loops, keep and bypass fixed at DRAM and at the shared level, and a shared level
with only the words that the other Einsums and the double buffering leave.
"""

from __future__ import annotations

from collections.abc import Mapping

from flat_mapper.arch.values import Architecture, MemoryLevel, Platform
from flat_mapper.base.errors import MappingError
from flat_mapper.mapping.values import EinsumMapping, FusedMapping, Slot, sized_workload
from flat_mapper.timeloop.terms import (
    TIMELOOP_VERSION,
    node_entries,
    problem_comment,
    problem_document,
)
from flat_mapper.timeloop.write import Lowered
from flat_mapper.timeloop.write_processed import (
    Bodies,
    architecture_document,
    unfolded,
    with_depth,
    without_constraints,
)
from flat_mapper.workload.graph import Workload

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
) -> dict[str, Lowered]:
    """The files of timeloop-mapper for every Einsum, by path relative to the output folder.

    Each has arch.yaml, problem.yaml, constraints.yaml and mapper.yaml.

    held_words: by Einsum, the words of the shared level that its own single-buffered tiles may not
                take: what the other Einsums of its group hold, second copies, streamed tiles
                (`cost_model.residence.tile_occupancies`).
    """
    files: dict[str, Lowered] = {}
    for group in fused.groups:
        for mapping in group.einsums:
            arch = platform.path(workload.einsum(mapping.einsum).unit)
            own = _files(workload, arch, mapping, held_words.get(mapping.einsum, 0))
            if len(group.einsums) == 1 and not group.shared:  # an operator alone: nothing is fixed
                own["constraints.yaml"] = Lowered(document=_constraints([]))
            files |= {f"{mapping.einsum}/{name}": file for name, file in own.items()}
    return files


def _files(
    workload: Workload, arch: Architecture, mapping: EinsumMapping, held_words: int
) -> dict[str, Lowered]:
    """The files of one Einsum."""
    workload = sized_workload(workload, mapping)
    einsum = workload.einsum(mapping.einsum)
    arch, mapping, _ = unfolded(arch, mapping)
    document = _constrained_architecture(arch, held_words)
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
    return {
        "arch.yaml": Lowered(document=document, comment=comment),
        "problem.yaml": Lowered(
            document=problem_document(workload, einsum),
            comment=problem_comment(workload, arch, einsum),
        ),
        "constraints.yaml": Lowered(
            document=_constraints(_fixed(workload, arch, mapping)),
            comment=("The fusion, as far as this Einsum goes; all else is free.",),
        ),
        "mapper.yaml": Lowered(document=SETTINGS),
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


def _constraints(targets: list[dict[str, object]]) -> dict[str, object]:
    return {"constraints": {"version": TIMELOOP_VERSION, "targets": targets}}


def _constrained_architecture(arch: Architecture, held_words: int) -> dict[str, object]:
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
