"""The outer choices of a group, each with a lower bound on its cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np

from flat_mapper.base.grouping import distinct, distinct_columns, located
from flat_mapper.cost_model.candidates import Bools, Floats, Ints
from flat_mapper.cost_model.outside import weight_of
from flat_mapper.cost_model.ports import transfer_cycles
from flat_mapper.cost_model.roles import Role
from flat_mapper.mapper.bounds.candidate_set import CandidateSet
from flat_mapper.mapper.bounds.energy import drawn_energy
from flat_mapper.mapper.bounds.occupancy import SharedOccupancy
from flat_mapper.mapper.bounds.traffic import EinsumUses, by_roles, in_a_row, traffic_bound
from flat_mapper.mapper.bounds.turns import busy_cycles, unit_ends
from flat_mapper.mapper.bounds.uses import Loops, uses_of
from flat_mapper.mapper.bounds.whole_sizes import least_words, sharing_units, words_bound
from flat_mapper.mapper.space.einsum import EinsumSpace, remembered
from flat_mapper.mapper.space.group import GroupProblem
from flat_mapper.mapper.space.orders import orders_of_tiles
from flat_mapper.mapper.space.outer import StagedTensors, has_dram_loops, outer_tiles, single_tiles
from flat_mapper.mapping.order import overlaps

DRAM_SHARES = (0.0, 0.02, 0.1, 1.0)  # chosen: shares of DRAM in bounds of words whatever the tile
_AT_ONCE = 8_000  # chosen: tiles that are bounded in one go


@dataclass(slots=True)
class Outers:
    """Outer choices, as arrays over the choices, with a lower bound on the cost of each."""

    staging: Ints
    order: Ints
    tile: Ints  # int64[R, n]
    cycles: Floats
    energy: Floats
    needs: Ints  # words of the shared level
    floors: Floats  # pJ at DRAM, of all tensors together
    staged: Floats  # pJ at DRAM of staged tensors beyond one pass of every word
    streams: Floats  # by Einsum, cycles of what it moves in its own turns; float64[E, n]
    turns: Floats  # by Einsum, cycles of these turns; float64[E, n]
    waits: Floats  # cycles of staged tiles at DRAM, beside turns
    visited: Floats  # share of the tiles of queries x keys that a mask leaves

    def take(self, index: Ints) -> Outers:
        """Some of the choices."""
        every = {own.name: getattr(self, own.name) for own in fields(self)}
        return Outers(**{name: value.take(index, axis=-1) for name, value in every.items()})

    def parted(self, count: int) -> tuple[Outers, Outers]:
        """The first so many choices, and the others."""
        every = np.arange(len(self.staging))
        return self.take(every[:count]), self.take(every[count:])

    @classmethod
    def joined(cls, parts: list[Outers], index: Ints | slice = slice(None)) -> Outers:
        """Several sets as one, or some of their choices: they may be a GB, and are copied once."""
        every = {own.name: [getattr(part, own.name) for part in parts] for own in fields(cls)}
        return cls(
            **{name: np.concatenate(own, axis=-1)[..., index] for name, own in every.items()}
        )


@dataclass(frozen=True, kw_only=True)
class OuterBounds:
    """Enumerates outer choices and bounds them from below."""

    problem: GroupProblem
    occupancy: SharedOccupancy
    stagings: list[StagedTensors]
    orders: list[tuple[int, ...]]  # of the DRAM loops, innermost first, by group rank
    known: dict[object, Any] = field(default_factory=dict)  # answers so far, see `remembered`

    @cached_property
    def roles(self) -> list[dict[str, tuple[Role, ...]]]:
        """By Einsum and tensor, the roles that some staging gives it."""
        return [self._roles(space) for space in self.problem.spaces]

    def _roles(self, space: EinsumSpace) -> dict[str, tuple[Role, ...]]:
        every = zip(*(s.roles[space.einsum.name] for s in self.stagings), strict=True)
        return {t: tuple(dict.fromkeys(own)) for t, own in zip(space.tensors, every, strict=True)}

    @remembered
    def ends(self, i: int, roles: tuple[Role, ...]) -> tuple[Floats, Floats]:
        """Choices of units of an Einsum, see `unit_ends`."""
        return unit_ends(self.occupancy, self.problem.spaces[i], roles)

    def least(self) -> tuple[float, float]:
        """Lower bounds on (cycles, pJ) of the group: units at their widest, least words."""
        problem = self.problem
        visited = np.array([problem.least_visited])
        shares = [float(problem.shares(s, visited)[0]) for s in problem.spaces]
        every = zip(problem.spaces, shares, strict=True)
        cycles = self._busy([share * s.lane_cycles / s.widest for s, share in every])
        energy = float(inside_pj(problem, visited, [np.array([n]) for n in shares])[0])
        met: set[str] = set()
        for space, share in zip(problem.spaces, shares, strict=True):
            for tensor in space.tensors:
                if tensor in problem.external and tensor not in met:
                    words = float(space.volume[tensor])
                    energy += share * float(
                        drawn_energy(space, tensor, space.arch.levels[0], words)
                    )
                met.add(tensor)
        moved = sum(
            share * s.compute_energy + float(least_words(s, tuple(own.values()), share))
            for s, share, own in zip(problem.spaces, shares, self.roles, strict=True)
        )
        return max(cycles, self.compulsory_cycles()), max(energy, moved)

    def least_of_any_size(self) -> tuple[float, float]:
        """Lower bounds on (cycles, pJ) of the group over mappings whose factors need not divide.

        Of a mask it leaves no more than tiles of one query and one key do.
        """
        problem = self.problem
        visited = np.array([problem.least_visited])
        shares = [float(problem.shares(s, visited)[0]) for s in problem.spaces]
        every = list(zip(problem.spaces, shares, self.roles, strict=True))
        energy = sum(share * (s.compute_energy + s.least_network) for s, share, _ in every)
        for space, share, own in every:
            words = words_bound(space, tuple(own.values()), divides=False)
            energy += float(words.at(share))
        return max(self.least_busy(), self.compulsory_cycles()), energy

    def least_busy(self) -> float:
        """Compute cycles of the group with all units at work; of a mask as above."""
        visited, spaces = np.array([self.problem.least_visited]), self.problem.spaces
        shares = [float(self.problem.shares(s, visited)[0]) for s in spaces]
        every = zip(spaces, shares, strict=True)
        return self._busy([share * s.lane_cycles / s.lanes for s, share in every])

    def _busy(self, cycles: list[float]) -> float:
        """Compute cycles of the group from those of its Einsums."""
        return float(busy_cycles(self.problem, cycles, cycles)[0])

    def busy(self, i: int, cycles: float, outers: Outers) -> Floats:
        """Lower bound on the cycles of the group's turns, where the i-th Einsum takes these."""
        compute = [
            self.problem.runs(space, outers.tile, outers.visited)
            * (cycles if i == j else space.lane_cycles / space.widest)
            for j, space in enumerate(self.problem.spaces)
        ]
        return busy_cycles(self.problem, compute, outers.turns)

    def compulsory_cycles(self) -> float:
        """DRAM cycles of moving every outside tensor once; of a mask's, what it leaves at least."""
        dram, visited = self.problem.platform.dram, np.array([self.problem.least_visited])
        words = {
            t: s.volume[t] * float(self.problem.shares(s, visited)[0])
            for s in self.problem.spaces
            for t in s.tensors
        }
        out = {s.output for s in self.problem.spaces}
        words = {t: float(n * weight_of(dram, t, n)) for t, n in words.items()}
        reads = sum(words[t] for t in self.problem.external if t not in out)
        writes = sum(words[t] for t in self.problem.external if t in out)
        return float(transfer_cycles(dram, np.array([float(reads)]), np.array([float(writes)]))[0])

    def fits(self, outers: Outers) -> Bools:
        """True if each choice may fit the shared level."""
        has = self.occupancy.capacity
        return np.asarray(outers.needs <= (np.inf if has is None else has))

    def roots(self, step: Callable[[], None] | None = None) -> tuple[Outers, int]:
        """All outer choices that may fit, bounded whatever the candidates; and how many there are.

        Where none may, some that need the fewest words. step: see `bounded`.
        """
        wait, parts, count = step or (lambda: None), list[Outers](), 0
        for part in (
            self._fused_roots(wait) if self.problem.group.fused else self._single_roots(wait)
        ):
            some = np.flatnonzero(self.fits(part))
            count += len(part.needs)  # what does not fit goes at once: it may be most of them
            parts.append(part.take(some if len(some) else part.needs.argsort(kind="stable")[:1]))
        staging = np.concatenate([part.staging for part in parts])
        order = np.argsort(staging, kind="stable")
        fits = np.concatenate([self.fits(part) for part in parts])[order]
        if len(parts) > 1 and fits.any():
            order = order[fits]
        return Outers.joined(parts, order), count

    def _fused_roots(self, step: Callable[[], None]) -> Iterator[Outers]:
        """Those of a fused group, by staging and order: stagings share most roles."""
        grids = orders_of_tiles(self.problem, self.orders, outer_tiles(self.problem, loops=True))
        for some in _together(grids):
            under = OuterTiles(self, some)
            at_once = max(1, _AT_ONCE // max(under.grid.shape[1], 1))
            for first in range(0, len(self.stagings), at_once):
                step()
                yield under.outers(range(len(self.stagings))[first : first + at_once])

    def _single_roots(self, step: Callable[[], None]) -> Iterator[Outers]:
        """Those of one Einsum on its own."""
        whole: dict[bool, Ints] = {}
        for number, staging in enumerate(self.stagings):
            where = self.problem, self.orders, staging
            loops = has_dram_loops(self.problem, staging)
            if loops not in whole:
                whole[loops] = outer_tiles(self.problem, loops=loops)
            every = single_tiles(*where, whole[loops]) if loops else [(0, whole[loops])]
            for some in _together(every):
                step()
                yield OuterTiles(self, some).outers([number])

    def bounded(
        self,
        outers: Outers,
        candidate_sets: list[CandidateSet],
        step: Callable[[], None] | None = None,
    ) -> Outers:
        """The same choices with bounds over these candidates; in another order.

        step: is called between parts, as a group of many Einsums takes seconds for all of them.
        """
        wait, parts = step or (lambda: None), list[Outers]()
        for order, own in self._alike(outers):
            every, _, which = distinct_columns(outers.tile[:, own])
            numbers, staging = located(outers.staging[own])
            at_once = max(1, _AT_ONCE // len(numbers))
            for first in range(0, every.shape[1], at_once):
                wait()
                some = every[:, first : first + at_once]
                found = OuterTiles(self, [(order, some)], candidate_sets).outers(numbers.tolist())
                here = (first <= which) & (which < first + at_once)
                parts.append(found.take(staging[here] * some.shape[1] + which[here] - first))
        return Outers.joined(parts) if parts else outers

    def _alike(self, outers: Outers) -> Iterator[tuple[int, Ints]]:
        """Parts of outer choices of one order: all of them, or one staging's if they share little.

        Einsums that have one role in several stagings are bounded once for these.
        """
        for order in distinct(outers.order).tolist():
            own = np.flatnonzero(outers.order == order)
            numbers = distinct(outers.staging[own])
            if distinct_columns(outers.tile[:, own])[0].shape[1] * len(numbers) <= 2 * len(own):
                yield order, own
                continue
            for number in numbers:
                yield order, own[outers.staging[own] == number]


@dataclass(frozen=True)
class OuterTiles:
    """Some outer tiles, each under an order of the DRAM loops: what stagings of theirs share."""

    bounds: OuterBounds
    tiles: Sequence[tuple[int, Ints]]  # by number of an order, int64[R, n]
    sets: Sequence[CandidateSet] | None = None  # candidates by Einsum; None: any
    known: dict[object, Any] = field(default_factory=dict)  # answers so far, see `remembered`

    @property
    def problem(self) -> GroupProblem:
        """The group."""
        return self.bounds.problem

    @cached_property
    def grid(self) -> Ints:
        """All tiles; int64[R, n]."""
        return np.concatenate([own for _, own in self.tiles], axis=1)

    @cached_property
    def order(self) -> Ints:
        """Number of the order of each; int64[n]."""
        numbers = [number for number, _ in self.tiles]
        return np.repeat(numbers, [own.shape[1] for _, own in self.tiles])

    @cached_property
    def visited(self) -> Floats:
        """Share of the tiles of queries x keys that a mask leaves; float64[n]."""
        return self.problem.visited(self.grid)

    @cached_property
    def runs(self) -> list[Floats]:
        """Runs of each Einsum, see `GroupProblem.runs`; float64[n] each."""
        return [self.problem.runs(s, self.grid, self.visited) for s in self.problem.spaces]

    @cached_property
    def inside(self) -> Floats:
        """pJ below DRAM at least; float64[n]."""
        return inside_pj(self.problem, self.visited, self.runs)

    @cached_property
    def steps(self) -> Floats:
        """Cycles of the passes of the shared loops beside all that happens in them; float64[n]."""
        each = self.problem.platform.dram.step_cycles
        if not each or not self.problem.group.fused:
            return np.zeros(self.grid.shape[1])
        sizes = np.array([r.size for r in self.problem.ranks], dtype=np.int64)[:, None]
        return each * self.visited * (sizes // self.grid).prod(axis=0)

    @property
    def by_units(self) -> bool:
        """True if bounds look at each choice of units: of any candidates, of units in turn."""
        return self.sets is None and not overlaps(self.problem.group.schedule)

    @remembered
    def _of_roles(self, i: int, roles: tuple[Role, ...]) -> EinsumUses:
        """An Einsum in some roles."""
        bounds, problem, space = self.bounds, self.problem, self.problem.spaces[i]
        at = {r: place for place, r in enumerate(problem.index(space))}
        orders = tuple(
            (tuple(at[r] for r in bounds.orders[order] if r in at), own.shape[1])
            for order, own in self.tiles
        )
        share, tile = problem.shares(space, self.visited), self.grid[problem.index(space)]
        loops = Loops(tile, roles, orders, share, sharing_units(space))
        part = self.sets[i] if self.sets else None
        ends = np.array([float(space.widest)]), np.zeros(1)
        if self.by_units and i in (0, len(problem.spaces) - 1):
            ends = bounds.ends(i, roles)
        fewest = part.fewest_cycles if part else space.lane_cycles / space.widest
        uses = list(uses_of(bounds.occupancy, space, loops, part))
        return EinsumUses(problem, uses, fewest * self.runs[i], tile, ends)

    def outers(self, numbers: Sequence[int]) -> Outers:
        """The tiles under one staging after another, with lower bounds."""
        stagings, count = [self.bounds.stagings[number] for number in numbers], len(numbers)
        every = list[tuple[list[EinsumUses], Ints]]()
        for i, space in enumerate(self.problem.spaces):
            found, index = by_roles(stagings, space.einsum.name)
            every.append(([self._of_roles(i, roles) for roles in found], index))
        needs = self.bounds.occupancy.least_words(
            stagings, self.grid, {part.space.einsum.name: part for part in self.sets or ()}
        ).ravel()
        bound = traffic_bound(self.bounds.occupancy, needs, every, by_units=self.by_units)
        words = self._any_words(stagings, bound.floors, bound.staged)
        return Outers(
            staging=np.repeat(numbers, self.grid.shape[1]),
            order=np.tile(self.order, count),
            tile=np.tile(self.grid, count),
            cycles=bound.cycles + np.tile(self.steps, count),
            energy=np.maximum(np.tile(self.inside, count) + bound.floors, words),
            needs=np.ceil(needs).astype(np.int64),
            floors=bound.floors,
            staged=bound.staged,
            streams=bound.streams,
            turns=bound.turns,
            waits=bound.waits,
            visited=np.tile(self.visited, count),
        )

    def _any_words(
        self, stagings: Sequence[StagedTensors], floors: Floats, staged: Floats
    ) -> Floats:
        """Lower bound on the pJ of the group by what words take whatever the tile; float64[n].

        floors, staged: see `Outers`.
        """
        zero = np.zeros(len(self.visited))
        least, *parts = np.zeros((1 + len(DRAM_SHARES), len(floors)))
        for space in self.problem.spaces:
            roles, index = by_roles(stagings, space.einsum.name)
            masked = self.problem.masked_pair is not None
            share = self.problem.shares(space, self.visited) if masked else 1.0
            every = [tuple((r,) for r in own) for own in roles]
            for moved, priced in zip(parts, DRAM_SHARES, strict=True):
                own = [zero + least_words(space, r, share, priced) for r in every]
                moved += in_a_row(own, index)
        for moved, priced in zip(parts, DRAM_SHARES, strict=True):
            least = np.maximum(least, moved + priced * staged + (1 - priced) * floors)
        spaces = self.problem.spaces
        computes = sum((n * s.compute_energy for n, s in zip(self.runs, spaces, strict=True)), zero)
        return least + np.tile(computes, len(stagings))


def inside_pj(problem: GroupProblem, visited: Floats, runs: Sequence[Floats]) -> Floats:
    """Lower bound on the pJ of a group below DRAM; float64[n].

    visited: by what a mask leaves. runs: of each Einsum, see `GroupProblem.runs`.
    """
    energy = np.zeros(len(visited))
    met: set[str] = set()
    for space, often in zip(problem.spaces, runs, strict=True):
        own = 0.0
        level = space.arch.levels[space.shared]
        read, _, update = space.prices[level.name]
        for tensor in space.tensors:
            vectors = space.volume_at(tensor, level) / level.row_words
            vectors = float(np.ceil(vectors)) if level.whole_rows else vectors
            if tensor not in problem.external or tensor in met:
                own += vectors * (update if tensor == space.output else read)
            met.add(tensor)
        own += space.least_network
        energy = energy + often * space.compute_energy
        energy = energy + problem.shares(space, visited) * own
    return energy


def _together(tiles: Iterable[tuple[int, Ints]]) -> Iterator[list[tuple[int, Ints]]]:
    """Tiles by order, as many of them together as are bounded in one go."""
    found: list[tuple[int, Ints]] = []
    count = 0
    every = (
        (order, grid[:, first : first + _AT_ONCE])
        for order, grid in tiles
        for first in range(0, max(1, grid.shape[1]), _AT_ONCE)
    )
    for order, own in every:
        if found and count + own.shape[1] > _AT_ONCE:
            yield found
            found, count = [], 0
        found.append((order, own))
        count += own.shape[1]
    if found:
        yield found
