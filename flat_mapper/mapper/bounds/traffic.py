"""Lower bounds on DRAM traffic, occupancy and cycles that outer choices imply for any candidate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from itertools import groupby, product

import numpy as np

from flat_mapper.arch.values import MemoryLevel
from flat_mapper.base.tolerance import LOST
from flat_mapper.cost_model.latency import transfer_cycles
from flat_mapper.mapper.bounds.occupancy import SharedOccupancy, Term
from flat_mapper.mapper.bounds.partial import over_splits
from flat_mapper.mapper.bounds.turns import (
    KnownEnds,
    Streams,
    busy_cycles,
    own_turns,
    turns_and_ends,
    turns_of,
)
from flat_mapper.mapper.bounds.uses import Loops, Orders, Stay, Use, uses_of
from flat_mapper.mapper.bounds.whole_sizes import KnownWords
from flat_mapper.mapper.cost.candidate_set import CandidateSet, Extents
from flat_mapper.mapper.cost.price import each_way_cycles, in_turn_cycles, rounded, weight_of
from flat_mapper.mapper.space.candidates import Bools, Floats, Ints
from flat_mapper.mapper.space.group import GroupProblem, tile_words
from flat_mapper.mapper.space.roles import Role
from flat_mapper.mapping.order import overlaps
from flat_mapper.mapping.sharing import shared_level


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficBound:
    """Lower bounds of n outer tiles under one staging and DRAM order, whatever the candidates."""

    floors: Floats  # pJ at DRAM, of all tensors together; float64[n]
    staged: Floats  # pJ at DRAM of staged tensors beyond one pass of every word
    needs: Ints  # words of the shared level; int64[n]
    cycles: Floats  # whole ones
    streams: Floats  # by Einsum, cycles of what it moves in its own turns; float64[E, n]
    turns: Floats  # by Einsum, cycles of these turns; float64[E, n]
    waits: Floats  # cycles of staged tiles at DRAM, beside turns


@dataclass(frozen=True, slots=True)
class _Dram:
    """Energy (pJ) and words of DRAM, float64[n]."""

    energy: Floats
    reads: Floats
    writes: Floats


@dataclass(frozen=True)
class EinsumUses:
    """An Einsum's uses of its tensors under some tiles, in given roles and orders of DRAM loops."""

    problem: GroupProblem
    uses: list[Use]
    zero: Floats
    turns: list[Floats] = field(default_factory=list)  # of all its units, see `own_turns`

    @cached_property
    def streams(self) -> list[Streams]:
        """Transfers in its own turns, see `_streams`."""
        return _streams(self.problem, self.uses, self.zero)

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
        """Cycles of each staged tile at DRAM that stand beside turns; see `_waits`."""
        dram, found = self.problem.platform.dram, list[Floats]()
        for use in self.uses:
            if use.role != "staged" or not self.problem.takes_turns:
                continue
            reads, writes = use.ways(self.zero)
            if self.problem.runs_ahead:
                words = tile_words(use.space, use.tensor, use.tile, dram.name).astype(np.float64)
                reads, writes = words * (not use.is_output), words * use.is_output
            found.append(each_way_cycles(dram, use.tensor, reads, writes, use.waits))
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
                else tile_words(use.space, use.tensor, use.tile, dram.name)
            )
            ways = words * (not use.is_output), words * use.is_output
            found.append((use.role, in_turn_cycles(dram, use.tensor, *ways, use.waits)))
        return found


# By Einsum, in its roles and orders, under the same tiles
KnownUses = dict[tuple[str, tuple[Role, ...], Orders], EinsumUses]
KnownLows = dict[tuple[str, tuple[Role, ...]], tuple[Floats, Floats]]


@dataclass(frozen=True, slots=True)
class OuterWork:
    """Work of the Einsums of a group under n outer tiles."""

    visited: Floats  # share of the tiles of queries x keys that a mask leaves
    runs: list[Floats]  # of each Einsum, see `GroupProblem.runs`
    compute: list[Floats]  # cycles of each at least
    inside: Floats  # pJ below DRAM at least


