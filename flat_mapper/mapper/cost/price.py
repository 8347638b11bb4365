"""Costs of candidates: exact once the outer loops are known, bounds from below before that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add

import numpy as np

from flat_mapper.arch.values import MemoryLevel, MovedRows
from flat_mapper.base.tolerance import CYCLES
from flat_mapper.cost_model.latency import Amount, loads_in_turn, transfer_cycles
from flat_mapper.cost_model.transfers import (
    Transfer,
    at_child,
    at_parent,
    looped,
    masked_passes,
    row_accesses,
    rows_in_use,
)
from flat_mapper.mapper.space.candidates import Bools, CandidateBlock, Floats, Ints
from flat_mapper.mapper.space.einsum import EinsumSpace, PjLines
from flat_mapper.mapper.space.factors import lacked
from flat_mapper.mapper.space.roles import FirstPasses, Outer, Role
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.mask import pairs


@dataclass(slots=True)
class Costs:
    """Of n candidates: pJ, and the cycles that each limited port needs."""

    energy: Floats
    ports: dict[tuple[str, str], Floats]  # (level, read | write | shared | in turn) -> cycles
    rounded: bool = True  # words to whole rows of a memory
    staged: Floats = field(default_factory=lambda: np.zeros(1))  # cycles of whole tiles at DRAM
    weights: dict[str, Floats] = field(default_factory=dict)  # by tensor, see MemoryLevel.weight
    held: dict[tuple[str, str], Floats] = field(default_factory=dict)  # of `ports`, see `add_held`

    def add(self, other: Costs) -> None:
        """Account for what another has counted."""
        self.energy = self.energy + other.energy
        for port, cycles in other.ports.items():
            self.add_cycles(port, cycles)

    def add_cycles(self, port: tuple[str, str], cycles: Floats) -> None:
        """Account for cycles of a port."""
        self.ports[port] = self.ports.get(port, np.zeros(1)) + cycles

    def add_words(self, level: MemoryLevel, reads: Floats, writes: Floats) -> None:
        """Account for words of one instance."""
        for port, words_per_cycle, words in loads_in_turn(level, reads, writes):
            self.add_cycles((level.name, port), np.asarray(words / words_per_cycle))


def candidate_costs(
    space: EinsumSpace, candidates: CandidateBlock, outer: Outer, tile: Ints | None = None
) -> Costs:
    """Exact costs of candidates under given outer loops; the model's own arithmetic.

    tile: int64[R, n], of each candidate in place of the one of all.
    """
    computed = outer.visited * outer.passes * space.compute_energy
    costs = Costs(energy=np.full(candidates.count, computed), ports={})
    sizes = np.array(space.sizes, dtype=np.int64)[:, None]
    if tile is None:
        tile = np.array(outer.tile, dtype=np.int64)[:, None]
    tile = np.where(tile == 0, candidates.tile, tile)
    shared, dram, outside = tile // candidates.tile, sizes // tile, space.arch.levels[0]
    for position, (tensor, role) in enumerate(zip(space.tensors, outer.roles, strict=True)):
        transfers = candidates.transfers[tensor]
        parent = space.source(tensor, role)
        words, before, open_ = np.zeros(1), dict(costs.ports), np.ones(1) > 0
        left: tuple[Floats | float, Floats | float] = (1.0, 1.0)
        for i, transfer in enumerate(transfers):
            passes, open_ = looped(
                space.relevant[tensor], transfer.passes, transfer.open, shared, outer.shared_order
            )
            open_ = open_ & outer.may_stay(position)
            passes = passes * np.where(open_, 1, outer.passes)
            left = left_by_mask(space.relevant[tensor], open_, dram, outer)
            passes, _ = looped(space.relevant[tensor], passes, open_, dram, outer.dram_order)
            above = transfers[i + 1] if i + 1 < len(transfers) else None
            copied = _copied_words(space, tensor, outer) if above is None else 0.0
            _add_transfer(space, costs, tensor, transfer, above, parent, passes, left, copied)
            words = passes * left[0] * left[1] * float(space.volume[tensor])
        if role == "staged":
            open_ = np.ones(dram.shape[1]) > 0
            left = left_by_mask(space.relevant[tensor], open_, dram, outer)
            alone = Costs(energy=np.zeros(1), ports={})
            words = add_staged(space, alone, tensor, dram, outer.dram_order, left)
            costs.add(alone)
            costs.staged = costs.staged + _staged_cycles(space, tensor, dram, outer, left)
        if role == "inside":
            continue
        add_total(space, costs, tensor, words)
        if outer.by_row:
            add_held(costs.held, costs.ports, before, np.asarray(left[0] * left[1]) == 1)
        if tensor in outside.unequal:
            once = words / np.where(open_, lacked(space.relevant[tensor], dram), 1)
            cycles = in_turn_cycles(outside, tensor, once, 0.0, costs.weights[tensor])
            costs.add_cycles((outside.name, "unequal"), cycles)  # lemma 23
    return costs


def add_total(space: EinsumSpace, costs: Costs, tensor: str, words: Floats) -> None:
    """Words that DRAM moves for a tensor, however often it is read; and what other sources take
    for it, each alone, and the slowest of all for one tensor after another.

    words: that the shared level and those below read of it, or send.
    """
    dram, none = space.arch.levels[0], np.zeros(1)
    costs.weights[tensor] = none + weight_of(dram, tensor, words)
    if tensor in dram.totals:
        costs.add_words(dram, none + dram.totals[tensor], none)
    if not dram.beside:
        return
    again = words - space.volume[tensor] if tensor == space.output else none
    reads, writes = (again, words) if tensor == space.output else (words, none)
    weight = costs.weights[tensor]
    cycles = beside_cycles(dram, tensor, reads, writes, weight)
    for port, slow in zip(beside(dram), cycles, strict=True):
        costs.add_cycles(port, slow)
    each = in_turn_cycles(dram, tensor, reads, writes, weight)
    costs.add_cycles((dram.name, "beside"), each)


def _staged_cycles(
    space: EinsumSpace,
    tensor: str,
    dram: Ints,
    outer: Outer,
    left: tuple[Floats | float, Floats | float],
) -> Floats:
    """Cycles of DRAM for whole tiles, one after another: of what comes, then of what goes."""
    one = np.ones(dram.shape[1])
    passes, _ = looped(space.relevant[tensor], one, one > 0, dram, outer.dram_order)
    volume = float(space.volume[tensor]) * left[1]
    words = volume * passes * left[0]
    level = space.arch.levels[0]
    weight = weight_of(level, tensor, words)
    back = tensor == space.output  # the first pass of what accumulates brings nothing
    reads, writes = (words - volume, words) if back else (words, 0.0 * words)
    return each_way_cycles(level, tensor, reads, writes, weight)


def _copied_words(space: EinsumSpace, tensor: str, outer: Outer) -> float:
    """Words of a carried tensor's old value, copied to the output's place; 0 of other tensors."""
    if outer.copied is None or tensor not in (outer.copied, space.output):
        return 0.0
    return space.volume_at(tensor, space.arch.levels[space.shared]) * (
        outer.passes * outer.visited - 1
    )


def add_staged(
    space: EinsumSpace,
    costs: Costs,
    tensor: str,
    dram: Ints,
    order: tuple[int, ...],
    left: tuple[Floats | float, Floats | float] = (1.0, 1.0),
) -> Floats:
    """Whole tiles between DRAM and the shared level, less `left_by_mask`; returns their words."""
    one = np.ones(dram.shape[1])
    passes, _ = looped(space.relevant[tensor], one, one > 0, dram, order)
    level = space.arch.levels[space.shared]
    transfer = Transfer(child=level, passes=one, open=one > 0, spread=one, copies=one)
    top = space.source(tensor, "stream")
    _add_transfer(space, costs, tensor, transfer, None, top, passes, left)
    words: Floats = float(space.volume[tensor]) * passes * left[0] * left[1]
    return words


def _add_transfer(
    space: EinsumSpace,
    costs: Costs,
    tensor: str,
    transfer: Transfer,
    above: Transfer | None,
    top: MemoryLevel | None,
    passes: Floats,
    left: tuple[Floats | float, Floats | float] = (1.0, 1.0),
    copied: float = 0.0,
) -> None:
    """Words of one transfer at both its ends, with their energy and port cycles.

    top: the parent of a transfer with none above; None: its end of the transfer does not count.
    left: what a mask leaves of the passes, and of the tensor.
    copied: words that the parent reads (of an output: takes) beside.
    """
    passes, output = passes * left[0], tensor == space.output
    parent = top if above is None else above.child
    spread, copies = (1.0, 1.0) if above is None else (above.spread, above.copies)
    volume = space.volumes(tensor)[0] * left[1]  # over networks: at least so many
    if parent is not None:
        volume = space.volume_at(tensor, parent) * left[1]
        add_drawn(space, costs, tensor, parent, copies, volume / spread, passes, copied)
    if transfer.child is not None:
        words = space.volume_at(tensor, transfer.child) * left[1] / transfer.spread
        filled = transfer.of_child(passes)
        add_filled(space, costs, transfer.child, transfer.copies, words, filled, output=output)
    costs.energy = costs.energy + volume * transfer.network_pj(passes, 1.0 if output else None)


def add_drawn(
    space: EinsumSpace,
    costs: Costs,
    tensor: str,
    parent: MemoryLevel,
    copies: Floats | float,
    parent_words: Floats | float,
    passes: Floats,
    copied: float = 0.0,
) -> None:
    """Words of a tensor that pass between a parent and what it feeds; parent_words: one instance's
    share of it.

    An output arrives at the parent every time, and is read again every time but the first.
    copied: more words of an input that are read, or of an output that arrive.
    """
    drawn, output = parent_words * passes, tensor == space.output
    reads, updates = at_parent(drawn, parent_words, output=output)
    reads, updates = (reads, updates + copied) if output else (reads + copied, updates)
    pj = parent_pj(space, tensor, parent, reads, updates, copies=copies, rounded=costs.rounded)
    costs.energy = costs.energy + pj
    costs.add_words(parent, reads, updates)


def parent_pj(
    space: EinsumSpace,
    tensor: str,
    level: MemoryLevel,
    reads: Floats,
    updates: Floats,
    *,
    copies: Floats | float = 1.0,
    rounded: bool,
) -> Floats:
    """pJ at a level for words that an instance reads for what it feeds, and takes from it.

    copies: instances. What a core sees as its DRAM has the networks between with it.
    """
    rows = rows_of(space, level, tensor)
    pj, crossed = moved_rows(reads, rows, rounded) * rows.read_pj, reads
    if tensor == space.output:
        pj, crossed = pj + moved_rows(updates, rows, rounded) * rows.update_pj, reads + updates
    pj = rows_in_use(copies, level) * pj
    return pj + crossed * level.outside_pj if level.outside_pj else pj


def add_filled(
    space: EinsumSpace,
    costs: Costs,
    child: MemoryLevel,
    copies: Floats | float,
    child_words: Floats | float,
    passes: Floats,
    *,
    output: bool,
) -> None:
    """Words written into a child; child_words: one instance's share of a tensor.

    An output's first visit starts from nothing.
    """
    filled = at_child(child_words * passes, child_words, output=output)
    vectors = rows_in_use(copies, child) * row_accesses(
        filled, child.row_words, whole=costs.rounded and child.whole_rows
    )
    costs.energy = costs.energy + vectors * space.prices[child.name][1]
    costs.add_words(child, np.zeros(1), filled)


@dataclass(frozen=True, slots=True)
class Moves:
    """Cost of a tensor in every candidate, as far as its role does not matter; float64[n].

    Of each pair the first is in full, if every irrelevant loop outside the candidate brings it
    again; the second, if it may stay in place outside.
    """

    inner: tuple[Floats, Floats]  # pJ at the inner levels
    drawn: tuple[Floats, Floats]  # how often its words come from the level on top, or go to it

    def energy(
        self, space: EinsumSpace, tensor: str, role: Role, *, priced: bool, rounded: bool = True
    ) -> tuple[Floats, Floats]:
        """pJ in a role, in full and if it may stay in place.

        priced:  whether what DRAM takes counts.
        rounded: whether words are rounded up to whole rows of a memory. Without, what a tensor
                 takes is linear in how often it comes by, and never more than with rounding.
        """
        once = 0.0
        if role == "staged":
            once = staged_once(space, tensor, priced=priced, rounded=rounded)
        if role == "stream" and not priced:
            return self.inner
        top = space.arch.levels[0 if role == "stream" else space.shared]
        volume = space.volume_at(tensor, top)
        full, stays = (
            inner
            + once
            + drawn_energy(space, tensor, top, volume * passes, rounded=rounded, volume=volume)
            for inner, passes in zip(self.inner, self.drawn, strict=True)
        )
        return full, stays


def moves(
    space: EinsumSpace, candidates: CandidateBlock, tensor: str, *, rounded: bool = True
) -> Moves:
    """Cost of a tensor in every candidate; rounded: see `Moves.energy`."""
    closed = closed_passes(space, candidates.tile, tensor)
    transfers = candidates.transfers[tensor]
    inner, drawn = [], []
    for stays in (False, True)[: 1 + any(t.open.any() for t in transfers)]:
        costs = Costs(energy=np.zeros(candidates.count), ports={}, rounded=rounded)
        for i, transfer in enumerate(transfers):
            passes = transfer.passes * (np.where(transfer.open, 1.0, closed) if stays else closed)
            if i + 1 < len(transfers):
                _add_transfer(space, costs, tensor, transfer, transfers[i + 1], None, passes)
            else:
                _add_transfer(space, costs, tensor, transfer, None, None, passes)
                drawn.append(passes)
        inner.append(costs.energy)
    return Moves(inner=(inner[0], inner[-1]), drawn=(drawn[0], drawn[-1]))


def staged_once(space: EinsumSpace, tensor: str, *, priced: bool, rounded: bool = True) -> float:
    """pJ of every word between DRAM and the shared level once; priced: with DRAM's end."""
    known, key = space.staged_pj, (tensor, priced, rounded)
    if key in known:
        return known[key]
    costs = Costs(energy=np.zeros(1), ports={}, rounded=rounded)
    add_staged(space, costs, tensor, np.ones((len(space.ranks), 1), np.int64), ())
    once = float(costs.energy[0])
    if not priced:
        dram, words = space.arch.levels[0], space.volume[tensor]
        once -= float(drawn_energy(space, tensor, dram, words, rounded=rounded))
    return known.setdefault(key, once)


