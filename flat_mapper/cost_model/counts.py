"""Counts of candidates under given outer loops: what every level moves, and what that takes.

The loops inside the shared level are the candidates' own; around them stand the shared level's, and
around those DRAM's (`Outer`). `reuse` counts whole nests, to the last word and with remainders: by
the same rule, that of `transfers`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from flat_mapper.arch.values import MemoryLevel
from flat_mapper.cost_model.candidates import Bools, CandidateBlock, Floats, Ints
from flat_mapper.cost_model.facts import EinsumFacts, lacked, prod_of
from flat_mapper.cost_model.outside import Outside, SourcePort, source_ports
from flat_mapper.cost_model.ports import Amount, port_loads, ways_compete
from flat_mapper.cost_model.roles import Outer
from flat_mapper.cost_model.transfers import (
    NONE,
    Traffic,
    Transfer,
    at_child,
    at_parent,
    level_pj,
    looped,
    masked_passes,
)
from flat_mapper.cost_model.turns import Copied, Passing, Turn, TurnParts, kind_parts

Shares = tuple[Floats | float, Floats | float]
WHOLE: Shares = (1.0, 1.0)


@dataclass(slots=True)
class Costs:
    """Of n candidates: pJ, the cycles of each limited port, and the words outside.

    held: of `moved`, what a mask's inner loop leaves in place.
    """

    energy: Floats
    ports: dict[tuple[str, str], Floats] = field(default_factory=dict)  # on chip
    outside: Outside = field(default_factory=lambda: Outside.of())
    moved: dict[str, tuple[Floats, Floats]] = field(default_factory=dict)  # at DRAM
    staged: dict[str, tuple[Floats, Floats]] = field(default_factory=dict)  # of it, in whole tiles
    held: dict[str, tuple[Floats, Floats]] = field(default_factory=dict)
    once: dict[str, tuple[Floats, Floats]] = field(default_factory=dict)  # of `unequal`: lemma 23

    def add(self, level: MemoryLevel, traffic: Traffic) -> None:
        """Account for the ports of a level on chip."""
        fills, writes = traffic.fills, traffic.fills + traffic.updates
        for port, rate, words in port_loads(level, traffic.reads, writes, fills):
            key = level.name, port
            self.ports[key] = self.ports.get(key, 0.0) + words / rate


def tensor_traffic(
    facts: EinsumFacts,
    tensor: str,
    transfers: Sequence[Transfer],
    passes: Sequence[Floats],
    top: MemoryLevel | None,
    left: Sequence[Shares] = (),
    pieces: Ints | int = 1,
) -> Iterator[tuple[MemoryLevel, Traffic]]:
    """Words of a tensor at the levels that its transfers lead to, innermost first.

    passes: of each transfer. top: what the last comes from; None: it does not count.
    left:   what a mask leaves of the passes of each, and of the tensor.
    pieces: equal ones of the tensor, of which one is counted.
    """
    output = tensor == facts.output
    for i, above in enumerate([*transfers[1:], None]):
        level = top if above is None else above.child
        if level is None:
            continue
        often, some = left[i] if left else WHOLE
        spread, copies = (1.0, 1.0) if above is None else (above.spread, above.copies)
        held = np.asarray(facts.volume_at(tensor, level) * some / pieces / spread)
        reads, updates = at_parent(held * (passes[i] * often), held, output=output)
        fills = NONE
        if above is not None:
            often, some = left[i + 1] if left else WHOLE
            own = facts.volume_at(tensor, level) * some / pieces / spread
            fills = at_child(own * above.of_child(passes[i + 1] * often), own, output=output)
        yield level, Traffic(reads, fills, updates, held, copies)


def network_pj(
    facts: EinsumFacts,
    tensor: str,
    transfers: Sequence[Transfer],
    passes: Sequence[Floats],
    top: MemoryLevel | None,
    left: Sequence[Shares] = (),
) -> Amount:
    """pJ of the networks that a tensor's words cross; top, left: see `tensor_traffic`."""
    total: Amount = 0.0
    for i, transfer in enumerate(transfers):
        if transfer.network is not None:
            level = top if i + 1 == len(transfers) else transfers[i + 1].child
            often, some = left[i] if left else WHOLE
            volume = facts.volumes(tensor)[0] if level is None else facts.volume_at(tensor, level)
            first = 1.0 if tensor == facts.output else None
            total = total + volume * some * transfer.network_pj(passes[i] * often, first)
    return total


