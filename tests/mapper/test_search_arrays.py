"""Arrays of the search that a reader can check by hand: what is joined, marked and thinned."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Literal

import numpy as np
import pytest
from mapper.test_search_growth import problem_of

from flat_mapper.arch.values import Fanout
from flat_mapper.mapper.cost import pareto
from flat_mapper.mapper.cost.candidate_set import CandidateSet
from flat_mapper.mapper.group.objective import Goal, better_pair
from flat_mapper.mapper.group.promise import _smallest
from flat_mapper.mapper.space.candidates import CandidateBlock
from flat_mapper.mapper.space.enumerate import TooMany, Wanted, inner_candidates
from flat_mapper.mapper.space.factors import (
    distinct,
    distinct_columns,
    group_numbers,
    located,
    sorted_groups,
)
from flat_mapper.mapper.space.tile_index import FactorGrid, _fitting


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


@pytest.mark.parametrize("most", [1, 9, (1 << 16) - 1, 1 << 20, 1 << 40])
@pytest.mark.parametrize("count", [0, 1, 300])
def test_values_are_grouped_as_numpy_does(most: int, count: int) -> None:
    """Whatever number of bits they take."""
    values = np.random.default_rng(7).integers(0, most + 1, count) // 3 * 3
    found, first, which = np.unique(values, return_index=True, return_inverse=True)
    own, order, starts = sorted_groups(values)
    assert own.tolist() == found.tolist() == distinct(values).tolist()
    assert order.tolist() == np.argsort(which, kind="stable").tolist()
    assert order[starts[:-1]].tolist() == first.tolist()
    assert group_numbers(order, starts).tolist() == which.tolist()
    assert [part.tolist() for part in located(values)] == [found.tolist(), which.tolist()]
    grid = np.stack([values, values // 2, values[::-1]])
    columns, where = np.unique(grid, axis=1, return_inverse=True)
    some, begin, place = distinct_columns(grid)
    assert some.tolist() == columns.tolist() == grid[:, begin].tolist()
    assert place.tolist() == where.ravel().tolist()


@pytest.mark.parametrize("count", [1, 16])
def test_tiles_that_divide_an_outer_tile_are_told_bit_by_bit(count: int) -> None:
    """As division tells it, one outer tile after another."""
    draw = np.random.default_rng(3)
    outer = draw.choice([4, 12, 24, 48], (3, count))
    tiles, grid = (draw.choice([1, 2, 3, 4, 6, 8], (3, n)) for n in (9, 40))
    divides = outer[:, :, None, None] % (tiles[:, None, :, None] * grid[:, None, None, :]) == 0
    found = np.nonzero(divides.all(axis=0).any(axis=0))
    assert len(found[0])
    own = _fitting(outer, tiles, FactorGrid(grid))
    assert [part.tolist() for part in own] == [part.tolist() for part in found]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("least", [1, 2])
def test_too_many_candidates_are_told_before_they_are_made(seed: int, least: int) -> None:
    """By their number, which is exact where one fanout is around all levels."""
    for space in problem_of(seed).spaces:
        whole = [b for b in inner_candidates(space, Wanted(least=least)) if b.count]
        count = sum(b.count for b in whole)
        found = inner_candidates(space, Wanted(least=least, together=count))
        same = [b for b in found if b.count]
        assert [b.keep for b in same] == [b.keep for b in whole]
        assert all((a.tile == b.tile).all() for a, b in zip(same, whole, strict=True))
        nodes = space.inner_nodes
        if (
            count
            and isinstance(nodes[0], Fanout)
            and sum(isinstance(n, Fanout) for n in nodes) == 1
        ):
            with pytest.raises(TooMany):
                next(inner_candidates(space, Wanted(least=least, together=count - 1)))


def test_the_smallest_values_are_those_that_sorting_finds() -> None:
    """Of equal ones the first."""
    draw = np.random.default_rng(5)
    for count, most in ((1, 1), (9, 4), (9, 9), (200, 30)):
        values = draw.integers(0, 12, count).astype(float)
        values[draw.random(count) < 0.2] = np.inf
        sorted_ = np.argsort(values, kind="stable")[:most]
        assert np.flatnonzero(_smallest(values, most)).tolist() == sorted(sorted_.tolist())
