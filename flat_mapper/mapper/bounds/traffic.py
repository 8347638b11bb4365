"""What outer choices ask of DRAM and of the shared level at least, whatever the rows do."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from flat_mapper.mapper.bounds.occupancy import SharedWords
from flat_mapper.mapper.cost.candidate_set import Table
from flat_mapper.mapper.cost.ports import port_cycles
from flat_mapper.mapper.cost.price import dram_energy
from flat_mapper.mapper.space.candidates import Bools, Floats, Ints, looped
from flat_mapper.mapper.space.einsum import EinsumSpace
from flat_mapper.mapper.space.factors import prod_of
from flat_mapper.mapper.space.group import FOLLOW, GroupProblem, tile_words
from flat_mapper.mapper.space.roles import Role
from flat_mapper.mapping.sharing import shared_level


@dataclass(frozen=True, slots=True)
class _Stream:
    """A streamed tensor that some row may hold whole; only there it may stay over DRAM loops."""

    space: EinsumSpace
    tensor: str
    tile: Ints
    may_stay: Bools
    words: Ints | Floats  # of its outer tile
    stays: Floats  # words through DRAM if it stays over the innermost loops that it lacks
    again: Floats  # and if it does not

    def energy(self, words: Floats | float) -> Floats:
        """pJ at DRAM."""
        return dram_energy(self.space, self.tensor, words)


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
    _moved: Floats = field(init=False)  # cycles of DRAM
    _streams: list[_Stream] = field(default_factory=list)  # those that may stay in place

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
                whole = tile_words(space, tensor, tile)
                again = streamed_words(space, tensor, dram)
                may_stay = whole <= kept
                stays = np.where(may_stay, staged_words(space, tensor, dram, order), again)
                self._cross(space, tensor, stays)
                if (stays < again).any():
                    self._streams.append(
                        _Stream(space, tensor, tile, may_stay, whole, stays, again)
                    )

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

    def settle(self) -> None:
        """Let streamed tensors stay in place only as far as their whole tiles fit together.

        Whatever stays in place over the DRAM loops is held whole while the others come by.
        """
        capacity = self.words.capacity
        spills = self.problem.mapspace.policy.overflow == "spill"
        self._moved = port_cycles(self.problem.platform.dram, self._from_dram, self._to_dram)
        if capacity is None or spills or not self._streams:
            return
        if (self._held_with(self._streams) <= capacity).all():
            return
        floors, moved = np.full((2, self.grid.shape[1]), np.inf)
        for bits in range(1 << len(self._streams)):
            stay = [s for i, s in enumerate(self._streams) if bits >> i & 1]
            go = [s for i, s in enumerate(self._streams) if not bits >> i & 1]
            fits = self._held_with(stay) <= capacity
            energy, reads, writes = self.floors, self._from_dram, self._to_dram
            for one in go:
                more = one.again - one.stays
                energy = energy + one.energy(one.again) - one.energy(one.stays)
                reads = reads + more
                writes = writes + (more if one.tensor == one.space.output else 0.0)
            cycles = port_cycles(self.problem.platform.dram, reads, writes)
            floors = np.where(fits, np.minimum(floors, energy), floors)
            moved = np.where(fits, np.minimum(moved, cycles), moved)
        some = np.isfinite(floors)  # what fits in no way is told by what is held
        self.floors = np.where(some, floors, self.floors)
        self._moved = np.where(some, moved, self._moved)

    def _held_with(self, stay: list[_Stream]) -> Ints:
        """Words of the shared level, where so many streamed tensors are whole."""
        needs = dict(self.needs)
        for one in stay:
            words = np.where(one.may_stay, one.words, 0)
            self.words.add_needs(needs, one.space, one.tensor, "stream", one.tile, words)
        return self._total(needs)

    def cycles(self, compute: float) -> Floats:
        """Cycles of the group at least, with so many of compute; whole in the end."""
        problem = self.problem
        dram, level = problem.platform.dram, shared_level(problem.platform)
        found = np.maximum(
            np.maximum(self._moved, compute),
            port_cycles(level, self._read, self._written),
        )
        if problem.group.schedule != "sequential":
            found = found + port_cycles(dram, self._first, self._first * 0)
        # The sums that cycles come from are off in the last bits.
        return np.ceil(found * (1 - 1e-14) - 1e-9)

    @property
    def held(self) -> Ints:
        """Words of the shared level."""
        return self._total(self.needs)

    def _total(self, needs: dict[str, Floats]) -> Ints:
        tile = np.where(self.grid == FOLLOW, 1, self.grid)
        total = sum(needs.values(), self.words.left_out_words(tile))
        return np.ceil(total).astype(np.int64)


def staged_words(space: EinsumSpace, tensor: str, dram: Ints, order: tuple[int, ...]) -> Floats:
    """Words through DRAM of a tensor whose whole tile stays in place; dram int64[R, n] factors.

    order: innermost first.
    """
    words = np.full(dram.shape[1], float(space.volume[tensor]))
    return looped(space.relevant[tensor], words, np.ones(1) > 0, dram, order)[0]


def streamed_words(space: EinsumSpace, tensor: str, dram: Ints) -> Floats:
    """Words of a streamed tensor through DRAM, unless it stays over its DRAM loops."""
    lacks = [r for r, yes in enumerate(space.relevant[tensor]) if not yes]
    return float(space.volume[tensor]) * prod_of(dram, lacks)
