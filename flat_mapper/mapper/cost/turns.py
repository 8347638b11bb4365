"""Turns of candidates: what they take in the passes of a group, and what stays private meanwhile.

The rules are those of `cost_model.turn_taking` and `cost_model.residence`, over arrays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product

import numpy as np

from flat_mapper.arch.values import MemoryLevel
from flat_mapper.cost_model.latency import port_loads
from flat_mapper.cost_model.transfers import Transfer, at_child, at_parent, looped
from flat_mapper.mapper.cost.price import Ports, beside, beside_cycles
from flat_mapper.mapper.space.candidates import Bools, CandidateBlock, Floats, Ints
from flat_mapper.mapper.space.einsum import EinsumSpace
from flat_mapper.mapper.space.factors import prod_of
from flat_mapper.mapper.space.roles import Outer


@dataclass(frozen=True, slots=True)
class TurnCycles:
    """Cycles of the turns of n candidates; float64[n]."""

    total: Floats  # of all passes
    steady: Floats  # of all passes, if each were as long as the shortest kind


@dataclass(frozen=True, slots=True)
class _Move:
    """One transfer in one pass: words at its ends, and where they need not move."""

    parent: MemoryLevel
    child: MemoryLevel | None
    drawn: Floats
    parent_words: Floats | float  # one instance's share of the tile
    filled: Floats
    child_words: Floats | float
    open: Bools


def turn_cycles(
    space: EinsumSpace,
    candidates: CandidateBlock,
    outer: Outer,
    weights: Mapping[str, Floats],
) -> TurnCycles:
    """Cycles of the turns of candidates under given outer loops.

    weights: words that DRAM moves for one that streams, by tensor.
    """
    tile = np.array(outer.tile, dtype=np.int64)[:, None]
    sizes = np.array(space.sizes, dtype=np.int64)[:, None]
    shared, dram = tile // candidates.tile, sizes // tile
    compute = space.lane_cycles / candidates.spatial / dram.prod(axis=0)
    ports: list[Ports] = [{} for _ in outer.kinds]
    for position, tensor in enumerate(space.tensors):
        pieces = prod_of(dram, [r for r, yes in enumerate(space.relevant[tensor]) if yes])
        held = space.volume_at(tensor, space.arch.levels[space.shared]) / pieces
        streams = outer.roles[position] == "stream"
        weight = weights.get(tensor, 1.0) if streams else 1.0
        outermost = space.arch.levels[0]
        moves = list(_moves(space, candidates, outer, position, pieces, shared, weight))
        for kind, found in zip(outer.kinds, ports, strict=True):
            again = tensor == space.output and not kind.first
            fresh = tensor in kind.fresh
            for move in moves:
                _add_move(found, move, fresh=fresh, output=tensor == space.output, again=again)
            if streams and outermost.beside:
                top = list(_moves(space, candidates, outer, position, pieces, shared, 1.0))[-1]
                words = _drawn(top, fresh=fresh, output=tensor == space.output, again=again)
                slow = beside_cycles(outermost, tensor, *words, weight)
                for key, cycles in zip(beside(outermost), slow, strict=True):
                    found[key] = found.get(key, np.zeros(1)) + cycles
            level = space.arch.levels[space.shared]
            if outer.roles[position] == "staged" and fresh and (tensor != space.output or again):
                _add(found, level, held * 0, held)
            if outer.copied and not kind.first and tensor in (outer.copied, space.output):
                read = tensor == outer.copied
                _add(found, level, held * read, held * (not read))
    longest = [reduce(np.maximum, p.values(), compute) for p in ports]
    counts = [kind.count for kind in outer.kinds]
    total = sum((n * c for n, c in zip(counts, longest, strict=True)), np.zeros(1))
    return TurnCycles(total=total, steady=sum(counts) * np.minimum.reduce(longest))


def _moves(
    space: EinsumSpace,
    candidates: CandidateBlock,
    outer: Outer,
    position: int,
    pieces: Ints,
    shared: Ints,
    weight: Floats | float,
) -> Iterator[_Move]:
    """The transfers of a tensor in one pass of the DRAM loops.

    pieces: tiles there that the tensor is cut into.
    weight: words that the outermost level moves for one.
    """
    tensor = space.tensors[position]
    transfers = candidates.transfers[tensor]
    top = space.arch.levels[0 if outer.roles[position] == "stream" else space.shared]
    for i, transfer in enumerate(transfers):
        passes, open_ = looped(
            space.relevant[tensor], transfer.passes, transfer.open, shared, outer.shared_order
        )
        above = transfers[i + 1] if i + 1 < len(transfers) else None
        parent = top if above is None else _child(above)
        volume = space.volume_at(tensor, parent) / pieces
        parent_words = volume * weight if above is None else volume / above.spread
        child_words: Floats | float = 0.0
        if transfer.child is not None:
            child_words = space.volume_at(tensor, transfer.child) / pieces / transfer.spread
        yield _Move(
            parent=parent,
            child=transfer.child,
            drawn=parent_words * passes,
            parent_words=parent_words,
            filled=child_words * transfer.of_child(passes),
            child_words=child_words,
            open=open_ & outer.stay[position],
        )


def _child(transfer: Transfer) -> MemoryLevel:
    assert transfer.child is not None
    return transfer.child


def _drawn(move: _Move, *, fresh: bool, output: bool, again: bool) -> tuple[Floats, Floats]:
    """Words that a transfer's parent reads and takes in a pass; again: the output was there."""
    moves = 1.0 if fresh else np.where(move.open, 0.0, 1.0)
    held = 0.0 if again else move.parent_words
    reads, updates = at_parent(move.drawn, held, output=output)
    return moves * reads, moves * updates


