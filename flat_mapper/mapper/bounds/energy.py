"""Lower bounds on the energy of candidates, before the loops outside them are known."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from operator import add

import numpy as np

from flat_mapper.arch.values import MemoryLevel
from flat_mapper.base.tolerance import CYCLE_ERROR
from flat_mapper.cost_model.candidates import CandidateBlock, Floats, Ints
from flat_mapper.cost_model.counts import candidate_costs
from flat_mapper.cost_model.outside import around
from flat_mapper.cost_model.ports import Amount
from flat_mapper.cost_model.roles import FirstPasses, Outer, Role
from flat_mapper.cost_model.transfers import (
    NONE,
    Traffic,
    at_parent,
    in_words,
    level_pj,
    row_accesses,
    rows_in_use,
)
from flat_mapper.mapper.space.einsum import EinsumSpace, PjLines, remembered
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.mask import pairs


@remembered
def staged_once(space: EinsumSpace, tensor: str, *, priced: bool, rounded: bool = True) -> float:
    """pJ of every word between DRAM and the shared level once; priced: with DRAM's end."""
    dram, level, words = space.arch.levels[0], space.arch.levels[space.shared], np.zeros(1)
    if tensor != space.output:  # its first visit starts from nothing
        words = words + space.volume_at(tensor, level)
    filled = Traffic(NONE, words, NONE, words)
    pj = level_pj(level, tensor, filled, space.prices[level.name], rounded=rounded)
    drawn = drawn_energy(space, tensor, dram, space.volume[tensor], rounded=rounded)
    return float(np.sum(pj)) + (float(drawn) if priced else 0.0)


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
    traffic = Traffic(reads, NONE, updates, reads)
    if tensor == space.output:
        traffic = in_words(traffic, 1.0, space.so_far[level.name])
    return level_pj(level, tensor, traffic, space.prices[level.name], rounded=rounded)


def first_visits(space: EinsumSpace, candidates: CandidateBlock, top: MemoryLevel) -> Floats:
    """pJ that first visits of an accumulated output spare at most, not rounded; float64[n].

    They bring nothing back, and what goes out is no wider for them than when it is done.
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
        found = found + rows_in_use(copies, parent) * words * spared_price(space, parent)
        both_ways = 2 * space.so_far[parent.name] - 1
        found = found + copies * volume / spread * (parent.outside_pj * both_ways)
        if transfer.child is not None:
            words = row_accesses(
                space.volume_at(tensor, transfer.child) / transfer.spread,
                transfer.child.row_words,
                whole=False,
            )
            name = transfer.child.name
            price = space.prices[name][1] * space.so_far[name]
            found = found + rows_in_use(transfer.copies, transfer.child) * words * price
        both_ways = (
            2 * (max(space.so_far.values()) if above is None else space.so_far[parent.name]) - 1
        )
        found = found + crossed * both_ways * transfer.network_pj(1.0, None)
    return found


def spared_price(space: EinsumSpace, level: MemoryLevel) -> float:
    """pJ of a row that a first visit of the output spares the level which it comes from."""
    read, _, update = space.prices[level.name]
    so_far = space.so_far[level.name]
    return read * so_far + update * (so_far - 1)


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


def least_along(lines: PjLines, often: Floats | float) -> Floats | float:
    """pJ of words that come so often, whichever way takes least."""
    found = [each * often + fixed if each else fixed for each, fixed in lines]
    return found[0] if len(found) == 1 else reduce(np.minimum, found)


def moved_once(space: EinsumSpace, tensor: str, level: MemoryLevel) -> tuple[float, float, float]:
    """pJ of all words of a tensor once, if a level reads them, or writes, or updates."""
    read, write, update = space.prices[level.name]
    rows = space.volume_at(tensor, level) / level.row_words / level.cluster_size
    return rows * read, rows * write, rows * update


@remembered
def top_lines(
    space: EinsumSpace, tensor: str, roles: tuple[Role, ...], *, rounded: bool
) -> tuple[PjLines, PjLines]:
    """pJ of what comes from the level on top in some roles, once or more often.

    rounded: whether whole tiles are, up to rows of DRAM and of the shared level.
    returns: with what DRAM takes, and without.
    """
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
    return _lowest(whole), _lowest(within)


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
    return np.ceil(cycles - CYCLE_ERROR) if dram.whole_cycles else cycles


def in_turn_cycles(
    dram: MemoryLevel,
    tensor: str,
    reads: Amount,
    writes: Amount,
    weight: Floats | float,
) -> Floats:
    """Cycles of the slowest source for words of one tensor, where others come before and after."""
    found: Floats = around(dram, {tensor: weight}).cycles({tensor: (reads, writes)})
    return found