@dataclass(slots=True)
class KnownTiles:
    """Answers for some outer tiles, which other choices of theirs share."""

    uses: KnownUses = field(default_factory=dict)
    work: OuterWork | None = None
    extents: list[Extents] = field(default_factory=list)  # by rank
    lows: KnownLows = field(default_factory=dict)


def traffic_bound(
    occupancy: SharedOccupancy,
    grid: Ints,
    roles: Sequence[tuple[Role, ...]],
    orders: Sequence[Orders],
    candidate_sets: Sequence[CandidateSet] | None,
    compute: Sequence[Floats | float],
    visited: Floats,
    words: KnownWords,
    ends: KnownEnds,
    known: KnownUses,
    needs: Ints | None = None,
) -> TrafficBound:
    """Lower bounds of outer tiles int64[R, n], by the tensors of a group.

    roles, orders: by Einsum; orders are of the DRAM loops over its ranks.
    candidate sets:        candidates by Einsum; None: any.
    compute:       lower bounds on the compute cycles of each Einsum.
    visited:       share of the tiles of queries x keys that a mask leaves; float64[n].
    words, ends:   what is known of their words and of what they wait, whatever the tile.
    known:         what is known of Einsums under the same tiles, over any candidates.
    needs:         words of the shared level, where they are known; int64[n].
    """
    problem, zero = occupancy.problem, np.zeros(grid.shape[1])
    every = list[EinsumUses]()
    for i, space in enumerate(problem.spaces):
        key = space.einsum.name, roles[i], orders[i]
        if key not in known:
            share = problem.shares(space, visited)
            where = grid[problem.index(space)], roles[i], orders[i], share
            loops = Loops(*where, words.sharing(space))
            part = candidate_sets[i] if candidate_sets else None
            known[key] = EinsumUses(problem, list(uses_of(occupancy, space, loops, part)), zero)
        every.append(known[key])
    uses = [use for own in every for use in own.uses]
    terms, (streams, turns) = [use.term for use in uses], _turns(problem, every, compute, zero)
    whole = (use for use in uses if use.role == "staged" and use.moved is not None)
    staged = sum((use.moved_pj - use.once for use in whole), zero)
    dram = _dram_traffic(uses, zero)
    floors, moved = _with_room(occupancy, grid, uses, terms, dram)
    moved = np.maximum(moved, _outside_cycles(problem, every, zero))
    ends_wait: Floats | None = None
    if candidate_sets is None and not overlaps(problem.group.schedule):
        busy, ends_wait = _turns_and_ends(occupancy, grid, roles, compute, ends, every)
    else:
        busy = busy_cycles(problem, compute, turns)
    waits = _waits(problem, every, zero)
    return TrafficBound(
        floors=floors,
        staged=staged,
        needs=occupancy.lower_words(terms, grid) if needs is None else needs,
        cycles=_cycles(problem, every, moved, busy, waits, ends_wait),
        streams=streams,
        turns=turns,
        waits=waits,
    )


def _turns(
    problem: GroupProblem,
    every: Sequence[EinsumUses],
    compute: Sequence[Floats | float],
    zero: Floats,
) -> tuple[Floats, Floats]:
    """Cycles of what Einsums move in their turns, and of these turns; float64[E, n] each."""
    if not problem.takes_turns:
        return np.array([zero] * len(every)), np.array([zero + own for own in compute])
    streams = [np.maximum.reduce([some.cycles for some in own.streams]) for own in every]
    turns = [turns_of(cycles, own.streams) for cycles, own in zip(compute, every, strict=True)]
    return np.array(streams), np.array(turns)


