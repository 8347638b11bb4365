"""What the shared level holds while a group runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flat_mapper.mapper.cost.ports import port_cycles
from flat_mapper.mapper.space.candidates import Floats, Ints
from flat_mapper.mapper.space.einsum import EinsumSpace
from flat_mapper.mapper.space.group import FOLLOW, GroupProblem, Staging, tile_words
from flat_mapper.mapper.space.roles import Role
from flat_mapper.mapping.sharing import shared_level


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
        workload = self.problem.workload
        if self.problem.group.schedule != "overlapped" or tensor not in workload.producers:
            return False
        if tensor in self.problem.carried:
            return True
        maker = workload.einsum(workload.producers[tensor]).unit
        readers = (e.unit for e in workload.einsums if any(a.tensor == tensor for a in e.inputs))
        return any(unit != maker for unit in readers)

    @property
    def capacity(self) -> int | None:
        """Words of the shared level."""
        return shared_level(self.problem.platform).usable_words

    def held(
        self, space: EinsumSpace, mine: Ints, tile: Ints, roles: tuple[Role, ...]
    ) -> tuple[Floats, Floats]:
        """What depends on the rows: words, of streamed tiles and of staged ones that follow the
        row, and cycles of a cold start.

        mine: int64[R, n], tiles of the rows. tile: int64[R, n or 1], those below the DRAM loops.
        """
        count = mine.shape[1]
        total, first = np.zeros(count), np.zeros(count)
        shared = np.where(tile == FOLLOW, mine, tile)
        follows = bool((tile == FOLLOW).any())
        opening = space is self.problem.spaces[0]
        total = total + self.streamed(space, mine, roles)
        for tensor, role in zip(space.tensors, roles, strict=True):
            words = tile_words(space, tensor, mine if role == "stream" else shared)
            if role != "stream" and follows:
                total = total + np.ceil(self.copies(tensor) * words)
            if opening and tensor != space.output and tensor in self.problem.external:
                first = first + words
        if self.problem.group.schedule == "sequential" or not opening:
            return total, np.zeros(count)
        return total, port_cycles(self.problem.platform.dram, first, first * 0)

    def streamed(self, space: EinsumSpace, mine: Ints, roles: tuple[Role, ...]) -> Floats:
        """Words of streamed tensors in tiles int64[R, n] of the rows."""
        total = np.zeros(mine.shape[1])
        for tensor, role in zip(space.tensors, roles, strict=True):
            if role == "stream":
                words = self.problem.mapspace.policy.buffering * tile_words(space, tensor, mine)
                total = total + np.ceil(words)
        return total

    def room(self, staging: Staging, tile: Ints) -> Floats:
        """Words of the shared level that are left for what depends on the rows; tile int64[R, n].

        returns: float64[n].
        """
        if self.capacity is None or self.problem.mapspace.policy.overflow == "spill":
            return np.full(tile.shape[1], np.inf)
        return self.capacity - self._fixed_words(staging, tile)

    def _fixed_words(self, staging: Staging, tile: Ints) -> Floats:
        """Words of the shared level that the tile alone decides; float64[n]."""
        if (tile == FOLLOW).any():
            return np.zeros(tile.shape[1])
        held: dict[str, Floats] = {}
        for space in self.problem.spaces:
            local = tile[self.problem.index(space)]
            for tensor, role in zip(space.tensors, staging.roles[space.einsum.name], strict=True):
                if role == "stream":
                    continue
                words = np.ceil(self.copies(tensor) * tile_words(space, tensor, local))
                key = self.problem.classes.get(tensor, tensor)
                held[key] = np.maximum(held.get(key, np.zeros(1)), words)
        return sum(held.values(), self.left_out_words(tile))

    def left_out_words(self, tile: Ints) -> Floats:
        """Words that a free softmax carries through the inner loops; tile int64[R, n]."""
        problem, total = self.problem, np.zeros(tile.shape[1])
        if not problem.left_out:
            return total
        for tensor in problem.left_out:
            own = problem.workload.tensor_ranks[tensor]
            mine = [i for i, rank in enumerate(problem.ranks) if rank.members[0] in own]
            total = total + tile[mine].prod(axis=0) * problem.workload.share(tensor)
        cut = np.zeros(tile.shape[1], np.bool_)
        for i in problem.inner:
            cut |= tile[i] < problem.ranks[i].size
        return np.where(cut, total, 0.0) * (2.0 if problem.group.schedule == "overlapped" else 1.0)

    def add_needs(
        self,
        needs: dict[str, Floats],
        space: EinsumSpace,
        tensor: str,
        role: Role,
        tile: Ints,
        smallest: Floats | float,
    ) -> None:
        """Words a tensor holds in the shared level at least.

        smallest: words of its tile at least, where it is streamed.
        """
        if role == "stream":
            few = self.problem.mapspace.policy.buffering * smallest
            words = np.broadcast_to(few, (tile.shape[1],))
        else:
            words = float(self.copies(tensor)) * tile_words(space, tensor, tile)
        key = self.problem.classes.get(tensor, tensor)
        needs[key] = np.maximum(needs.get(key, np.zeros(1)), words)
