"""Partitions of a cascade on many cores: beside all of them one by one, and beside one array."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest
from execution.tiny import chip
from mapper.test_on_cores import many

from flat_mapper.api.execution import unpriced
from flat_mapper.base.budget import Budget
from flat_mapper.base.errors import SpecError
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Result
from flat_mapper.mapper.solve.on_cores import best_on_cores
from flat_mapper.mapper.solve.optimum import search
from flat_mapper.mapper.solve.result import Solution
from flat_mapper.mapping.partitions import FusionGraph, forms, fusion_graph
from flat_mapper.mapping.space import AnyGroups, Mapspace
from flat_mapper.mapping.space_reader import load_mapspace
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.notation import parse_einsum

CHAIN = ("T[p,c] = X[p,d] * W[d,c]", "R[p,c] = relu(T[p,c])", "Y[p,e] = R[p,c] * V[c,e]")
BRANCH = ("Q[p,c] = X[p,d] * W[d,c]", "K[p,c] = X[p,d] * V[d,c]", "Z[p,c] = Q[p,c] * K[p,c]")


def workload(lines: tuple[str, ...]) -> Workload:
    sizes = {"P": 4, "C": 2, "D": 2, "E": 2}
    einsums = tuple(parse_einsum(line) for line in lines)
    used = {r for e in einsums for r in e.ranks}
    return Workload(
        name="w", rank_sizes={r: n for r, n in sizes.items() if r in used}, einsums=einsums
    )


def space() -> Mapspace:
    return load_mapspace("any-cores")


def paths(graph: FusionGraph, cut: int = 0) -> list[tuple[int, ...]]:
    """All partitions of a form, one by one."""
    if cut == graph.cuts[-1]:
        return [()]
    return [(g, *rest) for high, g in graph.steps[cut] for rest in paths(graph, high)]


@pytest.mark.nightly
@pytest.mark.parametrize("lines", [CHAIN, BRANCH])
def test_no_partition_is_better(lines: tuple[str, ...]) -> None:
    """Every partition, each group at its own best: none takes fewer cycles."""
    work, platform = workload(lines), many(chip(), 2)
    ert = unpriced(platform)
    found = search(work, platform, space(), ert, objective="latency")
    assert isinstance(found, Solution)
    fusion = replace(space().fusion, anything=None, cores=tuple(work.rank_sizes))
    best = inf
    for names in forms(work):
        graph = fusion_graph(work, names, AnyGroups())
        cycles = {}
        for number, group in enumerate(graph.groups):
            own = replace(fusion, groups=(group,) if len(group) > 1 else ())
            alone = replace(space(), fusion=own)
            solved = best_on_cores(
                work.subset(group), platform, alone, ert, objective="latency", budget=Budget()
            )
            cycles[number] = solved.result.cycles if isinstance(solved, Solution) else inf
        best = min(best, *(sum(cycles[g] for g in path) for path in paths(graph)))
    assert found.result.cycles == best
    assert found.certificate.proven_bound <= found.result.latency_s


def test_its_groups_add_up_to_what_the_model_says() -> None:
    work, platform = workload(CHAIN[:2]), many(chip(), 2)
    ert = unpriced(platform)
    found = search(work, platform, space(), ert, objective="latency")
    assert isinstance(found, Solution)
    again = evaluate(work, platform, found.result.mapping, ert)
    assert isinstance(again, Result)
    assert again.cycles == found.result.cycles == sum(g.cycles for g in found.result.groups)
    assert {n for g in again.mapping.groups for n in g.names} == {e.name for e in work.einsums}


def test_another_objective_is_refused() -> None:
    work, platform = workload(CHAIN), many(chip(), 2)
    with pytest.raises(SpecError, match="--objective latency"):
        search(work, platform, space(), unpriced(platform), objective="edp")
