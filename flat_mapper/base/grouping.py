"""Distinct values and columns of whole numbers, and which of them each one is.

Sorted in linear time, several times as fast as `np.unique`, which along an axis is slower still.
"""

from __future__ import annotations

from math import prod

import numpy as np


def distinct(values: np.ndarray) -> np.ndarray:
    """The distinct values, ascending; without what `np.unique` imports to find these alone."""
    ranked: np.ndarray = np.sort(values, axis=None)
    new = np.ones(len(ranked), np.bool_)
    np.not_equal(ranked[1:], ranked[:-1], out=new[1:])
    return ranked.compress(new)


def located(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct values, ascending, and which of them each is; int64[n], none negative."""
    found, order, starts = sorted_groups(values)
    return found, group_numbers(order, starts)


def sorted_groups(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The distinct values, ascending; the places of each, together; where those of each begin.

    values: int64[n], none negative. Sorted by 16 bits after 16 bits, which numpy does in linear
    time: several times as fast as `np.unique`.
    returns: int64[m], int64[n], int64[m + 1].
    """
    if len(values) == 1:
        return values, np.zeros(1, np.int64), np.arange(2)
    most = int(values.max(initial=0))
    if most >= 1 << 32:
        order = values.argsort(kind="stable")
    else:
        order = values.astype(np.uint16).argsort(kind="stable")
        if most >= 1 << 16:
            high = (values >> 16).astype(np.uint16)
            order = order[high[order].argsort(kind="stable")]
    ranked = values[order]
    begins = np.empty(len(values) + 1, np.bool_)  # where a run of equal values does, and at the end
    begins[0] = begins[-1] = True
    np.not_equal(ranked[1:], ranked[:-1], out=begins[1:-1])
    starts = begins.nonzero()[0]
    return ranked.take(starts[:-1]), order, starts


def group_numbers(order: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Of each place the group it is in; order, starts: see `sorted_groups`. int64[n]."""
    found = np.empty(len(order), np.int64)
    found[order] = np.arange(len(starts) - 1).repeat(starts[1:] - starts[:-1])
    return found


def distinct_columns(grid: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The distinct columns in the order of their rows; of each the first place; and which is where.

    As `np.unique` has them along axis 1, by one number for a column.

    grid: int64[R, n], none negative.
    """
    rows = list(grid)
    if prod(int(own.max(initial=0)) + 1 for own in rows) >= 1 << 32:
        rows = [located(own)[1] for own in rows]
    number = np.zeros(grid.shape[1], np.int64)
    for own in rows:
        number = number * (int(own.max(initial=0)) + 1) + own
    _, order, starts = sorted_groups(number)
    first = order[starts[:-1]]
    return grid.take(first, axis=1), first, group_numbers(order, starts)
