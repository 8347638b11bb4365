"""Lower bounds on an Einsum's runs and its turns, by the tile that its candidates leave.

A turn takes as long as its compute, and as long as a port of DRAM or of the shared level needs for
the words that pass it: linear in how often each tensor comes by, as energy is (`TileBounds`). The
first tile that streams in, and the last one out, nothing overlaps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from flat_mapper.arch.values import MemoryLevel
from flat_mapper.base.grouping import distinct_columns
from flat_mapper.base.tolerance import LOST
from flat_mapper.cost_model.candidates import Bools, Floats, Ints
from flat_mapper.cost_model.facts import prod_of
from flat_mapper.cost_model.outside import least_weight
from flat_mapper.cost_model.ports import port_loads
from flat_mapper.cost_model.roles import Role
from flat_mapper.mapper.bounds.occupancy import SharedOccupancy
from flat_mapper.mapper.bounds.tiles import CandidateTiles, TileBounds, TilesUnder
from flat_mapper.mapper.space.einsum import EinsumSpace, remembered
from flat_mapper.mapper.space.group import FOLLOW, GroupProblem
from flat_mapper.mapping.order import overlaps


@dataclass(frozen=True, slots=True)
class _Port:
    """A port's cycles for one Einsum's tensors, and what first visits of its output spare."""

    bounds: TileBounds  # were nothing spared
    first: float  # cycles
    masked: bool  # whether these shrink as all does under a mask

    def least(self, low: Floats, full: Floats, often: Floats | float) -> Floats:
        """Cycles of so many passes; low: of one pass. full: what it is a difference of."""
        first = self.first * (often if self.masked else 1.0)
        return often * (low - LOST * full) - first


class Lows(NamedTuple):
    """Least pJ and cycles of an Einsum in all its runs: of its candidates, or by tile."""

    energy: Floats
    cycles: Floats  # of its turns, and of what they expose


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleBounds:
    """Bounds of one Einsum's candidates, in given roles, under outer tiles."""

    tiles: CandidateTiles
    stay: tuple[str, ...]  # tensors that may stay private over the shared loops
    pj: TileBounds  # of one run
    spared: tuple[Floats, Floats, Floats]  # see `CandidateTiles.spared`
    ports: tuple[_Port, ...]
    waits: Floats  # by tile, cycles of first inputs and last outputs that stream
    words: Floats  # by tile, of the shared level, that streamed tiles take

    @classmethod
    def of(
        cls, occupancy: SharedOccupancy, tiles: CandidateTiles, roles: tuple[Role, ...]
    ) -> RoleBounds:
        """The bounds of a candidate set's candidates; roles: by tensor."""
        space, ports = tiles.space, list[_Port]()
        if occupancy.problem.takes_turns:
            streams = [t for t, r in zip(space.tensors, roles, strict=True) if r == "stream"]
            others = [t for t in space.tensors if t not in streams]
            levels = space.arch.levels[0], space.arch.levels[space.shared]
            ports += _ports(tiles, levels[0], streams, least_weight)
            ports += _ports(tiles, levels[1], others, lambda *_: 1.0)
        may = occupancy.problem.may_stay(space)
        return cls(
            tiles=tiles,
            stay=tuple(t for t, yes in zip(space.tensors, may, strict=True) if yes),
            pj=TileBounds.of(tiles, roles),
            spared=tiles.spared(roles[-1]),
            ports=tuple(ports),
            waits=exposed(occupancy, space, {"stream": tiles.tile}, roles),
            words=occupancy.streamed(space, tiles.tile, roles),
        )

    def lows(self, under: TilesUnder, runs: Floats, *, staying: bool) -> Lows:
        """Least of all runs under outer tiles; float64[pairs].

        runs: of the Einsum, see `GroupProblem.runs`. staying: whether tensors stay that may.
        """
        tiles, often, stay = self.tiles, runs.take(under.outer), self.stay if staying else ()
        one, most, least = self.spared
        spared = under.columns(one, most), under.columns(one, least)
        pj = self._in_runs(self.pj.least_under(under, stay), often, spared, self._stays(under))
        cycles: Floats = often * under.columns(tiles.every_cycles, tiles.cycles)
        # What stays moves once, however often the Einsum runs.
        times = np.minimum(often, 1.0) if stay else often
        for port in self.ports:
            low, full = port.bounds.least_under(under, stay), port.bounds.whole(under)
            cycles = np.maximum(cycles, port.least(low, full, times))
        return Lows(pj, cycles + self.waits.take(under.tiles))

    def _stays(self, under: TilesUnder) -> Bools:
        """True where a candidate's tile is the whole outer tile of a tensor that may stay."""
        found = np.zeros(len(under.tiles), np.bool_)
        for tensor in self.stay if self.tiles.space.einsum.each else ():
            found = found | under.trivial(tensor)
        return found

    def _in_runs(
        self, energy: Floats, runs: Floats, spared: tuple[Floats, Floats], stays: Bools
    ) -> Floats:
        """Least pJ of an Einsum that runs so often; energy: of one run.

        Every run computes. It moves all tensors as well, unless a candidate's tile is the whole
        outer tile of one that may stay. First visits of its output are those of one run: beside
        fewer runs, as a mask leaves them, they are no fewer, and beside more they are no more.
        spared: most and least pJ of these.
        """
        once, (most, least) = runs == 1, spared
        if once.all():
            return energy
        space = self.tiles.space
        if not space.einsum.each:
            return np.where(once, energy, runs * energy - (1 - runs) * most)
        moved, more = energy - space.compute_energy, np.where(stays, 0.0, runs - 1)
        total = (
            runs * space.compute_energy + moved + more * (moved + np.where(more > 0, least, most))
        )
        return np.where(once, energy, total)


