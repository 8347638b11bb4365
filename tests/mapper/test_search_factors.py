"""Factors of ranks on the two axes of an array."""

from __future__ import annotations

from itertools import product
from math import prod

import numpy as np
import pytest

from flat_mapper.base.grouping import distinct_columns
from flat_mapper.mapper.space.factors import combinations, divided, divisors, on_axes, splittings

ANY = (True, True)


def fitting(found: tuple[np.ndarray, np.ndarray]) -> dict[tuple[int, ...], tuple[int, ...]]:
    """By factors of the ranks, their parts on x."""
    grid, across = found
    columns = zip(grid.T, across.T, strict=True)
    return {tuple(map(int, f)): tuple(map(int, x)) for f, x in columns}


def test_one_rank_stands_on_one_axis() -> None:
    assert set(fitting(on_axes(((1, 2, 4),), (2, 2), (ANY,), ((4,),)))) == {(1,), (2,)}


def test_members_of_a_merged_rank_share_the_axes() -> None:
    found = fitting(on_axes(((1, 2, 4),), (2, 2), (ANY,), ((2, 2),)))
    assert found == {(1,): (1,), (2,): (2,), (4,): (2,)}


def test_a_member_is_not_cut_in_two() -> None:
    # 2 x 8 heads on a 4 x 4 array: 16 would take 8 = 4 x 2 of the second member on both axes.
    found = fitting(on_axes((divisors(16),), (4, 4), (ANY,), ((2, 8),)))
    assert max(found) == (8,)
    assert found[8,] in {(2,), (4,)}


def test_an_axis_that_is_not_allowed_is_not_used() -> None:
    assert (4,) not in fitting(on_axes(((1, 2, 4),), (2, 2), ((True, False),), ((2, 2),)))


@pytest.mark.parametrize("seed", range(20))
def test_all_that_fits_is_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sides = tuple(int(v) for v in rng.choice([1, 2, 3, 4, 8], 2))
    sizes = tuple(
        tuple(int(v) for v in rng.choice([1, 2, 3, 4, 6], rng.integers(1, 4)))
        for _ in range(rng.integers(1, 3))
    )
    choices = tuple(divisors(prod(mine)) for mine in sizes)
    found = fitting(on_axes(choices, sides, (ANY,) * len(sizes), sizes))
    expected = set()
    members = [(r, n) for r, mine in enumerate(sizes) for n in mine]
    for axes in product((0, 1), repeat=len(members)):
        whole = [
            [
                prod(n for (s, n), a in zip(members, axes, strict=True) if s == r and a == axis)
                for axis in (0, 1)
            ]
            for r in range(len(sizes))
        ]
        parts = [list(product(divisors(x), divisors(y))) for x, y in whole]
        for chosen in product(*parts):
            if all(prod(p[axis] for p in chosen) <= sides[axis] for axis in (0, 1)):
                expected.add(tuple(prod(p) for p in chosen))
    assert set(found) == expected
    for factors, on_x in found.items():
        on_y = [f // x for f, x in zip(factors, on_x, strict=True)]
        assert prod(on_x) <= sides[0]
        assert prod(on_y) <= sides[1]
        for mine, x, y in zip(sizes, on_x, on_y, strict=True):
            assert divided(mine, x, y) is not None


def test_combinations_stay_below_the_limit() -> None:
    grid = combinations([[1, 2, 4], [1, 3]], 6)
    assert sorted(map(tuple, grid.T)) == [(1, 1), (1, 3), (2, 1), (2, 3), (4, 1)]


def test_splittings_count_ordered_products() -> None:
    assert splittings(12, 3) == sum(a * b * c == 12 for a, b, c in product(range(1, 13), repeat=3))


@pytest.mark.parametrize("most", [3, 1 << 40])
def test_distinct_columns_are_those_of_numpy(most: int) -> None:
    """Also where one number for a column would be too large."""
    rng = np.random.default_rng(5)
    grid = rng.integers(0, 3, (3, 200)) * (most // 3)
    columns, first, which = distinct_columns(grid)
    expected = np.unique(grid, axis=1, return_index=True, return_inverse=True)
    assert (columns == expected[0]).all()
    assert (first == expected[1]).all()
    assert (which == expected[2].ravel()).all()
