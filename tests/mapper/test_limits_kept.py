"""Limits are kept: the clock is asked often, an early end has an answer, and arrays stay small."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

import numpy as np
import pytest

import flat_mapper as fm
from flat_mapper.base import budget as budgets
from flat_mapper.base.budget import Budget
from flat_mapper.base.errors import SpecError
from flat_mapper.cost_model.candidates import NodeChoice
from flat_mapper.explore.pareto import Front
from flat_mapper.reports.answers import SearchResult

MOST_CALLS = 20_000  # of Python functions between two looks at the clock; some 10 ms


@dataclass
class Clock:
    """A clock that goes on by a second each time that it is asked, and counts calls in between."""

    now: float = 0.0
    calls: int = 0
    longest: int = 0  # calls between two times that it was asked, before the time was over
    over: float = inf
    asked_at: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        if self.now <= self.over:
            self.longest = max(self.longest, self.calls)
        self.now, self.calls = self.now + 1, 0
        return self.now

    def seen(self, _: object, event: str, __: object) -> None:
        self.calls += event == "call"


def chains(count: int, folder: Path) -> str:
    """A problem of chains of two Einsums that read one input: 3^n cuts, and more groups."""
    lines = ["problem:", "  ranks: {A: 4, B: 4}", "  einsums:"]
    for n in range(count):
        lines += [f"  - X{n}[a,b] = exp(I[a,b])", f"  - Y{n}[a,b] = exp(X{n}[a,b])"]
    file = folder / f"chains-{count}.yaml"
    file.write_text("\n".join(lines) + "\n")
    return str(file)


def asked(problem: str, budget: Budget) -> SearchResult:
    found = fm.search(problem, "edge", mapspace="any", objective="latency", budget=budget)
    assert isinstance(found, SearchResult)
    return found


def profiled[T](clock: Clock, ask: Callable[[], T]) -> T:
    sys.setprofile(clock.seen)
    try:
        return ask()
    finally:
        sys.setprofile(None)


def test_the_clock_is_asked_while_groups_are_listed(tmp_path: Path) -> None:
    problem, clock = chains(5, tmp_path), Clock(over=200.0)
    asked(problem, Budget(seconds=1e-9))  # imports, and what is read once
    found = profiled(clock, lambda: asked(problem, Budget(seconds=200.0, clock=clock)))
    assert found.certificate.stopped == "time"
    assert clock.longest < MOST_CALLS


def test_time_that_ends_while_groups_are_listed_leaves_a_true_answer(tmp_path: Path) -> None:
    problem = chains(2, tmp_path)
    best = asked(problem, Budget())
    assert best.certificate.optimal
    for seconds in (1.0, 20.0):
        found = asked(problem, Budget(seconds=seconds, clock=Clock()))
        assert found.certificate.stopped == "time"
        proven, reached = found.certificate.proven_bound, best.result.latency_s
        assert 0 < proven <= reached <= found.result.latency_s
        assert {len(group.einsums) for group in found.result.mapping.groups} == {1}


def front_on_cores(folder: Path, budget: Budget) -> Front:
    """The front of three groups, whose tiles may be given out in thousands of ways."""
    file = folder / "apart.yaml"
    file.write_text("mapspace: {fusion: {groups: [], granularity: any, cores: any, level: SMEM}}")
    asked = {"softmax": "row", "seq": 512, "budget": budget}
    found = fm.front("bert-base", "h100", mapspace=str(file), **asked)
    assert isinstance(found, Front)
    return found


def test_a_front_on_cores_ends_in_time_with_a_mapping_of_every_group(tmp_path: Path) -> None:
    found, clock = front_on_cores(tmp_path, Budget(seconds=1e-9)), Clock(over=500.0)
    certificate = found.points[0].certificate
    assert certificate.stopped == "time"
    assert 0 < certificate.gap < inf
    assert [len(group.einsums) for group in found.points[0].result.mapping.groups] == [1, 4, 1]
    budget = Budget(seconds=500.0, clock=clock)
    profiled(clock, lambda: front_on_cores(tmp_path, budget))
    assert clock.longest < MOST_CALLS


def test_an_end_while_the_first_mapping_on_cores_is_priced_leaves_that_mapping() -> None:
    asked = {"mapspace": "cores", "objective": "latency", "seq": 64}
    soon, later = (
        fm.search("bert-base", "tpu-v4i-cores", budget=Budget(steps=steps), **asked)
        for steps in (0, 1)
    )
    assert isinstance(soon, SearchResult)
    assert isinstance(later, SearchResult)
    assert soon.result.latency_s == later.result.latency_s
    assert soon.certificate.evaluated < later.certificate.evaluated


def test_joined_ways_are_no_more_than_candidates_have() -> None:
    chance = np.random.default_rng(1)
    found: list[NodeChoice] = []
    for _ in range(20):
        grid = chance.integers(1, 9, (3, 1000))
        own = NodeChoice(node="PE", grid=grid, column=chance.integers(0, 1000, 5), across=grid)
        found = [NodeChoice.joined([*found, own])] if found else [own.take(np.arange(5))]
        assert found[0].factors(len(found[0].column) - 1) == own.factors(4)
    assert found[0].grid.shape[1] <= len(found[0].column)


def test_a_search_stays_below_half_of_the_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgets, "peak_megabytes", lambda: 100.0)
    monkeypatch.setattr(budgets, "free_megabytes", lambda: 1000.0)
    assert Budget.of().megabytes == 600.0
    assert Budget.of().candidates < Budget.of(memory_limit=1e6).candidates
    assert Budget.of(memory_limit=50.0).megabytes == 50.0


def test_layers_without_end_are_refused_before_they_are_listed() -> None:
    sizes = {"hidden_size": 64, "num_attention_heads": 1, "intermediate_size": 64}
    config = {"model_type": "llama", **sizes, "num_hidden_layers": 10**9}
    with pytest.raises(SpecError, match="expected int > 0, from 1 to 10000, got 1000000000"):
        fm.load_problem({**config, "max_position_embeddings": 64})