def drawn_energy(
    space: EinsumSpace,
    tensor: str,
    level: MemoryLevel,
    words: Floats | float,
    *,
    rounded: bool = True,
    volume: Floats | float | None = None,
) -> Floats:
    """pJ at a level of one instance for words of a whole tensor that pass over the whole run.

    volume: words of the tensor; None: all that it has.
    """
    held = space.volume_at(tensor, level) if volume is None else volume
    reads, updates = at_parent(np.asarray(words), held, output=tensor == space.output)
    return parent_pj(space, tensor, level, reads, updates, rounded=rounded)


def first_visits(space: EinsumSpace, candidates: CandidateBlock, top: MemoryLevel) -> Floats:
    """pJ that first visits of an accumulated output spare, not rounded; float64[n].

    top: the level that the outermost transfer leads to. A mask leaves passes out, first visits
    of what every row of tiles adds to it does not; none are counted where it does.
    """
    tensor = space.output
    transfers = candidates.transfers[tensor]
    found = np.zeros(candidates.count)
    if space.first_visits_masked:
        return found
    for i, transfer in enumerate(transfers):
        above = transfers[i + 1] if i + 1 < len(transfers) else None
        parent = top if above is None or above.child is None else above.child
        spread, copies = (1.0, 1.0) if above is None else (above.spread, above.copies)
        volume = space.volume_at(tensor, parent)
        crossed = volume if above is not None else space.volumes(tensor)[1]  # whatever is on top
        words = row_accesses(volume / spread, parent.row_words, whole=False)
        found = found + rows_in_use(copies, parent) * words * space.prices[parent.name][0]
        found = found + copies * volume / spread * parent.outside_pj
        if transfer.child is not None:
            words = row_accesses(
                space.volume_at(tensor, transfer.child) / transfer.spread,
                transfer.child.row_words,
                whole=False,
            )
            price = space.prices[transfer.child.name][1]
            found = found + rows_in_use(transfer.copies, transfer.child) * words * price
        found = found + crossed * transfer.network_pj(1.0, None)
    return found