def _add_move(found: Ports, move: _Move, *, fresh: bool, output: bool, again: bool) -> None:
    """Account for a transfer in a pass."""
    moves = 1.0 if fresh else np.where(move.open, 0.0, 1.0)
    _add(found, move.parent, *_drawn(move, fresh=fresh, output=output, again=again))
    if move.child is not None:
        held = 0.0 if again else move.child_words
        filled = moves * at_child(move.filled, held, output=output)
        _add(found, move.child, filled * 0, filled)


def _add(found: Ports, level: MemoryLevel, reads: Floats, writes: Floats) -> None:
    for port, words_per_cycle, words in port_loads(level, reads, writes):
        key = (level.name, port)
        found[key] = found.get(key, np.zeros(1)) + words / words_per_cycle


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


def private_tiles(space: EinsumSpace, candidates: CandidateBlock, level: str) -> dict[str, Floats]:
    """Words of the tiles that candidates keep at a private level, by tensor; float64[n] each."""
    extents = np.ones(candidates.tile.shape, np.int64)
    for choice in candidates.node_choices:
        extents = extents * choice.grid[:, choice.column]
        if choice.node == level:
            break
    return {
        tensor: np.ceil(
            prod_of(extents, [r for r, yes in enumerate(space.relevant[tensor]) if yes])
            * space.share(tensor, level)
        )
        for tensor in candidates.keep.get(level, ())
    }


def private_words(
    space: EinsumSpace, candidates: CandidateBlock, outer: Outer, levels: tuple[str, ...]
) -> PrivateWords:
    """Words that candidates hold at private levels; levels: their names."""
    stays = np.zeros((len(levels), candidates.count))
    turn = np.zeros((len(levels), candidates.count))
    tile = np.array(outer.tile, dtype=np.int64)[:, None]
    shared = tile // candidates.tile
    for level in candidates.keep:
        at = levels.index(level)
        tiles = private_tiles(space, candidates, level)
        for position, tensor in enumerate(space.tensors):
            if tensor not in tiles:
                continue
            words = tiles[tensor]
            still = outer.stay[position] and runs_on(space, tensor, outer)
            over = still & _open_at(space, candidates, tensor, level, shared, outer)
            stays[at] += np.where(over, words, 0.0)
            turn[at] += np.where(over, 0.0, words)
    return PrivateWords(stays, turn)


def staying(space: EinsumSpace, candidate: CandidateBlock, outer: Outer) -> tuple[str, ...]:
    """Tensors of one candidate that stay at some private level over the DRAM loops."""
    shared = np.array(outer.tile, dtype=np.int64)[:, None] // candidate.tile
    return tuple(
        tensor
        for position, tensor in enumerate(space.tensors)
        if outer.stay[position]
        and runs_on(space, tensor, outer)
        and any(
            _open_at(space, candidate, tensor, node, shared, outer)[0]
            for node, kept in candidate.keep.items()
            if tensor in kept
        )
    )


def runs_on(space: EinsumSpace, tensor: str, outer: Outer) -> bool:
    """True if the innermost real loop at DRAM is over a rank that a tensor lacks."""
    if outer.passes > 1:
        return True
    for r in outer.dram_order:
        if space.sizes[r] > outer.tile[r]:
            return not space.relevant[tensor][r]
    return False


def may_return(space: EinsumSpace, outer: Outer) -> list[int]:
    """Positions of the tensors that stay private over the DRAM loops, if a candidate keeps them."""
    every = enumerate(zip(space.tensors, outer.stay, strict=True))
    return [i for i, (t, may) in every if may and runs_on(space, t, outer)]


def stays_among(stay: tuple[bool, ...], free: Sequence[int]) -> list[tuple[bool, ...]]:
    """Every choice of what stays: `stay`, then those in which some of `free` return."""
    found = []
    for bits in product((True, False), repeat=len(free)):
        chosen = dict(zip(free, bits, strict=True))
        found.append(tuple(chosen.get(i, yes) for i, yes in enumerate(stay)))
    return found


def _open_at(
    space: EinsumSpace,
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
                space.relevant[tensor], transfer.passes, transfer.open, shared, outer.shared_order
            )
            return np.broadcast_to(open_, (candidates.count,))
    return np.zeros(candidates.count, np.bool_)
