"""Tiles over cores: when each is done, if every core takes the next tile as soon as it is free."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from math import ceil

import numpy as np
import numpy.typing as npt

MANY = 32  # chosen: cores from which on tiles are given out faster together than one by one
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def runs_of(cycles: Floats) -> Iterable[tuple[float, int]]:
    """Runs of tiles that take as long as each other: (cycles, how many)."""
    first = np.flatnonzero(np.diff(cycles, prepend=np.nan))
    many = np.diff(first, append=len(cycles))
    return zip(cycles[first].tolist(), many.tolist(), strict=True)


def given(loads: list[float], tiles: Iterable[tuple[float, int]]) -> tuple[list[float], int]:
    """Loads of the cores after some more tiles, and the most tiles that a core was given.

    loads: cycles at which each core is free.
    tiles: (cycles of a tile, how many of them follow each other), in the order given out.
    Of many equal tiles every core takes a number that needs no counting one by one.
    """
    free, taken = np.array(loads), np.zeros(len(loads), np.int64)
    give = _together if len(loads) >= MANY else _one_by_one
    waiting: list[tuple[float, int]] = []
    for cycles, count in tiles:
        left = count
        if cycles > 0 and left > 4 * len(free):
            give(free, taken, waiting)
            waiting = []
            spread = float(free.max() - free.min())
            sure = left // len(free) - ceil(spread / cycles) - 1
            if sure > 0:
                free += sure * cycles
                taken += sure
                left -= sure * len(free)
        waiting.append((cycles, left))
    give(free, taken, waiting)
    return free.tolist(), int(taken.max())


def _one_by_one(free: Floats, taken: Ints, tiles: Sequence[tuple[float, int]]) -> None:
    """Give out tiles to few cores; free, taken: by core, changed in place."""
    heap, counts = [(load, core) for core, load in enumerate(free.tolist())], taken.tolist()
    heapq.heapify(heap)
    replace = heapq.heapreplace
    for cycles, count in tiles:
        for _ in range(count):
            load, core = heap[0]
            replace(heap, (load + cycles, core))
            counts[core] += 1
    for load, core in heap:
        free[core] = load
    taken[:] = counts


def _together(free: Floats, taken: Ints, tiles: Sequence[tuple[float, int]]) -> None:
    """The same for many cores, as many tiles at once as cores take one each.

    The cores that are free first take the next tiles, one each, until one of them is free again
    before the next core is: which is then looked for anew.
    """
    cycles = np.repeat([c for c, _ in tiles], [n for _, n in tiles])
    at = 0
    while at < len(cycles):
        order = free.argsort(kind="stable")  # of equal loads the first core
        least = free.take(order[: len(cycles) - at])
        done = least + cycles[at : at + len(least)]
        again = np.minimum.accumulate(done[:-1]) <= least[1:]
        count = int(again.argmax()) + 1 if again.any() else len(least)
        some = order[:count]
        free[some] = done[:count]
        taken[some] += 1
        at += count
