"""The outer choices of a group, each with a lower bound on its cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from flat_mapper.cost_model.candidates import Bools, Floats, Ints
from flat_mapper.cost_model.outside import weight_of
from flat_mapper.cost_model.ports import transfer_cycles
from flat_mapper.cost_model.roles import Role
from flat_mapper.mapper.bounds.candidate_set import CandidateSet
from flat_mapper.mapper.bounds.energy import drawn_energy
from flat_mapper.mapper.bounds.occupancy import SharedOccupancy
from flat_mapper.mapper.bounds.traffic import (
    KnownTiles,
    OuterWork,
    TrafficBound,
    by_roles,
    in_a_row,
    traffic_bound,
)
from flat_mapper.mapper.bounds.turns import KnownEnds, busy_cycles
from flat_mapper.mapper.bounds.uses import AT_ONCE, together
from flat_mapper.mapper.bounds.whole_sizes import KnownWords, words_bound
from flat_mapper.mapper.space.einsum import EinsumSpace
from flat_mapper.mapper.space.factors import distinct, distinct_columns, located
from flat_mapper.mapper.space.group import GroupProblem
from flat_mapper.mapper.space.orders import orders_of_tiles
from flat_mapper.mapper.space.outer import Staging, has_dram_loops, single_tiles, tiles
from flat_mapper.mapper.space.tile_index import MOST_TILES
from flat_mapper.mapping.order import overlaps

DRAM_SHARES = (0.0, 0.02, 0.1, 1.0)  # chosen: shares of DRAM in bounds of words whatever the tile
FEW_TILES = 500  # chosen: under so many, what is known of each Einsum is kept for all stagings


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
    sums: Floats | None = None  # weighted sums, see Incumbent.slope

    def take(self, index: Ints) -> Outers:
        """Some of the choices."""
        return Outers(
            staging=self.staging[index],
            order=self.order[index],
            tile=self.tile.take(index, axis=1),
            cycles=self.cycles[index],
            energy=self.energy[index],
            needs=self.needs[index],
            floors=self.floors[index],
            staged=self.staged[index],
            streams=self.streams.take(index, axis=1),
            turns=self.turns.take(index, axis=1),
            waits=self.waits[index],
            visited=self.visited[index],
            sums=None if self.sums is None else self.sums[index],
        )

    def few_tiles(self, ranks: list[int]) -> Ints | None:
        """Different tiles of some ranks, int64[R, n]; None where they are many."""
        found, _, _ = distinct_columns(self.tile[ranks])
        return found if found.shape[1] <= MOST_TILES else None

    @classmethod
    def joined(cls, parts: list[Outers]) -> Outers:
        """Several sets as one."""
        return cls(
            staging=np.concatenate([p.staging for p in parts]),
            order=np.concatenate([p.order for p in parts]),
            tile=np.concatenate([p.tile for p in parts], axis=1),
            cycles=np.concatenate([p.cycles for p in parts]),
            energy=np.concatenate([p.energy for p in parts]),
            needs=np.concatenate([p.needs for p in parts]),
            floors=np.concatenate([p.floors for p in parts]),
            staged=np.concatenate([p.staged for p in parts]),
            streams=np.concatenate([p.streams for p in parts], axis=1),
            turns=np.concatenate([p.turns for p in parts], axis=1),
            waits=np.concatenate([p.waits for p in parts]),
            visited=np.concatenate([p.visited for p in parts]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OuterBounds:
    """Enumerates outer choices and bounds them from below."""

    problem: GroupProblem
    occupancy: SharedOccupancy
    stagings: list[Staging]
    orders: list[tuple[int, ...]]  # of the DRAM loops, innermost first, by group rank
    words: KnownWords = field(default_factory=KnownWords)
    ends: KnownEnds = field(default_factory=KnownEnds)

    def roles(self, space: EinsumSpace) -> dict[str, tuple[Role, ...]]:
        """By tensor of an Einsum, the roles that some staging gives it."""
        every = zip(*(s.roles[space.einsum.name] for s in self.stagings), strict=True)
        return {t: tuple(dict.fromkeys(own)) for t, own in zip(space.tensors, every, strict=True)}

    def least(self) -> tuple[float, float]:
        """Lower bounds on (cycles, pJ) of the group: units at their widest, least words."""
        problem = self.problem
        visited = np.array([problem.least_visited])
        shares = [float(problem.shares(s, visited)[0]) for s in problem.spaces]
        every = zip(problem.spaces, shares, strict=True)
        cycles = self.compute([share * s.lane_cycles / s.widest for s, share in every])
        energy = float(self.least_inside(visited, [np.array([n]) for n in shares])[0])
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
            share * s.compute_energy
            + float(self.words.least(s, list(self.roles(s).values()), share))
            for s, share in zip(problem.spaces, shares, strict=True)
        )
        return max(cycles, self.compulsory_cycles()), max(energy, moved)

    def least_inside(self, visited: Floats, runs: Sequence[Floats]) -> Floats:
        """Lower bound on the pJ of the group below DRAM; float64[n].

        visited: by what a mask leaves. runs: of each Einsum, see `GroupProblem.runs`.
        """
        energy = np.zeros(len(visited))
        met: set[str] = set()
        for space, often in zip(self.problem.spaces, runs, strict=True):
            own = 0.0
            level = space.arch.levels[space.shared]
            read, _, update = space.prices[level.name]
            for tensor in space.tensors:
                vectors = space.volume_at(tensor, level) / level.row_words
                vectors = float(np.ceil(vectors)) if level.whole_rows else vectors
                if tensor not in self.problem.external or tensor in met:
                    own += vectors * (update if tensor == space.output else read)
                met.add(tensor)
            own += space.least_network
            energy = energy + often * space.compute_energy
            energy = energy + self.problem.shares(space, visited) * own
        return energy

    def least_of_any_size(self) -> tuple[float, float]:
        """Lower bounds on (cycles, pJ) of the group over mappings whose factors need not divide.

        Without a mask.
        """
        spaces = self.problem.spaces
        cycles = self.compute([s.lane_cycles / s.lanes for s in spaces])
        energy = sum(s.compute_energy + s.least_network for s in spaces)
        for space in spaces:
            energy += float(words_bound(space, list(self.roles(space).values())).at(1.0))
        return max(cycles, self.compulsory_cycles()), energy

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

    def compute(self, cycles: list[float]) -> float:
        """Compute cycles of the group from those of its Einsums."""
        units: dict[str, float] = {}
        for space, value in zip(self.problem.spaces, cycles, strict=True):
            units[space.einsum.unit] = units.get(space.einsum.unit, 0.0) + value
        overlapped = overlaps(self.problem.group.schedule)
        return max(units.values()) if overlapped else sum(units.values())

    def fits(self, outers: Outers) -> Bools:
        """True if each choice may fit the shared level."""
        return self._fit(outers.needs)

    def _fit(self, needs: Ints) -> Bools:
        """True where so many words may fit the shared level."""
        if self.occupancy.capacity is None:
            return np.ones(len(needs), np.bool_)
        return np.asarray(needs <= self.occupancy.capacity)

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
        found = Outers.joined(parts)
        some = np.flatnonzero(self.fits(found)) if len(parts) > 1 else np.zeros(0, np.int64)
        found = found.take(some) if len(some) else found
        return found.take(np.argsort(found.staging, kind="stable")), count

    def _fused_roots(self, step: Callable[[], None]) -> Iterator[Outers]:
        """Those of a fused group, by staging and order: stagings share most roles."""
        grids = orders_of_tiles(self.problem, self.orders, tiles(self.problem, loops=True))
        for every in together(grids):
            known, count = KnownTiles(), sum(grid.shape[1] for _, grid in every)
            for numbers in _in_parts(range(len(self.stagings)), count):
                step()
                yield self._bounded(None, numbers, every, known)

    def _single_roots(self, step: Callable[[], None]) -> Iterator[Outers]:
        """Those of one Einsum on its own."""
        whole: dict[bool, Ints] = {}
        for number, staging in enumerate(self.stagings):
            where = self.problem, self.orders, staging
            loops = has_dram_loops(self.problem, staging)
            if loops not in whole:
                whole[loops] = tiles(self.problem, loops=loops)
            every = single_tiles(*where, whole[loops]) if loops else [(0, whole[loops])]
            for some in together(every):
                step()
                yield self._bounded(None, [number], some)

    def bounded(
        self,
        outers: Outers,
        candidate_sets: list[CandidateSet],
        step: Callable[[], None] | None = None,
    ) -> Outers:
        """The same choices with bounds over these candidates; in another order.

        step: is called between parts, as a group of many Einsums takes seconds for all of them.
        Few tiles of a fused group are bounded for all stagings and orders: Einsums share them.
        """
        known, wait, parts = KnownTiles(), step or (lambda: None), list[Outers]()
        few = distinct_columns(outers.tile) if self.problem.group.fused else None
        if few is not None and few[0].shape[1] <= FEW_TILES:
            tiles, _, which = few
            every = self._by_order(outers)
            for order in range(len(self.orders)):
                own = {number: where[order] for number, where in every.items() if order in where}
                for numbers in _in_parts(list(own), tiles.shape[1]):
                    wait()
                    found = self._bounded(candidate_sets, numbers, [(order, tiles)], known)
                    begins = np.arange(len(numbers)) * tiles.shape[1]
                    some = [n + which[own[i]] for n, i in zip(begins, numbers, strict=True)]
                    parts.append(found.take(np.concatenate(some)))
            return _by_staging(parts) if parts else outers
        for number, orders in self._by_order(outers).items():
            chosen = ((order, outers.tile.take(own, axis=1)) for order, own in orders.items())
            for some in together(chosen):
                wait()
                parts.append(self._bounded(candidate_sets, [number], some))
        return Outers.joined(parts) if parts else outers

    def _by_order(self, outers: Outers) -> dict[int, dict[int, Ints]]:
        """By staging, each order of its outer choices, and those with it."""
        pairs = outers.staging * len(self.orders) + outers.order
        found: dict[int, dict[int, Ints]] = {}
        for pair in distinct(pairs):
            number, order = divmod(int(pair), len(self.orders))
            found.setdefault(number, {})[order] = np.flatnonzero(pairs == pair)
        return found

    def _bounded(
        self,
        candidate_sets: list[CandidateSet] | None,
        numbers: Sequence[int],
        tiles: Sequence[tuple[int, Ints]],
        known: KnownTiles | None = None,
    ) -> Outers:
        """Tiles under one staging after another, with bounds; over some candidates, or over any.

        tiles: by number of an order, int64[R, n]. known: of the same tiles, over any candidates.
        """
        stagings, count = [self.stagings[number] for number in numbers], len(numbers)
        grid = tiles[0][1] if len(tiles) == 1 else np.concatenate([g for _, g in tiles], axis=1)
        counts, orders = [own.shape[1] for _, own in tiles], []
        for space in self.problem.spaces:
            at = {r: i for i, r in enumerate(self.problem.index(space))}
            every = [tuple(at[r] for r in self.orders[order] if r in at) for order, _ in tiles]
            orders.append(tuple(zip(every, counts, strict=True)))
        known = known or KnownTiles()
        known.work = work = known.work or self._left_to_do(grid, candidate_sets)
        what = self.occupancy, grid, stagings, orders, candidate_sets, work
        bound = traffic_bound(*what, self.words, self.ends, known.uses)
        energy = np.maximum(
            np.tile(work.inside, count) + bound.floors, self._any_words(stagings, work, bound)
        )
        if candidate_sets is not None:
            priced, free = self._lows(candidate_sets, stagings, grid, known)
            energy = np.maximum(energy, np.maximum(priced + bound.staged, free + bound.floors))
        return Outers(
            staging=np.repeat(numbers, grid.shape[1]),
            order=np.tile(np.repeat([order for order, _ in tiles], counts), count),
            tile=np.tile(grid, count),
            cycles=bound.cycles + np.tile(self._steps(grid), count),
            energy=energy,
            needs=bound.needs,
            floors=bound.floors,
            staged=bound.staged,
            streams=bound.streams,
            turns=bound.turns,
            waits=bound.waits,
            visited=np.tile(work.visited, count),
        )

    def _left_to_do(self, grid: Ints, candidate_sets: list[CandidateSet] | None) -> OuterWork:
        """Work of the Einsums under tiles; over some candidates, or over any."""
        spaces, visited = self.problem.spaces, self.problem.visited(grid)
        widest = [s.lane_cycles / s.widest for s in spaces]
        busy = widest if candidate_sets is None else [t.fewest_cycles for t in candidate_sets]
        runs = [self.problem.runs(s, grid, visited) for s in spaces]
        compute = [c * n for c, n in zip(busy, runs, strict=True)]
        return OuterWork(visited, runs, compute, self.least_inside(visited, runs))

    def _any_words(
        self, stagings: Sequence[Staging], work: OuterWork, bound: TrafficBound
    ) -> Floats:
        """Lower bound on the pJ of the group by what words take whatever the tile; float64[n]."""
        zero = np.zeros(len(work.visited))
        least, *parts = np.zeros((1 + len(DRAM_SHARES), len(bound.floors)))
        for space in self.problem.spaces:
            roles, index = by_roles(stagings, space.einsum.name)
            masked = self.problem.masked_pair is not None
            share = self.problem.shares(space, work.visited) if masked else 1.0
            every = [[(r,) for r in own] for own in roles]
            for moved, priced in zip(parts, DRAM_SHARES, strict=True):
                own = [zero + self.words.least(space, r, share, priced) for r in every]
                moved += in_a_row(own, index)
        for moved, priced in zip(parts, DRAM_SHARES, strict=True):
            least = np.maximum(least, moved + priced * bound.staged + (1 - priced) * bound.floors)
        spaces = self.problem.spaces
        computes = sum((n * s.compute_energy for n, s in zip(work.runs, spaces, strict=True)), zero)
        return least + np.tile(computes, len(stagings))

    def _steps(self, grid: Ints) -> Floats:
        """Cycles of the passes of the shared loops beside all that happens in them; float64[n]."""
        each = self.problem.platform.dram.step_cycles
        if not each or not self.problem.group.fused:
            return np.zeros(grid.shape[1])
        sizes = np.array([r.size for r in self.problem.ranks], dtype=np.int64)[:, None]
        return each * (sizes // grid).prod(axis=0).astype(np.float64)

    def _lows(
        self,
        candidate_sets: list[CandidateSet],
        stagings: Sequence[Staging],
        grid: Ints,
        known: KnownTiles,
    ) -> Floats:
        """Lower bounds on pJ of any candidate: with each word once through DRAM, without DRAM."""
        assert known.work is not None
        total = np.zeros((2, grid.shape[1] * len(stagings)))
        known.extents = known.extents or [located(own) for own in grid]
        for part in candidate_sets:
            name, share = part.space.einsum.name, None
            every, index = by_roles(stagings, name)
            for roles in every:
                if (name, roles) in known.lows:
                    continue
                extents = [known.extents[i] for i in self.problem.index(part.space)]
                if self.problem.masked_pair is not None:
                    share = self.problem.shares(part.space, known.work.visited)
                known.lows[name, roles] = part.lows(roles, extents, share=share)
            total += in_a_row([known.lows[name, roles] for roles in every], index)
        return total


def _in_parts(numbers: Sequence[int], tiles: int) -> Iterator[Sequence[int]]:
    """Stagings, as many of them together as are bounded in one go under so many tiles."""
    count = max(1, AT_ONCE // max(tiles, 1))
    return (numbers[i : i + count] for i in range(0, len(numbers), count))


def _by_staging(parts: list[Outers]) -> Outers:
    """Several sets as one, one staging after another."""
    found = Outers.joined(parts)
    return found.take(np.argsort(found.staging, kind="stable"))
