"""Lower bounds on DRAM traffic, occupancy and cycles that outer choices imply for any candidate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property, reduce
from itertools import product

import numpy as np

from flat_mapper.arch.values import MemoryLevel
from flat_mapper.base.tolerance import LOST
from flat_mapper.cost_model.candidates import Floats, Ints
from flat_mapper.cost_model.outside import around, weight_of
from flat_mapper.cost_model.ports import transfer_cycles
from flat_mapper.cost_model.roles import Role
from flat_mapper.mapper.bounds.energy import in_turn_cycles, rounded
from flat_mapper.mapper.bounds.occupancy import SharedOccupancy
from flat_mapper.mapper.bounds.partial import over_splits
from flat_mapper.mapper.bounds.turns import (
    Streams,
    busy_cycles,
    least_of_choices,
    least_turns,
    own_turns,
)
from flat_mapper.mapper.bounds.uses import Use
from flat_mapper.mapper.space.group import GroupProblem, words_of_tile
from flat_mapper.mapper.space.outer import StagedTensors
from flat_mapper.mapping.sharing import shared_level


@dataclass(frozen=True)
class EinsumUses:
    """An Einsum's uses of its tensors under some tiles, in given roles and orders of DRAM loops."""

    problem: GroupProblem
    uses: list[Use]
    compute: Floats  # cycles at least; float64[n]
    tile: Ints
    ends: tuple[Floats, Floats]  # see `unit_ends`

    @cached_property
    def zero(self) -> Floats:
        """None of all tiles; float64[n]."""
        return np.zeros(len(self.compute))

    @cached_property
    def streams(self) -> list[Streams]:
        """Transfers in its own turns, see `_streams`."""
        return _streams(self)

    @cached_property
    def stream(self) -> Floats:
        """Cycles of what it moves in its turns."""
        return reduce(np.maximum, (some.cycles for some in self.streams), self.zero)

    @cached_property
    def turns(self) -> Floats:
        """Cycles of its turns."""
        return least_turns(self.compute, self.streams)

    @cached_property
    def own_turns(self) -> Floats:
        """The same by choice of its units; float64[K, n]."""
        units, _ = self.ends
        return own_turns(self.uses[0].space, self.tile, self.compute, self.streams, units)

    @cached_property
    def sums(self) -> Floats:
        """All that adds up over Einsums: `_Sums`, then cycles of sources beside DRAM."""
        energy = reads = writes = staged = read = written = filled = self.zero
        for use in self.uses:
            output = use.volume * use.is_output
            if use.moved is not None:
                energy = energy + use.moved_pj
                comes, leaves = use.each_way(use.moved)
                reads = reads + use.weight * comes + use.total
                writes = writes + use.weight * leaves
            if use.role == "staged" and use.moved is not None:
                staged = staged + (use.moved_pj - use.once)
                filled = filled + use.scale * (use.moved - output)
            if use.role != "stream":  # every word passes between the shared level and inner ones
                written = written + use.scale * output
                read = read + use.scale * use.seen * (not use.is_output)
        first = [
            sum((c for r, c in self.opening if (r == "stream") is own), self.zero)
            for own in (True, False)
        ]
        waits = sum(self.waits, self.zero)
        ways = read, written + filled, filled
        rows = energy, reads, writes, staged, *ways, waits, *first, *self.sources
        return np.array(rows)

    @cached_property
    def stays(self) -> dict[str, Floats]:
        """Words of the shared level if a tensor stays in place; else pJ, reads, writes of DRAM.

        By tensor that may, float64[4, n]; all beside those of `sums`.
        """
        found = {}
        for use in self.uses:
            if use.stay is not None and use.moved is not None:
                more = use.weight * (use.stay.again - use.moved) * use.wide
                energy = use.energy(use.stay.again) - use.moved_pj
                found[use.tensor] = np.array([use.stay.more, energy, more, more * use.is_output])
        return found

    @cached_property
    def sources(self) -> list[Floats]:
        """Cycles of sources beside DRAM; beside turns one tensor comes after another."""
        dram = self.problem.platform.dram
        if not dram.beside or not (self.problem.takes_turns and self.problem.runs_ahead):
            return _beside(dram, self.uses, self.zero)
        return [self.outside]

    @cached_property
    def outside(self) -> Floats:
        """Cycles of its words from outside, one tensor after another from the slowest source."""
        dram, cycles = self.problem.platform.dram, self.zero
        for use in self.uses:
            if use.moved is not None:
                ways = use.ways(self.zero)
                weight = weight_of(dram, use.tensor, sum(ways))  # of a total, whatever is moved
                cycles = cycles + in_turn_cycles(dram, use.tensor, *ways, weight)
        return over_splits(cycles)

    @cached_property
    def waits(self) -> list[Floats]:
        """Cycles of each staged tile at DRAM that stand beside turns, where they are taken."""
        dram, found = self.problem.platform.dram, list[Floats]()
        for use in self.uses:
            if use.role != "staged" or not self.problem.takes_turns:
                continue
            reads, writes = use.ways(self.zero)
            if self.problem.runs_ahead:
                words = words_of_tile(use.space, use.tensor, use.tile, dram.name).astype(np.float64)
                reads, writes = words * (not use.is_output), words * use.is_output
            outside = around(dram, {use.tensor: use.waits})
            found.append(outside.each_way({use.tensor: (reads, writes)}))
        return found

    @cached_property
    def opening(self) -> list[tuple[Role, Floats]]:
        """Cycles of each first tile that is not staged beside turns, with its role."""
        dram, found = self.problem.platform.dram, list[tuple[Role, Floats]]()
        for use in self.uses:
            if not use.opening or (use.role == "staged" and self.problem.takes_turns):
                continue
            words = (
                use.smallest
                if use.role == "stream"
                else words_of_tile(use.space, use.tensor, use.tile, dram.name)
            )
            ways = words * (not use.is_output), words * use.is_output
            found.append((use.role, in_turn_cycles(dram, use.tensor, *ways, use.waits)))
        return found


