"""The best mapping of one group of Einsums: branch and bound over the outer choices."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

import numpy as np

from flat_mapper.model.result import Infeasible
from flat_mapper.search.bounds import OuterBounds, Outers
from flat_mapper.search.front import front, sums
from flat_mapper.search.held import SharedWords
from flat_mapper.search.objective import Goal, best_index, better
from flat_mapper.search.outer import FOLLOW, GroupProblem, Staging, dram_orders, stagings
from flat_mapper.search.picks import Candidates, Counters, GroupSolution, Pick
from flat_mapper.search.price import Outer, Role, row_costs
from flat_mapper.search.rows import Bools, Floats, Ints, Rows, allowed_orders
from flat_mapper.search.space import EinsumSpace, loop_orders
from flat_mapper.search.table import Table, table

WARM_ROWS = 400  # rows per Einsum that the first, approximate pass looks at


@dataclass(slots=True)
class GroupSearch:
    """Branch and bound over the outer choices of one group."""

    problem: GroupProblem
    words: SharedWords
    bounds: OuterBounds
    goal: Goal = field(default_factory=lambda: Goal(kind="edp"))
    incumbent: tuple[float, float] = (np.inf, np.inf)
    counters: Counters = field(default_factory=Counters)
    known: dict[object, Table] = field(default_factory=dict)  # rows of earlier searches
    tables: list[Table] = field(default_factory=list)
    solution: GroupSolution | None = None
    _whole: Outers | None = None  # the outer choices, bounded over all rows
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

    def solve(self, goal: Goal, best: tuple[float, float] | None) -> GroupSolution | None:
        """The best solution, or None if nothing fits or beats the best known (cycles, energy)."""
        self.goal, self.solution = goal, None
        self.incumbent = best if best is not None else (np.inf, np.inf)
        widest = [s.widest for s in self.problem.spaces]
        # Rows that fill the array first: what they achieve tells how narrow a row may be at all.
        self._descend(self._built(widest))
        least = [self._narrowest(i) for i in range(len(widest))]
        if self.solution is None or any(n < w for n, w in zip(least, widest, strict=True)):
            self._descend(self._built(least))
        return self.solution

    def _narrowest(self, i: int) -> int:
        """Fewest compute units with which the i-th Einsum may be part of something better.

        Rounded down to a power of two, so that searches with other goals find the rows again.
        """
        space = self.problem.spaces[i]
        units = np.arange(1, space.widest + 1, dtype=np.float64)
        cycles = self.bounds.narrowest(i, space.iterations / units)
        good = np.flatnonzero(self._may_win(cycles, np.full(1, self.bounds.least()[1])))
        if len(good) == 0:
            return space.widest
        fewest = int(units[good[0]])
        return fewest if fewest == space.widest else 1 << (fewest.bit_length() - 1)

    def _descend(self, everything: list[Table]) -> None:
        """Branch and bound over some rows, from the incumbent on."""
        self.tables = everything
        if not all(t.count for t in everything):
            return
        outers = self.bounds.outers(everything)
        self._whole = outers
        self.counters.outer = len(outers.staging)
        self.counters.outer_infeasible = int((~self.bounds.fits(outers)).sum())
        warm = [self._warm(t) for t in everything]
        self._branch(warm, outers, limit=8)
        kept = self._shrink(everything, outers)
        self.counters.rows_bounded = self.counters.rows - sum(t.count for t in kept)
        if all(t.count for t in kept):
            tight = self.bounds.outers(kept)
            self._branch(kept, tight, limit=None)

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
        fits = self.bounds.fits(outers)
        masks = [np.zeros(t.count, np.bool_) for t in tables]
        for number, staging in enumerate(self.bounds.stagings):
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
    ) -> list[Bools]:
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

    def _may_win(self, cycles: Floats, energy: Floats) -> Bools:
        return better(self.goal, cycles, energy, self.incumbent)

    def _branch(self, tables: list[Table], outers: Outers, limit: int | None) -> None:
        """Evaluate outer choices, the most promising first, until no other can win."""
        fits = self.bounds.fits(outers)
        first, second, third = self.goal.keys(outers.cycles, outers.energy)
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
        staging = self.bounds.stagings[int(outers.staging[choice])]
        order = self.bounds.orders[int(outers.order[choice])]
        tile = tuple(int(v) for v in outers.tile[:, choice])
        floors = {t: float(f[choice]) for t, f in outers.floors.items()}
        least_cycles = outers.cycles[choice : choice + 1]
        masks = self._promising(tables, staging, floors, float(least_cycles[0]))
        lows = []
        for i, part in enumerate(tables):
            local = self.problem.local(part.space, tile)
            for r, extent in enumerate(local):
                if extent != FOLLOW:
                    masks[i] = masks[i] & (extent % part.tile[r] == 0)
            if not masks[i].any():
                return
            roles = staging.roles[part.space.einsum.name]
            lows.append(float(part.energy(roles, floors)[masks[i]].min()))
        parts: list[Candidates] = []
        for i, (part, mask) in enumerate(zip(tables, masks, strict=True)):
            parts.append(self._candidates(part, mask, staging, order, tile))
            lows[i] = float(parts[i].costs[:, -2].min())
            if not self._may_win(least_cycles, np.full(1, sum(lows))).all():
                return
        room = self.words.room(staging, tile)
        least = [p.costs.min(axis=0) for p in parts]
        for i, one in enumerate(parts):
            reach = one.costs + sum((m for j, m in enumerate(least) if j != i), np.zeros(1))
            good = self._may_win(self._latency(reach), reach[:, -2]) & (reach[:, -1] <= room)
            if not good.any():
                return
            left = one.take(np.flatnonzero(good))
            parts[i] = left.take(front(left.costs))
        self._join(tables, parts, staging, order, tile)

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
        index = [self.problem.ranks.index(r) for r in space.ranks]
        local = tuple(tile[r] for r in index)
        roles = staging.roles[space.einsum.name]
        dram_order = tuple(index.index(r) for r in order if r in index)
        costs: list[Floats] = []
        source: list[Ints] = []
        outers: list[Outer] = []
        for number, chosen in part.index(mask):
            rows = part.blocks[number].take(chosen)
            for shared_order in self._shared_orders(space, rows):
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
        compute = outer.steps * space.iterations / rows.spatial
        zero = np.zeros(rows.count)
        matrix = compute if space.einsum.unit == "matrix" else zero
        vector = compute if space.einsum.unit == "vector" else zero
        ports = [np.broadcast_to(costs.ports.get(p, zero), (rows.count,)) for p in self._ports]
        words, cold = self.words.held(space, rows, outer)
        return np.stack([matrix, vector, *ports, cold, costs.energy, words], axis=1)

    def _join(
        self,
        tables: list[Table],
        parts: list[Candidates],
        staging: Staging,
        order: tuple[int, ...],
        tile: tuple[int, ...],
    ) -> None:
        room = self.words.room(staging, tile)
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
        best_row = where[best_index(self.goal, cycles[where], energy[where])]
        self.incumbent = (
            float(cycles[best_row]),
            float(energy[best_row]),
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
        """Why nothing fits."""
        return self.bounds.refusal(self.tables, self._whole)

    @property
    def feasible(self) -> bool:
        """Whether some outer choice fits at all."""
        return self.bounds.feasible(self._whole)

    def space_size(self) -> int:
        """Mappings in the group: outer choices times loop nests of each Einsum."""
        return self.counters.outer * prod(s.size() for s in self.problem.spaces)
