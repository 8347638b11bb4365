"""Dominance: candidates that another one dominates whatever stands outside both.

Two candidates with one tile and as many compute units stand in the same loops outside. A transfer
that is closed is passed in each of the irrelevant ones, so what all closed transfers of a candidate
take is one number. A transfer that is open is passed fewer times, by a number that depends on the
tensor alone; so is a transfer of the top. Hence a candidate that is no worse in a handful of sums
is no worse in anything.

An output's first visits are spared: at every instance one, and fanouts to come make more of these.
A sum is linear in how many they are, so it is compared at none and at the most. Words are rounded
up to whole rows of a memory, which is linear only where nothing is rounded: elsewhere the candidate
that is to dominate another has to do so with one memory row more for every term.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from math import prod
from typing import Literal, NamedTuple

import numpy as np

from flat_mapper.arch.values import Fanout, MemoryLevel
from flat_mapper.base.classes import dataclass
from flat_mapper.mapper.cost.innermost import closed_passes
from flat_mapper.mapper.space.candidates import Bools, CandidateBlock, Floats, Ints, Transfer
from flat_mapper.mapper.space.einsum import EinsumSpace, lanes_of
from flat_mapper.mapper.space.factors import multiple, prod_of

ROUNDS = 40  # candidates of one tile that are held against the others, one after another


def undominated(
    space: EinsumSpace,
    blocks: Sequence[CandidateBlock],
    rest: Sequence[MemoryLevel | Fanout],
    stay: tuple[bool, ...] = (),
    share: float | None = None,
) -> list[CandidateBlock]:
    """Blocks without the candidates that another candidate of any block dominates.

    rest:    the nodes that are still to come.
    stay:    of an Einsum that takes turns with others: tensors that may stay at private levels.
    share:   least share of the passes that a mask leaves; None: there is none. It leaves first
             visits, which then are up to 1 / share as many beside the passes, and whole rows of a
             memory need not stay whole.
    """
    blocks = [b for b in blocks if b.count]
    if not blocks or not _comparable(space):
        return list(blocks)
    sums = [_Sums.of(space, block, rest, stay, share) for block in blocks]
    keep = _undominated(*_columns(sums, space.weighing))
    found, begin = [], 0
    for block in blocks:
        own = np.flatnonzero(keep[begin : begin + block.count])
        begin += block.count
        if len(own):
            found.append(block if len(own) == block.count else block.take(own))
    return found


def _comparable(space: EinsumSpace) -> bool:
    """True if sums tell all: not where instances share rows, nor where a word over the outermost
    network takes what the role of its tensor says."""
    alone = all(level.cluster_size == 1 for level in space.arch.levels)
    return alone and not (space.widths.levels and space.priced_networks)


def _columns(sums: list[_Sums], weighing: frozenset[str]) -> tuple[Ints, list[Floats], Floats]:
    """Keys, sums that differ between candidates, and slack, over all blocks."""
    names = dict.fromkeys(name for s in sums for name in s.values)
    columns = {
        n: np.concatenate([np.broadcast_to(s.values.get(n, 0.0), s.count) for s in sums])
        for n in names
    }
    # What makes turns more alike has to be equal: no more of it, and no less.
    alike = [
        c for n, c in columns.items() if n.quantity.level in weighing and n.quantity.port != ROOM
    ]
    every = [*columns.values(), *(c.max() - c for c in alike)]
    slack = np.concatenate([np.broadcast_to(s.slack, s.count) for s in sums])
    key = np.concatenate([s.key for s in sums])
    return key, [c for c in every if c.max() > c.min()], slack


def _undominated(key: Ints, columns: list[Floats], slack: Floats) -> Bools:
    """Candidates that no other candidate of the same key is as good as in all columns.

    Of every key, the candidate that is least in the first column and had no turn yet is held
    against all others, again and again while that drops enough of them. A candidate with slack has
    to be better by that much in every column, which is more than it takes.
    """
    keep = np.ones(len(key), np.bool_)
    if not columns:
        columns = [slack * 0.0]
    left = np.argsort(key, kind="stable")
    for _ in range(ROUNDS):
        if len(left) < 2:
            break
        own = key[left]
        starts = np.flatnonzero(np.concatenate([[True], own[1:] != own[:-1]]))
        group = np.repeat(np.arange(len(starts)), np.diff([*starts, len(left)]))
        first = columns[0][left]
        least = np.flatnonzero(first == np.minimum.reduceat(first, starts)[group])
        leaders = least[np.concatenate([[True], group[least[1:]] != group[least[:-1]]])]
        beaten = np.ones(len(left), np.bool_)
        beaten[leaders] = False
        leader = left[leaders][group]
        for column in columns:
            some = np.flatnonzero(beaten)
            a, b = leader[some], left[some]
            beaten[some] = column[a] + slack[a] <= column[b] * (1 + 1e-13)
        keep[left[beaten]] = False
        few = np.count_nonzero(beaten) < len(left) / 50
        beaten[leaders] = True  # had their turn
        left = left[~beaten]
        if few:
            break
    return keep


class _Quantity(NamedTuple):
    """A quantity that is summed: pJ, words through a port of a level, or passes."""

    level: str
    port: str


ROOM = "room"  # in the place of a port: words that a level holds
_ENERGY, _PASSES = _Quantity("", "energy"), _Quantity("", "passes")


class _Sum(NamedTuple):
    """The name of a sum: of which transfers, and of which tensor where that matters."""

    quantity: _Quantity
    kind: Literal["total", "spared", "open", "once"] = "total"
    tensor: str = ""


@dataclass(slots=True)
class _Sums:
    """Of the candidates of a block: what must be equal, and what must be no worse."""

    count: int
    key: Ints
    values: dict[_Sum, Floats | float] = field(default_factory=dict)
    slack: Floats | float = 0.0  # pJ that rounding may add

    @classmethod
    def of(
        cls,
        space: EinsumSpace,
        candidates: CandidateBlock,
        rest: Sequence[MemoryLevel | Fanout],
        stay: tuple[bool, ...],
        share: float | None = None,
    ) -> _Sums:
        """The sums of a block."""
        fanouts = [n for n in rest if isinstance(n, Fanout)]
        key = space.tile_number(candidates.tile) * (space.lanes + 1) + candidates.spatial.astype(
            np.int64
        )
        for transfers in candidates.transfers.values():
            opens = [k.open.astype(np.int64) for k in transfers if k.open.any()]
            key = key * (len(space.arch.levels) + 1) + sum(opens, np.zeros(1, np.int64))
        found = cls(count=candidates.count, key=key)
        beyond = float(lanes_of(rest))
        for tensor, transfers in candidates.transfers.items():
            own = [r for r, yes in enumerate(space.relevant[tensor]) if yes]
            cut = prod(multiple(prod_of(space.splits[f.name][0], own)) for f in fanouts)
            closed = closed_passes(space, candidates.tile, tensor)
            one = _Tensor(space, tensor, closed, beyond, cut, share)
            for i, transfer in enumerate(transfers):
                found.add(one, transfer, transfers[i + 1] if i + 1 < len(transfers) else None)
            found.put(_Sum(_PASSES, "total", tensor), transfers[-1].passes)
            if tensor in space.waits:  # of one that comes as often: its first words wait as long
                found.put(_Sum(_PASSES, "once", tensor), 1 / transfers[-1].passes)
        for name in [n for n in found.values if n.kind == "spared"]:
            found.put(name, found.values[_Sum(name.quantity)])
        if stay:
            found.add_room(space, candidates, stay)
        return found

    def add_room(
        self, space: EinsumSpace, candidates: CandidateBlock, stay: tuple[bool, ...]
    ) -> None:
        """Words at every private level: of all tensors, and of each that may stay there.

        What stays and the largest turn, or all of a candidate's words, are what the level holds;
        both grow with these.
        """
        extents = np.ones(candidates.tile.shape, np.int64)
        for choice in candidates.node_choices:
            extents = extents * choice.grid[:, choice.column]
            for tensor, may in zip(space.tensors, stay, strict=True):
                if tensor not in candidates.keep.get(choice.node, ()):
                    continue
                own = [r for r, yes in enumerate(space.relevant[tensor]) if yes]
                words = np.ceil(prod_of(extents, own) * space.share(tensor, choice.node)) + 0.0
                self.put(_Sum(_Quantity(choice.node, ROOM)), words)
                for transfer in candidates.transfers[tensor]:
                    if may and transfer.child is not None and transfer.child.name == choice.node:
                        still = np.where(transfer.open, words, 0.0)
                        self.put(_Sum(_Quantity(choice.node, ROOM), "open", tensor), still)

    def put(self, name: _Sum, value: Floats | float) -> None:
        """Add to a sum."""
        self.values[name] = self.values[name] + value if name in self.values else value

    def add(self, one: _Tensor, transfer: Transfer, above: Transfer | None) -> None:
        """Both ends of a transfer, as far as they are known."""
        times = transfer.passes * one.closed
        if transfer.open.any():
            times = np.where(transfer.open, 0.0, times)
        if above is not None and above.child is not None:
            read, _, update = one.space.prices[above.child.name]
            self._end(one, transfer, above, times, "read", read, spared=one.output)
            if one.output:
                self._end(one, transfer, above, times, "write", update, spared=False)
        if transfer.child is not None:
            write = one.space.prices[transfer.child.name][1]
            filled = transfer.of_child(times)
            self._end(one, transfer, transfer, filled, "write", write, spared=one.output)
        if transfer.network is not None:
            volume = one.volume  # of the outermost: no widths differ there, see `undominated`
            if above is not None and above.child is not None:
                volume = one.space.volume_at(one.tensor, above.child)
            amounts = [(_ENERGY, volume * transfer.network)]
            self._amounts(one, transfer, amounts, times, transfer.apart, spared=one.output)
            if one.output:
                self._amounts(one, transfer, amounts, times, transfer.apart, spared=False)

    def _end(
        self,
        one: _Tensor,
        transfer: Transfer,
        at: Transfer,
        times: Floats,
        kind: str,
        price: float,
        *,
        spared: bool,
    ) -> None:
        """Reads or writes of a transfer at the level that `at` leads to.

        times:  how often its tiles pass in all, 0 where it is open.
        price:  pJ of a vector.
        spared: whether first visits do without.
        """
        level = at.child
        assert level is not None
        words = one.space.volume_at(one.tensor, level) / at.spread
        amounts = [(_ENERGY, words * at.copies * (price / level.row_words))]
        for port, rate in (
            (kind, level.read_words_per_cycle if kind == "read" else level.write_words_per_cycle),
            ("shared", level.shared_words_per_cycle),
        ):
            if rate is not None:
                amounts.append((_Quantity(level.name, port), words))
        inside = at is transfer
        served = 1.0 if inside else transfer.apart
        self._amounts(one, transfer, amounts, times, served, spared=spared)
        moved = transfer.of_child(transfer.passes) if inside else transfer.passes
        rounded = _rounded(words * moved, level.row_words, one.cut)
        rounded = rounded | (one.share is not None)
        if rounded.any():
            self.slack = self.slack + np.where(rounded, at.copies * one.beyond * price, 0.0)

    def _amounts(
        self,
        one: _Tensor,
        transfer: Transfer,
        amounts: list[tuple[_Quantity, Floats]],
        times: Floats,
        served: Floats | float,
        *,
        spared: bool,
    ) -> None:
        """Cost of a transfer in one pass; times, spared: see `_end`.

        served: how often the words pass while the transfer is open.
        """
        is_open = bool(transfer.open.any())
        less = np.where(transfer.open, 0.0, one.most) if spared else 0.0
        for quantity, amount in amounts:
            self.put(_Sum(quantity), amount * times)
            if spared:
                self.put(_Sum(quantity, "spared"), -amount * less)
            if is_open:
                still = np.where(transfer.open, amount, 0.0)
                self.put(_Sum(quantity, "open", one.tensor), still * served)
                self.put(_Sum(quantity, "once", one.tensor), still * (served - spared))


def _rounded(words: Floats, row_words: int, cut: int) -> Bools:
    """True if words may not fill whole rows of a memory, once fanouts to come divide them.

    What divides them leaves whole words. So only powers of two count, where a row is one.
    """
    if row_words & (row_words - 1) == 0:
        count = words.astype(np.int64)
        return np.asarray((count & (row_words * (cut & -cut) - 1) != 0) | (words != count))
    return np.asarray(words / row_words % cut != 0)


@dataclass(frozen=True, slots=True)
class _Tensor:
    space: EinsumSpace
    tensor: str
    closed: Floats  # irrelevant loops outside the candidates in all
    beyond: float  # instances that fanouts to come make of one
    cut: int  # what they may divide an instance's share by
    share: float | None  # of the passes that a mask leaves at least

    @property
    def output(self) -> bool:
        return self.tensor == self.space.output

    @property
    def volume(self) -> float:
        return float(self.space.volume[self.tensor])

    @property
    def most(self) -> Floats:
        """First visits at most, of one instance now."""
        return np.minimum(self.beyond, self.closed) / (self.share or 1.0)