def first_pass_pj(
    space: EinsumSpace, candidates: CandidateBlock, outer: Outer, firsts: FirstPasses
) -> Floats:
    """pJ of a first pass in candidates of an Einsum, but for its computes; float64[n].

    outer: of the largest tile, which makes P passes. What all of them take is linear in their
    number, so one is a share of 1 / P of what comes with every pass, and all of what stays.
    """
    part = 1.0
    if firsts.keys in (*space.einsum.ranks, *space.einsum.each):
        part = 1 / firsts.passes
        at = [i for i, r in enumerate(space.ranks) if r.members[0] == firsts.keys]
        outer = replace(outer, visited=part, masked=(*at, *at))  # no loop over queries: one row
    computed = 0.0 if space.einsum.each else part * space.compute_energy
    return candidate_costs(space, candidates, outer).energy - computed


def rows_of(space: EinsumSpace, level: MemoryLevel, tensor: str) -> MovedRows:
    """Rows of a level that words of a tensor take."""
    if tensor in level.rows:
        return level.rows[tensor]
    read, _, update = space.prices[level.name]
    return MovedRows(
        row_words=level.row_words, read_pj=read, update_pj=update, whole=level.whole_rows
    )


def moved_rows(words: Floats | float, rows: MovedRows, rounded: bool) -> Floats:
    """Rows that a memory moves for a number of words."""
    moved = words if rows.times == 1 else words * rows.times
    return row_accesses(moved, rows.row_words, whole=rounded and rows.whole)


