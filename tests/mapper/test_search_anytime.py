"""A search that ends early: its bound is below the best of brute force, its answer above.

Budgets are numbers of steps, so that no test depends on the machine's speed.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from importlib import import_module

import pytest
from agreement import value
from oracles.brute_force import Case, answers
from oracles.small_cases import online_case, small_case, turns_case

from flat_mapper import load_platform, load_problem
from flat_mapper.api.calls import energies, mapspace_of
from flat_mapper.base.budget import Budget
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.mapper.bounds.candidate_set import CandidateCache
from flat_mapper.mapper.group.group import GroupSearch
from flat_mapper.mapper.group.incumbent import OBJECTIVES, Goal, GoalIncumbent, Incumbent
from flat_mapper.mapper.solve.certificate import Solution
from flat_mapper.mapper.solve.driver import Question, search
from flat_mapper.mapper.solve.loop import FormSearch
from flat_mapper.mapper.space.group import group_problem
from flat_mapper.mapping.space import partitions
from flat_mapper.workload.mask import Mask

KINDS = {"small": small_case, "online": online_case, "turns": turns_case}
QUESTIONS = (
    *(("small", seed) for seed in (1, 4, 5, 8, 9, 16)),
    *(("online", seed) for seed in (1, 5, 9)),
    *(("turns", seed) for seed in (4, 5, 10)),
    ("masked", 5),
)


@cache
def question(kind: str, seed: int) -> tuple[Case, dict[str, Result | None]]:
    """A case with its truth by objective."""
    case = KINDS.get(kind, online_case)(seed)
    if kind == "masked":
        sizes = {**case.workload.rank_sizes, "P": 2, "M": 4}
        cascade = replace(case.workload.with_ranks(sizes), mask=Mask(causal=True))
        case = replace(case, workload=cascade)
    return case, answers(case)


def check(case: Case, truth: Result | None, budget: Budget, objective: str) -> Solution | None:
    """The answer under a budget, once its bound and its cost enclose the truth."""
    found = search(
        *(case.workload, case.platform, case.mapspace, case.ert),
        objective=objective,  # type: ignore[arg-type]
        budget=budget,
    )
    if truth is None:
        assert isinstance(found, Infeasible)
        return None
    assert isinstance(found, Solution), found
    own, best = value(found.result, objective), value(truth, objective)
    proof = found.certificate
    assert proof.proven_bound <= best * (1 + 1e-9)
    assert best <= own * (1 + 1e-9)
    assert proof.gap == pytest.approx(own / proof.proven_bound - 1, abs=1e-9)
    assert not proof.optimal or own == pytest.approx(best, rel=1e-9)
    return found


@pytest.mark.parametrize(("kind", "seed"), QUESTIONS)
def test_an_early_end_leaves_a_true_gap(kind: str, seed: int) -> None:
    case, truth = question(kind, seed)
    for objective in OBJECTIVES:
        found = [check(case, truth[objective], Budget(steps=n), objective) for n in (0, 2, 6, 20)]
        ends = [f.certificate.stopped for f in found if f]
        assert "steps" in ends or not ends or ends[0] == ""


@pytest.mark.parametrize("kept", [2, 50])  # with 50 all of an Einsum go on in parts
@pytest.mark.parametrize(("kind", "seed"), QUESTIONS)
def test_what_is_too_much_to_keep_leaves_a_true_gap(
    kind: str, seed: int, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module("flat_mapper.mapper.group.group"), "MOST_CANDIDATES", 0)
    monkeypatch.setattr(Budget, "candidates", kept)
    case, truth = question(kind, seed)
    for objective in OBJECTIVES:
        check(case, truth[objective], Budget(), objective)


def test_dominance_under_a_mask_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("flat_mapper.mapper.group.group"), "MOST_CANDIDATES", 0)
    case, truth = question("masked", 5)
    for objective in OBJECTIVES:
        found = check(case, truth[objective], Budget(), objective)
        assert found is None or found.certificate.optimal


def test_what_is_left_out_is_told_by_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("flat_mapper.mapper.group.group"), "MOST_CANDIDATES", 0)
    monkeypatch.setattr(Budget, "candidates", 1)
    found = []
    for kind, seed in QUESTIONS:
        case, truth = question(kind, seed)
        found.append(check(case, truth["energy"], Budget(), "energy"))
    assert not all(f.certificate.optimal for f in found if f)


@pytest.mark.parametrize(("kind", "seed"), QUESTIONS)
def test_a_gap_is_kept(kind: str, seed: int) -> None:
    case, truth = question(kind, seed)
    for objective in OBJECTIVES:
        found = check(case, truth[objective], Budget(gap=0.2), objective)
        assert found is None or found.certificate.gap <= 0.2 + 1e-9


def test_ctrl_c_gives_the_best_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: GroupSearch, outers: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(GroupSearch, "_search", interrupted)
    case, truth = question("online", 5)
    found = check(case, truth["edp"], Budget(), "edp")
    assert found is not None
    assert found.certificate.stopped == "Ctrl-C"
    assert not found.certificate.optimal


def test_an_end_between_two_sizes_leaves_the_answer_of_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """37 has no useful divisor: 40, 48 and 64 are searched before it."""
    opened, budget = Question.opened, Budget(seconds=1e9)
    sizes: list[int] = []

    def late(self: Question) -> FormSearch:
        sizes.append(self.workload.rank_sizes["P"])
        if len(sizes) == 2:
            budget.seconds = 0.0
            budget.check()
        return opened(self)

    monkeypatch.setattr(Question, "opened", late)
    sizes_of = {"B": 1, "H": 1, "E": 4, "F": 4, "P": 37, "M": 37}
    cascade, platform = load_problem("bert-base", sizes=sizes_of), load_platform("edge")
    prices, _ = energies(platform, None)
    mapspace = mapspace_of("flex", cascade, platform)
    found = search(cascade, platform, mapspace, prices, budget=budget)
    assert isinstance(found, Solution)
    assert sizes == [40, 40, 37]  # the last for the bound of any size
    assert found.certificate.stopped == "time"
    assert not found.certificate.optimal
    assert found.workload.rank_sizes["P"] == 37


@pytest.mark.parametrize(("kind", "seed"), [("small", 18), ("small", 20), ("online", 5)])
def test_once_there_is_an_answer_no_piece_of_work_outlasts_the_end(
    kind: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also none of an enumeration: a piece is begun, and is the last."""
    monkeypatch.setattr(import_module("flat_mapper.mapper.group.group"), "MOST_CANDIDATES", 0)
    case, truth = question(kind, seed)
    goal = Goal(kind="edp", leak=sum(case.ert.leak_per_cycle(case.platform).values()))
    group = list(partitions(case.workload, case.mapspace))[-1][0]
    problem = group_problem(case.workload, case.platform, case.ert, case.mapspace, group)
    spent: list[tuple[int, int]] = []  # asked, and done once there was an answer
    for steps in range(100):
        budget = Budget(steps=steps)
        known = GoalIncumbent(goal)
        one = GroupSearch.of(problem, CandidateCache(), budget)
        one.prepare()
        one.solve(known)
        if not budget.stopped:
            break
        spent.append((steps, budget.spent))
    first = spent[0][1]  # pieces until there is an answer
    assert len(spent) > first
    assert [done for _, done in spent] == [max(first, steps + 1) for steps, _ in spent]
    for steps in (first, len(spent) - 1):
        found = check(case, truth["edp"], Budget(steps=steps), "edp")
        assert found is not None


