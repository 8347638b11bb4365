"""Partitions of a cascade on many cores: beside all of them one by one, and beside one array."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from math import inf, prod
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from execution.tiny import chip, many
from prices import PRICES

import flat_mapper as fm
from flat_mapper.api.execution import unpriced
from flat_mapper.arch.values import Platform
from flat_mapper.backends.agreement import compare_run
from flat_mapper.base.budget import Budget
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Result
from flat_mapper.execution.run import execute
from flat_mapper.mapper.group.incumbent import CyclesPj, Goal
from flat_mapper.mapper.solve.certificate import Solution
from flat_mapper.mapper.solve.driver import Question, search
from flat_mapper.mapper.solve.groups import Cores, CoresGroup
from flat_mapper.mapper.solve.product import best_product, least_product
from flat_mapper.mapping.partitions import FusionGraph, forms, fusion_graph, group_spaces
from flat_mapper.mapping.space import AnyGroups, GroupSpace, Mapspace
from flat_mapper.mapping.space_reader import load_mapspace
from flat_mapper.workload.cascade import attention
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.notation import parse_einsum
from flat_mapper.workload.softmax import SPLIT

CHAIN = ("T[p,c] = X[p,d] * W[d,c]", "R[p,c] = relu(T[p,c])", "Y[p,e] = R[p,c] * V[c,e]")
SHARED = ("T[p,c] = X[p,d] * W[d,c]", "R[p,c] = relu(T[p,c])", "Z[p,c] = R[p,c] * T[p,c]")
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
            solved = search(
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
    assert proof.pruned["groups: bound"] == 2  # the two together are proven best


FAST = Goal(kind="latency")


def group(floor: float, bound: float, most: float) -> CoresGroup:
    """A group that is searched, with a bound of what is left, and the best that is known."""
    one: Any = SimpleNamespace(bound=bound, best=((most, 0.0), ()), done=True)
    return known((floor, 0.0), {FAST: [one]})


def known(floor: CyclesPj, begun: dict[Goal, list[Any]]) -> CoresGroup:
    """A group with what is known of it at first, and from searches."""
    kind = Cores(many(chip(), 2), space(), unpriced(chip()), Budget())
    ways = (GroupSpace(names=("T",), fused=False, schedule="sequential", declared=False),)
    return CoresGroup(workload(CHAIN), ways, np.array([floor]), begun, kind=kind)


def test_a_group_takes_what_is_known_of_it() -> None:
    """8 at least of what is left and 10 found, where 5 and then 9 were known; and nothing left."""
    for floor, bound, least in ((5.0, 8.0, 8.0), (9.0, 8.0, 9.0), (5.0, inf, 10.0)):
        one = group(floor, bound, 10.0)
        assert (one.least(FAST), one.most(FAST)) == (least, 10)
    assert known((7.0, 0.0), {}).least(FAST) == 7


def test_what_is_known_under_a_weight_bounds_others() -> None:
    """Of 5 cycles and 10 pJ at least, 40 under a weight of 2: 55 under 5, and 25 under 1."""
    one: Any = SimpleNamespace(bound=40.0, best=((100.0, 100.0), ()), done=False)
    weighted = {w: Goal(kind="weighted", weight=w) for w in (1.0, 2.0, 5.0)}
    two = known((5.0, 10.0), {weighted[2.0]: [one]})
    assert two.least(weighted[2.0]) == 40
    assert two.least(weighted[5.0]) == pytest.approx(40 + 3 * 5)
    assert two.least(weighted[1.0]) == pytest.approx(10 + (40 - 10) / 2)
    assert (two.least(FAST), two.least(Goal(kind="energy"))) == (5, 10)


def test_what_is_read_outside_a_group_leaves_it() -> None:
    """T is read in the group and after it, so it has to be in DRAM."""
    work, platform = workload(SHARED), many(chip(), 2)
    one = Cores(platform, space(), unpriced(platform), Budget())
    for search_ in one.searches(one.group(work, group_spaces(work, space(), ("T", "R"))), FAST):
        search_.run()
        assert search_.best is not None
        first, second = search_.best[1].einsums
        assert "T" in first.kept_at("DRAM")
        assert "R" in second.kept_at("DRAM")


def test_equal_groups_are_searched_once() -> None:
    """Q and K are one question; the mapping of the one is that of the other under its names."""
    work, platform = workload(BRANCH), many(chip(), 2)
    ert = unpriced(platform)
    (form,) = Question(work, platform, space(), ert, Budget()).opened().forms
    groups = {names: group for names, group in zip(form.graph.groups, form.groups, strict=True)}
    assert groups["Q",] is groups["K",]
    assert groups["Q",] is not groups["Z",]
    own = replace(work, einsums=work.einsums[:2])
    found = search(own, platform, space(), ert, objective="latency")
    assert isinstance(found, Solution)
    assert found.certificate.optimal


NAMED = """
variables: {version: 0.4, technology: "22nm", global_cycle_seconds: 1e-9}
architecture:
  version: 0.4
  nodes:
  - !Component {name: DRAM, class: DRAM, attributes: {datawidth: 16, width: 16, type: "LPDDR4"}}
  - !Component {name: GLB, class: SRAM, attributes: {datawidth: 16, width: 16, depth: 96}}
  - !Container {name: PE, spatial: {meshX: 4}RULE}
  - !Component {name: RF, class: regfile, attributes: {datawidth: 16, width: 16, depth: 8KEEP}}
  - !Component {name: MAC, class: intmac, attributes: {multiplier_width: 16, adder_width: 32}}
