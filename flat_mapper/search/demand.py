"""What outer choices ask of DRAM and of the shared level at least, whatever the rows do."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from flat_mapper.model.group import shared_level
from flat_mapper.search.held import SharedWords
from flat_mapper.search.outer import FOLLOW, GroupProblem, tile_words
from flat_mapper.search.ports import port_cycles
from flat_mapper.search.price import Role, dram_energy
from flat_mapper.search.rows import Bools, Floats, Ints
from flat_mapper.search.space import EinsumSpace
from flat_mapper.search.table import Table


@dataclass(slots=True)
class Demand:
    """Sums over the tensors of a group, for outer tiles under one staging and order."""

    problem: GroupProblem
    words: SharedWords
    grid: Ints  # int64[R, n]
    floors: Floats = field(init=False)  # pJ at DRAM, of all tensors together
    staged: Floats = field(init=False)  # pJ at DRAM of staged ones beyond one pass of every word
    needs: dict[str, Floats] = field(default_factory=dict)  # words held, by buffer
    _from_dram: Floats = field(init=False)
    _to_dram: Floats = field(init=False)
    _read: Floats = field(init=False)  # words of the shared level
    _written: Floats = field(init=False)
    _first: Floats = field(init=False)  # words that the first Einsum waits for

    def __post_init__(self) -> None:
        zero = np.zeros(self.grid.shape[1])
        self.floors = self.staged = self._from_dram = self._to_dram = zero
        self._read = self._written = self._first = zero

    def add(
        self,
        space: EinsumSpace,
        roles: tuple[Role, ...],
        order: tuple[int, ...],
        part: Table | None,
    ) -> None:
        """Count the tensors of an Einsum; part: its rows, None for any.

        order: of the DRAM loops over the Einsum's ranks, innermost first.
        """
        index = self.problem.index(space)
        grid = self.grid[index]
        tile = np.where(grid == FOLLOW, 1, grid)
        sizes = np.array(space.sizes, dtype=np.int64)[:, None]
        dram = np.where(grid == FOLLOW, 1, sizes // tile)
        for tensor, role in zip(space.tensors, roles, strict=True):
            low = part.smallest(tensor) if part and role == "stream" else space.share(tensor)
            self.words.add_needs(self.needs, space, tensor, role, tile, low)
            if role != "stream":
                self._pass(space, tensor)
            opening = space is self.problem.spaces[0] and tensor != space.output
            if opening and tensor in self.problem.external:
                self._first = self._first + (
                    low if role == "stream" else tile_words(space, tensor, tile)
                )
            if role == "staged":
                words = staged_words(space, tensor, dram, order)
                self._cross(space, tensor, words)
                once = dram_energy(space, tensor, float(space.volume[tensor]))
                self.staged = self.staged + dram_energy(space, tensor, words) - once
                refilled = space.volume[tensor] if tensor == space.output else 0.0
                self._written = self._written + words - refilled
            elif role == "stream":
                kept = part.largest_kept(tensor) if part else space.inner_words
                whole = tile_words(space, tensor, tile) <= kept
                self._cross(space, tensor, streamed_words(space, tensor, dram, whole))

    def _pass(self, space: EinsumSpace, tensor: str) -> None:
        """Every word passes between the shared level and the inner ones once at least."""
        if tensor == space.output:
            self._written = self._written + space.volume[tensor]
        else:
            self._read = self._read + space.volume[tensor]

    def _cross(self, space: EinsumSpace, tensor: str, words: Floats) -> None:
        """Words of a tensor through DRAM."""
        self.floors = self.floors + dram_energy(space, tensor, words)
        if tensor == space.output:
            self._to_dram = self._to_dram + words
            words = words - space.volume[tensor]
        self._from_dram = self._from_dram + words

    def cycles(self, compute: float) -> Floats:
        """Cycles of the group at least, with so many of compute; whole in the end."""
        problem = self.problem
        dram, level = problem.platform.dram, shared_level(problem.platform)
        found = np.maximum(
            np.maximum(port_cycles(dram, self._from_dram, self._to_dram), compute),
            port_cycles(level, self._read, self._written),
        )
        if problem.group.schedule != "sequential":
            found = found + port_cycles(dram, self._first, self._first * 0)
        # The sums that cycles come from are off in the last bits.
        return np.ceil(found * (1 - 1e-14) - 1e-9)

    @property
    def held(self) -> Ints:
        """Words of the shared level."""
        tile = np.where(self.grid == FOLLOW, 1, self.grid)
        total = sum(self.needs.values(), self.words.left_out_words(tile))
        return np.ceil(total).astype(np.int64)


def staged_words(space: EinsumSpace, tensor: str, dram: Ints, order: tuple[int, ...]) -> Floats:
    """Words of a staged tensor through DRAM, exactly; dram int64[R, n] factors, innermost first."""
    words = np.full(dram.shape[1], float(space.volume[tensor]))
    open_ = np.ones(dram.shape[1], np.bool_)
    for r in order:
        if space.relevant[tensor][r]:
            open_ = open_ & (dram[r] == 1)
        else:
            words = words * np.where(open_, 1, dram[r])
    return words


def streamed_words(space: EinsumSpace, tensor: str, dram: Ints, whole: Bools) -> Floats:
    """Words of a streamed tensor through DRAM at least.

    whole: where a row may hold its whole tile; only there it may stay over the DRAM loops.
    """
    words = np.full(dram.shape[1], float(space.volume[tensor]))
    for r in range(len(space.ranks)):
        if not space.relevant[tensor][r]:
            words = words * np.where(whole, 1, dram[r])
    return words
