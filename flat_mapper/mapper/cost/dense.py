"""The rows of one Einsum side by side, whatever they keep: priced under many outer choices at once.

Blocks of rows differ in the links that their tensors have. On a sheet every tensor has a link to
the compute unit and one to each inner level; where a level does not keep the tensor, its link is
there and moves nothing. So one pass over arrays prices pairs of rows and outer choices, by the same
arithmetic as `price.row_costs`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flat_mapper.arch.values import MemoryLevel
from flat_mapper.mapper.cost.candidate_set import Table
from flat_mapper.mapper.cost.price import Costs, add_drawn, add_filled, add_staged
from flat_mapper.mapper.space.candidates import Bools, Floats, Ints, Rows, looped
from flat_mapper.mapper.space.einsum import EinsumSpace
from flat_mapper.mapper.space.roles import Role


@dataclass(frozen=True, slots=True)
class Draw:
    """What one child of a tensor draws; arrays over the rows."""

    child: MemoryLevel | None
    open: Bools
    passes: Floats
    parents: tuple[
        tuple[MemoryLevel | None, Bools], ...
    ]  # None: the level on top; rows that have it
    held: Floats  # words of one parent's share
    copies: Floats  # of the parent
    kept: Floats  # words of one child's share
    child_copies: Floats  # 0 where the child does not keep the tensor


@dataclass(frozen=True, slots=True)
class Sheet:
    """All rows of a table."""

    space: EinsumSpace
    source: Ints  # int64[2, n]: block, row
    tile: Ints  # int64[R, n]
    spatial: Floats
    draws: dict[str, tuple[Draw, ...]]

    @classmethod
    def of(cls, table: Table) -> Sheet:
        """The sheet of a table."""
        space = table.space
        source = [
            np.stack([np.full(b.count, i), np.arange(b.count)]) for i, b in enumerate(table.blocks)
        ]
        inner = [n for n in reversed(space.inner_nodes) if isinstance(n, MemoryLevel)]
        return cls(
            space=space,
            source=np.concatenate(source, axis=1),
            tile=table.tile,
            spatial=table.spatial,
            draws={
                t: tuple(_draw(space, table.blocks, t, child) for child in (None, *inner))
                for t in space.tensors
            },
        )

    def costs(
        self,
        row: Ints,
        tile: Ints,
        dram_order: tuple[int, ...],
        shared_order: tuple[int, ...],
        roles: tuple[Role, ...],
    ) -> Costs:
        """Exact costs of pairs: rows, and the tile of each under given orders and roles.

        tile: int64[R, n]; 0: as large as the row's own.
        """
        space = self.space
        mine = self.tile[:, row]
        tile = np.where(tile == 0, mine, tile)
        shared = tile // mine
        dram = np.array(space.sizes, dtype=np.int64)[:, None] // tile
        costs = Costs(energy=np.full(len(row), space.compute_energy), ports={})
        for tensor, role in zip(space.tensors, roles, strict=True):
            relevant = space.relevant[tensor]
            one = np.ones(len(row))
            times = {}
            for open_ in (False, True):
                passes, still = looped(relevant, one, np.full(1, open_), shared, shared_order)
                times[open_], _ = looped(relevant, passes, still, dram, dram_order)
            top = space.arch.levels[0 if role == "stream" else space.shared]
            for draw in self.draws[tensor]:
                passes = draw.passes[row] * np.where(draw.open[row], times[True], times[False])
                _add_draw(space, costs, tensor, draw, row, passes, top)
            if role == "staged":
                add_staged(space, costs, tensor, dram, dram_order)
        return costs


def _draw(space: EinsumSpace, blocks: list[Rows], tensor: str, child: MemoryLevel | None) -> Draw:
    """One link of a tensor over all blocks; nothing moves in blocks that lack it."""
    volume = float(space.volume[tensor])
    arrays: dict[str, list[np.ndarray]] = {
        k: [] for k in ("open", "passes", "held", "copies", "kept", "child_copies")
    }
    parents: dict[str, tuple[MemoryLevel | None, list[Bools]]] = {}
    for number, block in enumerate(blocks):
        links = block.links[tensor]
        found = next((i for i, k in enumerate(links) if k.child is child), None)
        n = block.count
        parent: MemoryLevel | None = None
        values: dict[str, np.ndarray]
        if found is None:
            values = {k: np.zeros(n) for k in arrays}
        else:
            link = links[found]
            above = links[found + 1] if found + 1 < len(links) else None
            parent = above.child if above else None
            values = {
                "open": link.open,
                "passes": link.passes,
                "held": volume / above.spread if above else np.full(n, volume),
                "copies": above.copies if above else np.ones(n),
                "kept": volume / link.spread,
                "child_copies": link.copies,
            }
        for key, value in values.items():
            arrays[key].append(np.broadcast_to(value, (n,)))
        if found is not None:
            name = parent.name if parent else ""
            rows = parents.setdefault(name, (parent, [np.zeros(b.count, np.bool_) for b in blocks]))
            rows[1][number] = np.ones(n, np.bool_)
    joined = {k: np.concatenate(v) for k, v in arrays.items()}
    return Draw(
        child=child,
        open=joined["open"].astype(np.bool_),
        passes=joined["passes"],
        parents=tuple((level, np.concatenate(rows)) for level, rows in parents.values()),
        held=joined["held"],
        copies=joined["copies"],
        kept=joined["kept"],
        child_copies=joined["child_copies"],
    )


def _add_draw(
    space: EinsumSpace,
    costs: Costs,
    tensor: str,
    draw: Draw,
    row: Ints,
    passes: Floats,
    top: MemoryLevel,
) -> None:
    """Words of one link at both its ends."""
    output = tensor == space.output
    for level, has in draw.parents:
        mine = has[row]
        if mine.any():
            held = np.where(mine, draw.held[row], 0.0)
            parent = level or top
            add_drawn(space, costs, parent, draw.copies[row], held, passes, output=output)
    if draw.child is not None:
        kept, copies = draw.kept[row], draw.child_copies[row]
        add_filled(space, costs, draw.child, copies, kept, passes, output=output)