"""
RULES = {
    "of a network": {"RULE": ", constraints: {spatial: {no_reuse: [A, B]}}", "KEEP": ""},
    "of a memory": {"RULE": "", "KEEP": "}, constraints: {dataspace: {bypass: [A, B, Y]}"},
}


@pytest.mark.parametrize("cores", ["", ", cores: any, level: any"])
@pytest.mark.parametrize("rule", RULES)
def test_groups_that_a_chip_names_are_not_equal(rule: str, cores: str, tmp_path: Path) -> None:
    """The order in which two products are written has no say in what they take."""
    text = NAMED
    for word, said in RULES[rule].items():
        text = text.replace(word, said)
    (tmp_path / "chip.yaml").write_text(text)
    (tmp_path / "chip.sfu.yaml").write_text(text.replace("MAC", "VALU"))
    (tmp_path / "space.yaml").write_text(f"mapspace:\n  fusion: {{groups: any{cores}}}\n")
    prices = {"DRAM": {"read": 100, "write": 100}, "GLB": {"read": 6, "write": 6}}
    prices |= {"RF": {"read": 1, "write": 1}, "MAC": {"compute": 1}, "VALU": {"compute": 1}}
    (tmp_path / "ert.yaml").write_text(json.dumps(prices))
    lines, found = ["Y[i,k] = A[i,j] * B[j,k]", "Z[l,n] = C[l,m] * D[m,n]"], []
    for einsums in (lines, lines[::-1]):
        ranks = ", ".join(f"{rank}: 8" for rank in "IJKLMN")
        problem = f"problem:\n  ranks: {{{ranks}}}\n  word_bits: 16\n  einsums: {einsums}\n"
        (tmp_path / "problem.yaml").write_text(problem)
        names = (tmp_path / f"{name}.yaml" for name in ("problem", "chip", "space"))
        found.append(fm.search(*names, objective="energy", ert=tmp_path / "ert.yaml", gap=0))
    assert found[0].result.energy_pj == pytest.approx(found[1].result.energy_pj, rel=1e-9)
    assert found[0].certificate.optimal


def test_an_early_end_leaves_a_true_gap() -> None:
    work, platform = workload(SHARED), many(chip(), 2)
    ert = unpriced(platform)
    best = search(work, platform, space(), ert, objective="latency")
    assert isinstance(best, Solution)
    assert best.certificate.optimal
    for steps in (0, 3, 30):
        early = search(
            work, platform, space(), ert, objective="latency", budget=Budget(steps=steps)
        )
        assert isinstance(early, Solution)
        assert early.certificate.proven_bound <= best.result.latency_s * (1 + 1e-12)
        assert early.result.latency_s >= best.result.latency_s * (1 - 1e-12)


def test_tiles_too_many_to_count_are_not_given_out() -> None:
    """A product of 2^26 results on two cores: a word each is more tiles than the model counts."""
    work, platform = workload(CHAIN[:1]).with_ranks({"P": 2**13, "C": 2**13}), many(chip(None), 2)
    found = search(work, platform, space(), unpriced(platform), objective="latency")
    assert isinstance(found, Solution)
    (group,) = found.result.mapping.groups
    assert 2 <= prod(loop.factor for loop in group.given_out) <= 2**24
    assert evaluate(work, platform, found.result.mapping, unpriced(platform)) == found.result


def test_units_work_at_once_where_the_schedule_lets_them() -> None:
    """T on the matrix unit of two cores, R on the vector unit: 8 cycles and 4, and no words."""
    work = workload(CHAIN)
    work = replace(work, einsums=(work.einsums[0], replace(work.einsums[1], unit="vector")))
    platform = many(chip(None), 2)
    for schedule, cycles in (("any", 8), ("overlapped", 8), ("sequential", 12)):
        mapspace = space()
        fusion = replace(mapspace.fusion, schedule=schedule)
        own = replace(mapspace, fusion=fusion)
        one = Cores(platform, own, unpriced(platform), Budget())
        ways = group_spaces(work, own, ("T", "R"))
        assert one.floor(work, ways)[0] == cycles


@pytest.mark.parametrize("lines", [CHAIN[:2], BRANCH])
def test_no_partition_has_a_smaller_product(lines: tuple[str, ...]) -> None:
    """Every partition under many weights: no sum of groups has a smaller product."""
    work, platform = workload(lines), many(chip(), 2)
    found = search(work, platform, space(), PRICES, objective="edp")
    assert isinstance(found, Solution)
    least = found.result.cycles * found.result.energy_pj
    one = Question(work, platform, space(), PRICES, Budget()).opened()
    assert one.leak == found_leak(platform)
    for weight in (0.01, 0.5, 2.0, 8.0, 64.0, 1e9):
        goal = Goal(kind="weighted", weight=weight, leak=one.leak)
        path, bound = one.under(goal, one.forms)
        assert path is not None
        cycles, energy = path.costs
        assert cycles * (energy + one.leak * cycles) >= least * (1 - 1e-9)
        own = weight * found.result.cycles + found.result.energy_pj
        assert own >= bound * (1 - 1e-9)
    assert found.certificate.optimal


def test_bounds_under_weights_bound_the_product() -> None:
    """Of random points: no more than the least product, and no less than of the box alone."""
    chance = random.Random(5)
    for _ in range(200):
        points = [(chance.uniform(1, 9), chance.uniform(1, 9)) for _ in range(6)]
        box = [(1.0, 0.0, min(c for c, _ in points)), (0.0, 1.0, min(e for _, e in points))]
        weights = [10 ** chance.uniform(-2, 2) for _ in range(4)]
        lines = [(w, 1.0, min(w * c + e for c, e in points)) for w in weights]
        alone, bound = least_product(box), least_product([*box, *lines])
        assert alone <= bound * (1 + 1e-12)
        assert bound <= min(c * e for c, e in points) * (1 + 1e-12)


def product_of_points(chance: random.Random, short: float, *, start: bool) -> int:
    """The number of weights under which some points are asked for the one of least product.

    short: of what is proven under a weight, at most.
    """
    steep, asked = chance.choice((0.3, 1.0, 3.0)), list[float]()
    near = [chance.uniform(1, 9) for _ in range(chance.randint(1, 12))]
    points = [(c, 5 * c**-steep * chance.choice((1, 1, chance.uniform(1, 2)))) for c in near]
    least = min(c for c, _ in points), min(e for _, e in points)
    floor = least[0] * chance.choice((1, 0.9)), least[1] * chance.choice((1, 0.6))

    def under(weight: float, enough: float) -> tuple[tuple[float, float], float]:
        asked.append(weight)
        found = min(points, key=lambda point: weight * point[0] + point[1])
        total = weight * found[0] + found[1]
        if total > enough and chance.random() < 0.7:  # it ends where that is proven
            return chance.choice(points), enough
        return found, total * (1 - short * chance.random())

    known = [min(points)] if start else []
    best, bound = best_product(floor, under, lambda point: point, lambda: False, known)
    truth = min(c * e for c, e in points)
    assert best[0] * best[1] >= truth * (1 - 1e-12)
    assert bound <= truth * (1 + 1e-9)
    if not short:
        assert best[0] * best[1] == bound == pytest.approx(truth, rel=1e-12)
        assert len(asked) <= 2 * len(points) + 3
    return len(asked)


def test_the_least_product_is_found_and_proven() -> None:
    """Of random points, few of them on their hull; under weights that are solved, or in part."""
    chance = random.Random(7)
    for turn in range(300):
        product_of_points(chance, chance.choice((0, 0, 0.05)), start=turn % 2 == 0)


def found_leak(platform: Platform) -> float:
    return sum(PRICES.leak_per_cycle(platform).values())


def test_any_groups_give_keys_of_one_row_to_several_cores() -> None:
    work, platform = attention(B=1, H=1, P=1, M=8, E=4, F=4, softmax="online"), many(chip(None), 4)
    listed, found = (
        search(work, platform, load_mapspace(name), unpriced(platform), objective="latency")
        for name in ("cores", "any-cores")
    )
    assert isinstance(listed, Solution)
    assert isinstance(found, Solution)
    assert found.result.cycles <= listed.result.cycles
    assert found.workload.rank_sizes[SPLIT] > 1
    executed = execute(found.workload, platform, found.result.mapping)
    assert executed.right
    assert compare_run(executed, found.result) == ()
