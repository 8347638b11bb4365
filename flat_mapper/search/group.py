"""The best mapping of one group of Einsums: branch and bound over the outer choices."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod

import numpy as np

from flat_mapper.model.result import Infeasible
from flat_mapper.search.bounds import OuterBounds, Outers
from flat_mapper.search.contest import Contest, FrontContest
from flat_mapper.search.front import front, sums
from flat_mapper.search.held import SharedWords
from flat_mapper.search.objective import Goal
from flat_mapper.search.outer import GroupProblem, Staging, dram_orders, stagings
from flat_mapper.search.picks import Candidates, Counters, GroupSolution, Pick
from flat_mapper.search.price import Outer, Role, row_costs
from flat_mapper.search.row_tiles import RowTiles
from flat_mapper.search.rows import Bools, Floats, Ints, Rows
from flat_mapper.search.single import Single, shared_orders
from flat_mapper.search.space import EinsumSpace
from flat_mapper.search.table import Table, table

WARM_ROWS = 400  # rows per Einsum that the first, approximate pass looks at
WARM_OUTERS = 8  # and outer choices
WARM_ALONE = 1000  # the same of an Einsum on its own, where they come cheap


@dataclass(frozen=True, slots=True)
class _Where:
    """One outer choice, and what the Einsums may do under it."""

    tables: list[Table]
    parts: list[Candidates]
    staging: Staging
    order: tuple[int, ...]
    tile: tuple[int, ...]


@dataclass(slots=True)
class GroupSearch:
    """Branch and bound over the outer choices of one group."""

    problem: GroupProblem
    words: SharedWords
    bounds: OuterBounds
    known: dict[object, Table] = field(default_factory=dict)  # rows of earlier searches
    counters: Counters = field(default_factory=Counters)
    contest: Contest | FrontContest = field(default_factory=FrontContest)
    _frame: Outers | None = None  # the outer choices, bounded whatever the rows
    _roles: list[dict[str, tuple[Role, ...]]] = field(default_factory=list)
    _ports: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def of(cls, problem: GroupProblem, known: dict[object, Table]) -> GroupSearch:
        """The search of a group. `known` keeps rows for other groups of the same Einsums."""
        words = SharedWords(problem)
        choices = stagings(problem)
        bounds = OuterBounds(
            problem=problem, words=words, stagings=choices, orders=dram_orders(problem)
        )
        return cls(problem=problem, words=words, bounds=bounds, known=known)

    def prepare(self) -> tuple[float, float]:
        """The least (cycles, energy) of the group."""
        if not self._roles:
            for space in self.problem.spaces:
                options: dict[str, tuple[Role, ...]] = {}
                for i, tensor in enumerate(space.tensors):
                    roles = (s.roles[space.einsum.name][i] for s in self.bounds.stagings)
                    options[tensor] = tuple(dict.fromkeys(roles))
                self._roles.append(options)
            self._ports = self._limited_ports()
        return self.bounds.least()

    def _built(self, least: list[int]) -> list[Table]:
        """Rows of every Einsum that use at least so many compute units."""
        found = [
            table(space, options, self.known, units)
            for space, options, units in zip(self.problem.spaces, self._roles, least, strict=True)
        ]
        self.counters.rows = max(self.counters.rows, sum(t.count for t in found))
        return found

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

    @property
    def frame(self) -> Outers:
        """All outer choices, bounded whatever the rows."""
        if self._frame is None:
            self._frame = self.bounds.frame()
            self.counters.outer = len(self._frame.staging)
            self.counters.outer_infeasible = int((~self.bounds.fits(self._frame)).sum())
        return self._frame

    def least(self, goal: Goal) -> float:
        """The objective at least, over all outer choices; infinite if none fits."""
        frame = self.frame
        fits = self.bounds.fits(frame)
        return float(goal.first(frame.cycles[fits], frame.energy[fits]).min(initial=np.inf))

    def solve(self, contest: Contest | FrontContest) -> None:
        """Let every mapping of the group that may win take part in a contest."""
        self.contest = contest
        widest = [s.widest for s in self.problem.spaces]
        # Rows that fill the array first: what they achieve tells how narrow a row may be at all.
        wide = self._built(widest)
        if all(t.count for t in wide):
            self._warm(wide)
        least = [self._narrowest(i) for i in range(len(widest))]
        self._descend(self._built(least))

    def _narrowest(self, i: int) -> int:
        """Fewest compute units with which the i-th Einsum may be part of something better.

        Rounded down, so that searches with other goals find the rows again.
        """
        space, frame = self.problem.spaces[i], self.frame
        fits = self.bounds.fits(frame)
        cycles, energy = frame.cycles[fits], frame.energy[fits]

        def hopeless(units: int) -> bool:
            busy = self.bounds.busy(i, space.iterations / units)
            return not self.contest.may_win(np.maximum(cycles, busy), energy).any()

        low, high = 0, space.widest  # hopeless at low; high is tried in any case
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if hopeless(middle) else (low, middle)
        return high if high == space.widest else high - high % (1 << max(0, high.bit_length() - 4))

    def _warm(self, tables: list[Table]) -> None:
        """A good mapping early: the most promising rows under the most promising outer choices."""
        frame = self.frame
        alive = self.bounds.fits(frame) & self.contest.may_win(frame.cycles, frame.energy)
        if alive.any():
            some = [self._promise(t) for t in tables]
            outers = self.bounds.bounded(frame.take(np.flatnonzero(alive)), some)
            self._branch(some, outers, limit=WARM_OUTERS if len(tables) > 1 else WARM_ALONE)

    def _promise(self, whole: Table) -> Table:
        """The rows that promise most: those of least bound on the objective."""
        if whole.count <= 2 * WARM_ROWS:
            return whole
        energy, cycles = whole.energy(priced=True), whole.cycles
        mask = np.zeros(whole.count, np.bool_)
        mask[np.argpartition(self.contest.lead(cycles, energy)[0], WARM_ROWS)[:WARM_ROWS]] = True
        # The widest rows too: where transfers bind, the bound on cycles says little.
        wide = np.flatnonzero(cycles == cycles.min())
        if len(wide) > WARM_ROWS:
            wide = wide[np.argpartition(energy[wide], WARM_ROWS)[:WARM_ROWS]]
        mask[wide] = True
        return whole.keep(mask)

    def _descend(self, tables: list[Table]) -> None:
        """Branch and bound over some rows."""
        frame = self.frame
        alive = self.bounds.fits(frame) & self.contest.may_win(frame.cycles, frame.energy)
        self.counters.outer_bounded = int((~alive).sum()) - self.counters.outer_infeasible
        if not alive.any() or not all(t.count for t in tables):
            return
        outers = frame.take(np.flatnonzero(alive))
        kept = self._shrink(tables, outers, None)
        if all(t.count for t in kept):
            outers = self.bounds.bounded(outers, kept)
            alive = self.bounds.fits(outers) & self.contest.may_win(outers.cycles, outers.energy)
            self.counters.outer_bounded += int((~alive).sum())
            outers = outers.take(np.flatnonzero(alive))
            masks = [np.zeros(t.count, np.bool_) for t in kept]
            for number in np.unique(outers.staging):
                chosen = outers.take(np.flatnonzero(outers.staging == number))
                found = self._promising(kept, chosen, self.bounds.stagings[int(number)])
                masks = [m | f for m, f in zip(masks, found, strict=True)]
            kept = [t.keep(m) for t, m in zip(kept, masks, strict=True)]
        self.counters.rows_bounded = self.counters.rows - sum(t.count for t in kept)
        if all(t.count for t in kept) and len(outers.staging):
            self._branch(kept, self.bounds.bounded(outers, kept), limit=None)

    def _shrink(self, tables: list[Table], outers: Outers, staging: Staging | None) -> list[Table]:
        """Drop rows that cannot be part of anything better under these outer choices."""
        masks = self._promising(tables, outers, staging)
        return [t if m.all() else t.keep(m) for t, m in zip(tables, masks, strict=True)]

    def _promising(
        self, tables: list[Table], outers: Outers, staging: Staging | None
    ) -> list[Bools]:
        """Rows of each table that may still be part of a better solution.

        staging: that of the outer choices; None: they have several.
        """
        roles = [staging.roles[t.space.einsum.name] if staging else None for t in tables]
        priced = [t.energy(r, priced=True) for t, r in zip(tables, roles, strict=True)]
        free = [t.energy(r, priced=False) for t, r in zip(tables, roles, strict=True)]
        cycles = [t.cycles for t in tables]
        more, floors = float(outers.staged.min()), float(outers.floors.min())
        least = float(outers.cycles.min())
        lows = [[float(e.min()) for e in some] for some in (priced, free, cycles)]
        totals = [sum(some) for some in lows]
        found = []
        for i in range(len(tables)):
            rest = [total - some[i] for total, some in zip(totals, lows, strict=True)]
            energy = np.maximum(priced[i] + rest[0] + more, free[i] + rest[1] + floors)
            if self.problem.group.schedule == "overlapped":
                latency = cycles[i]
            else:
                latency = cycles[i] + rest[2]
            found.append(self.contest.may_win(np.maximum(latency, least), energy))
        return found

    def _branch(self, tables: list[Table], outers: Outers, limit: int | None) -> None:
        """Evaluate outer choices, the most promising first, until no other can win."""
        alone, tiles = None, [RowTiles(t) for t in tables]
        if len(tables) == 1:
            alone = Single(self.problem, self.bounds, tiles[0], self.contest, self.counters)
        else:
            outers = self._refined(outers, tiles)
        fits = self.bounds.fits(outers)
        first, second, third = self.contest.lead(outers.cycles, outers.energy)
        order = np.lexsort((outers.needs, third, second, first))
        order = order[fits[order]]
        done, size = 0, 8
        while len(order):
            alive = self.contest.may_win(outers.cycles[order], outers.energy[order])
            if limit is None:
                self.counters.outer_bounded += int((~alive).sum())
            order = order[alive]
            size = len(order) if alone and done else min(8, len(order))
            mark = self.contest.mark
            for number, choice in enumerate(order[:size] if alone is None else ()):
                self._evaluate(tables, tiles, outers.take(np.array([choice])))
                if self.contest.mark != mark:
                    size = number + 1
                    break
            if alone:
                alone.evaluate(outers.take(order[:size]))
            order, done = order[size:], done + size
            if limit is None:
                self.counters.outer_evaluated += size
            elif done >= limit and not self.contest.open:
                return

    def _refined(self, outers: Outers, tiles: list[RowTiles]) -> Outers:
        """Outer choices with bounds from rows whose tiles divide theirs."""
        energy = outers.energy.copy()
        for number in np.unique(outers.staging):
            mine = np.flatnonzero(outers.staging == number)
            extents, where = np.unique(outers.tile[:, mine], axis=1, return_inverse=True)
            low = np.zeros(extents.shape[1])
            for one in tiles:
                bounds = one.bounds(self.bounds.stagings[int(number)].roles[one.space.einsum.name])
                local = extents[self.problem.index(one.space)]
                low += bounds.energy(local, np.arange(one.count)).min(axis=1)
            energy[mine] = np.maximum(energy[mine], low[where.ravel()] + outers.staged[mine])
        return replace(outers, energy=energy)

    def _evaluate(self, tables: list[Table], tiles: list[RowTiles], one: Outers) -> None:
        """All that is left inside one outer choice: price rows, join Einsums, keep the best."""
        staging = self.bounds.stagings[int(one.staging[0])]
        order = self.bounds.orders[int(one.order[0])]
        tile = tuple(int(v) for v in one.tile[:, 0])
        chosen = self._chosen_rows(tables, tiles, one, staging)
        if chosen is None:
            return
        parts: list[Candidates] = []
        for part, rows in zip(tables, chosen, strict=True):
            mask = np.zeros(part.count, np.bool_)
            mask[rows] = True
            parts.append(self._candidates(part, mask, staging, order, tile))
        room = float(self.words.room(staging, np.array(tile)[:, None])[0])
        where = _Where(tables, parts, staging, order, tile)
        least = [p.costs.min(axis=0) for p in parts]
        reaches = [
            found.costs + sum((m for j, m in enumerate(least) if j != i), np.zeros(1))
            for i, found in enumerate(parts)
        ]
        # Each Einsum's most promising row: together a first mapping, which prunes the rest.
        picks = [
            int(np.lexsort(self.contest.lead(self._latency(r), r[:, -2])[::-1])[0]) for r in reaches
        ]
        total = sum((p.costs[i] for p, i in zip(parts, picks, strict=True)), np.zeros(1))
        if total[-1] <= room:
            self._offer(where, total[None, :], np.array([picks]))
        for i, (found, reach) in enumerate(zip(parts, reaches, strict=True)):
            good = self.contest.may_win(self._latency(reach), reach[:, -2])
            good &= reach[:, -1] <= room
            if not good.any():
                return
            left = found.take(np.flatnonzero(good))
            parts[i] = left.take(front(left.costs))
        self._join(where, room)

    def _chosen_rows(
        self, tables: list[Table], tiles: list[RowTiles], one: Outers, staging: Staging
    ) -> list[Ints] | None:
        """Rows of every Einsum that may be part of something better under one outer choice."""
        bounds = [t.bounds(staging.roles[t.space.einsum.name]) for t in tiles]
        local = [one.tile[self.problem.index(t.space)] for t in tiles]
        energies = [
            b.energy(extents, np.arange(t.count))[0]
            for t, b, extents in zip(tiles, bounds, local, strict=True)
        ]
        lows = [float(e.min()) for e in energies]
        total = sum(lows) + float(one.staged[0])
        busy = [float(t.cycles.min()) for t in tiles]
        found = []
        for i, (part, mine, extents) in enumerate(zip(tiles, energies, local, strict=True)):
            rest = total - lows[i]
            slack = 0.0 if self.problem.group.schedule == "overlapped" else sum(busy) - busy[i]
            cycles = np.maximum(part.cycles + slack, one.cycles)
            some = np.flatnonzero(np.isfinite(mine) & self.contest.may_win(cycles, mine + rest))
            choice, rows = part.rows(np.zeros(len(some), np.int64), some)
            energy = bounds[i].row_energy(extents, choice, rows) + rest
            cycles = np.maximum(tables[i].cycles[rows] + slack, one.cycles)
            rows = rows[self.contest.may_win(cycles, energy)]
            if len(rows) == 0:
                return None
            found.append(rows)
        return found

    def _candidates(
        self,
        part: Table,
        mask: Bools,
        staging: Staging,
        order: tuple[int, ...],
        tile: tuple[int, ...],
    ) -> Candidates:
        """Exact costs of the rows of a mask under one outer choice, in every order that matters."""
        space = part.space
        index = self.problem.index(space)
        local = tuple(tile[r] for r in index)
        roles = staging.roles[space.einsum.name]
        dram_order = tuple(index.index(r) for r in order if r in index)
        costs: list[Floats] = []
        source: list[Ints] = []
        outers: list[Outer] = []
        for number, chosen in part.index(mask):
            rows = part.blocks[number].take(chosen)
            for shared_order in shared_orders(space, [rows]):
                outer = Outer(
                    tile=local,
                    dram_order=dram_order,
                    shared_order=shared_order,
                    roles=roles,
                    steps=self.problem.steps(space, tile),
                )
                costs.append(self._vectors(space, rows, outer))
                same = np.ones(len(chosen), np.int64)
                source.append(np.stack([same * number, chosen, same * len(outers)], axis=1))
                outers.append(outer)
                self.counters.evaluated += rows.count
        return Candidates(costs=np.concatenate(costs), source=np.concatenate(source), outers=outers)

    def _vectors(self, space: EinsumSpace, rows: Rows, outer: Outer) -> Floats:
        """Cost vectors: compute by unit, cycles by port, cold start, energy, words streamed."""
        costs = row_costs(space, rows, outer)
        compute = outer.steps * space.iterations / rows.spatial
        zero = np.zeros(rows.count)
        matrix = compute if space.einsum.unit == "matrix" else zero
        vector = compute if space.einsum.unit == "vector" else zero
        ports = [np.broadcast_to(costs.ports.get(p, zero), (rows.count,)) for p in self._ports]
        tile = np.array(outer.tile, dtype=np.int64)[:, None]
        words, cold = self.words.held(space, rows.tile, tile, outer.roles)
        return np.stack([matrix, vector, *ports, cold, costs.energy, words], axis=1)

    def _join(self, where: _Where, room: float) -> None:
        """Add up the Einsums' fronts under one outer choice."""
        parts = where.parts
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
            good &= self.contest.may_win(self._latency(reach), reach[:, -2])
            combined, left, right = combined[good], left[good], right[good]
            best = front(combined)
            total = combined[best]
            picks = np.concatenate([picks[left[best]], right[best][:, None]], axis=1)
        if len(total):
            self._offer(where, total, picks)

    def _offer(self, where: _Where, total: Floats, picks: Ints) -> None:
        """Let sums of the Einsums' costs take part in the contest; picks int64[n, Einsums]."""
        cycles = np.ceil(self._latency(total) - 1e-9)
        energy = total[:, -2]
        for slot, best_row in self.contest.winners(cycles, energy):
            chosen = []
            for whole, part, pick in zip(where.tables, where.parts, picks[best_row], strict=True):
                number, row, which = part.source[pick]
                rows = whole.blocks[int(number)].take(np.array([row]))
                chosen.append(Pick(space=whole.space, rows=rows, outer=part.outers[int(which)]))
            found = GroupSolution(
                problem=self.problem,
                staging=where.staging,
                tile=where.tile,
                dram_order=where.order,
                picks=tuple(chosen),
                cycles=float(cycles[best_row]),
                energy=float(energy[best_row]),
            )
            self.contest.take(slot, found)

    def _latency(self, costs: Floats) -> Floats:
        """Cycles of cost vectors under the group's schedule."""
        if self.problem.group.schedule == "overlapped":
            busy = np.maximum(costs[:, 0], costs[:, 1])
        else:
            busy = costs[:, 0] + costs[:, 1]
        slowest = costs[:, 2 : 2 + len(self._ports)].max(axis=1, initial=0.0)
        return np.maximum(busy, slowest) + costs[:, 2 + len(self._ports)]

    def refusal(self) -> Infeasible:
        """Why nothing fits."""
        tables = self._built([1] * len(self.problem.spaces))
        outers = self.frame
        if all(t.count for t in tables) and len(outers.staging):
            outers = self.bounds.bounded(outers, tables)
        return self.bounds.refusal(tables, outers)

    def space_size(self) -> int:
        """Mappings in the group: outer choices times loop nests of each Einsum."""
        return self.counters.outer * prod(s.size() for s in self.problem.spaces)
