"""No bound that an answer states is above what another search of the same question finds."""

from __future__ import annotations

import pytest
from oracles.early_questions import answers, early_question, faults


def holds(seed: int, ends: int) -> int:
    """Hold every bound of some early answers; returns how many there were."""
    found = list(answers(early_question(seed), seed, ends))
    assert not found or faults(found) == [], f"seed {seed}"
    return len(found)


@pytest.mark.parametrize("seed", range(8))
def test_no_bound_is_above_another_answer(seed: int) -> None:
    holds(seed, 5)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(120))
def test_no_bound_of_600_early_answers_is_above_another_answer(seed: int) -> None:
    holds(seed, 5)
