"""The frozen answers hold: by day those that take less than a second, at night all of them."""

from __future__ import annotations

import pytest
from frozen_answers import answer, faults, recorded

ROWS = recorded()
QUICK = slice(0, 40, 5)  # single arrays, no partitions


@pytest.mark.parametrize("row", ROWS[QUICK], ids=lambda row: row["question"])
def test_a_frozen_answer_holds(row: dict) -> None:
    assert list(faults(row["question"], row, answer(row["question"]))) == []


@pytest.mark.nightly
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["question"])
def test_every_frozen_answer_holds(row: dict) -> None:
    assert list(faults(row["question"], row, answer(row["question"]))) == []
