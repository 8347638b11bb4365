"""The outer choices of a group, each with what it costs at least."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flat_mapper.model.group import shared_level
from flat_mapper.model.result import Infeasible
from flat_mapper.search.held import SharedWords
from flat_mapper.search.outer import FOLLOW, GroupProblem, Staging, tile_words, tiles
from flat_mapper.search.ports import port_cycles
from flat_mapper.search.price import Role, dram_energy
from flat_mapper.search.rows import Bools, Floats, Ints
from flat_mapper.search.table import Table


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


@dataclass(frozen=True, slots=True, kw_only=True)
class OuterBounds:
    """Enumerates outer choices and bounds them from below."""

    problem: GroupProblem
    words: SharedWords
    stagings: list[Staging]
    orders: list[tuple[int, ...]]  # of the DRAM loops, innermost first, by group rank

    def least(self) -> tuple[float, float]:
        """(cycles, pJ) of the group at least: units at their widest, every word moved once."""
        spaces = self.problem.spaces
        cycles = self.compute([s.iterations / s.widest for s in spaces])
        energy = 0.0
        met: set[str] = set()
        for space in spaces:
            energy += space.compute_energy
            level = space.arch.levels[space.shared]
            read, _, update = space.prices[level.name]
            for tensor in space.tensors:
                rows = -(-space.volume[tensor] // level.row_words)
                if tensor in self.problem.external and tensor not in met:
                    energy += float(dram_energy(space, tensor, float(space.volume[tensor])))
                else:
                    energy += rows * (update if tensor == space.output else read)
                met.add(tensor)
        return max(cycles, self.compulsory_cycles()), energy

    def narrowest(self, i: int, cycles: Floats) -> Floats:
        """Cycles of the group at least, where the i-th Einsum takes these compute cycles."""
        spaces = self.problem.spaces
        units: dict[str, Floats] = {}
        for j, space in enumerate(spaces):
            mine = cycles if i == j else np.full(1, space.iterations / space.widest)
            units[space.einsum.unit] = units.get(space.einsum.unit, np.zeros(1)) + mine
        if self.problem.group.schedule == "overlapped":
            busy = np.zeros(1)
            for mine in units.values():
                busy = np.maximum(busy, mine)
        else:
            busy = sum(units.values(), np.zeros(1))
        return np.maximum(busy, self.compulsory_cycles())

    def compulsory_cycles(self) -> float:
        """DRAM cycles of moving every outside tensor once."""
        dram = self.problem.platform.dram
        words = {t: s.volume[t] for s in self.problem.spaces for t in s.tensors}
        out = {s.output for s in self.problem.spaces}
        reads = sum(words[t] for t in self.problem.external if t not in out)
        writes = sum(words[t] for t in self.problem.external if t in out)
        return float(port_cycles(dram, np.array([float(reads)]), np.array([float(writes)]))[0])

    def compute(self, cycles: list[float]) -> float:
        """Compute cycles of the group from those of its Einsums."""
        units: dict[str, float] = {}
        for space, value in zip(self.problem.spaces, cycles, strict=True):
            units[space.einsum.unit] = units.get(space.einsum.unit, 0.0) + value
        overlapped = self.problem.group.schedule == "overlapped"
        return max(units.values()) if overlapped else sum(units.values())

    def fits(self, outers: Outers) -> Bools:
        if self.words.capacity is None or self.problem.mapspace.policy.overflow == "spill":
            return np.ones(len(outers.needs), np.bool_)
        return outers.needs <= self.words.capacity

    def outers(self, tables: list[Table]) -> Outers:
        """All outer choices with their bounds."""
        parts: list[Outers] = []
        for number, staging in enumerate(self.stagings):
            grid = (
                np.array(list(tiles(self.problem, staging)), dtype=np.int64)
                .reshape(-1, len(self.problem.ranks))
                .T
            )
            if self.problem.group.fused or not staging.staged:
                orders = range(len(self.orders) if self.problem.group.fused else 1)
                parts.extend(
                    self._bounded(tables, number, staging, order, grid) for order in orders
                )
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
        for order in range(len(self.orders)):
            good, still = np.ones(grid.shape[1], np.bool_), np.ones(grid.shape[1], np.bool_)
            sequence = np.zeros(grid.shape[1], np.int64)
            for r in self.orders[order]:
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
            local_order = tuple(index.index(r) for r in self.orders[order] if r in index)
            least = dict.fromkeys(space.tensors, 0.0)
            for tensor, role in zip(space.tensors, roles, strict=True):
                self.words.add_needs(needs, part, tensor, role, mine)
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
        compute = self.compute([float(t.cycles.min()) for t in tables])
        cycles = np.maximum(compute, port_cycles(dram_level, traffic_in, traffic_out))
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

    def refusal(self, tables: list[Table], outers: Outers | None) -> Infeasible:
        """Why nothing fits: the outer choice that asks for least."""
        where = " + ".join(self.problem.group.names)
        for found in tables:
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
        staging = self.stagings[int(outers.staging[choice])]
        terms: dict[str, int] = {}
        tile = np.where(outers.tile[:, choice] == FOLLOW, 1, outers.tile[:, choice])
        for part in tables:
            needs: dict[str, Floats] = {}
            index = [self.problem.ranks.index(r) for r in part.space.ranks]
            roles = staging.roles[part.space.einsum.name]
            for tensor, role in zip(part.space.tensors, roles, strict=True):
                self.words.add_needs(needs, part, tensor, role, tile[index][:, None])
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

    def feasible(self, outers: Outers | None) -> bool:
        """Whether some outer choice fits at all."""
        return outers is not None and bool(self.fits(outers).any())
