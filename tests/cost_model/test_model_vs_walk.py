"""The model's closed formulas against a walk of the loop nest, word by word."""

from __future__ import annotations

from hypothesis import given, settings
from nests import Question, questions
from oracles.loop_walk import walk

from flat_mapper.cost_model.einsum import einsum_costs


@settings(max_examples=150)
@given(questions())
def test_counts_are_those_of_the_walk(question: Question) -> None:
    einsum = question.workload.einsums[0]
    costs = einsum_costs(question.workload, question.arch, [question.mapping], question.ert)
    walked = walk(question.arch, einsum, question.mapping)
    stats = costs.stats(0)
    mine = {
        (level.level, t.tensor): (t.scalar_reads, t.scalar_fills, t.scalar_updates)
        for level in stats.levels
        for t in level.tensors
    }
    assert mine == walked
