"""Lower bounds on the cycles of an Einsum's turns, by the tile that its candidates leave.

A turn takes as long as its compute, and as long as a port of DRAM or of the shared level needs for
the words that pass it: linear in how often each tensor comes by, as energy is (`TileBounds`). The
first tile that streams in, and the last one out, nothing overlaps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from flat_mapper.arch.values import MemoryLevel
from flat_mapper.cost_model.latency import port_loads
from flat_mapper.mapper.bounds.occupancy import SharedOccupancy
from flat_mapper.mapper.bounds.tiles import CandidateTiles, TileBounds
from flat_mapper.mapper.cost.outside import least_weight
from flat_mapper.mapper.space.candidates import Floats, Ints
from flat_mapper.mapper.space.einsum import EinsumSpace
from flat_mapper.mapper.space.roles import Role

LAST_BITS = 1e-14  # by which differences of what is moved in full may be off


@dataclass(frozen=True, slots=True)
class _Port:
    """A port's cycles for one Einsum's tensors, and what first visits of its output spare."""

    bounds: TileBounds  # were nothing spared
    first: float  # cycles
    masked: bool  # whether these shrink as all does under a mask

    def least(self, low: Floats, full: Floats, often: Floats | float) -> Floats:
        """Cycles of so many passes; low: of one pass. full: what it is a difference of."""
        first = self.first * (often if self.masked else 1.0)
        return often * (low - LAST_BITS * full) - first


@dataclass(frozen=True, slots=True)
class TurnBounds:
    """Least cycles of the turns of one Einsum's candidates, in given roles."""

    tiles: CandidateTiles
    ports: tuple[_Port, ...]
    waits: Floats  # by tile, cycles of first inputs and last outputs that stream

    @classmethod
    def of(
        cls, occupancy: SharedOccupancy, tiles: CandidateTiles, roles: tuple[Role, ...]
    ) -> TurnBounds:
        """The bounds of a candidate set's candidates; roles: by tensor."""
        space, ports = tiles.space, list[_Port]()
        if occupancy.problem.takes_turns:
            streams = [t for t, r in zip(space.tensors, roles, strict=True) if r == "stream"]
            others = [t for t in space.tensors if t not in streams]
            levels = space.arch.levels[0], space.arch.levels[space.shared]
            ports += _ports(tiles, levels[0], streams, least_weight)
            ports += _ports(tiles, levels[1], others, lambda *_: 1.0)
        waits = exposed(occupancy, space, {"stream": tiles.tile}, roles)
        return cls(tiles, tuple(ports), waits)

    def by_tile(self, extents: Ints, passes: Floats, stay: Sequence[str]) -> tuple[Floats, Floats]:
        """Least cycles of all turns by tile under outer tiles int64[R, n]; float64[n, tiles].

        passes: runs of the Einsum. stay: tensors that may stay private over the shared loops.
        returns: if these may, and if none does.
        """
        every = np.arange(self.tiles.count)
        staying: Floats = passes[:, None] * self.tiles.cycles
        none, often = staying, passes[:, None]
        for port in self.ports:
            one, other = port.bounds.energy(extents, every, stay)
            none = np.maximum(none, port.least(other, port.bounds.least, often))
            if stay:  # what stays moves once, however often the Einsum runs
                cycles = port.least(one, port.bounds.least, np.minimum(often, 1.0))
                staying = np.maximum(staying, cycles)
        none = none + self.waits
        return staying + self.waits if stay else none, none

    def by_candidate(
        self, extents: Ints, candidates: Ints, passes: float, stay: Sequence[str]
    ) -> Floats:
        """The same of some candidates under one outer tile int64[R, 1]; float64[n]."""
        first, often = np.zeros(len(candidates), np.int64), min(passes, 1.0) if stay else passes
        found: Floats = passes * self.tiles.every_cycles[candidates]
        for port in self.ports:
            low = port.bounds.candidate_energy(extents, first, candidates, stay)
            cycles = port.least(low, port.bounds.full[candidates], often)
            found = np.maximum(found, cycles)
        return found + self.waits[self.tiles.which[candidates]]


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
            own, output = weight(level, tensor), tensor == space.output
            each = own * (read + write if output else read)
            full, gain = tiles.drawn(tensor, level)
            pairs[tensor] = each * full, each * gain
            first += output * own * read * space.volume_at(tensor, level)
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
