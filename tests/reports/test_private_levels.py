"""What stays at private levels, in the tree, the text and the JSON of an answer."""

from __future__ import annotations

from execution.tiny import chip, fused, products

from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Result
from flat_mapper.energy.tables import unpriced
from flat_mapper.reports.answers import Evaluation


def evaluated(*stay: str) -> Evaluation:
    result = evaluate(products(), chip(), fused(stay=stay), unpriced(chip()))
    assert isinstance(result, Result)
    return Evaluation(workload=products(), platform=chip(), result=result)


def test_a_tile_that_stays_is_said_to() -> None:
    lines = str(evaluated("B")).splitlines()
    assert [line for line in lines if "RF  [B 4 stays]" in line]
    at = lines.index("RF: 4 words live, capacity 10")
    assert lines[at + 1].split() == ["B", "of", "Y,", "which", "stays", "4"]


def test_nothing_is_said_where_nothing_stays() -> None:
    text = str(evaluated())
    assert "RF  [B 4]" in text
    assert "stays" not in text
    assert "RF:" not in text


def test_counts_are_those_of_every_level_and_tensor() -> None:
    found = evaluated("B").to_dict()
    einsums, groups = found["einsums"], found["groups"]
    assert isinstance(einsums, dict)
    assert isinstance(groups, list)
    assert einsums["Y"]["stay"] == ["B"]
    b = {level: at["tensors"].get("B") for level, at in einsums["Y"]["levels"].items()}
    counts = [(t["scalar_reads"], t["scalar_fills"], t["utilized_capacity"]) for t in b.values()]
    assert counts == [(4, 0, 4), (4, 4, 4), (8, 4, 4)]
    assert groups[0]["private"]["RF"]["live_words"] == 4
