"""The search of a model whose layers differ in their mask: each kind once, then all together.

Layers run one after another, so latency and energy add up, and the least of either is the sum of
each kind's least. Energy-delay products do not add up: each kind gets the mapping of its own least,
and by Cauchy and Schwarz no choice of mappings has a product of sums below the square of the sum of
their roots. How far above it the answer is, it says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from flat_mapper.arch.values import Platform
from flat_mapper.base.budget import Budget, Progress, part_of
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.energy.tables import Art, Ert
from flat_mapper.kernels.known import known_tiles
from flat_mapper.mapper.group.incumbent import Objective
from flat_mapper.mapper.solve.certificate import Solution, turns_note
from flat_mapper.mapper.solve.driver import search
from flat_mapper.mapping.arch_rules import binding_notes
from flat_mapper.mapping.space import Mapspace
from flat_mapper.mapping.space_reader import absent_parts
from flat_mapper.reports.answers import SearchResult
from flat_mapper.reports.layers import sequences_text
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.problem_file import seen


def best_of_layers(
    workload: Workload,
    platform: Platform,
    mapspace: Mapspace,
    ert: Ert,
    *,
    objective: Objective,
    progress: Progress | None,
    budget: Budget,
    before: Sequence[tuple[Solution, ...]] = (),
) -> tuple[Solution, ...] | Infeasible:
    """The best mapping of each kind of layers, in the order of `each_kind`, or why there is none.

    budget: what all of them together may spend. before: answers of other mapspaces, priced first.
    """
    if budget.limits:
        workload.one_kind("--max-latency, --max-energy and --max-buffer")
    kinds = tuple(map(seen, workload.each_kind))
    found: list[Solution] = []
    for number, kind in enumerate(kinds):
        known = [(own[number].workload, own[number].result.mapping) for own in before]
        one = search(
            *(kind, platform, mapspace, ert),
            objective=objective,
            progress=part_of(progress, number, len(kinds), _words(workload, kind)),
            budget=budget.part(len(kinds) - number),
            known=[*known_tiles(kind, platform, mapspace), *known],
        )
        if isinstance(one, Infeasible):
            return one
        found.append(one)
    return tuple(found)


def _words(whole: Workload, kind: Workload) -> str:
    """A kind of layers, and the sequences that it is about."""
    layers = f"{kind.repeat} layers, {kind.mask or 'no mask'}"
    return f"{sequences_text(kind)}, {layers}" if whole.sequences else layers


def search_results(
    found: Sequence[Solution],
    workload: Workload,
    space: Mapspace,
    chip: Platform,
    prices: tuple[Ert, Art | None],
    notes: Sequence[str],
) -> list[SearchResult]:
    """Found mappings as answers, which say what became of the inputs."""
    said = (*notes, *absent_parts(space, workload), *binding_notes(chip, workload), *space.notes)
    said += turns_note(space, chip, [one.result for one in found])
    return [
        SearchResult(
            workload=one.workload,
            platform=chip,
            result=noted(sourced(one.result, chip, *prices), said),
            mapspace=space.name,
            objective=one.objective,
            certificate=one.certificate,
        )
        for one in found
    ]


def sourced(result: Result, platform: Platform, table: Ert, art: Art | None) -> Result:
    """A result with the chip's area, and with what priced each component."""
    area = art.total_mm2(platform) if art else None
    priced: dict[str, object] = {"energies": table.provenance}
    if table.placeholders:
        priced["placeholders"] = list(table.placeholders)
    if table.unknown:
        priced["unknown"] = dict(table.unknown)
    return replace(result, area_mm2=area, extra={**result.extra, **priced})


def noted(result: Result, notes: Sequence[str]) -> Result:
    """A result that says some more of how its inputs were taken."""
    return replace(result, notes=(*result.notes, *notes)) if notes else result
