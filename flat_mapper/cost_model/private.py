"""Words of candidates at private levels, which the Einsums of a group use in turn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flat_mapper.cost_model.candidates import Bools, CandidateBlock, Floats, Ints
from flat_mapper.cost_model.facts import EinsumFacts, prod_of
from flat_mapper.cost_model.roles import Outer
from flat_mapper.cost_model.transfers import looped


@dataclass(frozen=True, slots=True)
class PrivateWords:
    """Words of n candidates at private levels, of one instance; float64[L, n] by level."""

    stays: Floats  # over the turns of other Einsums
    turn: Floats  # in the Einsum's own turn alone

    @classmethod
    def joined(cls, parts: list[PrivateWords]) -> PrivateWords:
        """Several sets as one."""
        return cls(
            np.concatenate([p.stays for p in parts], axis=1),
            np.concatenate([p.turn for p in parts], axis=1),
        )

    def take(self, index: Ints) -> PrivateWords:
        """Some of the candidates."""
        return PrivateWords(self.stays[:, index], self.turn[:, index])


def private_tiles(facts: EinsumFacts, candidates: CandidateBlock, level: str) -> dict[str, Floats]:
    """Words of the tiles that candidates keep at a private level, by tensor; float64[n] each."""
    extents = np.ones(candidates.tile.shape, np.int64)
    for choice in candidates.node_choices:
        extents = extents * choice.grid[:, choice.column]
        if choice.node == level:
            break
    return {
        tensor: np.ceil(
            prod_of(extents, [r for r, yes in enumerate(facts.relevant[tensor]) if yes])
            * facts.share(tensor, level)
        )
        for tensor in candidates.keep.get(level, ())
    }


def private_words(
    facts: EinsumFacts, candidates: CandidateBlock, outer: Outer, levels: tuple[str, ...]
) -> PrivateWords:
    """Words that candidates hold at private levels; levels: their names."""
    stays = np.zeros((len(levels), candidates.count))
    turn = np.zeros((len(levels), candidates.count))
    tile = np.array(outer.tile, dtype=np.int64)[:, None]
    shared = tile // candidates.tile
    for level in candidates.keep:
        at = levels.index(level)
        tiles = private_tiles(facts, candidates, level)
        for position, tensor in enumerate(facts.tensors):
            if tensor not in tiles:
                continue
            words = tiles[tensor]
            still = outer.stay[position] and runs_on(facts, tensor, outer)
            over = still & _open_at(facts, candidates, tensor, level, shared, outer)
            stays[at] += np.where(over, words, 0.0)
            turn[at] += np.where(over, 0.0, words)
    return PrivateWords(stays, turn)


def staying(facts: EinsumFacts, candidate: CandidateBlock, outer: Outer) -> tuple[str, ...]:
    """Tensors of one candidate that stay at some private level over the DRAM loops."""
    shared = np.array(outer.tile, dtype=np.int64)[:, None] // candidate.tile
    return tuple(
        tensor
        for position, tensor in enumerate(facts.tensors)
        if outer.stay[position]
        and runs_on(facts, tensor, outer)
        and any(
            _open_at(facts, candidate, tensor, node, shared, outer)[0]
            for node, kept in candidate.keep.items()
            if tensor in kept
        )
    )


def runs_on(facts: EinsumFacts, tensor: str, outer: Outer) -> bool:
    """True if the innermost real loop at DRAM is over a rank that a tensor lacks."""
    if outer.passes > 1:
        return True
    for r in outer.dram_order:
        if facts.sizes[r] > outer.tile[r]:
            return not facts.relevant[tensor][r]
    return False


def _open_at(
    facts: EinsumFacts,
    candidates: CandidateBlock,
    tensor: str,
    node: str,
    shared: Ints,
    outer: Outer,
) -> Bools:
    """True if no loop of a pass replaces a tensor's tile at a private level; bool[n]."""
    for transfer in candidates.transfers[tensor]:
        if transfer.child is not None and transfer.child.name == node:
            _, open_ = looped(
                facts.relevant[tensor], transfer.passes, transfer.open, shared, outer.shared_order
            )
            return np.broadcast_to(open_, (candidates.count,))
    return np.zeros(candidates.count, np.bool_)
