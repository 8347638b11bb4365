"""The search against the best values that the brute force found, recorded: many small questions.

And what it does to find them: where a bound grows loose, it does more.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from agreement import value
from oracles.record_work import found, lines, named

DONE = Path(__file__).parents[1] / "data" / "search_work.jsonl"  # by oracles.record_work
WORK = {
    line["question"]: line["work"]
    for line in map(json.loads, DONE.read_text(encoding="utf-8").splitlines())
}


@pytest.mark.parametrize("line", lines(), ids=named)
def test_search_finds_the_recorded_best(line: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts of work are at most those of today; where one gets better, write it down."""
    for objective, answer, did in found(line, monkeypatch):
        best, work = line["best"][objective], WORK[named(line)][objective]
        if best is None:
            assert answer is None
            continue
        assert answer is not None
        assert value(answer.result, objective) == pytest.approx(best, rel=1e-9), objective
        assert did["size"] == work["size"]
        assert did["pieces"] <= work["pieces"]
        assert did["priced"] <= work["priced"]
        assert did["bound"] >= work["bound"] * (1 - 1e-9)