def exposed(
    occupancy: SharedOccupancy,
    space: EinsumSpace,
    tiles: Mapping[Role, Ints],
    roles: tuple[Role, ...],
) -> Floats:
    """Cycles of first inputs and last outputs as far as a group's latency has them; float64[n]."""
    found = occupancy.exposed(space, tiles, roles)
    return found if occupancy.problem.runs_ahead else 0 * found


def _ports(
    tiles: CandidateTiles,
    level: MemoryLevel,
    tensors: Sequence[str],
    weight: Callable[[MemoryLevel, str], float],
) -> list[_Port]:
    """The limited ports of a level outside the candidates that some tensors pass."""
    space, found = tiles.space, []
    for read, write in _rates(level):
        pairs, first = {}, 0.0
        for tensor in tensors:
            own, each = weight(level, tensor), read
            if tensor == space.output:  # first visits bring nothing, and one is done
                each = (read + write) * space.so_far[level.name]
                first += own * (each - write) * space.volume_at(tensor, level)
            full, gain = tiles.drawn(tensor, level)
            pairs[tensor] = own * each * full, own * each * gain
        if any(full.any() for full, _ in pairs.values()):
            bounds = TileBounds.summed(tiles, 0.0, pairs)
            found.append(_Port(bounds, first, space.first_visits_masked))
    return found


def _rates(level: MemoryLevel) -> list[tuple[float, float]]:
    """By limited port of a level, cycles of a word that is read and of one that is written."""
    both = zip(port_loads(level, 1.0, 0.0), port_loads(level, 0.0, 1.0), strict=True)
    return [
        (float(r.words / r.words_per_cycle), float(w.words / w.words_per_cycle)) for r, w in both
    ]


@dataclass(frozen=True, slots=True)
class Streams:
    """Transfers of an Einsum past one level in its own turns, by n outer tiles."""

    cycles: Floats  # of all words
    idle: Floats  # share of its passes in which none of them moves; float64[n or 1]


def unit_ends(
    occupancy: SharedOccupancy, space: EinsumSpace, roles: tuple[Role, ...]
) -> tuple[Floats, Floats]:
    """Units at work, and cycles that streams wait with them at least; float64[K] each.

    Without choices beside which another has as many units and waits no longer.
    """
    tiles = unit_tiles(space)
    waits = exposed(occupancy, space, {"stream": tiles}, roles)
    units = prod_of(tiles, range(len(space.ranks))).astype(np.float64)
    order = np.lexsort((waits, -units))
    least = np.minimum.accumulate(np.concatenate([[np.inf], waits[order]]))[:-1]
    some = order[waits[order] < least]
    return units[some], waits[some]


@remembered
def unit_tiles(space: EinsumSpace) -> Ints:
    """Extents that an Einsum's units work on at once, by split of the fanouts; int64[R, n]."""
    found = np.ones((len(space.ranks), 1), np.int64)
    for grid, _ in space.splits.values():
        if grid.shape[1]:
            every = found[:, :, None] * grid[:, None, :]
            found = distinct_columns(every.reshape(len(space.ranks), -1))[0]
    return found


def own_turns(
    space: EinsumSpace,
    extents: Ints,
    compute: Floats | float,
    streams: Sequence[Streams],
    units: Floats,
) -> Floats:
    """Cycles of an Einsum's turns at least, by choice of its units; float64[K, n].

    An outer tile has work for no more units than points.

    extents: of outer tiles, int64[R, n]. compute: cycles with all its units.
    streams: what it moves in its turns. units: at work; float64[K].
    """
    points = np.where(extents == FOLLOW, np.inf, extents).prod(axis=0)
    cycles = space.widest / np.minimum(units[:, None], points) * np.asarray(compute)
    return least_turns(cycles, streams)


def least_turns(compute: Floats | float, streams: Sequence[Streams]) -> Floats:
    """Cycles of an Einsum's turns at least (lemma 30); compute: of all passes.

    In a pass in which nothing moves a turn is as long as its compute.
    """
    found = np.asarray(compute, np.float64)
    for some in streams:
        found = np.maximum(found, some.idle * compute + some.cycles)
    return found


def busy_cycles(
    problem: GroupProblem, compute: Sequence[Floats | float], turns: Iterable[Floats | float]
) -> Floats:
    """Lower bound on the cycles of a group's turns, by outer choice; float64[n].

    compute, turns: of each Einsum, two lower bounds; turns float64[E, n].
    """
    units: dict[str, Floats] = {}
    for space, cycles, other in zip(problem.spaces, compute, turns, strict=True):
        longer = np.maximum(cycles, other)
        units[space.einsum.unit] = units.get(space.einsum.unit, np.zeros(1)) + longer
    if overlaps(problem.group.schedule):
        longest: Floats = np.maximum.reduce(list(units.values()))
        return longest
    total: Floats = sum(units.values(), np.zeros(1))
    return total


def least_of_choices(turns: Sequence[Floats], waits: Sequence[Floats], floor: Floats) -> Floats:
    """Cycles of turns, which add up, or a floor, and what streams wait; over all choices of units.

    turns, waits: of each Einsum, float64[K, n]; only the first and the last have a choice.
    """
    none, found = np.zeros((1, 1)), np.full(len(floor), np.inf)
    for busy, ends in zip(sum(turns[:-1], none), sum(waits[:-1], none), strict=True):
        cycles = np.maximum(floor, busy + turns[-1]) + (ends + waits[-1])
        found = np.minimum(found, cycles.min(axis=0))
    return found
