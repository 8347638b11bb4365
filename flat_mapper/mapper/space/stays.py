"""Tensors that may return to the shared level with every turn instead of staying private."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from flat_mapper.cost_model.residence import runs_on
from flat_mapper.cost_model.roles import Outer
from flat_mapper.mapper.space.einsum import EinsumSpace


def may_return(space: EinsumSpace, outer: Outer) -> list[int]:
    """Positions of the tensors that stay private over the DRAM loops, if a candidate keeps them."""
    dram = [size // own for size, own in zip(space.sizes, outer.tile, strict=True)]
    over = [runs_on(own, dram, outer.dram_order, outer.passes) for own in space.relevant.values()]
    return [i for i, may in enumerate(outer.stay) if may and over[i]]


def stays_among(stay: tuple[bool, ...], free: Sequence[int]) -> list[tuple[bool, ...]]:
    """Every choice of what stays: `stay`, then those in which some of `free` return."""
    found = []
    for bits in product((True, False), repeat=len(free)):
        chosen = dict(zip(free, bits, strict=True))
        found.append(tuple(chosen.get(i, yes) for i, yes in enumerate(stay)))
    return found
