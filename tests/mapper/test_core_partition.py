"""Partitions of a cascade on many cores: beside all of them one by one, and beside one array."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from types import SimpleNamespace

import pytest
from execution.tiny import chip
from mapper.test_on_cores import many

from flat_mapper.api.execution import unpriced
from flat_mapper.base.budget import Budget
from flat_mapper.base.errors import SpecError
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Result
from flat_mapper.mapper.solve import core_partition
from flat_mapper.mapper.solve.core_partition import _Form, _Search
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
    proof = found.certificate
    assert proof.gap == pytest.approx(found.result.latency_s / proof.proven_bound - 1, abs=1e-12)
    assert proof.optimal == (proof.gap < 1e-12)
    assert proof.pruned == {"groups: bound": 0}  # both alone, and the two together


def test_an_answer_within_its_gap_bounds_its_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """10 cycles and a quarter of gap: at least 8, where 5 and then 9 were known, and then 10."""
    result = SimpleNamespace(cycles=10, mapping=SimpleNamespace(groups=("T",)))
    solved = SimpleNamespace(result=result, certificate=SimpleNamespace(evaluated=3, gap=0.25))
    monkeypatch.setattr(core_partition, "best_on_cores", lambda *_, **__: solved)
    one = _Search(many(chip(), 2), space(), unpriced(chip()), Budget(), None, inf)
    form = one.form(workload(CHAIN), ["T", "R", "Y"])
    number = form.graph.groups.index(("T",))
    for known, least in ((5.0, 8.0), (9.0, 9.0), (11.0, 10.0)):
        form.least[number] = known
        one.ask(form, number)
        assert (form.least[number], form.most[number]) == (least, 10)
    assert (one.asked, one.evaluated) == (3, 9)


def test_the_bound_of_all_is_below_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    """8 at least and 10 at most, of a group that is searched; then 10 and 10."""
    monkeypatch.setattr(core_partition, "shortest", lambda graph, costs: (sum(costs), (0,)))
    one = _Search(many(chip(), 2), space(), unpriced(chip()), Budget(), None, inf)
    graph = SimpleNamespace(groups=(("T",),), units=())
    for least in (8.0, 10.0):
        form = _Form(workload(CHAIN), graph, [least], [10.0], {0: ()})  # type: ignore[arg-type]
        one.all_forms = [form]
        assert one.through() == (form, (0,), least)


def test_units_work_at_once_where_the_schedule_lets_them() -> None:
    """T on the matrix unit of two cores, R on the vector unit: 8 cycles and 4, and no words."""
    work = workload(CHAIN)
    work = replace(work, einsums=(work.einsums[0], replace(work.einsums[1], unit="vector")))
    platform = many(chip(None), 2)
    for schedule, cycles in (("any", 8), ("overlapped", 8), ("sequential", 12)):
        mapspace = space()
        fusion = replace(mapspace.fusion, schedule=schedule)
        own = replace(mapspace, fusion=fusion)
        one = _Search(platform, own, unpriced(platform), Budget(), None, inf)
        assert one.floor(work, ("T", "R")) == cycles


def test_another_objective_is_refused() -> None:
    work, platform = workload(CHAIN), many(chip(), 2)
    with pytest.raises(SpecError, match="--objective latency"):
        search(work, platform, space(), unpriced(platform), objective="edp")
