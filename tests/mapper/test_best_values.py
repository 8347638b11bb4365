"""The search against the best values that the brute force found, recorded: many small questions."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import pytest
from agreement import value
from oracles.small_cases import QUESTIONS

from flat_mapper.mapper.solve.certificate import Solution
from flat_mapper.mapper.solve.driver import search

RECORDED = Path(__file__).parents[1] / "data" / "best_values.jsonl"  # by oracles.record_best
LINES = [json.loads(line) for line in RECORDED.read_text(encoding="utf-8").splitlines()]


def named(line: dict) -> str:
    """A question's name and seed."""
    return f"{line['question']} {line['seed']}"


FIRST = {line["question"]: line for line in reversed(LINES)}  # of each kind, by day


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(one, marks=[] if one is FIRST[one["question"]] else pytest.mark.nightly)
        for one in LINES
    ],
    ids=[named(one) for one in LINES],
)
def test_search_finds_the_recorded_best(line: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    if line["seed"] % 3 == 1:  # as where candidates are too many to be kept
        monkeypatch.setattr(import_module("flat_mapper.mapper.group.group"), "MOST_CANDIDATES", 0)
    case = QUESTIONS[line["question"]](line["seed"])
    for objective, best in line["best"].items():
        question = case.workload, case.platform, case.mapspace, case.ert
        found = search(*question, objective=objective)
        if best is None:
            assert not isinstance(found, Solution)
            continue
        assert isinstance(found, Solution)
        assert value(found.result, objective) == pytest.approx(best, rel=1e-9), objective
