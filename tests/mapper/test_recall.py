"""Groups of earlier searches: their answers are recalled, and no answer tells that they were."""

from __future__ import annotations

from dataclasses import replace

import pytest
from oracles.small_cases import masked_case

from flat_mapper.api.calls import load_problem, search
from flat_mapper.base.budget import Budget
from flat_mapper.mapper.group.group import GroupSearch
from flat_mapper.mapper.group.objective import OBJECTIVES
from flat_mapper.mapper.solve import optimum, symmetry
from flat_mapper.mapper.solve.result import Solution
from flat_mapper.mapper.solve.solve import value_of
from flat_mapper.reports.answers import SearchResult
from flat_mapper.workload.mask import LayerKind, Mask


def answer(mapspace: str, objective: str = "edp", seq: int = 256) -> dict[str, object]:
    """An answer without the seconds that it took, and the pieces of work."""
    budget = Budget()
    found = search("bert-base", "edge", mapspace, seq=seq, objective=objective, budget=budget)
    assert isinstance(found, SearchResult)
    return {**timeless(found), "pieces": budget.spent}


def timeless(found: SearchResult) -> dict[str, object]:
    """An answer without the seconds that it took."""
    document = found.to_dict()
    counts = document["search"]
    assert isinstance(counts, dict)
    counts.pop("seconds")
    return document


@pytest.mark.parametrize("objective", ["latency", "edp"])
def test_no_answer_depends_on_what_was_searched_before(objective: str) -> None:
    alone = {}
    for mapspace in ("flex", "flat", "naive"):
        symmetry.forget()
        alone[mapspace] = answer(mapspace, objective)
    symmetry.forget()
    for mapspace in ("flat", "naive", "flex", "flat"):
        assert answer(mapspace, objective) == alone[mapspace]
        answer(mapspace, "energy")


def test_groups_of_another_mapspace_are_not_searched_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The unfused alternative of flat is what flex has searched."""
    taken: dict[tuple[str, ...], None] = {}
    whole = GroupSearch._search_all

    def searched(self: GroupSearch) -> None:
        taken.setdefault(self.problem.group.names)
        whole(self)

    monkeypatch.setattr(GroupSearch, "_search_all", searched)
    answer("flex")
    assert len(taken) == 3
    taken.clear()
    answer("flat")
    assert [len(names) for names in taken] == [6]  # of all fused


KINDS = (
    LayerKind(count=5, mask=Mask(causal=True, window=64)),
    LayerKind(count=3, mask=Mask(causal=True)),
)


@pytest.mark.parametrize("objective", ["latency", "energy", "edp"])
def test_layers_of_another_mask_have_the_same_answer_whatever_came_before(objective: str) -> None:
    block = load_problem("bert-base", "block", seq=256, softmax="online")
    alone = []
    for kind in KINDS:
        symmetry.forget()
        found = search(block.of_kind(kind), "edge", "flat", objective=objective)
        assert isinstance(found, SearchResult)
        alone.append(timeless(found))
    symmetry.forget()
    for kind, own in zip(KINDS, alone, strict=True):
        found = search(block.of_kind(kind), "edge", "flat", objective=objective)
        assert isinstance(found, SearchResult)
        assert timeless(found) == own


def test_what_no_mask_touches_is_searched_once_for_all_kinds_of_layers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken: list[tuple[str, ...]] = []
    whole = GroupSearch.solve

    def solve(self: GroupSearch, incumbent: object, *, warmed: bool = False) -> None:
        taken.append(self.problem.group.names)
        whole(self, incumbent, warmed=warmed)  # type: ignore[arg-type]

    monkeypatch.setattr(GroupSearch, "solve", solve)
    symmetry.forget()
    block = load_problem("bert-base", "block", seq=256, softmax="online")
    for kind in KINDS:
        search(block.of_kind(kind), "edge", "flat", objective="latency")
    alone = [names for names in taken if len(names) == 1]
    assert len(alone) == len(set(alone)) > 0
    attention = [names for names in taken if len(names) > 1]
    assert len(attention) == 2 * len(set(attention)) > 0


REVERSED = (Mask(causal=True), Mask(causal=True, window=64))
MASKS = (Mask(causal=True), Mask(window=2))


@pytest.mark.parametrize("seed", [0, 3])
def test_a_search_that_begins_with_the_mapping_of_another_mask_is_as_good(seed: int) -> None:
    """Of cases that `agree` with brute force; also from a mapping that is the best itself."""
    case = masked_case(seed)
    rest = (case.platform, case.mapspace, case.ert)
    for objective in OBJECTIVES:
        alone = optimum.search(case.workload, *rest, objective=objective)
        assert isinstance(alone, Solution)
        for mask in (*MASKS, case.workload.mask):
            other = optimum.search(replace(case.workload, mask=mask), *rest, objective=objective)
            assert isinstance(other, Solution)
            like = other.result.mapping
            found = optimum.search(case.workload, *rest, objective=objective, like=like)
            assert isinstance(found, Solution)
            best = value_of(alone.result, objective)
            assert value_of(found.result, objective) == pytest.approx(best, rel=1e-12)
            assert found.certificate.optimal


def test_layers_begin_with_the_mapping_of_those_before() -> None:
    """824,074 mappings are priced where each kind of layers is searched by itself."""
    block = load_problem("bert-base", "attention", seq=512, softmax="online")
    kinds = tuple(replace(kind, mask=mask) for kind, mask in zip(KINDS, REVERSED, strict=True))
    found = search(replace(block, layers=kinds), "edge", "flat", objective="latency")
    assert isinstance(found, SearchResult)
    assert found.certificate.evaluated <= 806926


def test_what_a_mapping_of_another_question_takes_is_no_cutoff() -> None:
    """A mapping that does not fit leaves the search as it is; one that nothing beats is searched
    for in full.
    """
    case = masked_case(0)
    what = (case.workload, case.platform, case.mapspace, case.ert)
    alone = optimum.search(*what)
    assert isinstance(alone, Solution)
    with pytest.MonkeyPatch.context() as patch:
        for cutoff in (None, (0.0, 0.0)):
            patch.setattr(optimum, "_just_above", lambda *_, cutoff=cutoff: cutoff)
            found = optimum.search(*what, like=alone.result.mapping)
            assert isinstance(found, Solution)
            assert found.result == alone.result


def test_a_budget_that_ends_recalls_nothing() -> None:
    answer("flex")
    budget = Budget(steps=5)
    found = search("bert-base", "edge", "flex", seq=256, budget=budget)
    assert isinstance(found, SearchResult)
    assert budget.stopped == "steps"


def test_few_groups_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(symmetry, "REMEMBERED", 4)
    monkeypatch.setattr(symmetry, "MOST_STEPS", 1)
    alone = answer("flex", seq=128)
    answer("flex", seq=64)
    assert len(symmetry._facts) == 4
    assert all(len(facts.outcomes) == 1 for facts in symmetry._facts)
    assert answer("flex", seq=128) == alone
