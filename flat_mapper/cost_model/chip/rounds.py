"""Tiles over cores: when each is done, if every core takes the next tile as soon as it is free."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from math import ceil

import numpy as np

from flat_mapper.cost_model.candidates import Floats


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
    heap, taken = [(float(load), core) for core, load in enumerate(loads)], [0] * len(loads)
    heapq.heapify(heap)
    for cycles, count in tiles:
        left = count
        if cycles > 0 and left > 4 * len(heap):
            spread = max(heap)[0] - heap[0][0]
            sure = left // len(heap) - ceil(spread / cycles) - 1
            if sure > 0:
                heap = [(load + sure * cycles, core) for load, core in heap]
                heapq.heapify(heap)
                taken = [n + sure for n in taken]
                left -= sure * len(heap)
        for _ in range(left):
            load, core = heap[0]
            heapq.heapreplace(heap, (load + cycles, core))
            taken[core] += 1
    return [load for load, _ in sorted(heap, key=lambda one: one[1])], max(taken)
