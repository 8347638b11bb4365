"""Counts of candidates under given outer loops: what every level moves, and what that takes.

The loops inside the shared level are the candidates' own; around them stand the shared level's, and
around those DRAM's (`Outer`). `reuse` counts whole nests, to the last word and with remainders: by
the same rule, that of `transfers`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from flat_mapper.arch.values import MemoryLevel
from flat_mapper.cost_model.candidates import Bools, CandidateBlock, Floats, Ints
from flat_mapper.cost_model.facts import EinsumFacts, lacked, prod_of
from flat_mapper.cost_model.outside import Outside, around, weight_of
from flat_mapper.cost_model.ports import Amount, port_loads
from flat_mapper.cost_model.roles import Outer
from flat_mapper.cost_model.transfers import (
    NONE,
    Traffic,
    Transfer,
    at_child,
    at_parent,
    in_words,
    level_pj,
    looped,
    masked_passes,
    split,
)
from flat_mapper.cost_model.turns import Copied, PassingWords, Turn, TurnParts, kind_parts

_Shares = tuple[Floats | float, Floats | float]
_WHOLE: _Shares = (1.0, 1.0)


@dataclass(slots=True)
class CandidateCosts:
    """Of n candidates: pJ, the cycles of each limited port, and the words outside.

    held: of `moved`, what a mask's inner loop leaves in place.
    """

    energy: Floats
    ports: dict[tuple[str, str], Floats] = field(default_factory=dict)  # on chip
    outside: Outside = field(default_factory=lambda: Outside.of())
    rounds: list[Outside] = field(default_factory=list)  # in each of those that differ
    moved: dict[str, tuple[Floats, Floats]] = field(default_factory=dict)  # at DRAM
    staged: dict[str, tuple[Floats, Floats]] = field(default_factory=dict)  # of it, in whole tiles
    held: dict[str, tuple[Floats, Floats]] = field(default_factory=dict)
    once: dict[str, tuple[Floats, Floats]] = field(default_factory=dict)  # of `unequal`: lemma 23

    def add(self, level: MemoryLevel, traffic: Traffic) -> None:
        """Account for the ports of a level on chip."""
        for port, rate, words in port_loads(level, *traffic.moved):
            key = level.memory, port
            self.ports[key] = self.ports.get(key, 0.0) + words / rate


@dataclass(slots=True)
class Chain:
    """The transfers of a tensor under outer loops, innermost first.

    passes: of each, and `stays`: whether its tile may stay in place over the loops so far.
    top:    the level that the last comes from; None: it does not count.
    left:   what a mask leaves of the passes of each, and of the tensor.
    """

    transfers: list[Transfer]
    passes: list[Floats]
    top: MemoryLevel | None = None
    stays: list[Bools] = field(default_factory=list)
    left: list[_Shares] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        facts: EinsumFacts,
        candidates: CandidateBlock,
        outer: Outer,
        position: int,
        shared: Ints,
    ) -> Chain:
        """Under the shared level's loops alone: in one pass of DRAM's."""
        tensor, role, one = facts.tensors[position], outer.roles[position], np.ones(1)
        top = facts.arch.levels[facts.shared if role == "inside" else 0]
        found = cls([*candidates.transfers[tensor]], [], top)
        for transfer in found.transfers:
            passes, open_ = looped(
                *(facts.relevant[tensor], transfer.passes, transfer.open),
                *(shared, outer.shared_order),
            )
            found.passes.append(passes)
            found.stays.append(open_ & outer.may_stay(position))
        if role == "staged":
            level = facts.arch.levels[facts.shared]
            whole = Transfer(child=level, passes=one, open=one > 0, spread=one, copies=one)
            found.transfers.append(whole)
            found.passes.append(one)
            found.stays.append(one > 0)
        found.left = [_WHOLE] * len(found.transfers)
        return found

    def over(self, relevant: tuple[bool, ...], dram: Ints, outer: Outer) -> None:
        """Put DRAM's loops around."""
        masked = outer.dram_order, outer.masked, outer.visited
        for i, stays in enumerate(self.stays):
            passes = self.passes[i] * np.where(stays, 1, outer.passes)
            if outer.visited != 1:
                self.left[i] = mask_leaves(relevant, stays, dram, *masked)
            self.passes[i], _ = looped(relevant, passes, stays, dram, outer.dram_order)

    def _ends(self) -> Iterator[tuple[int, Transfer | None, MemoryLevel | None, _Shares]]:
        """Of each transfer its place, the next one out, the level it comes from, and its shares."""
        for i, above in enumerate([*self.transfers[1:], None]):
            yield i, above, self.top if above is None else above.child, self.left[i]

    def traffic(
        self, facts: EinsumFacts, tensor: str, pieces: Ints | int = 1
    ) -> Iterator[tuple[MemoryLevel, Traffic]]:
        """Words of a tensor at the levels that its transfers lead to, innermost first.

        pieces: equal ones of the tensor, of which one is counted.
        """
        output = tensor == facts.output
        for i, above, level, (often, some) in self._ends():
            if level is None:
                continue
            spread, copies = (1.0, 1.0) if above is None else (above.spread, above.copies)
            held = np.asarray(facts.volume_at(tensor, level) * some / pieces / spread)
            reads, updates = at_parent(held * (self.passes[i] * often), held, output=output)
            fills = NONE
            if above is not None:
                comes, part = self.left[i + 1]
                own = facts.volume_at(tensor, level) * part / pieces / spread
                arrived = own * above.of_child(self.passes[i + 1] * comes)
                fills = at_child(arrived, own, output=output)
            traffic = Traffic(reads, fills, updates, held, copies)
            if output and facts.adds_up:
                traffic = in_words(traffic, *_widths(facts, level, above))
            yield level, traffic

    def unfinished(self) -> Iterator[tuple[str, Bools]]:
        """Levels that keep an output, and whether it is a sum there that is still added up."""
        for i, above, level, _ in self._ends():
            if level is not None:
                parts = False if above is None else split(above)
                yield level.name, np.asarray((self.passes[i] > 1) | parts)

    def network_pj(self, facts: EinsumFacts, tensor: str) -> Amount:
        """pJ of the networks that a tensor's words cross."""
        total: Amount = 0.0
        first = 1.0 if tensor == facts.output else None
        for i, above, level, (often, some) in self._ends():
            if self.transfers[i].network is not None:
                every = (
                    facts.volumes(tensor)[0] if level is None else facts.volume_at(tensor, level)
                )
                widths = _widths(facts, level, above) if first and level else (1.0, 1.0)
                pj = self.transfers[i].network_pj(self.passes[i] * often, first, *widths)
                total = total + every * some * pj
        return total


