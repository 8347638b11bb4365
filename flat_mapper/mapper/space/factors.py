"""Factors of ranks: divisors, grids of them, and what fits the two axes of an array."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from itertools import product
from math import comb, inf, prod

import numpy as np

from flat_mapper.base.grouping import distinct
from flat_mapper.cost_model.facts import prod_of


@cache
def divisors(n: int) -> tuple[int, ...]:
    """All divisors, ascending."""
    small = [d for d in range(1, int(n**0.5) + 1) if n % d == 0]
    return (*small, *(n // d for d in reversed(small) if d * d != n))


# What a fanout may take: by rank its factors; both sides; by rank its axes, and its members' sizes
Splits = tuple[
    tuple[tuple[int, ...], ...],
    tuple[int, int],
    tuple[tuple[bool, bool], ...],
    tuple[tuple[int, ...], ...],
]


@lru_cache(maxsize=64)  # of one search and the next
def divisor_places(n: int) -> tuple[np.ndarray, np.ndarray | None]:
    """All divisors, ascending; and by divisor its place among them, where a table is not long.

    returns: int64[m], and int16[n + 1] or None; not to be changed.
    """
    extents = np.array(divisors(n), dtype=np.int64)
    if n >= 1 << 16:  # else looked up faster than searched
        return extents, None
    places = np.zeros(n + 1, np.int16)
    places[extents] = np.arange(len(extents))
    return extents, places


def splittings(n: int, places: int) -> int:
    """Ways to write n as an ordered product of so many factors."""
    powers = Counter(primes(n)).values()
    return prod(comb(power + places - 1, power) for power in powers)


def primes(n: int) -> list[int]:
    """The prime factors, ascending, as often as they divide."""
    found, p = [], 2
    while n > 1:
        if p * p > n:
            p = n
        while n % p == 0:
            found.append(p)
            n //= p
        p += 1
    return found


def least_multiple(factors: np.ndarray) -> int:
    """The least multiple of all factors."""
    return int(np.lcm.reduce(distinct(factors), initial=1))


def combinations(choices: Sequence[Sequence[int]], limit: float = inf) -> np.ndarray:
    """All combinations of one factor per rank whose product is at most a limit; int64[R, n]."""
    grid = np.ones((0, 1), np.int64)
    product = np.ones(1, np.int64)
    for options in choices:
        values = np.array(options, dtype=np.int64)
        product = (product[:, None] * values[None, :]).ravel()
        grid = np.vstack(
            [
                np.repeat(grid, len(values), axis=1),
                np.tile(values, grid.shape[1])[None, :],
            ]
        )
        good = product <= limit
        grid, product = grid[:, good], product[good]
    return grid


def real_loops(grid: np.ndarray, order: Sequence[int]) -> np.ndarray:
    """A number for the loops of more than one pass in their order; int64[n].

    grid:  int64[R, n] factors.
    order: innermost first; the outermost real loop is the last digit, in base R + 1.
    """
    found = np.zeros(grid.shape[1], np.int64)
    for r in order:
        found = np.where(grid[r] > 1, found * (len(grid) + 1) + r + 1, found)
    return found


def new_loops(
    grid: np.ndarray, orders: Sequence[Sequence[int]]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each order `real_loops`, and whether they stand in no earlier order the same; bool[n]."""
    met: list[np.ndarray] = []
    for order in orders:
        sequence, new = real_loops(grid, order), np.ones(grid.shape[1], np.bool_)
        for earlier in met:
            new &= sequence != earlier
        met.append(sequence)
        yield sequence, new


