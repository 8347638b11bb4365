"""Rows of a memory that words take."""

from __future__ import annotations

import numpy as np

from flat_mapper.arch.values import MemoryLevel, MovedRows
from flat_mapper.mapper.space.candidates import Floats
from flat_mapper.mapper.space.einsum import EinsumSpace


def rows_of(space: EinsumSpace, level: MemoryLevel, tensor: str) -> MovedRows:
    """Rows of a level that words of a tensor take."""
    if tensor in level.rows:
        return level.rows[tensor]
    read, _, update = space.prices[level.name]
    return MovedRows(
        row_words=level.row_words, read_pj=read, update_pj=update, whole=level.whole_rows
    )


def row_accesses(words: Floats | float, rows: MovedRows, rounded: bool) -> Floats:
    """Vector accesses for a number of words."""
    moved = np.asarray(words)
    moved = (moved if rows.times == 1 else moved * rows.times) / rows.row_words
    return np.ceil(moved) if rounded and rows.whole else moved


def rows_in_use(copies: Floats | float, level: MemoryLevel) -> Floats | float:
    """Physical rows in use: instances of one cluster share theirs."""
    return copies if level.cluster_size == 1 else np.minimum(copies, level.clusters)


def fractions_of_rows(words: Floats | float, level: MemoryLevel) -> Floats:
    """Vector accesses for a number of words, not rounded."""
    return np.asarray(words) / level.row_words
