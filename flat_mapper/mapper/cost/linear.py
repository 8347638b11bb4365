"""pJ of a tensor that is linear in how often its words pass: no words are rounded up to rows."""

from __future__ import annotations

from functools import reduce

import numpy as np

from flat_mapper.arch.values import MemoryLevel
from flat_mapper.mapper.cost.price import drawn_energy, staged_once
from flat_mapper.mapper.space.candidates import Floats
from flat_mapper.mapper.space.einsum import EinsumSpace, PjLines
from flat_mapper.mapper.space.roles import Role


def least_along(lines: PjLines, often: Floats | float) -> Floats | float:
    """pJ of words that come so often, whichever way takes least."""
    found = [each * often + fixed if each else fixed for each, fixed in lines]
    return found[0] if len(found) == 1 else reduce(np.minimum, found)


def moved_once(space: EinsumSpace, tensor: str, level: MemoryLevel) -> tuple[float, float, float]:
    """pJ of all words of a tensor once, if a level reads them, or writes, or updates."""
    read, write, update = space.prices[level.name]
    rows = space.volume_at(tensor, level) / level.row_words / level.cluster_size
    return rows * read, rows * write, rows * update


def top_lines(
    space: EinsumSpace, tensor: str, roles: tuple[Role, ...], *, rounded: bool
) -> tuple[PjLines, PjLines]:
    """pJ of what comes from the level on top in some roles, once or more often.

    rounded: whether whole tiles are, up to rows of DRAM and of the shared level.
    returns: with what DRAM takes, and without.
    """
    known, key = space.known_lines, (tensor, roles, rounded)
    if key in known:
        return known[key]
    whole, within = list[tuple[float, float]](), list[tuple[float, float]]()
    for role in roles:
        level = space.arch.levels[0 if role == "stream" else space.shared]
        words = np.array([0.0, space.volume_at(tensor, level)])
        none, once = drawn_energy(space, tensor, level, words, rounded=False).tolist()
        for found, priced in ((whole, True), (within, False)):
            if role == "stream" and not priced:
                found.append((0.0, 0.0))
                continue
            staged = role == "staged"
            tile = staged_once(space, tensor, priced=priced, rounded=rounded) if staged else 0.0
            found.append((once - none, none + tile))
    return known.setdefault(key, (_lowest(whole), _lowest(within)))


def _lowest(lines: list[tuple[float, float]]) -> PjLines:
    """Those that may be the least of all where words come once, or more often."""
    found = list[tuple[float, float]]()
    for once, each in sorted((each + fixed, each) for each, fixed in lines):
        if not found or each < found[-1][0]:
            found.append((each, once - each))
    return tuple(found)
