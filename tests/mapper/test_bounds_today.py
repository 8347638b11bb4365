"""Bounds of small questions, as high as they were when they were recorded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from oracles.record_bounds import asked, sums

RECORDED = Path(__file__).parents[1] / "data" / "bounds.jsonl"  # by oracles.record_bounds
LINES = [json.loads(line) for line in RECORDED.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("line", LINES, ids=lambda line: f"{line['question']} {line['seed']}")
def test_no_bound_grows_loose(line: dict) -> None:
    found = sums(asked(line["question"], line["seed"]))
    assert found.keys() == line["sums"].keys()
    for name, least in line["sums"].items():
        assert found[name] >= least - 1e-9 * abs(least), name
        assert "=" not in name or found[name] == pytest.approx(least), name
