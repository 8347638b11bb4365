"""Rows of an Einsum that has too many to keep: grown node by node, and thinned out on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from flat_mapper.arch.values import Fanout, MemoryLevel
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.mapper.bounds.dominance import undominated
from flat_mapper.mapper.bounds.partial import Nodes, least_energy
from flat_mapper.mapper.cost.candidate_set import Table
from flat_mapper.mapper.group.bound_filter import Lows
from flat_mapper.mapper.space.candidates import Floats, Ints, Rows
from flat_mapper.mapper.space.einsum import EinsumSpace, lanes_of
from flat_mapper.mapper.space.enumerate import Wanted, around, keeps, start
from flat_mapper.mapper.space.group import FOLLOW
from flat_mapper.mapper.space.roles import Role

# Of rows with (least pJ, the same without DRAM, least compute cycles): those to go on with
Choice = Callable[[Rows, Floats, Floats, Floats], Ints]

AT_ONCE = 1 << 20  # rows times factors of one more node to look at in one go
MOST_LEFT = 4_000_000  # rows that may win


@dataclass(frozen=True, kw_only=True)
class Growth:
    """Rows that use so many compute units at least, under some outer tiles."""

    space: EinsumSpace
    roles: dict[str, tuple[Role, ...]]
    least: int
    tiles: Ints  # int64[R, n]
    masked: bool  # a mask spares some passes, so dominance says nothing

    @cached_property
    def wanted(self) -> Wanted:
        """What every row has to be."""
        sizes = np.array(self.space.sizes, dtype=np.int64)[:, None]
        tiles = np.where(self.tiles == FOLLOW, sizes, self.tiles)
        return Wanted(least=self.least, tiles=np.unique(tiles, axis=1))

    def table(self, choose: Choice) -> Table:
        """The rows that are chosen at every node."""
        blocks = [start(self.space)]
        nodes = tuple(reversed(self.space.inner_nodes))
        for position, node in enumerate(nodes):
            blocks = self._around(blocks, node, nodes[position + 1 :], choose)
        return Table(space=self.space, blocks=blocks, roles=self.roles)

    def least_of_all(self) -> Lows:
        """What any row costs at least, seen from the first fanout on."""
        blocks = [start(self.space)]
        nodes = tuple(reversed(self.space.inner_nodes))
        found = Lows(np.inf, np.inf, np.inf)
        for position, node in enumerate(nodes):
            rest = nodes[position + 1 :]
            blocks = self._around(blocks, node, rest, None)
            if isinstance(node, Fanout) or not rest:
                for rows in blocks:
                    for keep in keeps(self.space, rest[0]) if rest else [frozenset[str]()]:
                        found = found.with_rows(*self._costs(rows, rest, keep))
                break
        return found

    def _around(
        self,
        blocks: list[Rows],
        node: MemoryLevel | Fanout,
        rest: Nodes,
        choose: Choice | None,
    ) -> list[Rows]:
        """Rows with one more node around them."""
        found: list[Rows] = []
        for block in blocks:
            for keep in keeps(self.space, node):
                inside = block
                if choose and isinstance(node, MemoryLevel):
                    inside = block.take(choose(block, *self._costs(block, (node, *rest), keep)))
                parts = [
                    self._left(around(self.space, part, node, keep, self.wanted), rest, choose)
                    for part in _chunks(inside, self._factors(node))
                ]
                parts = [p for p in parts if p.count]
                if parts:
                    found.append(Rows.joined(parts))
        if choose is not None:
            found = self._thinned(found, rest)
        left = sum(b.count for b in found)
        if left > MOST_LEFT:
            where = f"{self.space.einsum.name} on {self.space.arch.name}"
            condition = f"at most {MOST_LEFT:,} partial loop nests that may win at {node.name}"
            change = "fix factors, spatial ranks or keeps there, in the mapspace or the node"
            raise SpecError(expected(where, condition, f"{left:,}", change))
        return found

    def _left(self, rows: Rows, rest: Nodes, choose: Choice | None) -> Rows:
        """Rows that are chosen and that no other one beats.

        While much is still open, bounds cost more than they drop, and what the next level keeps
        tells more; of whole rows they drop most.
        """
        if choose is None:
            return rows
        if not rest:
            rows = rows.take(choose(rows, *self._costs(rows, rest, frozenset())))
        for thinned in self._thinned([rows], rest):
            rows = thinned
        if rest and isinstance(rest[0], Fanout):
            rows = rows.take(choose(rows, *self._costs(rows, rest, frozenset())))
        return rows

    def _thinned(self, blocks: list[Rows], rest: Nodes) -> list[Rows]:
        return blocks if self.masked else undominated(self.space, blocks, rest)

    def _factors(self, node: MemoryLevel | Fanout) -> int:
        """About how many ways there are to choose the factors of a node."""
        return self.space.splits[node.name][0].shape[1] if isinstance(node, Fanout) else 1000

    def _costs(
        self, rows: Rows, rest: Nodes, keep: frozenset[str]
    ) -> tuple[Floats, Floats, Floats]:
        priced, free = least_energy(self.space, rows, rest, keep, self.roles)
        return priced, free, self.space.lane_cycles / (rows.spatial * lanes_of(rest))


def _chunks(rows: Rows, factors: int) -> Iterator[Rows]:
    """Rows in parts that one more node can be put around in one go."""
    step = max(1, AT_ONCE // max(1, factors))
    if rows.count <= step:
        yield rows
        return
    for first in range(0, rows.count, step):
        yield rows.take(np.arange(first, min(first + step, rows.count)))