def _widths(
    facts: EinsumFacts, level: MemoryLevel, above: Transfer | None
) -> tuple[Floats | float, float]:
    """Of the output at a level the words for one of a value that is done: of one that is, and of
    one that is still added up; above: the transfer that leads there."""
    so_far = facts.so_far[level.name]
    return (1.0 if above is None else np.where(split(above), so_far, 1.0)), so_far


def candidate_costs(
    facts: EinsumFacts, candidates: CandidateBlock, outer: Outer, tile: Ints | None = None
) -> CandidateCosts:
    """Costs of candidates under given outer loops.

    tile: int64[R, n], of each candidate in place of the one of all.
    """
    computed = outer.visited * outer.passes * facts.compute_energy
    costs = CandidateCosts(energy=np.full(candidates.count, computed))
    (shared, dram), outside = outer.grids(facts.sizes, candidates.tile, tile), facts.arch.levels[0]
    crossing: dict[str, Floats] = {}
    for position, (tensor, role) in enumerate(zip(facts.tensors, outer.roles, strict=True)):
        chain = Chain.of(facts, candidates, outer, position, shared)
        chain.over(facts.relevant[tensor], dram, outer)
        for level, counted in chain.traffic(facts, tensor):
            traffic = counted
            if outer.copied and level is facts.arch.levels[facts.shared]:
                traffic = _with_copy(facts, tensor, outer, traffic)
            pj = level_pj(level, tensor, traffic, facts.prices[level.name])
            costs.energy = costs.energy + pj
            if level is outside:
                costs.moved[tensor] = traffic.reads, traffic.updates
            else:
                costs.add(level, traffic)
        costs.energy = costs.energy + chain.network_pj(facts, tensor)
        if role == "inside":
            continue
        often, some = chain.left[-1]
        words = float(facts.volume[tensor]) * chain.passes[-1] * often * some
        crossing[tensor] = np.zeros(1) + words
        if role == "staged":
            costs.staged[tensor] = costs.moved[tensor]
        if outer.by_row:
            stays = np.asarray(often * some) == 1
            costs.held[tensor] = tuple(n * stays for n in costs.moved[tensor])
        if tensor in outside.unequal:
            again = lacked(facts.relevant[tensor], dram)
            costs.once[tensor] = words / np.where(chain.stays[-1], again, 1), np.zeros(1)
    costs.outside, *costs.rounds = (
        around(dram, {t: np.zeros(1) + weight_of(dram, t, words) for t, words in crossing.items()})
        for dram in (outside, *(level for _, level in outside.rounds))
    )
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


def turn_of(facts: EinsumFacts, candidates: CandidateBlock, outer: Outer, outside: Outside) -> Turn:
    """The turns of candidates under given outer loops."""
    shared, dram = outer.grids(facts.sizes, candidates.tile)
    passing: list[PassingWords] = []
    streams: list[PassingWords] = []
    for position, (tensor, role) in enumerate(zip(facts.tensors, outer.roles, strict=True)):
        own = [r for r, yes in enumerate(facts.relevant[tensor]) if yes]
        chain = Chain.of(facts, candidates, outer, position, shared)
        every = chain.traffic(facts, tensor, prod_of(dram, own))
        stays: list[Bools | None] = [*chain.stays[1:], None]
        for (level, traffic), mine, below in zip(every, stays, chain.stays, strict=True):
            one = PassingWords(level, tensor, traffic, mine, below)
            if level is not facts.arch.levels[0]:
                passing.append(one)
            elif role == "stream":
                streams.append(one)
    compute = facts.lane_cycles / candidates.spatial / dram.prod(axis=0)
    copied = outer.copied and Copied(outer.copied, facts.arch.levels[facts.shared].name)
    kinds = kind_parts(passing, streams, outer.kinds, compute, facts.output, copied or None)
    parts = TurnParts(einsum=facts.einsum.name, unit=facts.einsum.unit, sizes={frozenset(): kinds})
    return parts.turn(outside)


def mask_leaves(
    relevant: tuple[bool, ...],
    open_: Bools,
    dram: Ints,
    order: tuple[int, ...],
    masked: tuple[int, ...],
    visited: Floats | float,
) -> _Shares:
    """Shares that a mask leaves of a transfer's passes, and of the tensor itself.

    A transfer is passed in each of the masked loops, or it stays in place over one of them.
    order: of the DRAM loops, innermost first. masked: the mask's ranks that the Einsum has.
    """
    if len(masked) == 2 and all(relevant[r] for r in masked):
        return 1.0, visited  # every pass brings other words
    every = masked_passes(relevant, open_, dram, order, masked)
    return np.where(every, visited, 1.0), 1.0