@dataclass(frozen=True, slots=True)
class _Sums:
    """Sums over the Einsums of a group, by outer choice; float64[n] each."""

    energy: Floats  # pJ at DRAM
    reads: Floats  # words at DRAM
    writes: Floats
    staged: Floats  # pJ at DRAM of staged tensors beyond one pass of every word
    read: Floats  # words at the shared level
    written: Floats
    filled: Floats  # of them, from above
    waits: Floats  # cycles of staged tiles at DRAM that stand beside turns
    streamed: Floats  # cycles of first tiles that stream
    opening: Floats  # of others that are not staged beside turns


_COUNT = len(fields(_Sums))


def by_roles(stagings: Sequence[StagedTensors], name: str) -> tuple[list[tuple[Role, ...]], Ints]:
    """The roles that an Einsum has in some stagings, each once, and the place of each staging's."""
    places: dict[tuple[Role, ...], int] = {}
    index = [places.setdefault(one.roles[name], len(places)) for one in stagings]
    return list(places), np.array(index)


def in_a_row(parts: Sequence[Floats], index: Ints) -> Floats:
    """Values by tile, of the roles of each staging, float64[..., n], of all stagings in a row.

    Where they are by choice, float64[K, n], the last one of few counts again.
    """
    if len(index) == 1:
        return parts[0]
    most = max(map(len, parts))
    even = [p if len(p) == most else p[np.minimum(np.arange(most), len(p) - 1)] for p in parts]
    found = np.moveaxis(np.array(even)[index], 0, -2)
    return found.reshape(*found.shape[:-2], -1)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficBound:
    """Lower bounds of n outer choices, whatever the candidates; see `Outers`."""

    floors: Floats
    staged: Floats
    cycles: Floats  # whole ones
    streams: Floats
    turns: Floats
    waits: Floats


def traffic_bound(
    occupancy: SharedOccupancy,
    needs: Floats,
    every: Sequence[tuple[list[EinsumUses], Ints]],
    *,
    by_units: bool,
) -> TrafficBound:
    """Lower bounds of outer tiles under one staging after another.

    needs: words of the shared level. every: by Einsum, its uses, and the place of each staging's.
    by_units: whether to look at each choice of units of an Einsum.
    """
    problem = occupancy.problem

    def of(value: Callable[[EinsumUses], Floats]) -> list[Floats]:
        return [in_a_row([value(one) for one in own], index) for own, index in every]

    parts, turns = of(lambda one: one.sums), of(lambda one: one.turns)
    total = sum(parts[1:], parts[0])
    sums = _Sums(*total[:_COUNT])
    floors, moved = _with_room(occupancy, needs, every, sums)
    moved = np.maximum.reduce([moved, *total[_COUNT:]])
    choices = (
        (of(lambda one: one.own_turns), of(lambda one: one.ends[1][:, None] + one.zero))
        if by_units
        else None
    )
    # Where nothing runs ahead that is all that they take, else their first inputs and last outputs.
    beside = problem.platform.dram.waits * sums.waits if problem.runs_ahead else sums.waits
    return TrafficBound(
        floors=floors,
        staged=sums.staged,
        cycles=_cycles(problem, sums, moved, beside, turns, choices),
        streams=np.array(of(lambda one: one.stream)),
        turns=np.array(turns),
        waits=beside,
    )


