"""What the search of small questions prices and cuts: a bound that grows loose shows here first."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from oracles.brute_force import Case
from oracles.fused_questions import fused_question
from oracles.small_cases import small_case

from flat_mapper.api import calls as api
from flat_mapper.base.budget import Budget
from flat_mapper.mapper.solve.optimum import search
from flat_mapper.mapper.solve.result import Solution
from flat_mapper.reports.answers import SearchResult

ACCELFORGE = Path(__file__).parents[2] / "benchmarks" / "accelforge"
ENDS = 10**9  # steps: under a budget that ends a first mapping is looked for, whatever is hoped
Work = tuple[int, int, int, int]  # pieces of work, mappings priced; outer and inner choices cut
WORK: tuple[tuple[Callable[[int], Case], int, Work], ...] = (
    (small_case, 6, (5, 252, 8, 144)),
    (small_case, 12, (42, 372, 80, 11)),
    (small_case, 18, (5, 83, 8, 50)),
    (small_case, 20, (41, 144, 67, 2)),
    (small_case, 30, (10, 20, 12, 16)),
    (small_case, 36, (50, 228, 79, 20)),
    (small_case, 44, (37, 93, 80, 0)),
    (small_case, 53, (59, 99, 13, 0)),
    (fused_question, 31, (5, 6, 8, 6)),
    (fused_question, 37, (8, 4, 8, 0)),
    (fused_question, 47, (49, 1223, 82, 0)),
    (fused_question, 51, (5, 168, 8, 102)),
)


# The same where candidates are too many to keep, and grow node by node.
GROWN: tuple[tuple[Callable[[int], Case], int, Work], ...] = (
    (small_case, 6, (135, 504, 8, 20)),
    (small_case, 12, (52, 342, 80, 11)),
    (small_case, 18, (130, 166, 8, 25)),
    (small_case, 20, (55, 144, 67, 2)),
    (small_case, 36, (58, 228, 79, 20)),
    (small_case, 53, (131, 99, 13, 0)),
    (fused_question, 47, (161, 3592, 82, 0)),
)


@pytest.mark.parametrize(("drawn", "seed", "work"), WORK)
def test_no_bound_cuts_less(drawn: Callable[[int], Case], seed: int, work: Work) -> None:
    """Counts of today; where one gets better, write it down."""
    assert_work(drawn(seed), work)


@pytest.mark.parametrize(("drawn", "seed", "work"), GROWN)
def test_no_bound_cuts_less_as_candidates_grow(
    drawn: Callable[[int], Case],
    seed: int,
    work: Work,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(import_module("flat_mapper.mapper.group.group"), "MOST_CANDIDATES", 0)
    assert_work(drawn(seed), work)


def test_a_first_answer_comes_from_the_largest_of_nearly_equal_tiles() -> None:
    """Under the smallest of them it is half as good, and 98,771 mappings are priced."""
    decode = api.load_problem("llama3-8b", seq=4096, phase="decode")
    found = api.search(decode, "cloud", budget=Budget(steps=ENDS))
    assert isinstance(found, SearchResult)
    assert found.certificate.evaluated <= 4339


@pytest.mark.parametrize(("mapspace", "most"), [("flat-any", 120), ("flat-ws", 4)])
def test_whole_tiles_of_single_buffers_count_before_candidates_are_priced(
    mapspace: str, most: int
) -> None:
    """The question beside AccelForge's: without their cycles in bounds 535 and 30 are priced."""
    found = api.search(
        api.load_problem("bert-base", seq=512, sizes={"B": 64}),
        str(ACCELFORGE / "edge-ws.yaml"),
        str(ACCELFORGE / f"{mapspace}.yaml"),
        objective="edp",
    )
    assert isinstance(found, SearchResult)
    assert found.certificate.evaluated <= most


def test_groups_beside_one_that_cannot_fit_are_not_searched() -> None:
    """The two products of an attention unfused, beside a softmax that lacks two words: 130,426."""
    question = api.load_problem("bert-base", seq=65536), "edge"
    found = api.search(*question, budget=Budget(steps=ENDS))
    assert isinstance(found, SearchResult)
    assert "QK_max+QK_exp+QK_sum+A" in " ".join(found.certificate.infeasible)
    assert found.certificate.evaluated <= 6744


def assert_work(case: Case, work: Work) -> None:
    """What the search of a case does is no more than this; `record_work` has it below a hope."""
    budget = Budget(steps=ENDS)
    question = case.workload, case.platform, case.mapspace, case.ert
    found = search(*question, objective="edp", budget=budget)
    assert isinstance(found, Solution)
    cut = found.certificate.pruned
    did = budget.spent, found.certificate.evaluated, cut["outer: bound"], cut["inner: bound"]
    assert did[0] <= work[0]
    assert did[1] <= work[1]
    assert did[2] >= work[2]
    assert did[3] >= work[3]
