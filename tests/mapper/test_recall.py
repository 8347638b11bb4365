"""Groups of earlier searches: their answers are recalled, and no answer tells that they were."""

from __future__ import annotations

import pytest

from flat_mapper.api.calls import search
from flat_mapper.base.budget import Budget
from flat_mapper.mapper.group.group import GroupSearch
from flat_mapper.mapper.solve import symmetry
from flat_mapper.reports.answers import SearchResult


def answer(mapspace: str, objective: str = "edp", seq: int = 256) -> dict[str, object]:
    """An answer without the seconds that it took, and the pieces of work."""
    budget = Budget()
    found = search("bert-base", "edge", mapspace, seq=seq, objective=objective, budget=budget)
    assert isinstance(found, SearchResult)
    document = found.to_dict()
    document["search"].pop("seconds")
    return {**document, "pieces": budget.spent}


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
    taken: list[tuple[str, ...]] = []
    whole = GroupSearch.warm

    def warm(self: GroupSearch, incumbent: object) -> None:
        taken.append(self.problem.group.names)
        whole(self, incumbent)  # type: ignore[arg-type]

    monkeypatch.setattr(GroupSearch, "warm", warm)
    answer("flex")
    assert len(taken) == 3
    answer("flat")
    assert [len(names) for names in taken[3:]] == [6]  # of all fused


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
