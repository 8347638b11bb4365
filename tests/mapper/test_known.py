"""Known mappings as first answers: they change no proof, and are answers of the mapspace alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flat_mapper.arch.reader import load_platform
from flat_mapper.base.budget import Budget
from flat_mapper.energy.tables import Ert
from flat_mapper.mapper.group.incumbent import Objective
from flat_mapper.mapper.solve.certificate import Solution
from flat_mapper.mapper.solve.driver import search
from flat_mapper.mapper.solve.known import Known
from flat_mapper.mapping.space import Fusion, KeepRule, Mapspace, SlotRule
from flat_mapper.workload.cascade import attention
from flat_mapper.workload.graph import Workload

EDGE = load_platform("edge")
TINY = attention(B=1, H=2, P=8, M=8, E=4, F=4)
GROUPS = (("QK", "softmax", "AV"),)
FREE = Mapspace(name="free", fusion=Fusion(groups=GROUPS))
ACTIONS = {"read": 1.0, "write": 1.0, "update": 1.0}
LEVELS = {"DRAM": dict.fromkeys(ACTIONS, 100.0), "GLB": ACTIONS, "RF": ACTIONS, "LREG": ACTIONS}
ERT = Ert(levels={**LEVELS, "MAC": {"compute": 1.0}, "VALU": {"compute": 1.0}}, source="test")


def best(
    space: Mapspace = FREE,
    workload: Workload = TINY,
    objective: Objective = "edp",
    known: tuple[Known, ...] = (),
    **spent: float,
) -> Solution:
    budget = Budget(**spent)  # type: ignore[arg-type]
    found = search(workload, EDGE, space, ERT, objective=objective, known=known, budget=budget)
    assert isinstance(found, Solution)
    return found


def known_of(found: Solution) -> tuple[Known]:
    return ((found.workload, found.result.mapping),)


@pytest.mark.parametrize("objective", ["latency", "energy", "edp"])
def test_a_proof_is_the_same_with_what_is_known(objective: Objective) -> None:
    alone = best(objective=objective)
    for other in ("latency", "energy"):
        beside = best(objective=objective, known=known_of(best(objective=other)))  # type: ignore[arg-type]
        assert beside.certificate.optimal
        assert beside.result.cycles == alone.result.cycles
        assert beside.result.energy_pj == pytest.approx(alone.result.energy_pj, rel=1e-12, abs=0)


def test_what_is_known_is_the_answer_where_there_is_no_time() -> None:
    alone = best()
    beside = best(known=known_of(alone), steps=0)
    assert beside.result.edp_js == alone.result.edp_js
    assert 0 < beside.certificate.proven_bound <= alone.result.edp_js
    assert not beside.certificate.optimal


def test_a_larger_size_is_cut_to_the_one_that_is_asked() -> None:
    twice = replace(TINY, rank_sizes={**TINY.rank_sizes, "P": 16, "H": 4})
    found = best(workload=twice)
    beside = best(known=known_of(found), steps=0)
    assert beside.workload == best().workload
    assert beside.result.edp_js < found.result.edp_js


def test_what_does_not_divide_is_an_answer_with_the_bound_of_any_size() -> None:
    nine, twelve = (replace(TINY, rank_sizes={**TINY.rank_sizes, "P": n}) for n in (9, 12))
    fours, threes = (replace(FREE, fusion=replace(FREE.fusion, tiles={"P": (n,)})) for n in (4, 3))
    known = known_of(best(fours, twelve, "latency"))
    found = best(workload=nine, objective="latency", known=known, steps=0)
    assert found.result.mapping.groups[0].passes("P") == 3
    proof = found.certificate
    assert not proof.among
    assert 0 < proof.proven_bound == proof.any_tiles_bound < found.result.latency_s
    alone = best(threes, nine, "latency")
    beside = best(threes, nine, "latency", known=known)  # in threes too there are three passes
    assert beside.result == alone.result


RULES = {
    "a factor": (SlotRule(node="PE", kind="spatial", factors={"M": 2}),),
    "an axis": (SlotRule(node="PE", kind="spatial", x=("E",), y=("F",)),),
    "what is kept": (KeepRule(level="RF", keep=("Q", "K", "V")),),
}


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_no_mapping_outside_of_the_mapspace_is_an_answer(
    rules: tuple[SlotRule | KeepRule, ...],
) -> None:
    slots = tuple(rule for rule in rules if isinstance(rule, SlotRule))
    keeps = tuple(rule for rule in rules if isinstance(rule, KeepRule))
    ruled = replace(FREE, slots=slots, keeps=keeps)
    free, alone = best(), best(ruled)
    assert alone.result.edp_js > free.result.edp_js
    beside = best(ruled, known=known_of(free))
    assert beside.result.edp_js == pytest.approx(alone.result.edp_js, rel=1e-12, abs=0)
    # What has the rules is an answer of the mapspace without them.
    assert best(known=known_of(alone), steps=0).result.edp_js <= alone.result.edp_js


FUSIONS = {
    "the groups": Fusion(),
    "the schedule": Fusion(groups=GROUPS, schedule="sequential"),
    "the granularity": Fusion(groups=GROUPS, granularity="all"),
    "the tiles": Fusion(groups=GROUPS, tiles={"P": (1,)}),
    "the staging": Fusion(groups=GROUPS, staging="none"),
}


@pytest.mark.parametrize("fusion", FUSIONS.values(), ids=FUSIONS)
def test_fusion_is_held_to_what_is_declared(fusion: Fusion) -> None:
    space, free = replace(FREE, fusion=fusion), best()
    alone, beside = best(space), best(space, known=known_of(free))
    assert beside.result.edp_js == pytest.approx(alone.result.edp_js, rel=1e-12, abs=0)