def least_along(lines: PjLines, often: Floats | float) -> Floats | float:
    """pJ of words that come so often, whichever way takes least."""
    found = [each * often + fixed if each else fixed for each, fixed in lines]
    return found[0] if len(found) == 1 else reduce(np.minimum, found)


def moved_once(space: EinsumSpace, tensor: str, level: MemoryLevel) -> tuple[float, float, float]:
    """pJ of all words of a tensor once, if a level reads them, or writes, or updates."""
    read, write, update = space.prices[level.name]
    rows = space.volume_at(tensor, level) / level.row_words / level.cluster_size
    return rows * read, rows * write, rows * update


def top_lines(
    space: EinsumSpace, tensor: str, roles: tuple[Role, ...], *, rounded: bool
) -> tuple[PjLines, PjLines]:
    """pJ of what comes from the level on top in some roles, once or more often.

    rounded: whether whole tiles are, up to rows of DRAM and of the shared level.
    returns: with what DRAM takes, and without.
    """
    known, key = space.known_lines, (tensor, roles, rounded)
    if key in known:
        return known[key]
    whole, within = list[tuple[float, float]](), list[tuple[float, float]]()
    for role in roles:
        level = space.arch.levels[0 if role == "stream" else space.shared]
        words = np.array([0.0, space.volume_at(tensor, level)])
        none, once = drawn_energy(space, tensor, level, words, rounded=False).tolist()
        for found, priced in ((whole, True), (within, False)):
            if role == "stream" and not priced:
                found.append((0.0, 0.0))
                continue
            staged = role == "staged"
            tile = staged_once(space, tensor, priced=priced, rounded=rounded) if staged else 0.0
            found.append((once - none, none + tile))
    return known.setdefault(key, (_lowest(whole), _lowest(within)))


