"""All inner rows of one Einsum with their bounds, shrunk as the search learns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from flat_mapper.search.price import Role, dram_energy, tensor_bounds
from flat_mapper.search.rows import Bools, Floats, Ints, Rows, inner_rows
from flat_mapper.search.space import EinsumSpace, prod_of

# (full, stays): least pJ of one tensor in every row, see price.tensor_bounds
Pair = tuple[Floats, Floats]


@dataclass(slots=True)
class Table:
    """The rows of one Einsum, in blocks that share their keeps."""

    space: EinsumSpace
    blocks: list[Rows]
    roles: dict[str, tuple[Role, ...]]  # what the search may make of each tensor
    bounds: dict[tuple[str, Role, bool], Pair] = field(default_factory=dict)
    lows: dict[object, float] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Rows in all blocks."""
        return sum(b.count for b in self.blocks)

    @property
    def cycles(self) -> Floats:
        """Compute cycles of every row."""
        return self.space.iterations / np.concatenate([b.spatial for b in self.blocks])

    @property
    def tile(self) -> Ints:
        """int64[R, n]."""
        return np.concatenate([b.tile for b in self.blocks], axis=1)

    def pair(self, tensor: str, role: Role, priced: bool = True) -> Pair:
        """Bounds of one tensor in one role."""
        key = (tensor, role, priced)
        if key not in self.bounds:
            parts = [tensor_bounds(self.space, b, tensor, role, priced=priced) for b in self.blocks]
            self.bounds[key] = (
                np.concatenate([p[0] for p in parts]),
                np.concatenate([p[1] for p in parts]),
            )
        return self.bounds[key]

    def largest_kept(self, tensor: str) -> int:
        """Most words of a tensor that a row keeps at inner levels and may hold on to."""
        most = 0
        for block in self.blocks:
            link = block.links[tensor][-1]
            if link.child is not None and link.open.any():
                words = self._words(block, tensor)
                most = max(most, int(words[np.broadcast_to(link.open, words.shape)].max()))
        return most

    def smallest(self, tensor: str) -> int:
        """Fewest words of a tensor in any row's tile."""
        return min(int(self._words(block, tensor).min()) for block in self.blocks)

    def _words(self, block: Rows, tensor: str) -> Ints:
        mine = [r for r, yes in enumerate(self.space.relevant[tensor]) if yes]
        return prod_of(block.tile, mine)

    def energy(
        self,
        roles: tuple[Role, ...] | None = None,
        floors: Mapping[str, float] | None = None,
        *,
        free: bool = False,
    ) -> Floats:
        """Least pJ of every row: in given roles, or in whichever roles are cheapest.

        At most one rank is the innermost real loop outside a row, and only tensors that lack it
        may stay in place; so the bound is a minimum over ranks.

        floors: pJ that DRAM takes for each tensor at least, where the outer loops are known.
        free:   leave out what streamed tensors take at DRAM.
        """
        full, stays = [], []
        for i, tensor in enumerate(self.space.tensors):
            choices = self.roles[tensor] if roles is None else (roles[i],)
            pairs = [self._floored(tensor, role, floors, free) for role in choices]
            full.append(np.minimum.reduce([p[0] for p in pairs]))
            stays.append(np.minimum.reduce([p[1] for p in pairs]))
        best = sum(full, np.zeros(1))
        for r in range(len(self.space.ranks)):
            lacking = [not self.space.relevant[t][r] for t in self.space.tensors]
            if any(lacking):
                parts = (
                    s if lacks else f for f, s, lacks in zip(full, stays, lacking, strict=True)
                )
                best = np.minimum(best, sum(parts, np.zeros(1)))
        return best + self.space.compute_energy

    def low(self, roles: tuple[Role, ...], floors: Mapping[str, float], *, free: bool) -> float:
        """The least of `energy` over the rows; asked again for every set of staged tensors."""
        key = (roles, tuple(floors.values()), free)
        if key not in self.lows:
            self.lows[key] = float(self.energy(roles, floors, free=free).min(initial=np.inf))
        return self.lows[key]

    def _floored(
        self, tensor: str, role: Role, floors: Mapping[str, float] | None, free: bool
    ) -> Pair:
        pair = self.pair(tensor, role)
        if floors is None or role == "inside":
            return pair
        floor = floors[tensor]
        if role == "staged":  # the pair has every word cross DRAM once
            more = floor - dram_energy(self.space, tensor, float(self.space.volume[tensor]))
            return pair[0] + more, pair[1] + more
        unpriced = self.pair(tensor, role, priced=False)
        if free:
            return unpriced
        return np.maximum(pair[0], unpriced[0] + floor), np.maximum(pair[1], unpriced[1] + floor)

    def keep(self, mask: Bools) -> Table:
        """The rows of a mask."""
        blocks, start = [], 0
        for block in self.blocks:
            part = np.flatnonzero(mask[start : start + block.count])
            start += block.count
            if len(part) == block.count:
                blocks.append(block)
            elif len(part):
                blocks.append(block.take(part))
        bounds = {k: (p[0][mask], p[1][mask]) for k, p in self.bounds.items()}
        return Table(space=self.space, blocks=blocks, roles=self.roles, bounds=bounds)

    def index(self, mask: Bools) -> list[tuple[int, Ints]]:
        """For each block with a row in the mask: its number and those rows."""
        found, start = [], 0
        for i, block in enumerate(self.blocks):
            part = np.flatnonzero(mask[start : start + block.count])
            start += block.count
            if len(part):
                found.append((i, part))
        return found


def table(
    space: EinsumSpace,
    roles: dict[str, tuple[Role, ...]],
    known: dict[object, Table],
    least: int,
) -> Table:
    """The rows of an Einsum that use so many compute units at least.

    known: keeps them for other searches over the same Einsum.
    """
    key = (space.einsum.name, space.ranks, least)
    if key not in known:
        known[key] = Table(space=space, blocks=inner_rows(space, least), roles=roles)
    found = known[key]
    return Table(space=space, blocks=found.blocks, roles=roles, bounds=found.bounds)
