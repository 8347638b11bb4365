"""The best mapping of one group of Einsums: branch and bound over the outer choices."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

import numpy as np

from flat_mapper.arch import MemoryLevel
from flat_mapper.model.group import shared_level
from flat_mapper.model.result import Infeasible
from flat_mapper.search.front import front, sums
from flat_mapper.search.objective import Goal, best_index, better
from flat_mapper.search.outer import (
    FOLLOW,
    GroupProblem,
    Staging,
    dram_orders,
    stagings,
    tile_words,
    tiles,
)
from flat_mapper.search.price import Outer, Role, dram_energy, row_costs
from flat_mapper.search.rows import Floats, Ints, Rows, allowed_orders
from flat_mapper.search.space import EinsumSpace, loop_orders
from flat_mapper.search.table import Table, table

WARM_ROWS = 400  # rows per Einsum that the first, approximate pass looks at


@dataclass(slots=True)
class Counters:
    """What the search did, for the certificate."""

    outer: int = 0  # outer choices in the space
    outer_infeasible: int = 0
    outer_bounded: int = 0
    outer_evaluated: int = 0
    rows: int = 0
    rows_bounded: int = 0
    evaluated: int = 0  # inner mappings priced exactly


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """One Einsum's part of a solution."""

    space: EinsumSpace
    rows: Rows  # one row
    outer: Outer


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSolution:
    """The best found for a group."""

    problem: GroupProblem
    staging: Staging
    tile: tuple[int, ...]
    dram_order: tuple[int, ...]
    picks: tuple[Pick, ...]
    cycles: float
    energy: float


@dataclass(slots=True)
class Outers:
    """All outer choices, as arrays over the choices."""

    staging: Ints
    order: Ints
    tile: Ints  # int64[R, n]
    cycles: Floats  # bounds from below
    energy: Floats
    needs: Ints  # words of the shared level at least
    floors: dict[str, Floats]  # by tensor: pJ at DRAM at least


@dataclass(slots=True)
class Candidates:
    """Inner mappings of one Einsum that may be part of a best one."""

    costs: Floats  # float64[n, D]
    source: Ints  # int64[n, 3]: block, row, index into `outers`
    outers: list[Outer]

    def take(self, index: Ints) -> Candidates:
        """Some of them."""
        return Candidates(costs=self.costs[index], source=self.source[index], outers=self.outers)


