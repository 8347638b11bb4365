"""Groups are searched below a hope first; how high that is changes no answer."""

from __future__ import annotations

import pytest
from agreement import value
from oracles.record_work import lines, named
from oracles.small_cases import QUESTIONS

from flat_mapper.mapper.group import beam, group, incremental, promise
from flat_mapper.mapper.solve.optimum import search
from flat_mapper.mapper.solve.result import Solution
from flat_mapper.mapper.solve.symmetry import forget

SOME = [line for line in lines() if line["best"].get("edp") is not None][::5]


@pytest.mark.parametrize("above", [-0.5, 0.0, 100.0])
@pytest.mark.parametrize("line", SOME, ids=named)
def test_no_hope_changes_the_best(
    line: dict, above: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that nothing is below, one at a bound, and one that all is below."""
    monkeypatch.setattr(promise, "ABOVE", above)
    monkeypatch.setattr(promise, "NEAR", above)
    monkeypatch.setattr(incremental, "TRIED", 1)
    assert_best(line)


@pytest.mark.parametrize("line", SOME[::2], ids=named)
def test_a_hope_that_is_given_up_changes_no_best(
    line: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No Einsum may have two candidates below it."""
    monkeypatch.setattr(promise, "NEAR", 100.0)
    monkeypatch.setattr(group, "MOST_CANDIDATES", 0)
    monkeypatch.setattr(beam, "MOST_HOPED", 1)
    assert_best(line)


def assert_best(line: dict) -> None:
    """The recorded best of a question is found, whatever was searched before."""
    forget()
    case = QUESTIONS[line["question"]](line["seed"])
    answer = search(case.workload, case.platform, case.mapspace, case.ert, objective="edp")
    forget()
    assert isinstance(answer, Solution)
    assert value(answer.result, "edp") == pytest.approx(line["best"]["edp"], rel=1e-9)
