"""Annealing inside the mapspace beats no answer that is proven."""

from __future__ import annotations

import random

import pytest
from oracles.annealing import RULES, Annealing

import flat_mapper as fm
from flat_mapper.api.calls import energies
from flat_mapper.cost_model.result import Result
from flat_mapper.mapper.group.incumbent import Objective
from flat_mapper.mapper.solve.certificate import value_of
from flat_mapper.reports.answers import SearchResult

EVALUATIONS = 20_000
CHIPS: tuple[tuple[str, Objective], ...] = (("edge", "edp"), ("cloud", "latency"))
SHIPPED = (
    "bert-base",
    "gpt2",
    "t5-small",
    "trxl",
    "xlm",
    "whisper-large",
    "llama3-8b",
    "mistral-7b",
)
QUESTIONS: list[tuple[str, str, str, Objective, dict[str, object]]] = [
    *((problem, chip, "flat", goal, {}) for problem in SHIPPED for chip, goal in CHIPS),
    *(
        ("bert-base", "edge", space, "edp", {"seq": 256})  # which fits whole
        for space in ("naive", "flex", "flat-h", "flat-r")
    ),
    *(("bert-base", "cloud", space, "energy", {}) for space in ("flex-stream", "flex", "flat-h")),
    ("bert-base", "edge", "flat", "edp", {"mask": "causal"}),
    ("bert-base", "edge", "flat", "energy", {"mask": "window=256"}),
    ("bert-base", "tpu-v4i", "flat", "latency", {"mask": "causal"}),
    ("bert-base", "edge", "flat", "edp", {"softmax": "online"}),
    ("llama3-8b", "cloud", "flat", "edp", {"softmax": "online", "mask": "none"}),
    ("llama3-8b", "cloud", "flat", "edp", {"phase": "decode", "mask": "none"}),
    ("gemm-gemm", "edge", "flat", "edp", {}),
]


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("number", "evaluations"),
    [
        (0, 500),
        *(pytest.param(n, EVALUATIONS, marks=pytest.mark.campaign) for n in range(len(QUESTIONS))),
    ],
)
def test_annealing_beats_no_proven_answer(number: int, evaluations: int) -> None:
    name, chip, space, goal, asked = QUESTIONS[number]
    problem = fm.load_problem(name, **asked)  # type: ignore[arg-type]
    answer = fm.search(problem, chip, space, objective=goal)
    assert isinstance(answer, SearchResult)
    assert answer.certificate.optimal

    def value(result: Result) -> float:
        return value_of(result, goal)

    prices, _ = energies(answer.platform, None)
    where = answer.workload, answer.platform, prices, value, random.Random(number)
    walk = Annealing(*where, RULES.get(space, lambda _: True))
    assert walk.rules(answer.mapping)
    best, mapping = walk.best(answer.mapping, evaluations)
    assert walk.legal > evaluations // 10
    assert best >= value(answer.result) * (1 - 1e-9), mapping
