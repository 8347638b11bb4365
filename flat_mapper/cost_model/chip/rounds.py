"""Tiles over cores: when each is done, if every core takes the next tile as soon as it is free."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from math import ceil

import numpy as np
import numpy.typing as npt


def runs_of(cycles: npt.NDArray[np.float64]) -> Iterable[tuple[float, int]]:
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
    free = [(load, core) for core, load in enumerate(loads)]
    heapq.heapify(free)
    taken, replace = [0] * len(loads), heapq.heapreplace
    for cycles, count in tiles:
        left = count
        if cycles > 0 and left > 4 * len(free):
            spread = max(free)[0] - free[0][0]
            sure = left // len(free) - ceil(spread / cycles) - 1
            if sure > 0:
                free = [(load + sure * cycles, core) for load, core in free]
                heapq.heapify(free)
                taken = [n + sure for n in taken]
                left -= sure * len(free)
        for _ in range(left):
            load, core = free[0]
            replace(free, (load + cycles, core))
            taken[core] += 1
    done = [0.0] * len(loads)
    for load, core in free:
        done[core] = load
    return done, max(taken)
