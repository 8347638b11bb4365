"""Arrays of the search that a reader can check by hand: what is joined, marked and thinned."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Literal

import numpy as np
import pytest
from mapper.test_search_growth import problem_of

from flat_mapper.mapper.cost.candidate_set import CandidateSet
from flat_mapper.mapper.group import pareto
from flat_mapper.mapper.group.objective import Goal, better_pair
from flat_mapper.mapper.space.candidates import CandidateBlock
from flat_mapper.mapper.space.enumerate import Wanted, inner_candidates


def test_priced_candidates_are_found_in_their_set() -> None:
    """Two blocks, of two and three candidates: the second of the first, the first of the second."""
    blocks = [SimpleNamespace(count=2), SimpleNamespace(count=3)]
    whole = CandidateSet(space=None, blocks=blocks, roles={})  # type: ignore[arg-type]
    mask = whole.mask(whole.positions(np.array([[0, 1], [1, 0]])))
    assert mask.tolist() == [False, True, True, False, False]


@pytest.mark.parametrize(
    ("kind", "own", "improves"),
    [
        ("latency", (9.0, 90.0), True),
        ("latency", (10.0, 19.0), True),  # then energy
        ("latency", (10.0, 21.0), False),
        ("latency", (10.0, 20.0), False),
        ("latency", (10.0, 20.0 * (1 - 5e-13)), False),  # rounding
        ("energy", (9.0, 20.0), True),  # then the product
        ("energy", (11.0, 20.0), False),
        ("edp", (5.0, 40.0), True),  # then cycles
        ("edp", (20.0, 10.0), False),  # energy is last
        ("edp", (10.0, 20.0 * (1 - 1e-11)), True),
    ],
)
def test_ties_with_the_best_are_broken_in_order(
    kind: Literal["latency", "energy", "edp"], own: tuple[float, float], improves: bool
) -> None:
    """The best so far takes 10 cycles and 20 pJ."""
    assert better_pair(Goal(kind=kind), own, (10.0, 20.0)) == improves


def test_what_can_improve_is_below_a_limit() -> None:
    """Beside 10 cycles and 20 pJ: as a sum with 2 pJ a cycle 40; as a product below 200.

    What improves on the product with 5 cycles and 8 pJ at least is below the chord between (5, 40)
    and (25, 8); with 3 pJ a cycle that is 83 at the second end.
    """
    least, best = (np.array([5.0]), np.array([8.0])), (10.0, 20.0)
    weighted = Goal(kind="weighted", weight=2.0)
    assert weighted.limit(np.array([2.0]), *least, best).tolist() == [40.0]
    assert Goal(kind="edp").limit(np.array([3.0]), *least, best).tolist() == [83.0]
    leaking = Goal(kind="edp", leak=1.0)  # of 30 pJ in all, 300 and 5 cycles and 13 pJ at least
    limit = leaking.limit(np.array([3.0]), *least, best)
    assert limit[0] == pytest.approx(max(2 * 5 + 300 / 5, 2 * 300 / 13 + 13))
    assert np.isinf(Goal(kind="latency").limit(np.array([0.0]), *least, best)).all()


@pytest.mark.parametrize("chunk", [1, 3, 512])
def test_what_no_other_vector_dominates_is_kept(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pareto, "CHUNK", chunk)
    costs = np.array([[3, 1], [1, 3], [2, 2], [2, 3], [3, 1], [1, 4], [4, 0], [5, 5]], float)
    kept = sorted(int(i) for i in pareto.nondominated(costs))
    assert kept == [0, 1, 2, 6]  # of equal ones, 0 and 4, the first


def test_candidates_in_parts_are_the_candidates() -> None:
    space = problem_of(0).spaces[0]
    block = max(inner_candidates(space, Wanted(least=1)), key=lambda b: b.count)
    assert block.count > 4
    half = block.count // 3
    parts = [block.take(np.arange(half)), block.take(np.arange(half, block.count))]
    whole = CandidateBlock.joined(parts)
    assert (whole.tile == block.tile).all()
    assert (whole.spatial == block.spatial).all()
    for tensor, transfers in block.transfers.items():
        for one, other in zip(transfers, whole.transfers[tensor], strict=True):
            assert (one.passes == other.passes).all()
            assert (one.open == other.open).all()