@dataclass(slots=True)
class _Chain:
    """The transfers of a tensor under outer loops, innermost first."""

    transfers: list[Transfer]
    passes: list[Floats]
    stays: list[Bools]  # whether the tile of each may stay in place over the loops so far

    @classmethod
    def of(
        cls,
        facts: EinsumFacts,
        candidates: CandidateBlock,
        outer: Outer,
        position: int,
        shared: Ints,
    ) -> _Chain:
        """Under the shared level's loops alone: in one pass of DRAM's."""
        found = cls([*candidates.transfers[facts.tensors[position]]], [], [])
        relevant, one = facts.relevant[facts.tensors[position]], np.ones(1)
        for transfer in found.transfers:
            passes, open_ = looped(
                relevant, transfer.passes, transfer.open, shared, outer.shared_order
            )
            found.passes.append(passes)
            found.stays.append(open_ & outer.may_stay(position))
        if outer.roles[position] == "staged":
            level = facts.arch.levels[facts.shared]
            whole = Transfer(child=level, passes=one, open=one > 0, spread=one, copies=one)
            found.transfers.append(whole)
            found.passes.append(one)
            found.stays.append(one > 0)
        return found

    def over(self, relevant: tuple[bool, ...], dram: Ints, outer: Outer) -> list[Shares]:
        """Put DRAM's loops around; returns what a mask leaves of each transfer."""
        left = []
        for i, stays in enumerate(self.stays):
            passes = self.passes[i] * np.where(stays, 1, outer.passes)
            left.append(left_by_mask(relevant, stays, dram, outer))
            self.passes[i], _ = looped(relevant, passes, stays, dram, outer.dram_order)
        return left


def candidate_costs(
    facts: EinsumFacts, candidates: CandidateBlock, outer: Outer, tile: Ints | None = None
) -> Costs:
    """Costs of candidates under given outer loops.

    tile: int64[R, n], of each candidate in place of the one of all.
    """
    computed = outer.visited * outer.passes * facts.compute_energy
    costs = Costs(energy=np.full(candidates.count, computed))
    sizes = np.array(facts.sizes, dtype=np.int64)[:, None]
    if tile is None:
        tile = np.array(outer.tile, dtype=np.int64)[:, None]
    tile = np.where(tile == 0, candidates.tile, tile)
    shared, dram, outside = tile // candidates.tile, sizes // tile, facts.arch.levels[0]
    weights: dict[str, Floats] = {}
    for position, (tensor, role) in enumerate(zip(facts.tensors, outer.roles, strict=True)):
        chain = _Chain.of(facts, candidates, outer, position, shared)
        left = chain.over(facts.relevant[tensor], dram, outer)
        top = facts.arch.levels[facts.shared if role == "inside" else 0]
        ends = chain.transfers, chain.passes, top, left
        for level, counted in tensor_traffic(facts, tensor, *ends):
            traffic = counted
            if outer.copied and level is facts.arch.levels[facts.shared]:
                traffic = _with_copy(facts, tensor, outer, traffic)
            pj = level_pj(level, tensor, traffic, facts.prices[level.name])
            costs.energy = costs.energy + pj
            if level is outside:
                costs.moved[tensor] = traffic.reads, traffic.updates
            else:
                costs.add(level, traffic)
        costs.energy = costs.energy + network_pj(facts, tensor, *ends)
        if role == "inside":
            continue
        words = float(facts.volume[tensor]) * chain.passes[-1] * left[-1][0] * left[-1][1]
        weights[tensor] = np.zeros(1) + weight_of(outside, tensor, words)
        if role == "staged":
            costs.staged[tensor] = costs.moved[tensor]
        if outer.by_row:
            stays = np.asarray(left[-1][0] * left[-1][1]) == 1
            costs.held[tensor] = tuple(n * stays for n in costs.moved[tensor])
        if tensor in outside.unequal:
            again = lacked(facts.relevant[tensor], dram)
            costs.once[tensor] = words / np.where(chain.stays[-1], again, 1), np.zeros(1)
    costs.outside = around(outside, weights)
    return costs


def _with_copy(facts: EinsumFacts, tensor: str, outer: Outer, traffic: Traffic) -> Traffic:
    """With the words of a carried tensor's old value, which is copied to the output's place."""
    if tensor not in (outer.copied, facts.output):
        return traffic
    level = facts.arch.levels[facts.shared]
    words = facts.volume_at(tensor, level) * (outer.passes * outer.visited - 1)
    if tensor == outer.copied:
        return traffic._replace(reads=traffic.reads + words)
    return traffic._replace(updates=traffic.updates + words)