def _turns_and_ends(
    occupancy: SharedOccupancy,
    grid: Ints,
    roles: Sequence[tuple[Role, ...]],
    compute: Sequence[Floats | float],
    ends: KnownEnds,
    every: Sequence[EinsumUses],
) -> tuple[Floats, Floats]:
    """Cycles of turns and of what streams wait; see `turns_and_ends`."""
    problem, spaces = occupancy.problem, occupancy.problem.spaces
    at_ends = {i: ends.of(occupancy, spaces[i], roles[i]) for i in (0, len(spaces) - 1)}
    for i, (space, own) in enumerate(zip(spaces, every, strict=True)):
        if not own.turns:
            units = at_ends[i][0] if i in at_ends else np.array([float(space.widest)])
            extents = grid[problem.index(space)]
            own.turns.append(own_turns(space, extents, compute[i], own.streams, units))
    return turns_and_ends([own.turns[0] for own in every], [waits for _, waits in at_ends.values()])


def _streams(problem: GroupProblem, uses: list[Use], zero: Floats) -> list[Streams]:
    """Transfers of an Einsum in its own turns, at least; none if they run ahead.

    uses: its own. They are what it streams from DRAM, and every word once that it exchanges with
    the shared level.
    """
    reads = writes = read = written = zero
    if not problem.takes_turns:
        return []
    for use in uses:
        output = use.volume * use.is_output
        if use.role == "stream":
            moved = use.passing(zero)
            writes = writes + use.weight * (moved if use.is_output else 0.0)
            reads = reads + use.weight * (moved - output) + use.total
            continue
        written = written + use.scale * output
        read = read + use.scale * use.seen * (not use.is_output)
        if use.role == "staged" and use.moved is not None:
            written = written + use.scale * (use.moved - output)
    streamed = over_splits(transfer_cycles(problem.platform.dram, reads, writes))
    own = [use for use in uses if use.role == "stream"]
    streamed = np.maximum(streamed, _beside_cycles(problem.platform.dram, own, zero))
    shared = transfer_cycles(shared_level(problem.platform), read, written)
    others = [use for use in uses if use.role != "stream"]
    return [Streams(streamed, _idle(own)), Streams(shared, _idle(others))]


def _idle(uses: list[Use]) -> Floats:
    """Share of an Einsum's passes in which none of these uses moves words, at least."""
    return 1 - reduce(np.maximum, (use.fresh for use in uses), np.zeros(1))


def _by_einsum(uses: list[Use]) -> Iterable[list[Use]]:
    """The uses of each Einsum: they have one split."""
    return (list(own) for _, own in groupby(uses, key=lambda use: id(use.space)))


def _beside_cycles(dram: MemoryLevel, uses: list[Use], zero: Floats) -> Floats:
    """Lower bound on the cycles of each source beside DRAM for what some uses move past it."""
    found: Floats = zero
    for other in dram.beside:
        cycles = zero
        for some in _by_einsum(uses):
            moved = zero
            for use in some:
                reads, writes = use.ways(zero)
                comes, leaves, sent = other.each(use.tensor)
                moved = moved + comes * reads + leaves * writes + sent * use.total
            cycles = cycles + over_splits(moved)
        found = np.maximum(found, cycles)
    return found


def _outside_cycles(problem: GroupProblem, every: list[EinsumUses], zero: Floats) -> Floats:
    """Lower bound on the cycles of all words from outside, where other sources are beside DRAM.

    Beside turns one tensor comes after another, from the slowest source.
    """
    dram = problem.platform.dram
    if not dram.beside or not (problem.takes_turns and problem.runs_ahead):
        return _beside_cycles(dram, [use for own in every for use in own.uses], zero)
    return sum((own.outside for own in every), zero)


def _dram_traffic(uses: list[Use], zero: Floats) -> _Dram:
    """Traffic of DRAM where every tensor that may stay in place does."""
    energy = reads = writes = zero
    for use in uses:
        if use.moved is not None:
            energy = energy + use.moved_pj
            words = use.moved
            if use.is_output:
                writes = writes + use.weight * words
                words = words - use.volume
            reads = reads + use.weight * words + use.total
    return _Dram(energy, reads, writes)


