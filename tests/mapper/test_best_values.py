"""The search against the best values that the brute force found, recorded: many small questions."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import pytest
from agreement import value
from oracles.small_cases import QUESTIONS

from flat_mapper.mapper.solve.optimum import search
from flat_mapper.mapper.solve.result import Solution

RECORDED = Path(__file__).parents[1] / "data" / "best_values.jsonl"  # by oracles.record_best
LINES = [json.loads(line) for line in RECORDED.read_text(encoding="utf-8").splitlines()]
NAMES = [f"{line['question']} {line['seed']}" for line in LINES]
# What only big questions reach, by the remainder of the seed: rows that are thinned node by node,
# a few at once; and little that is looked at in one go, or remembered.
SETTINGS = (
    {},
    {"group.MOST_CANDIDATES": 0, "beam.BEAM": 2, "incremental.AT_ONCE": 4000},
    {
        "pareto.CHUNK": 3,
        "single.PAIRS": 8,
        "fused.MOST_KNOWN": 1,
        "group.WARM_CANDIDATES": 2,
        "group.WARM_OUTERS": 1,
        "group.WARM_ALONE": 2,
    },
)


@pytest.mark.parametrize("line", LINES, ids=NAMES)
def test_search_finds_the_recorded_best(line: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, small in SETTINGS[line["seed"] % len(SETTINGS)].items():
        module, _, constant = name.partition(".")
        monkeypatch.setattr(import_module(f"flat_mapper.mapper.group.{module}"), constant, small)
    case = QUESTIONS[line["question"]](line["seed"])
    for objective, best in line["best"].items():
        found = search(case.workload, case.platform, case.mapspace, case.ert, objective=objective)
        if best is None:
            assert not isinstance(found, Solution)
            continue
        assert isinstance(found, Solution)
        assert value(found.result, objective) == pytest.approx(best, rel=1e-9), objective
