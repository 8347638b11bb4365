"""Transfers: the rule for accesses, once for nests to evaluate and for candidates of a search.

Between a tensor's outer keeper P and its next inner keeper C (or the compute unit, which keeps
nothing) a whole tile moves each time C's tile is replaced. Loops are put around a transfer from the
inside out. A temporal loop over a rank that the tensor lacks replaces nothing as long as it stands
in the unbroken innermost run of such loops outside C; outside that run it brings the same words
again (`looped`). Spatial loops over a rank that the tensor lacks share one access of P: a multicast
for inputs, a spatial reduction for outputs; but not over a fanout that says
`no_multicast_no_reduction` (`Transfer.fan_out`). Of an output, words go to P every time, and come
back every time but the first (`at_parent`, `at_child`).

source: timeloop-model (NVlabs/timeloop 4cf6d4c), reproduced on all its recorded answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flat_mapper.arch.cores import reads_apart
from flat_mapper.arch.values import Fanout, MemoryLevel
from flat_mapper.cost_model.nest import BoolArray, Factors, IntArray, Nest
from flat_mapper.cost_model.ports import Amount, Moved

SHARED = 1  # index of the level that Einsums of a group share; those inside it are private
Amounts = npt.NDArray[Any]  # float64 or int64
NONE = np.zeros(1, np.int64)


def over(amount: Amounts, parts: Amounts | float) -> Amounts:
    """An amount in so many equal parts; whole ones stay whole."""
    if isinstance(parts, np.ndarray) and amount.dtype.kind == parts.dtype.kind == "i":
        return amount // parts
    return amount / parts


@dataclass(slots=True)
class Transfer:
    """Moves of one tensor between a keeper and what it feeds, in n loop nests at once.

    All arrays are bool[n], float64[n] or, of nests that are counted to the last word, int64[n].

    Nobody asks for the spread and the copies of what goes to the compute unit: they stay 1.
    A keeper is read once for equal instances, but for those of a fanout whose instances each read
    for themselves: to it these are passes, of which the child has its part.
    """

    child: MemoryLevel | None  # None: the compute unit
    passes: Amounts  # of the keeper: irrelevant loops outside so far, but for the open run
    open: BoolArray  # only irrelevant loops so far
    spread: Amounts  # relevant spatial factors outside the child so far
    copies: Amounts  # all spatial factors outside the child so far
    network: Amounts | None = None  # of one word in one pass, see `fan_out`; None: none is priced
    apart: Amounts | float = 1.0  # of `passes`, how many are of different children
    stays: BoolArray | bool = True  # of whole nests, whether the run is open at the outermost loops

    def fan_out(
        self,
        word: Sequence[Amounts | float] | Amounts,
        relevant: Amounts,
        everything: Amounts,
        *,
        outermost: bool,
        apart: bool,
    ) -> None:
        """Put a fanout around it, with these factors; outermost: no keeper stands in between.

        A word enters once for all copies that share it, and each of them receives it.

        word: how much each that enters counts, and each that is received: `Fanout.word_pj`, or 1.
        apart: each instance of the fanout reads the tensor for itself.
        """
        if self.child is not None:
            self.spread = self.spread * relevant
            self.copies = self.copies * everything
        shared = over(everything, relevant) if apart or self.network is not None else 1.0
        if outermost and apart:
            self.passes, self.apart = self.passes * shared, self.apart * shared
            shared = 1.0
        if self.network is not None:
            self.network = self.network * shared
            if outermost:
                self.network = self.network + word[0] + word[1] * shared

    def of_child(self, passes: Amounts) -> Amounts:
        """Of passes of the keeper, how many are of one child."""
        return passes if isinstance(self.apart, float) else over(passes, self.apart)

    def network_pj(
        self,
        passes: Amounts | float,
        first: Amounts | float | None,
        done: Amounts | float = 1.0,
        so_far: float = 1.0,
    ) -> Amounts | float:
        """pJ of the networks for a word that passes so often.

        first: of an output, whose word goes down before every pass but these; None: of an input.
        done, so_far: how wide it is the last time, and before: see `in_words`.
        """
        if self.network is None:
            return 0.0
        if first is None:
            return self.network * passes
        return self.network * (2 * (passes - first) * so_far + first * done)

    def take(self, index: IntArray) -> Transfer:
        """The transfer of some candidates."""
        kept = self.child is not None
        return Transfer(
            child=self.child,
            passes=self.passes[index],
            open=self.open[index],
            spread=self.spread[index] if kept else self.spread,
            copies=self.copies[index] if kept else self.copies,
            network=None if self.network is None else self.network[index],
            apart=self.apart if isinstance(self.apart, float) else self.apart[index],
        )

    @classmethod
    def joined(cls, parts: list[Transfer]) -> Transfer:
        """The same transfer of several sets of candidates."""
        networks = [p.network for p in parts if p.network is not None]
        kept = parts if parts[0].child is not None else parts[:1]
        apart: Amounts | float = 1.0
        if not all(isinstance(p.apart, float) for p in parts):
            apart = np.concatenate([np.broadcast_to(p.apart, p.passes.shape) for p in parts])
        return replace(
            parts[0],
            passes=np.concatenate([p.passes for p in parts]),
            open=np.concatenate([p.open for p in parts]),
            spread=np.concatenate([p.spread for p in kept]),
            copies=np.concatenate([p.copies for p in kept]),
            network=np.concatenate(networks) if networks else None,
            apart=apart,
        )


def looped(
    relevant: tuple[bool, ...],
    passes: Amounts,
    open_: BoolArray,
    grid: IntArray,
    order: tuple[int, ...],
) -> tuple[Amounts, BoolArray]:
    """Passes and open run of a transfer once loops stand around it; order innermost first."""
    for r in order:
        factors = grid[r]
        if relevant[r]:
            open_ = open_ & (factors == 1)
        else:
            passes = passes * np.where(open_, 1, factors)
    return passes, open_


def masked_passes(
    relevant: tuple[bool, ...],
    open_: BoolArray,
    grid: IntArray,
    order: tuple[int, ...],
    masked: tuple[int, ...],
) -> BoolArray:
    """Transfers that come in each of the passes of two outermost loops that a mask leaves; bool[n].

    Else they stay in place over one of the two, and come as often as without the mask.
    open_, grid, order: as `looped` takes them. masked: those of the two ranks that the Einsum's
    tensors have; with one alone, the innermost loop is over a rank that no tensor has.
    """
    found = np.ones(np.shape(open_), np.bool_)
    if len(masked) < 2:
        found &= ~open_
    for r in order:
        if r in masked and not relevant[r]:
            found = found & ~open_
        if relevant[r]:
            open_ = open_ & (grid[r] == 1)
    return found


def at_parent(drawn: Amounts, held: Amounts | float, *, output: bool) -> tuple[Amounts, Amounts]:
    """Words that a keeper reads for what it feeds, and takes from it.

    drawn: of the tiles that pass. held: those of them that are different ones: of an output, the
    first visit of each needs no old value.
    """
    return (drawn - held, drawn) if output else (drawn, NONE)


def at_child(filled: Amounts, held: Amounts | float, *, output: bool) -> Amounts:
    """Words that are written from above into what a keeper feeds; see `at_parent`."""
    return filled - held if output else filled


def in_words(traffic: Traffic, share: Amount, so_far: Amount) -> Traffic:
    """Words of traffic that is counted in values, or in words of finished ones.

    An output's value that comes back is one that is still added up, and so are all that go out but
    the last: this one is done, and is narrowed as it leaves the place of its last addition.

    share: words of a value that is done, `so_far` of one that is not: as many for an input.
    """
    if so_far == 1 and np.all(share == 1):
        return traffic
    more = so_far - share
    reads, fills, updates = traffic.reads, traffic.fills, traffic.updates
    return traffic._replace(
        reads=reads * so_far,
        fills=fills if fills is NONE else fills * so_far,
        updates=updates if updates is NONE else updates * share + reads * more,
        held=traffic.held * share,
        again=traffic.held * so_far,
        crossed=None if traffic.crossed is None else traffic.crossed * share + 2 * reads * more,
    )


def unfinished(own: Transfer, below: Transfer) -> BoolArray:
    """True where a keeper holds sums that are still added up; bool[n].

    own: the transfer that leads to it. below: the one to what it feeds. Sums come back there, or
    instances have parts of them that are added on their way out (`split`).
    """
    return np.asarray((below.passes > 1) | split(own))


def split(own: Transfer) -> BoolArray:
    """True where several instances have parts of one sum, and so none that is done; bool[n]."""
    return np.asarray(own.copies > own.spread)


class Traffic(NamedTuple):
    """Words of one tensor at one instance of a level, over the whole run or in a pass."""

    reads: Amount
    fills: Amount  # written from above
    updates: Amount  # written from what the level feeds
    held: Amount  # different words that the instance ever holds
    instances: Amount = 1.0
    crossed: Amounts | None = None  # to what the level feeds, and from it; None: not known
    again: Amount | None = None  # `held`, as long as they are added up; None: the same

    @property
    def moved(self) -> Moved:
        """Words through the ports of the instance."""
        return Moved(self.reads, self.fills + self.updates, self.fills)


def level_pj(
    level: MemoryLevel,
    tensor: str,
    traffic: Traffic,
    action_pj: tuple[float, float, float],
    *,
    rounded: bool = True,
) -> Amounts:
    """pJ of one tensor at one level, all instances together.

    action_pj: energy of one read, write and update; each moves up to `row_words` words of one
               tensor, so counts are rounded up to whole rows per instance, as Timeloop does.
    traffic:   in words; values are packed in the rows.
    rounded:   whether words are rounded up to whole rows at all.
    What a core sees as its DRAM has the networks between with it, for each word.
    """
    read_pj, write_pj, update_pj = action_pj
    row_words, whole, times = level.row_words, level.whole_rows, 1.0
    if tensor in level.rows:
        own = level.rows[tensor]
        read_pj, update_pj, row_words, whole = own.read_pj, own.update_pj, own.row_words, own.whole
        times = own.times
    rows: Amounts | float = 0.0
    each = (traffic.reads, read_pj), (traffic.fills, write_pj), (traffic.updates, update_pj)
    for words, action in each:
        if words is not NONE:
            rows = rows + row_accesses(words * times, row_words, whole=rounded and whole) * action
    pj = rows_in_use(traffic.instances, level) * rows
    if level.outside_pj:
        updates = 0.0 if traffic.updates is NONE else traffic.updates
        pj = pj + (traffic.reads + updates) * level.outside_pj
    return np.asarray(pj, np.float64)


def row_accesses(words: Amounts | float, row_words: int, *, whole: bool = True) -> Amounts:
    """Accesses of a memory for words of one tensor; whole: of an instance alone, rounded up."""
    rows = np.asarray(words) / row_words
    return np.ceil(rows) if whole else rows


def rows_in_use(copies: Amounts | float, level: MemoryLevel) -> Amounts | float:
    """Physical rows that a number of instances use: one access serves all of a cluster.

    Timeloop spreads those in use over all clusters (model/buffer.cpp, `utilized_clusters`).
    """
    return copies if level.cluster_size == 1 else np.minimum(copies, level.clusters)


def transfers_of(nest: Nest, factors: Factors, tensor: str) -> list[Transfer]:
    """The transfers of a tensor in whole nests, as if without remainders, outermost first; int64.

    The first leads to the outermost keeper, which nothing feeds. A tensor that leaves the private
    levels with every turn has its run end at the outermost loops, which the Einsums of a group
    share. Where networks have a price, words that enter each fanout and that its copies receive are
    counted, one after the other in float64[2 F, n].
    """
    relevant, one = nest.relevant[tensor], np.ones(1, np.int64)
    own = [r for r, yes in enumerate(relevant) if yes]
    each = np.eye(2 * len(nest.arch.fanouts) if nest.arch.priced else 0)[..., None]
    none = 0 * each[0] if nest.arch.priced else None
    found = [Transfer(None, passes=one, open=one < 0, spread=one, copies=one, network=none)]
    slot, level = len(nest.slots), len(nest.keep)
    private = 1  # of those found, that lead inside the shared level
    for node in reversed(nest.arch.nodes):
        if isinstance(node, Fanout):
            slot -= 2
            grid = factors.factors[slot : slot + 2].prod(axis=0)
            among, everything = grid[own].prod(axis=0), grid.prod(axis=0)
            apart, word = reads_apart(node, tensor), each[slot - level :][:2]
            for transfer in found:
                top = transfer is found[-1]
                transfer.fan_out(word, among, everything, outermost=top, apart=apart)
            continue
        slot, level = slot - 1, level - 1
        grid, order = factors.factors[slot], nest.orders[slot]
        for i, transfer in enumerate(found):
            if level == 0:
                returns = tensor in nest.returns and i < private
                transfer.stays = transfer.open = transfer.open & (not returns)
            transfer.passes, transfer.open = looped(
                relevant, transfer.passes, transfer.open, grid, order
            )
        if tensor in nest.keep[level]:
            found.append(Transfer(node, one, one > 0, spread=one, copies=one, network=none))
            private += level > SHARED
    return found[::-1]