def test_groups_of_most_einsums_have_their_first_answer_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    warmed: list[int] = []
    first_answer = GroupSearch.warm

    def warm(self: GroupSearch, incumbent: Incumbent) -> None:
        warmed.append(len(self.problem.spaces))
        first_answer(self, incumbent)

    monkeypatch.setattr(GroupSearch, "warm", warm)
    cascade = load_problem("bert-base", scope="layer", seq=64)
    platform = load_platform("edge")
    space, ert = mapspace_of("flat", cascade, platform), energies(platform, None)[0]
    found = search(cascade, platform, space, ert, budget=Budget(steps=0))
    assert isinstance(found, Solution)
    assert warmed == sorted(warmed)
    assert warmed[0] < warmed[-1]


def test_several_searches_share_what_time_is_left() -> None:
    budget = Budget(seconds=8e9, gap=0.01)  # so many that those of this test are none
    first = budget.part(4)
    assert first.seconds == pytest.approx(2e9, rel=1e-6)
    assert first.gap == 0.01
    assert Budget().part(3).seconds == float("inf")
    assert budget.part(1) is budget


def test_progress_of_groups_in_sequence_names_the_best_so_far(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(import_module("flat_mapper.base.budget"), "REPORT_S", -1.0)
    said: list[str] = []
    case = small_case(5)  # which a hope does not prove at once
    apart = replace(case.mapspace, fusion=replace(case.mapspace.fusion, groups=()))
    inputs = case.workload, case.platform, apart, case.ert
    found = search(*inputs, progress=lambda _, text: said.append(text))
    assert isinstance(found, Solution)
    assert any("best" in text for text in said)


@pytest.mark.parametrize(("kind", "seed"), QUESTIONS)
def test_what_a_log_says_is_left_out_is_no_better(kind: str, seed: int) -> None:
    """Of one group, under the question's own goal: bounds are of cycles, pJ or their product."""
    case, truth = question(kind, seed)
    alone = all(len(groups) == 1 for groups in partitions(case.workload, case.mapspace))
    for objective in OBJECTIVES:
        best, budget = truth[objective], Budget(cuts=[])
        check(case, best, budget, objective)
        assert budget.cuts is not None
        for cut in budget.cuts:
            assert cut.count > 0
            if best is not None and cut.goal == objective and alone:
                own = {"latency": best.cycles, "energy": best.energy_pj, "edp": 0.0}[objective]
                own = own or best.cycles * best.energy_pj
                assert cut.bound >= own * (1 - 1e-9), cut
