"""Passes in which a tensor moves that a mask leaves."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from flat_mapper.mapper.space.candidates import Bools, Floats, Ints
from flat_mapper.mapper.space.roles import Outer
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.mask import pairs

Ports = dict[tuple[str, str], Floats]  # (level, port) -> cycles


def left_by_mask(
    relevant: tuple[bool, ...], open_: Bools, dram: Ints, outer: Outer
) -> tuple[Floats | float, Floats | float]:
    """Shares that a mask leaves of a transfer's passes, and of the tensor itself."""
    if outer.visited == 1:
        return 1.0, 1.0
    return mask_leaves(relevant, open_, dram, outer.dram_order, outer.masked, outer.visited)


def mask_leaves(
    relevant: tuple[bool, ...],
    open_: Bools,
    dram: Ints,
    order: tuple[int, ...],
    masked: tuple[int, ...],
    visited: Floats | float,
) -> tuple[Floats | float, Floats | float]:
    """Shares that a mask leaves of a transfer's passes, and of the tensor itself.

    A transfer is passed in each of the masked loops, or it stays in place over one of them.
    order: of the DRAM loops, innermost first. masked: the mask's ranks that the Einsum has.
    """
    if len(masked) == 2 and all(relevant[r] for r in masked):
        return 1.0, visited  # every pass brings other words
    every = np.ones(open_.shape, np.bool_)
    if len(masked) < 2:  # the innermost loop is over a rank that no tensor has
        every &= ~open_
    for r in order:
        if r in masked and not relevant[r]:
            every = every & ~open_
        if relevant[r]:
            open_ = open_ & (dram[r] == 1)
    return np.where(every, visited, 1.0), 1.0


def add_held(
    held: Ports, ports: Ports, before: Mapping[tuple[str, str], Floats], some: Bools
) -> None:
    """Account for what DRAM moves once in a row of a mask's tiles, not in every pass of it.

    held, ports: cycles by port, of that and of all; only those of DRAM are asked for later.
    before: `ports` as they were before a tensor was counted. some: where it stays over the inner
    loop of the mask; bool[n].
    """
    for port, cycles in ports.items():
        more = (cycles - before.get(port, 0.0)) * some
        held[port] = held.get(port, np.zeros(1)) + more


def seen_words(workload: Workload, tensor: str) -> float:
    """Part of a tensor's words that no tiles of queries x keys under the mask can leave out."""
    mask, pair = workload.mask, workload.roles.masked
    if mask is None or pair is None:
        return 1.0
    queries, keys = (workload.rank_sizes[rank] for rank in pair)
    if mask.window is None and not set(pair) <= set(workload.tensor_ranks[tensor]):
        return 1.0  # every query sees a key, and the last one all keys
    return pairs(mask, queries, keys) / (queries * keys)
