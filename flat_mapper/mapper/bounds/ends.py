"""Cycles of first inputs and last outputs that stream, by the units that are at work.

Nothing overlaps them. The tile of a stream has a word at least for every unit that takes one of its
own: fewer units wait less, and take longer for their computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from flat_mapper.mapper.bounds.occupancy import SharedOccupancy
from flat_mapper.mapper.bounds.turns import exposed
from flat_mapper.mapper.space.candidates import Floats, Ints
from flat_mapper.mapper.space.einsum import EinsumSpace
from flat_mapper.mapper.space.factors import distinct_columns, prod_of
from flat_mapper.mapper.space.group import FOLLOW, GroupProblem
from flat_mapper.mapper.space.roles import Role
from flat_mapper.mapping.order import overlaps


@dataclass(frozen=True, slots=True)
class Streams:
    """Transfers of an Einsum past one level in its own turns, by n outer tiles."""

    cycles: Floats  # of all words
    idle: Floats  # share of its passes in which none of them moves; float64[n or 1]


@dataclass(frozen=True, slots=True)
class KnownEnds:
    """Choices of units of the Einsums of a group that are computed already."""

    _found: dict[object, tuple[Floats, Floats]] = field(default_factory=dict)
    _tiles: dict[str, Ints] = field(default_factory=dict)  # of units, by Einsum

    def of(
        self, occupancy: SharedOccupancy, space: EinsumSpace, roles: tuple[Role, ...]
    ) -> tuple[Floats, Floats]:
        """Units at work, and cycles that streams wait with them at least; float64[K] each.

        Without choices beside which another has as many units and waits no longer.
        """
        key = space.einsum.name, roles
        if key not in self._found:
            if space.einsum.name not in self._tiles:
                self._tiles[space.einsum.name] = unit_tiles(space)
            tiles = self._tiles[space.einsum.name]
            waits = exposed(occupancy, space, {"stream": tiles}, roles)
            units = prod_of(tiles, range(len(space.ranks))).astype(np.float64)
            order = np.lexsort((waits, -units))
            least = np.minimum.accumulate(np.concatenate([[np.inf], waits[order]]))[:-1]
            some = order[waits[order] < least]
            self._found[key] = units[some], waits[some]
        return self._found[key]


def unit_tiles(space: EinsumSpace) -> Ints:
    """Extents that an Einsum's units work on at once, by split of the fanouts; int64[R, n]."""
    found = np.ones((len(space.ranks), 1), np.int64)
    for grid, _ in space.splits.values():
        if grid.shape[1]:
            every = found[:, :, None] * grid[:, None, :]
            found = distinct_columns(every.reshape(len(space.ranks), -1))[0]
    return found


def own_turns(
    space: EinsumSpace,
    extents: Ints,
    compute: Floats | float,
    streams: Sequence[Streams],
    units: Floats,
) -> Floats:
    """Cycles of an Einsum's turns at least, by choice of its units; float64[K, n].

    An outer tile has work for no more units than points.

    extents: of outer tiles, int64[R, n]. compute: cycles with all its units.
    streams: what it moves in its turns. units: at work; float64[K].
    """
    points = np.where(extents == FOLLOW, np.inf, extents).prod(axis=0)
    cycles = space.widest / np.minimum(units[:, None], points) * np.asarray(compute)
    return turns_of(cycles, streams)


def turns_of(compute: Floats | float, streams: Sequence[Streams]) -> Floats:
    """Cycles of an Einsum's turns at least (lemma 30); compute: of all passes.

    In a pass in which nothing moves a turn is as long as its compute.
    """
    found = np.asarray(compute, np.float64)
    for some in streams:
        found = np.maximum(found, some.idle * compute + some.cycles)
    return found


def busy_cycles(problem: GroupProblem, compute: Sequence[Floats | float], turns: Floats) -> Floats:
    """Lower bound on the cycles of a group's turns, by outer choice; float64[n].

    compute, turns: of each Einsum, two lower bounds; turns float64[E, n].
    """
    units: dict[str, Floats] = {}
    for space, cycles, other in zip(problem.spaces, compute, turns, strict=True):
        longer = np.maximum(cycles, other)
        units[space.einsum.unit] = units.get(space.einsum.unit, np.zeros(1)) + longer
    if overlaps(problem.group.schedule):
        longest: Floats = np.maximum.reduce(list(units.values()))
        return longest
    total: Floats = sum(units.values(), np.zeros(1))
    return total


def turns_and_ends(own: Sequence[Floats], waits: Sequence[Floats]) -> tuple[Floats, Floats]:
    """Cycles of a group's turns, float64[K, n], and what its streams wait, float64[K, 1].

    By choice of the units of the first Einsum and of the last one; turns add up.

    own: turns of each Einsum. waits: of streams, by choices of the first and of the last.
    """
    busy: Floats = own[0]
    for turns in own[1:]:
        busy = (turns[:, None] + busy).reshape(len(turns) * len(busy), busy.shape[1])
    found = waits[0]
    for other in waits[1:]:
        found = (other[:, None] + found).ravel()
    return busy, found[:, None]