def around(dram: MemoryLevel, weights: Mapping[str, Amount]) -> Outside:
    """DRAM as one core finds it, and what serves that beside DRAM.

    weights: words that DRAM moves for one of a tensor's.
    """
    levels, ports = [dram.name], [*source_ports(dram, weights)]
    for number, port in enumerate(dram.beside):
        levels.append(f"beside {number}")
        each = {t: port.each(t) for t in weights}
        comes = {t: come + sent * weights[t] for t, (come, _, sent) in each.items()}
        leaves = {t: leave for t, (_, leave, _) in each.items()}
        ports.append(SourcePort(level=levels[-1], comes=comes, leaves=leaves))
    return Outside(levels=tuple(levels), ports=tuple(ports), both_ways=ways_compete(dram))


def weight_of(dram: MemoryLevel, tensor: str, words: Floats | float) -> Floats | float:
    """Words that DRAM moves for one of a tensor's; words: of it that a core moves in all."""
    if tensor not in dram.totals:
        return dram.weights.get(tensor, 1.0)
    return np.asarray(dram.totals[tensor] / np.maximum(words, 1e-300))


def least_weight(dram: MemoryLevel, tensor: str) -> float:
    """The same where it is not told how many a core moves."""
    return 0.0 if tensor in dram.totals else dram.weights.get(tensor, 1.0)


def turn_of(facts: EinsumFacts, candidates: CandidateBlock, outer: Outer, outside: Outside) -> Turn:
    """The turns of candidates under given outer loops."""
    tile = np.array(outer.tile, dtype=np.int64)[:, None]
    sizes = np.array(facts.sizes, dtype=np.int64)[:, None]
    shared, dram = tile // candidates.tile, sizes // tile
    passing: list[Passing] = []
    streams: list[Passing] = []
    for position, tensor in enumerate(facts.tensors):
        own = [r for r, yes in enumerate(facts.relevant[tensor]) if yes]
        chain = _Chain.of(facts, candidates, outer, position, shared)
        role = outer.roles[position]
        top = facts.arch.levels[facts.shared if role == "inside" else 0]
        ends = chain.transfers, chain.passes, top
        every = tensor_traffic(facts, tensor, *ends, pieces=prod_of(dram, own))
        stays: list[Bools | None] = [*chain.stays[1:], None]
        for (level, traffic), mine, below in zip(every, stays, chain.stays, strict=True):
            one = Passing(
                level=level,
                tensor=tensor,
                reads=traffic.reads,
                updates=traffic.updates,
                fills=traffic.fills,
                held=traffic.held,
                stays=mine,
                fed_stays=below,
            )
            if level is not facts.arch.levels[0]:
                passing.append(one)
            elif role == "stream":
                streams.append(one)
    compute = facts.lane_cycles / candidates.spatial / dram.prod(axis=0)
    copied = outer.copied and Copied(outer.copied, facts.arch.levels[facts.shared].name)
    kinds = kind_parts(passing, streams, outer.kinds, compute, facts.output, copied or None)
    parts = TurnParts(einsum=facts.einsum.name, unit=facts.einsum.unit, sizes=(kinds,))
    return parts.turn(outside)


def left_by_mask(relevant: tuple[bool, ...], open_: Bools, dram: Ints, outer: Outer) -> Shares:
    """Shares that a mask leaves of a transfer's passes, and of the tensor itself."""
    if outer.visited == 1:
        return WHOLE
    return mask_leaves(relevant, open_, dram, outer.dram_order, outer.masked, outer.visited)


def mask_leaves(
    relevant: tuple[bool, ...],
    open_: Bools,
    dram: Ints,
    order: tuple[int, ...],
    masked: tuple[int, ...],
    visited: Floats | float,
) -> Shares:
    """Shares that a mask leaves of a transfer's passes, and of the tensor itself.

    A transfer is passed in each of the masked loops, or it stays in place over one of them.
    order: of the DRAM loops, innermost first. masked: the mask's ranks that the Einsum has.
    """
    if len(masked) == 2 and all(relevant[r] for r in masked):
        return 1.0, visited  # every pass brings other words
    every = masked_passes(relevant, open_, dram, order, masked)
    return np.where(every, visited, 1.0), 1.0
