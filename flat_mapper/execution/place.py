"""Real memory: what the instances of a level hold of a tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from flat_mapper.execution.real_numbers import Values


@dataclass(slots=True)
class Place:
    """Words of one tensor's tile in every instance of a level, in one flat array.

    data:    float64[instances * size]; NaN where nothing was ever put.
    strides: of each rank, words between neighbours.
    tensors: that are made in it, one in the place of the other.
    """

    data: Values
    size: int
    strides: Mapping[str, int]
    tensors: list[str] = field(default_factory=list)

    def clear(self) -> None:
        """Forget the contents."""
        self.data.fill(np.nan)


def new_place(tensor: str, extents: Mapping[str, int], instances: int) -> Place:
    """Room for a tile of the given extents in every instance."""
    size, strides = 1, {}
    for rank in reversed(tuple(extents)):
        strides[rank] = size
        size *= extents[rank]
    return Place(
        data=np.full(instances * size, np.nan), size=size, strides=strides, tensors=[tensor]
    )