@lru_cache(maxsize=64)  # of one search and the next; a sweep has thousands
def on_axes(
    choices: tuple[tuple[int, ...], ...],
    sides: tuple[int, int],
    allowed: tuple[tuple[bool, bool], ...],
    sizes: tuple[tuple[int, ...], ...],
) -> tuple[np.ndarray, np.ndarray]:
    """Factor combinations that fit an array, and the part of each factor on the x axis.

    A rank stands on one axis, as Timeloop's `split` has it. A merged rank may stand on both, if
    some of its members are a multiple of its part on x, and the others of its part on y.

    choices: by rank, the factors that it may have.
    sides:   instances in x and in y.
    allowed: by rank, whether it may stand on x, and on y.
    sizes:   by rank, of its members.
    returns: int64[R, m] twice, not to be changed.
    """
    longest = [max(sides) if len(own) == 1 else sides[0] * sides[1] for own in sizes]
    some = [[n for n in own if n <= most] for own, most in zip(choices, longest, strict=True)]
    grid = combinations(some, sides[0] * sides[1])
    across, open_ = np.ones_like(grid), np.ones(grid.shape[1], np.bool_)
    fits: dict[tuple[int, int], np.ndarray] = {}  # by rank and its part on x
    for parts in _parts(grid, sides, sizes):
        if not open_.any():
            break
        left = open_
        for r, split in ((r, p) for r, p in enumerate(parts) if p is not None and p > 1):
            if (r, split) not in fits:
                fits[r, split] = _fit_split(grid[r], split, sides[1], allowed[r], sizes[r])
            left = left & fits[r, split]
        columns = np.flatnonzero(left)
        if not len(columns):
            continue
        factors = grid[:, columns]
        x = np.ones_like(factors)
        for r, part in enumerate(parts):
            x[r] = factors[r] if part is None else part
        good = _fit_axes(x, factors // x, sides, allowed)
        across[:, columns[good]] = x[:, good]
        open_[columns[good]] = False
    return grid[:, ~open_], across[:, ~open_]


@lru_cache(maxsize=1 << 14)  # numbers, of all tiles of a group on cores
def most_at_once(
    choices: tuple[tuple[int, ...], ...],
    sides: tuple[int, int],
    allowed: tuple[tuple[bool, bool], ...],
    sizes: tuple[tuple[int, ...], ...],
) -> int:
    """Instances that a combination of factors takes at most; 1 where none fits. See `on_axes`."""
    grid, _ = on_axes(choices, sides, allowed, sizes)
    return int(prod_of(grid, range(len(grid))).max(initial=1))


def _fit_axes(
    x: np.ndarray, y: np.ndarray, sides: tuple[int, int], allowed: Sequence[tuple[bool, bool]]
) -> np.ndarray:
    """Combinations whose parts on x and on y fit the axes and may stand there; bool[m]."""
    good: np.ndarray = np.ones(x.shape[1], np.bool_)
    for own, side, axis in ((x, sides[0], 0), (y, sides[1], 1)):
        good &= prod_of(own, range(len(own))) <= side
        for r in (r for r, both in enumerate(allowed) if not both[axis]):
            good &= own[r] == 1
    return good


def _fit_split(
    factors: np.ndarray, part: int, side: int, allowed: tuple[bool, bool], sizes: tuple[int, ...]
) -> np.ndarray:
    """Factors of a merged rank of which a part stands on x and the rest on y; bool[m].

    part: on x, more than 1. side: instances in y. allowed: on x, and on y. sizes: of its members.
    """
    good = np.zeros(int(factors.max(initial=0)) + 1, np.bool_)  # by factor
    for factor in distinct(factors).tolist():
        rest, over = divmod(factor, part)
        if not over and rest <= side and allowed[0] and (rest == 1 or allowed[1]):
            good[factor] = divided(sizes, part, rest) is not None
    return good.take(factors)


def _parts(
    grid: np.ndarray, sides: tuple[int, int], sizes: Sequence[tuple[int, ...]]
) -> Iterator[tuple[int | None, ...]]:
    """By rank, what stands on x: everything (None), nothing (1), or a part of a merged rank.

    First those where no rank stands on both axes. A factor of 1 stands on both or on none.
    """
    whole: list[list[int | None]] = [[None, 1] if (own > 1).any() else [None] for own in grid]
    # The first rank's axis varies fastest.
    yield from (tuple(reversed(p)) for p in product(*reversed(whole)))
    if min(sides) == 1 or all(len(s) == 1 for s in sizes):
        return
    some = [
        [d for d in divisors(prod(own)) if 1 < d <= sides[0]] if len(own) > 1 else []
        for own in sizes
    ]
    for parts in product(*([*w, *s] for w, s in zip(whole, some, strict=True))):
        if any(p is not None and p > 1 for p in parts):
            yield parts


def divided(sizes: tuple[int, ...], one: int, other: int) -> tuple[bool, ...] | None:
    """For each member, whether it is among those that are a multiple of one factor.

    The rest are a multiple of the other; None if there is no such choice.
    """
    for chosen in product((True, False), repeat=len(sizes)):
        own = prod(n for n, yes in zip(sizes, chosen, strict=True) if yes)
        if own % one == 0 and prod(sizes) // own % other == 0:
            return chosen
    return None