def _streams(own: EinsumUses) -> list[Streams]:
    """Transfers of an Einsum in its own turns, at least; none if they run ahead.

    They are what it streams from DRAM, and every word once that it exchanges with the shared level.
    """
    problem, zero, reads, writes = own.problem, own.zero, own.zero, own.zero
    if not problem.takes_turns:
        return []
    dram, streaming = problem.platform.dram, [use for use in own.uses if use.role == "stream"]
    for use in streaming:
        comes, leaves = use.ways(zero)
        reads, writes = reads + use.weight * comes + use.total, writes + use.weight * leaves
    streamed = over_splits(transfer_cycles(dram, reads, writes))
    streamed = np.maximum.reduce([streamed, *_beside(dram, streaming, zero)])
    shared = transfer_cycles(shared_level(problem.platform), *own.sums[4:7])
    others = [use for use in own.uses if use.role != "stream"]
    return [Streams(streamed, _idle(streaming)), Streams(shared, _idle(others))]


def _idle(uses: list[Use]) -> Floats:
    """Share of an Einsum's passes in which none of these uses moves words, at least."""
    return 1 - reduce(np.maximum, (use.fresh for use in uses), np.zeros(1))


def _beside(dram: MemoryLevel, uses: list[Use], zero: Floats) -> list[Floats]:
    """Lower bounds on the cycles of each source beside DRAM, for uses of one Einsum."""
    found = []
    for other in dram.beside:
        moved = zero
        for use in uses:
            reads, writes = use.ways(zero)
            comes, leaves, sent = other.each(use.tensor)
            moved = moved + comes * reads + leaves * writes + sent * use.total
        found.append(over_splits(moved))
    return found


def _with_room(
    occupancy: SharedOccupancy,
    needs: Floats,
    every: Sequence[tuple[list[EinsumUses], Ints]],
    sums: _Sums,
) -> tuple[Floats, Floats]:
    """pJ and cycles of DRAM, where tensors stay in place only as far as they fit together.

    Whatever stays in place over the DRAM loops is held whole while the others come by.

    needs: words of the shared level. every: by Einsum, its uses, and the place of each staging's.
    """
    level, capacity = occupancy.problem.platform.dram, occupancy.capacity
    energy, moved = sums.energy.copy(), transfer_cycles(level, sums.reads, sums.writes)
    none = np.zeros((4, len(every[0][0][0].zero)))
    streams = [
        in_a_row([one.stays.get(tensor, none) for one in own], index)
        for own, index in every
        for tensor in dict.fromkeys(t for one in own for t in one.stays)
    ]
    if capacity is None or not streams:
        return energy, moved
    # What fits in no way is told by its occupancy; what fits all together stays as it is.
    full = sum((stay[0] for stay in streams), needs)
    some = np.flatnonzero((needs <= capacity) & (full > capacity))
    streams = [own for stay in streams if (own := stay.take(some, axis=1)).any()]
    floors, least = np.full((2, len(some)), np.inf)
    start = np.array([needs, sums.energy, sums.reads, sums.writes]).take(some, axis=1)
    for stays in product((False, True), repeat=len(streams)) if len(some) else ():
        words, pj, reads, writes = start.copy()
        for (held, more_pj, more_reads, more_writes), stays_here in zip(
            streams, stays, strict=True
        ):
            if stays_here:
                words += held
                continue
            pj, reads, writes = pj + more_pj, reads + more_reads, writes + more_writes
        good = words <= capacity
        floors = np.where(good, np.minimum(floors, pj), floors)
        least = np.where(good, np.minimum(least, transfer_cycles(level, reads, writes)), least)
    energy[some], moved[some] = floors, least
    return energy, moved


def _cycles(
    problem: GroupProblem,
    sums: _Sums,
    moved: Floats,
    waits: Floats,
    turns: list[Floats],
    choices: tuple[list[Floats], list[Floats]] | None,
) -> Floats:
    """Lower bound on the cycles of the group; moved: cycles of DRAM. turns: of each Einsum.

    waits: of staged tiles beside turns. choices: by units, turns and what streams wait; None: not.
    """
    level, dram = shared_level(problem.platform), problem.platform.dram
    found = np.maximum(moved, transfer_cycles(level, sums.read, sums.written, sums.filled))
    beside, exposed = 0.0 if problem.runs_ahead else waits, sums.opening
    if choices is None:
        exposed = exposed + sums.streamed
        found = np.maximum(found, busy_cycles(problem, turns, turns) + beside)
    else:
        busy, ends = choices
        found = least_of_choices([*busy[:-1], busy[-1] + beside], ends, found)
    if problem.runs_ahead:
        found = found + waits
        if problem.opens:
            found = found + dram.waits * exposed
    # The sums that cycles come from are off in the last bits.
    return rounded(dram, found * (1 - LOST))
