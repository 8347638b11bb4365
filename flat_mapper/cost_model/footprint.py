"""Words that tiles take at each level."""

from __future__ import annotations

import numpy as np

from flat_mapper.cost_model.nest import Factors, IntArray, Nest


def extents(factors: Factors, sizes: tuple[int, ...], slot: int) -> list[IntArray]:
    """Extent of every rank inside a slot, its own loops included; int64[n] each.

    A rank that no outer loop cuts is there whole; one that is cut takes the full product of its
    inner factors, even where its final pass is shorter.
    """
    inner = factors.factors[slot:].prod(axis=0)
    if factors.lasts is not None:
        before = np.ones_like(inner)
        for factor, last in zip(factors.factors[:slot], factors.lasts[:slot], strict=True):
            before = (before - 1) * factor + last
        inner = np.where(before > 1, inner, np.array(sizes)[:, None])
    return list(inner)


def tile_words(
    nest: Nest, factors: Factors, sizes: tuple[int, ...]
) -> dict[tuple[int, str], IntArray]:
    """(level index, tensor) -> words of the tile one instance keeps, int64[n]."""
    tiles: dict[tuple[int, str], IntArray] = {}
    for level, slot in enumerate(nest.level_slots):
        inside = extents(factors, sizes, slot)
        for access in nest.einsum.accesses:
            if access.tensor in nest.keep[level]:
                tiles[level, access.tensor] = tensor_tile(nest, access.tensor, inside)
    return tiles


def tensor_tile(nest: Nest, tensor: str, inside: list[IntArray]) -> IntArray:
    """Words of a tensor over given rank extents."""
    words = np.ones(1, np.int64)
    if tensor in nest.windows:
        for dim in nest.windows[tensor].dims:
            words = words * (1 + sum(step * (inside[r] - 1) for r, step in dim))
        return words
    for extent, own in zip(inside, nest.relevant[tensor], strict=True):
        if own:
            words = words * extent
    return words
