"""What the shared level holds while a group runs."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from flat_mapper.model.group import shared_level
from flat_mapper.search.outer import FOLLOW, GroupProblem, Staging, tile_words
from flat_mapper.search.ports import port_cycles
from flat_mapper.search.price import Outer, Role
from flat_mapper.search.rows import Floats, Ints, Rows
from flat_mapper.search.space import EinsumSpace
from flat_mapper.search.table import Table


@dataclass(frozen=True, slots=True)
class SharedWords:
    """Words of the shared level, by the same rule as model.group.buffer_use."""

    problem: GroupProblem

    def copies(self, tensor: str) -> float:
        """Copies that the shared level holds of a tensor's tile."""
        problem = self.problem
        key = problem.classes.get(tensor, tensor)
        mates = [t for s in problem.spaces for t in s.tensors if problem.classes.get(t, t) == key]
        if any(t in problem.external and t not in problem.drained for t in mates):
            return problem.mapspace.policy.buffering
        return 2.0 if any(self._in_flight(t) for t in mates) else 1.0

    def _in_flight(self, tensor: str) -> bool:
        if self.problem.group.schedule != "overlapped":
            return False
        units = {s.einsum.unit for s in self.problem.spaces if tensor in s.tensors}
        return len(units) > 1 or tensor in self.problem.carried

    @property
    def capacity(self) -> int | None:
        """Words of the shared level."""
        return shared_level(self.problem.platform).usable_words

    def held(self, space: EinsumSpace, rows: Rows, outer: Outer) -> tuple[Floats, Floats]:
        """Words that depend on the row: streamed tiles, and staged ones that follow the row."""
        policy = self.problem.mapspace.policy
        total, first = np.zeros(rows.count), np.zeros(rows.count)
        shared = np.array(outer.tile, dtype=np.int64)[:, None]
        shared = np.where(shared == FOLLOW, rows.tile, shared)
        follows = FOLLOW in outer.tile
        opening = space is self.problem.spaces[0]
        for tensor, role in zip(space.tensors, outer.roles, strict=True):
            tile = rows.tile if role == "stream" else shared
            words = tile_words(self.problem, space, tensor, tile)
            if role == "stream":
                total = total + np.ceil(policy.buffering * words)
            elif follows:
                total = total + np.ceil(self.copies(tensor) * words)
            if opening and tensor != space.output and tensor in self.problem.external:
                first = first + words
        if self.problem.group.schedule == "sequential" or not opening:
            return total, np.zeros(rows.count)
        return total, port_cycles(self.problem.platform.dram, first, first * 0)

    def room(self, staging: Staging, tile: tuple[int, ...]) -> float:
        """Words of the shared level that are left for what depends on the rows."""
        if self.capacity is None or self.problem.mapspace.policy.overflow == "spill":
            return np.inf
        return self.capacity - self._fixed_words(staging, tile)

    def _fixed_words(self, staging: Staging, tile: tuple[int, ...]) -> float:
        """Words of the shared level that the tile alone decides."""
        if FOLLOW in tile:
            return 0.0
        held: dict[str, float] = {}
        for space in self.problem.spaces:
            local = np.array(self.problem.local(space, tile), dtype=np.int64)[:, None]
            for tensor, role in zip(space.tensors, staging.roles[space.einsum.name], strict=True):
                if role == "stream":
                    continue
                words = self.copies(tensor) * float(
                    tile_words(self.problem, space, tensor, local)[0]
                )
                key = self.problem.classes.get(tensor, tensor)
                held[key] = max(held.get(key, 0.0), float(np.ceil(words)))
        return sum(held.values()) + self._left_out_words(tile)

    def _left_out_words(self, tile: tuple[int, ...]) -> float:
        """Words that a free softmax carries over the passes of the inner loops."""
        problem = self.problem
        if all(tile[i] == problem.ranks[i].size for i in problem.inner):
            return 0.0
        extents = dict(zip(problem.ranks, tile, strict=True))
        total = 0
        for tensor in problem.left_out:
            own = problem.workload.tensor_ranks[tensor]
            total += prod(n for rank, n in extents.items() if rank.members[0] in own)
        return total * (2.0 if problem.group.schedule == "overlapped" else 1.0)

    def add_needs(
        self, needs: dict[str, Floats], part: Table, tensor: str, role: Role, tile: Ints
    ) -> None:
        """Words a tensor holds in the shared level at least."""
        space, policy = part.space, self.problem.mapspace.policy
        if role == "stream":
            least = float(part.smallest(tensor))
            words = np.full(tile.shape[1], policy.buffering * least)
        else:
            words = float(self.copies(tensor)) * tile_words(self.problem, space, tensor, tile)
        key = self.problem.classes.get(tensor, tensor)
        needs[key] = np.maximum(needs.get(key, np.zeros(1)), words)
