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
from flat_mapper.mapper.cost.price import Costs, add_drawn, add_filled, add_staged, add_total
from flat_mapper.mapper.space.candidates import Bools, CandidateBlock, Floats, Ints, looped
from flat_mapper.mapper.space.einsum import EinsumSpace
from flat_mapper.mapper.space.roles import Role


@dataclass(frozen=True, slots=True)
class DenseTransfer:
    """Words that one child of a tensor draws; arrays over the candidates."""

    child: MemoryLevel | None
    open: Bools
    passes: Floats
    parents: tuple[
        tuple[MemoryLevel | None, Bools], ...
    ]  # None: the level on top; candidates that have it
    parent_words: Floats  # of one parent's share; of the level on top, as the outermost has them
    copies: Floats  # of the parent
    child_words: Floats  # words of one child's share
    child_copies: Floats  # 0 where the child does not keep the tensor
    apart: Floats  # of `passes`, how many are of different children
    network: Floats | None  # pJ of all its words in one pass; None: not priced

    def served_by(self, parent: MemoryLevel | None) -> Bools:
        """Candidates that have the transfer from a parent; bool[n]."""
        served = [has for level, has in self.parents if level == parent]
        return served[0] if served else np.zeros(len(self.open), np.bool_)

    def outside(self, candidate: Ints) -> Floats:
        """Words of candidates that come from the level on top or go to it; float64[n]."""
        return np.where(self.served_by(None), self.parent_words, 0.0)[candidate]


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
        own = self.tile.take(candidate, axis=1)
        tile = np.where(tile == 0, own, tile)
        shared = tile // own
        dram = np.array(space.sizes, dtype=np.int64)[:, None] // tile
        costs = Costs(energy=np.full(len(candidate), space.compute_energy), ports={})
        for tensor, role in zip(space.tensors, roles, strict=True):
            relevant = space.relevant[tensor]
            one = np.ones(len(candidate))
            times = {}
            for open_ in (False, True):
                passes, still = looped(relevant, one, np.full(1, open_), shared, shared_order)
                times[open_], _ = looped(relevant, passes, still, dram, dram_order)
            top, words = space.source(tensor, role), 0.0 * one
            for transfer in self.transfers[tensor]:
                passes = transfer.passes[candidate] * np.where(
                    transfer.open[candidate], times[True], times[False]
                )
                _add_dense(space, costs, tensor, transfer, candidate, passes, top)
                words = words + transfer.outside(candidate) * passes
            if role == "staged":
                words = add_staged(space, costs, tensor, dram, dram_order)
            if role != "inside":
                add_total(space, costs, tensor, words)
        return costs


def _dense_transfer(
    space: EinsumSpace, blocks: list[CandidateBlock], tensor: str, child: MemoryLevel | None
) -> DenseTransfer:
    """One transfer of a tensor over all blocks; nothing moves in blocks that lack it."""
    parts = [_block_transfer(space, block, tensor, child) for block in blocks]
    parents = {lv.name if lv else "": lv for p in parts for lv, _ in p.parents}
    networks = [p.network for p in parts if p.network is not None]
    return DenseTransfer(
        child=child,
        open=np.concatenate([p.open for p in parts]),
        passes=np.concatenate([p.passes for p in parts]),
        parents=tuple(
            (parent, np.concatenate([p.served_by(parent) for p in parts]))
            for parent in parents.values()
        ),
        parent_words=np.concatenate([p.parent_words for p in parts]),
        copies=np.concatenate([p.copies for p in parts]),
        child_words=np.concatenate([p.child_words for p in parts]),
        child_copies=np.concatenate([p.child_copies for p in parts]),
        apart=np.concatenate([p.apart for p in parts]),
        network=np.concatenate(networks) if networks else None,
    )


def _block_transfer(
    space: EinsumSpace, block: CandidateBlock, tensor: str, child: MemoryLevel | None
) -> DenseTransfer:
    """The same over one block."""
    transfers = block.transfers[tensor]
    position = next((i for i, k in enumerate(transfers) if k.child is child), None)
    zero, one = np.zeros(block.count), np.ones(block.count)
    if position is None:
        network = zero if space.priced_networks else None
        return DenseTransfer(child, zero > 0, zero, (), *(zero,) * 4, one, network)
    transfer, *outside = transfers[position:]
    above = outside[0] if outside else None
    parent = above.child if above else None
    volume = space.volume_at(tensor, parent or space.arch.levels[0])
    within = space.volume_at(tensor, child or space.arch.levels[0])  # none of a unit's counts
    return DenseTransfer(
        child=child,
        open=transfer.open & (one > 0),  # of every candidate: a fresh transfer may have one for all
        passes=transfer.passes * one,
        parents=((parent, one > 0),),
        parent_words=one * (volume / above.spread if above else volume),
        copies=one * (above.copies if above else 1.0),
        child_words=one * (within / transfer.spread),
        child_copies=one * transfer.copies,
        apart=one * transfer.apart,
        network=None if transfer.network is None else one * transfer.network * volume,
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
        own = has[candidate]
        if own.any():
            parent = level or top
            words = (
                space.volume_at(tensor, top) if level is None else transfer.parent_words[candidate]
            )
            parent_words = np.where(own, words, 0.0)
            copies = transfer.copies[candidate]
            add_drawn(space, costs, tensor, parent, copies, parent_words, passes)
    if transfer.child is not None:
        child_words, copies = transfer.child_words[candidate], transfer.child_copies[candidate]
        filled = passes / transfer.apart[candidate]
        add_filled(space, costs, transfer.child, copies, child_words, filled, output=output)
    if transfer.network is not None:
        times = 2 * passes - 1 if output else passes
        if (scale := space.scale(tensor, top)) != 1:
            times = times * np.where(transfer.served_by(None)[candidate], scale, 1.0)
        costs.energy = costs.energy + transfer.network[candidate] * times
