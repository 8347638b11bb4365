"""Tensors that may stay at a private level while other Einsums have their turn."""

from __future__ import annotations

import numpy as np

from flat_mapper.mapper.bounds.outer import OuterBounds, Outers
from flat_mapper.mapper.bounds.turns import stays_private
from flat_mapper.mapper.space.candidates import Bools
from flat_mapper.mapper.space.einsum import EinsumSpace
from flat_mapper.mapper.space.factors import distinct
from flat_mapper.mapper.space.group import GroupProblem


def may_stay_over(problem: GroupProblem, bounds: OuterBounds, outers: Outers) -> list[Bools]:
    """By Einsum, whether some tensor of it may stay over a shared loop; bool[n] each.

    It may only if its tile is left alone by the innermost shared loop.
    """
    return [
        np.logical_or.reduce(
            [_stays(problem, bounds, outers, space, t) for t in stays_private(problem, space)],
            initial=False,
        )
        | np.zeros(outers.tile.shape[1], np.bool_)
        for space in problem.spaces
    ]


def _stays(
    problem: GroupProblem, bounds: OuterBounds, outers: Outers, space: EinsumSpace, tensor: str
) -> Bools:
    """True if a tensor may stay over a shared loop; bool[n]."""
    index = problem.index(space)
    count = outers.tile.shape[1]
    decided, may = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    for number in distinct(outers.order):
        chosen = np.flatnonzero(outers.order == number)
        for r in bounds.orders[int(number)]:
            rank = problem.ranks[r]
            if r not in index and rank.members[0] not in space.einsum.each:
                continue
            real = chosen[(outers.tile[r, chosen] < rank.size) & ~decided[chosen]]
            may[real] = r not in index or not space.relevant[tensor][index.index(r)]
            decided[real] = True
    return may