def _with_room(
    occupancy: SharedOccupancy, grid: Ints, uses: list[Use], terms: list[Term], dram: _Dram
) -> tuple[Floats, Floats]:
    """pJ and cycles of DRAM, where tensors stay in place only as far as they fit together.

    Whatever stays in place over the DRAM loops is held whole while the others come by.
    """
    level = occupancy.problem.platform.dram
    moved = transfer_cycles(level, dram.reads, dram.writes)
    streams = [(use, use.stay) for use in uses if use.stay is not None]
    capacity = occupancy.capacity
    if capacity is None or not streams:
        return dram.energy, moved

    def fits(stay: list[tuple[Use, Stay]]) -> Bools:
        whole = [
            occupancy.lower_term(
                u.space, u.tensor, "stream", u.tile, np.where(s.may, s.words, 0).astype(np.float64)
            )
            for u, s in stay
        ]
        return np.asarray(occupancy.lower_words([*terms, *whole], grid) <= capacity)

    together = fits(streams)
    if together.all():
        return dram.energy, moved
    floors, least = np.full((2, grid.shape[1]), np.inf)
    for stays in product((False, True), repeat=len(streams)):
        energy, reads, writes = dram.energy, dram.reads, dram.writes
        for (use, stay), stays_here in zip(streams, stays, strict=True):
            if not stays_here and use.moved is not None:
                more = stay.again - use.moved
                energy = energy + use.energy(stay.again) - use.moved_pj
                reads = reads + use.weight * more
                writes = writes + use.weight * (more if use.is_output else 0.0)
        good = fits([s for s, yes in zip(streams, stays, strict=True) if yes])
        cycles = transfer_cycles(level, reads, writes)
        floors = np.where(good, np.minimum(floors, energy), floors)
        least = np.where(good, np.minimum(least, cycles), least)
    # What fits in no way is told by its occupancy; what fits all together stays as it is.
    some = np.isfinite(floors) & ~together
    return np.where(some, floors, dram.energy), np.where(some, least, moved)


def _waits(problem: GroupProblem, every: list[EinsumUses], zero: Floats) -> Floats:
    """Cycles of staged tiles at DRAM that stand beside turns; float64[n].

    Where nothing runs ahead that is all that they take, else their first inputs and last outputs.
    """
    found = sum((cycles for own in every for cycles in own.waits), zero)
    return problem.platform.dram.waits * found if problem.runs_ahead else found


def _cycles(
    problem: GroupProblem,
    every: list[EinsumUses],
    moved: Floats,
    busy: Floats,
    waits: Floats,
    ends: Floats | None,
) -> Floats:
    """Lower bound on the cycles of the group; moved: cycles of DRAM. waits: see `_waits`.

    busy, ends: of turns, and what streams wait; see `turns_and_ends`. None: not by units.
    """
    zero = np.zeros(len(moved))
    read = written = exposed = zero  # words of the shared level; cycles that nothing overlaps
    level, dram = shared_level(problem.platform), problem.platform.dram
    for use in (use for own in every for use in own.uses):
        # Every word passes between the shared level and the inner ones once at least.
        if use.role != "stream" and use.is_output:
            written = written + use.scale * use.volume
        elif use.role != "stream":
            read = read + use.scale * use.seen
        if use.role == "staged" and use.moved is not None:
            written = written + use.scale * (use.moved - use.volume * use.is_output)
    for role, cycles in (first for own in every for first in own.opening):
        if ends is None or role != "stream":
            exposed = exposed + cycles
    busy = busy if problem.runs_ahead else busy + waits
    found = np.maximum(np.maximum(moved, busy), transfer_cycles(level, read, written))
    if ends is not None:
        found = (found + ends).min(axis=0)
    if problem.runs_ahead:
        found = found + waits
        if problem.takes_turns or problem.group.schedule != "sequential":
            found = found + dram.waits * exposed
    # The sums that cycles come from are off in the last bits.
    return rounded(dram, found * (1 - LOST))
