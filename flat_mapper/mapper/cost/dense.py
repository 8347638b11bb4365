"""The candidates of one Einsum side by side, whatever they keep: priced under many outer choices at
once.

Blocks of candidates differ in the transfers that their tensors have. On a dense layout every tensor
has a transfer to the compute unit and one to each inner level; where a level does not keep the
tensor, its transfer is there and moves nothing. So one pass over arrays prices pairs of candidates
and outer choices, by the same arithmetic as `price.candidate_costs`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flat_mapper.arch.values import MemoryLevel
from flat_mapper.mapper.cost.candidate_set import CandidateSet
from flat_mapper.mapper.cost.price import Costs, add_drawn, add_filled, add_staged
from flat_mapper.mapper.space.candidates import Bools, CandidateBlock, Floats, Ints, looped
from flat_mapper.mapper.space.einsum import EinsumSpace
from flat_mapper.mapper.space.roles import Role


@dataclass(frozen=True, slots=True)
class DenseTransfer:
    """What one child of a tensor draws; arrays over the candidates."""

    child: MemoryLevel | None
    open: Bools
    passes: Floats
    parents: tuple[
        tuple[MemoryLevel | None, Bools], ...
    ]  # None: the level on top; candidates that have it
    parent_words: Floats  # words of one parent's share
    copies: Floats  # of the parent
    child_words: Floats  # words of one child's share
    child_copies: Floats  # 0 where the child does not keep the tensor


@dataclass(frozen=True, slots=True)
class DenseLayout:
    """All candidates of a candidate set."""

    space: EinsumSpace
    source: Ints  # int64[2, n]: block, candidate
    tile: Ints  # int64[R, n]
    spatial: Floats
    transfers: dict[str, tuple[DenseTransfer, ...]]

    @classmethod
    def of(cls, candidate_set: CandidateSet) -> DenseLayout:
        """The dense layout of a candidate set."""
        space = candidate_set.space
        source = [
            np.stack([np.full(b.count, i), np.arange(b.count)])
            for i, b in enumerate(candidate_set.blocks)
        ]
        inner = [n for n in reversed(space.inner_nodes) if isinstance(n, MemoryLevel)]
        return cls(
            space=space,
            source=np.concatenate(source, axis=1),
            tile=candidate_set.tile,
            spatial=candidate_set.spatial,
            transfers={
                t: tuple(
                    _dense_transfer(space, candidate_set.blocks, t, child)
                    for child in (None, *inner)
                )
                for t in space.tensors
            },
        )

    def costs(
        self,
        candidate: Ints,
        tile: Ints,
        dram_order: tuple[int, ...],
        shared_order: tuple[int, ...],
        roles: tuple[Role, ...],
    ) -> Costs:
        """Exact costs of pairs: candidates, and the tile of each under given orders and roles.

        tile: int64[R, n]; 0: as large as the candidate's own.
        """
        space = self.space
        mine = self.tile[:, candidate]
        tile = np.where(tile == 0, mine, tile)
        shared = tile // mine
        dram = np.array(space.sizes, dtype=np.int64)[:, None] // tile
        costs = Costs(energy=np.full(len(candidate), space.compute_energy), ports={})
        for tensor, role in zip(space.tensors, roles, strict=True):
            relevant = space.relevant[tensor]
            one = np.ones(len(candidate))
            times = {}
            for open_ in (False, True):
                passes, still = looped(relevant, one, np.full(1, open_), shared, shared_order)
                times[open_], _ = looped(relevant, passes, still, dram, dram_order)
            top = space.arch.levels[0 if role == "stream" else space.shared]
            for transfer in self.transfers[tensor]:
                passes = transfer.passes[candidate] * np.where(
                    transfer.open[candidate], times[True], times[False]
                )
                _add_dense(space, costs, tensor, transfer, candidate, passes, top)
            if role == "staged":
                add_staged(space, costs, tensor, dram, dram_order)
        return costs


def _dense_transfer(
    space: EinsumSpace, blocks: list[CandidateBlock], tensor: str, child: MemoryLevel | None
) -> DenseTransfer:
    """One transfer of a tensor over all blocks; nothing moves in blocks that lack it."""
    volume = float(space.volume[tensor])
    arrays: dict[str, list[np.ndarray]] = {
        k: [] for k in ("open", "passes", "parent_words", "copies", "child_words", "child_copies")
    }
    parents: dict[str, tuple[MemoryLevel | None, list[Bools]]] = {}
    for number, block in enumerate(blocks):
        transfers = block.transfers[tensor]
        found = next((i for i, k in enumerate(transfers) if k.child is child), None)
        n = block.count
        parent: MemoryLevel | None = None
        values: dict[str, np.ndarray]
        if found is None:
            values = {k: np.zeros(n) for k in arrays}
        else:
            transfer = transfers[found]
            above = transfers[found + 1] if found + 1 < len(transfers) else None
            parent = above.child if above else None
            values = {
                "open": transfer.open,
                "passes": transfer.passes,
                "parent_words": volume / above.spread if above else np.full(n, volume),
                "copies": above.copies if above else np.ones(n),
                "child_words": volume / transfer.spread,
                "child_copies": transfer.copies,
            }
        for key, value in values.items():
            arrays[key].append(np.broadcast_to(value, (n,)))
        if found is not None:
            name = parent.name if parent else ""
            candidates = parents.setdefault(
                name, (parent, [np.zeros(b.count, np.bool_) for b in blocks])
            )
            candidates[1][number] = np.ones(n, np.bool_)
    joined = {k: np.concatenate(v) for k, v in arrays.items()}
    return DenseTransfer(
        child=child,
        open=joined["open"].astype(np.bool_),
        passes=joined["passes"],
        parents=tuple(
            (level, np.concatenate(candidates)) for level, candidates in parents.values()
        ),
        parent_words=joined["parent_words"],
        copies=joined["copies"],
        child_words=joined["child_words"],
        child_copies=joined["child_copies"],
    )


def _add_dense(
    space: EinsumSpace,
    costs: Costs,
    tensor: str,
    transfer: DenseTransfer,
    candidate: Ints,
    passes: Floats,
    top: MemoryLevel,
) -> None:
    """Words of one transfer at both its ends."""
    output = tensor == space.output
    for level, has in transfer.parents:
        mine = has[candidate]
        if mine.any():
            parent_words = np.where(mine, transfer.parent_words[candidate], 0.0)
            parent = level or top
            add_drawn(
                space,
                costs,
                parent,
                transfer.copies[candidate],
                parent_words,
                passes,
                output=output,
            )
    if transfer.child is not None:
        child_words, copies = transfer.child_words[candidate], transfer.child_copies[candidate]
        add_filled(space, costs, transfer.child, copies, child_words, passes, output=output)