def _lowest(lines: list[tuple[float, float]]) -> PjLines:
    """Those that may be the least of all where words come once, or more often."""
    found = list[tuple[float, float]]()
    for once, each in sorted((each + fixed, each) for each, fixed in lines):
        if not found or each < found[-1][0]:
            found.append((each, once - each))
    return tuple(found)


def one_innermost(space: EinsumSpace, full: list[Floats], stays: list[Floats]) -> Floats:
    """Least pJ of candidates, from what each tensor takes in full, and if it may stay in place.

    At most one rank is the innermost real loop outside a candidate, and only tensors that lack it
    may stay in place; so the bound is a minimum over ranks. One array twice: it takes the same.
    """
    best: Floats = reduce(add, full)
    some = [t for t, f, s in zip(space.tensors, full, stays, strict=True) if s is not f]
    for r in range(len(space.ranks)) if some else ():
        if all(space.relevant[t][r] for t in some):
            continue
        every = zip(space.tensors, full, stays, strict=True)
        parts = (f if space.relevant[t][r] else s for t, f, s in every)
        best = np.minimum(best, reduce(add, parts))
    return best + space.compute_energy


def closed_passes(space: EinsumSpace, tile: Ints, tensor: str) -> Floats:
    """Times a tile comes by if every irrelevant loop outside brings it again; float64[n]."""
    passes = np.ones(tile.shape[1])
    for r, size in enumerate(space.sizes):
        if size > 1 and not space.relevant[tensor][r]:
            passes *= size // tile[r]
    return passes


Ports = dict[tuple[str, str], Floats]  # (level, port) -> cycles


def left_by_mask(
    relevant: tuple[bool, ...], open_: Bools, dram: Ints, outer: Outer
) -> tuple[Floats | float, Floats | float]:
    """Shares that a mask leaves of a transfer's passes, and of the tensor itself."""
    if outer.visited == 1:
        return 1.0, 1.0
    return mask_leaves(relevant, open_, dram, outer.dram_order, outer.masked, outer.visited)


