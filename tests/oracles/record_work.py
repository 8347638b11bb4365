"""What the search does to answer the recorded questions, for a bound that grows loose to show.

    PYTHONPATH=tests python -m oracles.record_work > tests/data/search_work.jsonl

After a change that is meant to move them, write the counts again, and review the difference.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from oracles.small_cases import QUESTIONS

from flat_mapper.base.budget import Budget
from flat_mapper.mapper.solve.optimum import search
from flat_mapper.mapper.solve.result import Solution

RECORDED = Path(__file__).parents[1] / "data" / "best_values.jsonl"
# What only big questions reach, by the remainder of the seed: rows that are thinned node by node,
# a few at once; and little that is looked at in one go, or remembered.
SETTINGS = (
    {},
    {"group.group.MOST_CANDIDATES": 0, "group.beam.BEAM": 2, "group.incremental.AT_ONCE": 4000},
    {
        "cost.pareto.CHUNK": 3,
        "group.single.PAIRS": 8,
        "group.branches.FIRST": 1,
        "group.branches.MANY": 2,
        "group.fused.MOST_KNOWN": 1,
        "group.group.WARM_CANDIDATES": 2,
        "group.group.WARM_OUTERS": 1,
        "group.group.WARM_ALONE": 2,
    },
)
Work = dict[str, float]


def lines() -> list[dict]:
    """The recorded questions."""
    return [json.loads(line) for line in RECORDED.read_text(encoding="utf-8").splitlines()]


def named(line: dict) -> str:
    """A question's name and seed."""
    return f"{line['question']} {line['seed']}"


def found(line: dict, patch: pytest.MonkeyPatch) -> Iterator[tuple[str, Solution | None, Work]]:
    """Of every objective, what the search finds, and what it does."""
    for name, small in SETTINGS[line["seed"] % len(SETTINGS)].items():
        module, _, constant = name.rpartition(".")
        patch.setattr(import_module(f"flat_mapper.mapper.{module}"), constant, small)
    case = QUESTIONS[line["question"]](line["seed"])
    for objective in line["best"]:
        budget = Budget()
        question = case.workload, case.platform, case.mapspace, case.ert
        answer = search(*question, objective=objective, budget=budget)
        if not isinstance(answer, Solution):
            yield objective, None, {}
            continue
        said = answer.certificate
        yield (
            objective,
            answer,
            {
                "pieces": budget.spent,
                "priced": said.evaluated,
                "size": said.mapspace_size,
                "bound": said.lower_bound,
            },
        )


if __name__ == "__main__":
    for one in lines():
        with pytest.MonkeyPatch.context() as patch_:
            work = {objective: did for objective, _, did in found(one, patch_)}
        print(json.dumps({"question": named(one), "work": work}))
