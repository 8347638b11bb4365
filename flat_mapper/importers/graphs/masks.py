"""Masks of attention, recognised in the numbers that a graph adds to its scores."""

from __future__ import annotations

from typing import Any

import numpy as np

from flat_mapper.workload.mask import Mask

HIDDEN = -1e4  # what is added to a score that no query is to see is below it


def added_mask(values: Any) -> Mask | bool | None:
    """The mask that some numbers are, which are added to scores.

    values: (..., queries, keys); or booleans, true where a key is seen.
    returns: the mask, True where nothing is hidden, False where it is none of ours.
    """
    if values.dtype == bool:
        seen = values
    elif bool(np.all((values == 0) | (values <= HIDDEN))):
        seen = values == 0
    else:
        return False
    if bool(np.all(seen)):
        return True
    rows = seen.reshape(-1, *seen.shape[-2:]) if seen.ndim >= 2 else None
    if rows is None or not bool(np.all(rows == rows[0])):
        return False
    queries, keys = rows[0].shape
    away = np.arange(keys) - (np.arange(queries) + keys - queries)[:, None]
    last = rows[0][-1]
    window = int(last.sum())
    for mask, expected in (
        (Mask(causal=True), away <= 0),
        (Mask(causal=True, window=max(window, 1)), (away <= 0) & (away > -window)),
        (Mask(window=max(window, 1)), abs(away) < window),
    ):
        if bool(np.array_equal(rows[0], expected)):
            return mask
    return False