def mask_leaves(
    relevant: tuple[bool, ...],
    open_: Bools,
    dram: Ints,
    order: tuple[int, ...],
    masked: tuple[int, ...],
    visited: Floats | float,
) -> tuple[Floats | float, Floats | float]:
    """Shares that a mask leaves of a transfer's passes, and of the tensor itself.

    A transfer is passed in each of the masked loops, or it stays in place over one of them.
    order: of the DRAM loops, innermost first. masked: the mask's ranks that the Einsum has.
    """
    if len(masked) == 2 and all(relevant[r] for r in masked):
        return 1.0, visited  # every pass brings other words
    every = masked_passes(relevant, open_, dram, order, masked)
    return np.where(every, visited, 1.0), 1.0


def add_held(
    held: Ports, ports: Ports, before: Mapping[tuple[str, str], Floats], some: Bools
) -> None:
    """Account for what DRAM moves once in a row of a mask's tiles, not in every pass of it.

    held, ports: cycles by port, of that and of all; only those of DRAM are asked for later.
    before: `ports` as they were before a tensor was counted. some: where it stays over the inner
    loop of the mask; bool[n].
    """
    for port, cycles in ports.items():
        more = (cycles - before.get(port, 0.0)) * some
        held[port] = held.get(port, np.zeros(1)) + more


def seen_words(workload: Workload, tensor: str) -> float:
    """Part of a tensor's words that no tiles of queries x keys under the mask can leave out."""
    mask, pair = workload.mask, workload.roles.masked
    if mask is None or pair is None:
        return 1.0
    queries, keys = (workload.rank_sizes[rank] for rank in pair)
    if mask.window is None and not set(pair) <= set(workload.tensor_ranks[tensor]):
        return 1.0  # every query sees a key, and the last one all keys
    return pairs(mask, queries, keys) / (queries * keys)


def rounded(dram: MemoryLevel, cycles: Floats) -> Floats:
    """Cycles rounded up, where what a group takes is; sums may be off in their last bits."""
    return np.ceil(cycles - CYCLES) if dram.whole_cycles else cycles


def weight_of(dram: MemoryLevel, tensor: str, words: Floats | float) -> Floats | float:
    """Words that DRAM moves for one of a tensor's; words: of it that a core moves in all."""
    if tensor not in dram.totals:
        return dram.weights.get(tensor, 1.0)
    return np.asarray(dram.totals[tensor] / np.maximum(words, 1e-300))


def least_weight(dram: MemoryLevel, tensor: str) -> float:
    """The same where it is not told how many a core moves."""
    return 0.0 if tensor in dram.totals else dram.weights.get(tensor, 1.0)


def beside(dram: MemoryLevel) -> list[tuple[str, str]]:
    """The ports of what stands beside DRAM."""
    return [(dram.name, f"beside {i}") for i in range(len(dram.beside))]


def own_ports(dram: MemoryLevel, *, turns: bool) -> list[tuple[str, str]]:
    """Ports of cycles that are counted beside the limits of DRAM, where Einsums take turns.

    Of all tensors one after another, and of them those of which other tiles have fewer words.
    """
    one, some = (dram.name, "beside"), (dram.name, "unequal")
    return [one] * (turns and bool(dram.beside)) + [some] * (turns and bool(dram.unequal))


def beside_cycles(
    dram: MemoryLevel, tensor: str, reads: Amount, writes: Amount, weight: Floats | float
) -> list[Floats]:
    """By port beside DRAM, cycles of words of a tensor that come and that go.

    weight: words that DRAM moves for one.
    """
    read, written = np.asarray(reads, np.float64), np.asarray(writes, np.float64)
    each = (own.each(tensor) for own in dram.beside)
    return [(comes + sent * weight) * read + leaves * written for comes, leaves, sent in each]


def in_turn_cycles(
    dram: MemoryLevel,
    tensor: str,
    reads: Amount,
    writes: Amount,
    weight: Floats | float,
) -> Floats:
    """Cycles of the slowest source for words of one tensor, where others come before and after."""
    own = transfer_cycles(dram, weight * np.asarray(reads), weight * np.asarray(writes))
    found: Floats = reduce(np.maximum, beside_cycles(dram, tensor, reads, writes, weight), own)
    return found


def each_way_cycles(
    dram: MemoryLevel, tensor: str, reads: Amount, writes: Amount, weight: Floats | float
) -> Floats:
    """The same of what comes, and then of what goes."""
    comes = in_turn_cycles(dram, tensor, reads, 0.0, weight)
    return comes + in_turn_cycles(dram, tensor, 0.0, writes, weight)