@dataclass(slots=True)
class GroupSearch:
    """Branch and bound. `start` is what the other groups cost at least: (cycles, energy)."""

    problem: GroupProblem
    goal: Goal = field(default_factory=lambda: Goal(kind="edp"))
    start: tuple[float, float] = (0.0, 0.0)
    incumbent: tuple[float, float] = (np.inf, np.inf)
    counters: Counters = field(default_factory=Counters)
    known: dict[object, Table] = field(default_factory=dict)  # rows of earlier searches
    tables: list[Table] = field(default_factory=list)
    solution: GroupSolution | None = None
    _whole: Outers | None = None  # the outer choices, bounded over all rows
    _stagings: list[Staging] = field(default_factory=list)
    _orders: list[tuple[int, ...]] = field(default_factory=list)
    _ports: list[tuple[str, str]] = field(default_factory=list)

    def prepare(self) -> tuple[float, float]:
        """Build rows and bounds; the least (cycles, energy) of the group."""
        self._stagings = stagings(self.problem)
        self._orders = dram_orders(self.problem, self._stagings[0])
        for space in self.problem.spaces:
            options: dict[str, tuple[Role, ...]] = {}
            for i, tensor in enumerate(space.tensors):
                roles = (s.roles[space.einsum.name][i] for s in self._stagings)
                options[tensor] = tuple(dict.fromkeys(roles))
            self.tables.append(table(space, options, self.known))
        self.counters.rows = sum(t.count for t in self.tables)
        self._ports = self._limited_ports()
        if not all(t.count for t in self.tables):
            return np.inf, np.inf
        return self._least(self.tables)

    def _least(self, tables: list[Table]) -> tuple[float, float]:
        cycles = self._compute([float(t.cycles.min()) for t in tables])
        energy = sum(float(t.energy().min()) for t in tables)
        return max(cycles, self._compulsory_cycles()), energy

    def _compulsory_cycles(self) -> float:
        """DRAM cycles of moving every outside tensor once."""
        dram = self.problem.platform.dram
        words = {t: s.volume[t] for s in self.problem.spaces for t in s.tensors}
        out = {s.output for s in self.problem.spaces}
        reads = sum(words[t] for t in self.problem.external if t not in out)
        writes = sum(words[t] for t in self.problem.external if t in out)
        return _port_cycles(dram, float(reads), float(writes))

    def _compute(self, cycles: list[float]) -> float:
        """Compute cycles of the group from those of its Einsums."""
        units: dict[str, float] = {}
        for space, value in zip(self.problem.spaces, cycles, strict=True):
            units[space.einsum.unit] = units.get(space.einsum.unit, 0.0) + value
        overlapped = self.problem.group.schedule == "overlapped"
        return max(units.values()) if overlapped else sum(units.values())

    def _limited_ports(self) -> list[tuple[str, str]]:
        found: dict[tuple[str, str], None] = {}
        for space in self.problem.spaces:
            for level in space.arch.levels:
                rates = {
                    "read": level.read_words_per_cycle,
                    "write": level.write_words_per_cycle,
                    "shared": level.shared_words_per_cycle,
                }
                found.update({(level.name, k): None for k, r in rates.items() if r is not None})
        return list(found)

    def solve(
        self, goal: Goal, start: tuple[float, float], best: tuple[float, float] | None
    ) -> GroupSolution | None:
        """The best solution, or None if nothing fits or beats the best known (cycles, energy).

        start: what the other groups cost at least; `best` includes it.
        """
        self.goal, self.start, self.solution = goal, start, None
        self.incumbent = best if best is not None else (np.inf, np.inf)
        everything = self.tables
        if not all(t.count for t in everything):
            return None
        if self._whole is None:
            self._whole = self._outers(everything)
        outers = self._whole
        self.counters.outer = len(outers.staging)
        self.counters.outer_infeasible = int((~self._fits(outers)).sum())
        warm = [self._warm(t) for t in everything]
        self._branch(warm, outers, limit=8)
        kept = self._shrink(everything, outers)
        self.counters.rows_bounded = self.counters.rows - sum(t.count for t in kept)
        if all(t.count for t in kept):
            tight = self._outers(kept)
            self._branch(kept, tight, limit=None)
        return self.solution

    def _warm(self, whole: Table) -> Table:
        """The rows that promise most: those of least bound on the objective."""
        if whole.count <= WARM_ROWS:
            return whole
        first, second, _ = self.goal.keys(whole.cycles, whole.energy())
        mask = np.zeros(whole.count, np.bool_)
        mask[np.lexsort((second, first))[:WARM_ROWS]] = True
        # The widest rows too: where transfers bind, the bound on cycles says little.
        widest = np.lexsort((whole.energy(), whole.cycles))[:WARM_ROWS]
        mask[widest] = True
        return whole.keep(mask)

    def _shrink(self, tables: list[Table], outers: Outers) -> list[Table]:
        """Drop rows that cannot be part of anything better than the incumbent."""
        fits = self._fits(outers)
        masks = [np.zeros(t.count, np.bool_) for t in tables]
        for number, staging in enumerate(self._stagings):
            chosen = fits & (outers.staging == number)
            if not chosen.any():
                continue
            floors = {t: float(f[chosen].min()) for t, f in outers.floors.items()}
            joint = sum((f[chosen] for f in outers.floors.values()), np.zeros(1))
            excess = float(joint.min()) - sum(floors.values())
            least = float(outers.cycles[chosen].min())
            found = self._promising(tables, staging, floors, least, excess)
            masks = [m | f for m, f in zip(masks, found, strict=True)]
        return [t if m.all() else t.keep(m) for t, m in zip(tables, masks, strict=True)]

    def _promising(
        self,
        tables: list[Table],
        staging: Staging,
        floors: dict[str, float],
        least: float,
        excess: float = 0.0,
    ) -> list[np.ndarray]:
        """Rows of each table that may still be part of a better solution.

        floors: pJ at DRAM at least, by tensor. least: cycles of the group at least.
        excess: what no outer choice spares of the floors' sum: their minima may not meet.
        """
        energies = [t.energy(staging.roles[t.space.einsum.name], floors) for t in tables]
        if excess > 0:
            streamed = {t for s in staging.roles for t in self._streamed(staging, s)}
            extra = excess + sum(floors[t] for t in streamed)
            free = [t.energy(staging.roles[t.space.einsum.name], floors, free=True) for t in tables]
            lows = [float(e.min(initial=np.inf)) for e in energies]
            free_lows = [float(e.min(initial=np.inf)) for e in free]
            for i, mine in enumerate(energies):
                rest = sum(lows) - lows[i]
                free_rest = sum(free_lows) - free_lows[i]
                energies[i] = np.maximum(mine + rest, free[i] + free_rest + extra) - rest
        cycles = [t.cycles for t in tables]
        total = sum(float(e.min(initial=np.inf)) for e in energies)
        busy = sum(float(c.min(initial=np.inf)) for c in cycles)
        found = []
        for mine, my_cycles in zip(energies, cycles, strict=True):
            energy = mine + (total - mine.min(initial=np.inf))
            if self.problem.group.schedule == "overlapped":
                latency = my_cycles
            else:
                latency = my_cycles + (busy - my_cycles.min(initial=np.inf))
            found.append(self._may_win(np.maximum(latency, least), energy))
        return found

    def _streamed(self, staging: Staging, einsum: str) -> tuple[str, ...]:
        space = next(s for s in self.problem.spaces if s.einsum.name == einsum)
        pairs = zip(space.tensors, staging.roles[einsum], strict=True)
        return tuple(t for t, role in pairs if role == "stream")

    @property
    def feasible(self) -> bool:
        """Whether some outer choice fits at all."""
        return self._whole is not None and bool(self._fits(self._whole).any())

    def _may_win(self, cycles: Floats, energy: Floats) -> np.ndarray:
        return better(self.goal, cycles + self.start[0], energy + self.start[1], self.incumbent)

    def _outers(self, tables: list[Table]) -> Outers:
        """All outer choices with their bounds."""
        parts = []
        for number, staging in enumerate(self._stagings):
            grid = (
                np.array(list(tiles(self.problem, staging)), dtype=np.int64)
                .reshape(-1, len(self.problem.ranks))
                .T
            )
            if self.problem.group.fused or not staging.staged:
                parts.append(self._bounded(tables, number, staging, 0, grid))
            else:
                parts.extend(self._single(tables, number, staging, grid))
        return Outers(
            staging=np.concatenate([p.staging for p in parts]),
            order=np.concatenate([p.order for p in parts]),
            tile=np.concatenate([p.tile for p in parts], axis=1),
            cycles=np.concatenate([p.cycles for p in parts]),
            energy=np.concatenate([p.energy for p in parts]),
            needs=np.concatenate([p.needs for p in parts]),
            floors={t: np.concatenate([p.floors[t] for p in parts]) for t in self.problem.external},
        )

    def _single(
        self, tables: list[Table], number: int, staging: Staging, grid: Ints
    ) -> list[Outers]:
        """The outer choices of one Einsum, without those that repeat another.

        Innermost at DRAM, a loop over a rank that no staged tensor has might as well stand
        outermost in the shared level: the order of all loops, and so every count, is the same.
        """
        space = self.problem.spaces[0]
        sizes = np.array([r.size for r in self.problem.ranks], dtype=np.int64)[:, None]
        dram = np.where(grid == FOLLOW, 1, sizes // np.where(grid == FOLLOW, 1, grid))
        matters = [
            any(space.relevant[t][r] for t in staging.staged) for r in range(len(space.ranks))
        ]
        found: list[Outers] = []
        sequences: list[Ints] = []
        for order in range(len(self._orders)):
            good, still = np.ones(grid.shape[1], np.bool_), np.ones(grid.shape[1], np.bool_)
            sequence = np.zeros(grid.shape[1], np.int64)
            for r in self._orders[order]:
                if not matters[r]:
                    good &= ~(still & (dram[r] > 1))
                still &= dram[r] == 1
                sequence = np.where(dram[r] > 1, sequence * (len(sizes) + 1) + r + 1, sequence)
            for earlier in sequences:  # the same real loops in the same order
                good &= sequence != earlier
            sequences.append(sequence)
            found.append(self._bounded(tables, number, staging, order, grid[:, good]))
        return found

    def _bounded(
        self, tables: list[Table], number: int, staging: Staging, order: int, grid: Ints
    ) -> Outers:
        """The outer choices of one staging and order, with bounds."""
        count = grid.shape[1]
        energy = np.zeros(count)
        traffic_in, traffic_out = np.zeros(count), np.zeros(count)
        needs: dict[str, Floats] = {}
        floors = {t: np.zeros(count) for t in self.problem.external}
        sizes = np.array([r.size for r in self.problem.ranks], dtype=np.int64)[:, None]
        tile = np.where(grid == FOLLOW, 1, grid)
        for part in tables:
            space = part.space
            roles = staging.roles[space.einsum.name]
            index = [self.problem.ranks.index(r) for r in space.ranks]
            mine = tile[index]
            dram = np.where((grid == FOLLOW)[index], 1, (sizes // tile)[index])
            local_order = tuple(index.index(r) for r in self._orders[order] if r in index)
            least = dict.fromkeys(space.tensors, 0.0)
            for tensor, role in zip(space.tensors, roles, strict=True):
                self._add_needs(needs, part, tensor, role, mine)
                if role == "inside":
                    continue
                words = self._traffic(part, tensor, role, mine, dram, local_order)
                floors[tensor] = floors[tensor] + dram_energy(space, tensor, words)
                least[tensor] = float(floors[tensor].min(initial=np.inf))
                if tensor == space.output:
                    traffic_out = traffic_out + words
                    words = words - space.volume[tensor]
                traffic_in = traffic_in + words
            # The least over rows, with the least DRAM energy of all tiles; then each tile's own.
            base = np.full(count, part.low(roles, least, free=False))
            free = np.full(count, part.low(roles, least, free=True))
            for tensor, role in zip(space.tensors, roles, strict=True):
                if role == "staged":
                    base, free = (e + floors[tensor] - least[tensor] for e in (base, free))
                elif role == "stream":
                    free = free + floors[tensor]
            energy = energy + np.maximum(base, free)
        dram_level = self.problem.platform.dram
        compute = self._compute([float(t.cycles.min()) for t in tables])
        cycles = np.maximum(compute, _port_cycles_array(dram_level, traffic_in, traffic_out))
        total = sum(needs.values(), np.zeros(count))
        return Outers(
            staging=np.full(count, number),
            order=np.full(count, order),
            tile=grid,
            cycles=cycles,
            energy=energy,
            needs=np.ceil(total).astype(np.int64),
            floors=floors,
        )

    def _traffic(
        self, part: Table, tensor: str, role: Role, tile: Ints, dram: Ints, order: tuple[int, ...]
    ) -> Floats:
        """Words of a tensor through DRAM: exact where staged, at least where streamed."""
        space = part.space
        words = np.full(tile.shape[1], float(space.volume[tensor]))
        if role == "inside":
            return words * 0
        if role == "staged":
            open_ = np.ones(tile.shape[1], np.bool_)
            for r in order:
                if space.relevant[tensor][r]:
                    open_ = open_ & (dram[r] == 1)
                else:
                    words = words * np.where(open_, 1, dram[r])
            return words
        # A streamed tensor stays in place over DRAM loops only if a row holds its whole tile.
        whole = tile_words(self.problem, space, tensor, tile) <= part.largest_kept(tensor)
        for r in range(len(space.ranks)):
            if not space.relevant[tensor][r]:
                words = words * np.where(whole, 1, dram[r])
        return words

    def _add_needs(
        self, needs: dict[str, Floats], part: Table, tensor: str, role: Role, tile: Ints
    ) -> None:
        """Words a tensor holds in the shared level at least."""
        space, policy = part.space, self.problem.mapspace.policy
        if role == "stream":
            least = float(part.smallest(tensor))
            words: Floats = np.full(tile.shape[1], policy.buffering * least)
        else:
            words = self._copies(tensor) * tile_words(self.problem, space, tensor, tile)
        key = self.problem.classes.get(tensor, tensor)
        needs[key] = np.maximum(needs.get(key, np.zeros(1)), words)

    def _copies(self, tensor: str) -> float:
        """Copies that the shared level holds of a tensor's tile."""
        problem = self.problem
        key = problem.classes.get(tensor, tensor)
        mates = [t for s in problem.spaces for t in s.tensors if problem.classes.get(t, t) == key]
        if any(t in problem.external for t in mates):
            return problem.mapspace.policy.buffering
        return 2.0 if any(self._in_flight(t) for t in mates) else 1.0

    def _in_flight(self, tensor: str) -> bool:
        if self.problem.group.schedule != "overlapped":
            return False
        units = {s.einsum.unit for s in self.problem.spaces if tensor in s.tensors}
        return len(units) > 1

    @property
    def capacity(self) -> int | None:
        """Words of the shared level."""
        return shared_level(self.problem.platform).usable_words

    def _fits(self, outers: Outers) -> np.ndarray:
        if self.capacity is None or self.problem.mapspace.policy.overflow == "spill":
            return np.ones(len(outers.needs), np.bool_)
        return outers.needs <= self.capacity

    def _branch(self, tables: list[Table], outers: Outers, limit: int | None) -> None:
        """Evaluate outer choices, the most promising first, until no other can win."""
        fits = self._fits(outers)
        first, second, third = self.goal.keys(
            outers.cycles + self.start[0], outers.energy + self.start[1]
        )
        order = np.lexsort((outers.needs, third, second, first))
        order = order[fits[order]]
        done = 0
        while len(order):
            alive = self._may_win(outers.cycles[order], outers.energy[order])
            if limit is None:
                self.counters.outer_bounded += int((~alive).sum())
            order = order[alive]
            known = self.incumbent
            for position, choice in enumerate(order):
                self._evaluate(tables, outers, int(choice))
                done += 1
                if limit is None:
                    self.counters.outer_evaluated += 1
                elif done >= limit and self.solution is not None:
                    return
                if self.incumbent != known:
                    order = order[position + 1 :]
                    break
            else:
                return

    def _evaluate(self, tables: list[Table], outers: Outers, choice: int) -> None:
        """All that is left inside one outer choice: price rows, join Einsums, keep the best."""
        staging = self._stagings[int(outers.staging[choice])]
        order = self._orders[int(outers.order[choice])]
        tile = tuple(int(v) for v in outers.tile[:, choice])
        floors = {t: float(f[choice]) for t, f in outers.floors.items()}
        masks = self._promising(tables, staging, floors, float(outers.cycles[choice]))
        parts: list[Candidates] = []
        for part, mask in zip(tables, masks, strict=True):
            found = self._candidates(part, mask, staging, order, tile)
            if found is None:
                return
            parts.append(found)
        room = self._room(staging, tile)
        least = [p.costs.min(axis=0) for p in parts]
        for i, part in enumerate(parts):
            reach = part.costs + sum((m for j, m in enumerate(least) if j != i), np.zeros(1))
            good = self._may_win(self._latency(reach), reach[:, -2]) & (reach[:, -1] <= room)
            if not good.any():
                return
            part = part.take(np.flatnonzero(good))
            parts[i] = part.take(front(part.costs))
        self._join(tables, parts, staging, order, tile)

    def _candidates(
        self,
        part: Table,
        mask: np.ndarray,
        staging: Staging,
        order: tuple[int, ...],
        tile: tuple[int, ...],
    ) -> Candidates | None:
        """Exact costs of the rows of a mask under one outer choice, in every order that matters."""
        space = part.space
        index = [self.problem.ranks.index(r) for r in space.ranks]
        local = tuple(tile[r] for r in index)
        roles = staging.roles[space.einsum.name]
        whole = part.tile
        for r, extent in enumerate(local):
            if extent != FOLLOW:
                mask = mask & (extent % whole[r] == 0)
        dram_order = tuple(index.index(r) for r in order if r in index)
        costs: list[Floats] = []
        source: list[Ints] = []
        outers: list[Outer] = []
        for number, chosen in part.index(mask):
            rows = part.blocks[number].take(chosen)
            for shared_order in self._shared_orders(space, rows):
                outer = Outer(
                    tile=local, dram_order=dram_order, shared_order=shared_order, roles=roles
                )
                costs.append(self._vectors(space, rows, outer))
                same = np.ones(len(chosen), np.int64)
                source.append(np.stack([same * number, chosen, same * len(outers)], axis=1))
                outers.append(outer)
                self.counters.evaluated += rows.count
        if not costs:
            return None
        return Candidates(costs=np.concatenate(costs), source=np.concatenate(source), outers=outers)

    def _shared_orders(self, space: EinsumSpace, rows: Rows) -> list[tuple[int, ...]]:
        lacking = [
            frozenset(r for r, yes in enumerate(space.relevant[t]) if not yes)
            for t, links in rows.links.items()
            if any(link.child is not None and link.open.any() for link in links)
        ]
        orders = loop_orders(range(len(space.ranks)), lacking)
        return allowed_orders(orders, space, space.arch.levels[space.shared].name)

    def _vectors(self, space: EinsumSpace, rows: Rows, outer: Outer) -> Floats:
        """Cost vectors: compute by unit, cycles by port, cold start, energy, words streamed."""
        costs = row_costs(space, rows, outer)
        compute = space.iterations / rows.spatial
        zero = np.zeros(rows.count)
        matrix = compute if space.einsum.unit == "matrix" else zero
        vector = compute if space.einsum.unit == "vector" else zero
        ports = [np.broadcast_to(costs.ports.get(p, zero), (rows.count,)) for p in self._ports]
        words, cold = self._held(space, rows, outer)
        return np.stack([matrix, vector, *ports, cold, costs.energy, words], axis=1)

    def _held(self, space: EinsumSpace, rows: Rows, outer: Outer) -> tuple[Floats, Floats]:
        """Words that depend on the row: streamed tiles, and staged ones that follow the row."""
        policy = self.problem.mapspace.policy
        total, first = np.zeros(rows.count), np.zeros(rows.count)
        shared = np.array(outer.tile, dtype=np.int64)[:, None]
        shared = np.where(shared == FOLLOW, rows.tile, shared)
        follows = FOLLOW in outer.tile
        opening = space is self.problem.spaces[0]
        for tensor, role in zip(space.tensors, outer.roles, strict=True):
            tile = rows.tile if role == "stream" else shared
            words = tile_words(self.problem, space, tensor, tile)
            if role == "stream":
                total = total + np.ceil(policy.buffering * words)
            elif follows:
                total = total + np.ceil(self._copies(tensor) * words)
            if opening and tensor != space.output and tensor in self.problem.external:
                first = first + words
        if self.problem.group.schedule == "sequential" or not opening:
            return total, np.zeros(rows.count)
        return total, _port_cycles_array(self.problem.platform.dram, first, first * 0)

    def _room(self, staging: Staging, tile: tuple[int, ...]) -> float:
        """Words of the shared level that are left for what depends on the rows."""
        if self.capacity is None or self.problem.mapspace.policy.overflow == "spill":
            return np.inf
        return self.capacity - self._fixed_words(staging, tile)

    def _fixed_words(self, staging: Staging, tile: tuple[int, ...]) -> float:
        """Words of the shared level that the tile alone decides."""
        if FOLLOW in tile:
            return 0.0
        held: dict[str, float] = {}
        for space in self.problem.spaces:
            local = np.array(self.problem.local(space, tile), dtype=np.int64)[:, None]
            for tensor, role in zip(space.tensors, staging.roles[space.einsum.name], strict=True):
                if role == "stream":
                    continue
                words = self._copies(tensor) * float(
                    tile_words(self.problem, space, tensor, local)[0]
                )
                key = self.problem.classes.get(tensor, tensor)
                held[key] = max(held.get(key, 0.0), float(np.ceil(words)))
        return sum(held.values())

    def _join(
        self,
        tables: list[Table],
        parts: list[Candidates],
        staging: Staging,
        order: tuple[int, ...],
        tile: tuple[int, ...],
    ) -> None:
        room = self._room(staging, tile)
        total = np.zeros((1, parts[0].costs.shape[1]))
        picks = np.zeros((1, 0), np.int64)
        for position, part in enumerate(parts):
            combined = sums(total, part.costs)
            left = np.repeat(np.arange(len(total)), len(part.costs))
            right = np.tile(np.arange(len(part.costs)), len(total))
            rest = np.zeros(combined.shape[1])
            for later in parts[position + 1 :]:
                rest = rest + later.costs.min(axis=0)
            reach = combined + rest
            good = reach[:, -1] <= room
            good &= self._may_win(self._latency(reach), reach[:, -2])
            combined, left, right = combined[good], left[good], right[good]
            best = front(combined)
            total = combined[best]
            picks = np.concatenate([picks[left[best]], right[best][:, None]], axis=1)
        if len(total) == 0:
            return
        cycles = np.ceil(self._latency(total) - 1e-9)
        energy = total[:, -2]
        alive = self._may_win(cycles, energy)
        if not alive.any():
            return
        where = np.flatnonzero(alive)
        best_row = where[
            best_index(self.goal, cycles[where] + self.start[0], energy[where] + self.start[1])
        ]
        self.incumbent = (
            float(cycles[best_row] + self.start[0]),
            float(energy[best_row] + self.start[1]),
        )
        chosen = []
        for i, part in enumerate(parts):
            number, row, which = part.source[picks[best_row, i]]
            rows = tables[i].blocks[int(number)].take(np.array([row]))
            chosen.append(Pick(space=tables[i].space, rows=rows, outer=part.outers[int(which)]))
        self.solution = GroupSolution(
            problem=self.problem,
            staging=staging,
            tile=tile,
            dram_order=order,
            picks=tuple(chosen),
            cycles=float(cycles[best_row]),
            energy=float(energy[best_row]),
        )

    def _latency(self, costs: Floats) -> Floats:
        """Cycles of cost vectors under the group's schedule."""
        if self.problem.group.schedule == "overlapped":
            busy = np.maximum(costs[:, 0], costs[:, 1])
        else:
            busy = costs[:, 0] + costs[:, 1]
        slowest = costs[:, 2 : 2 + len(self._ports)].max(axis=1, initial=0.0)
        return np.maximum(busy, slowest) + costs[:, 2 + len(self._ports)]

    def refusal(self) -> Infeasible:
        """Why nothing fits: the outer choice that asks for least."""
        where = " + ".join(self.problem.group.names)
        for found in self.tables:
            if not found.count:
                inner = found.space.inner_nodes
                name = inner[-1].name if inner else found.space.arch.compute.name
                return Infeasible(
                    level=name,
                    needs=1,
                    has=0,
                    terms=(),
                    where=found.space.einsum.name,
                    hint="the mapspace's constraints leave no loop nest; relax one",
                )
        outers = self._whole
        level = shared_level(self.problem.platform)
        if outers is None or len(outers.needs) == 0 or level.usable_words is None:
            return Infeasible(
                level=level.name,
                needs=1,
                has=0,
                terms=(),
                where=where,
                hint="the mapspace's fusion section leaves no tile; relax it",
            )
        choice = int(outers.needs.argmin())
        staging = self._stagings[int(outers.staging[choice])]
        terms: dict[str, int] = {}
        tile = np.where(outers.tile[:, choice] == FOLLOW, 1, outers.tile[:, choice])
        for part in self.tables:
            needs: dict[str, Floats] = {}
            index = [self.problem.ranks.index(r) for r in part.space.ranks]
            roles = staging.roles[part.space.einsum.name]
            for tensor, role in zip(part.space.tensors, roles, strict=True):
                self._add_needs(needs, part, tensor, role, tile[index][:, None])
            for name, words in needs.items():
                terms[name] = max(terms.get(name, 0), int(np.ceil(words.max())))
        return Infeasible(
            level=level.name,
            needs=sum(terms.values()),
            has=level.usable_words,
            terms=tuple(terms.items()),
            where=where,
            hint=f"give {level.name} more words, shorten the sequence, or allow smaller tiles",
        )

    def space_size(self) -> int:
        """Mappings in the group's part of the mapspace: outer choices times rows of each Einsum."""
        return self.counters.outer * prod(max(1, t.count) for t in self.tables)


def _port_cycles(level: MemoryLevel, reads: float, writes: float) -> float:
    return float(_port_cycles_array(level, np.array([reads]), np.array([writes]))[0])


def _port_cycles_array(level: MemoryLevel, reads: Floats, writes: Floats) -> Floats:
    cycles = np.zeros(len(reads))
    for rate, words in (
        (level.read_words_per_cycle, reads),
        (level.write_words_per_cycle, writes),
        (level.shared_words_per_cycle, reads + writes),
    ):
        if rate is not None:
            cycles = np.maximum(cycles, words / rate)
    return cycles
