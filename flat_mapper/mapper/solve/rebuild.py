"""Mappings of a group made again from what a log names: outer choices and candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

import numpy as np

from flat_mapper.arch.cores import reads_apart
from flat_mapper.arch.values import Fanout, MemoryLevel
from flat_mapper.base.classes import dataclass
from flat_mapper.mapper.bounds.outer import OuterBounds
from flat_mapper.mapper.group.picks import GroupSolution, Pick
from flat_mapper.mapper.group.single import shared_orders
from flat_mapper.mapper.space.candidates import CandidateBlock, NodeChoice, looped
from flat_mapper.mapper.space.einsum import EinsumSpace
from flat_mapper.mapper.space.enumerate import fresh, start
from flat_mapper.mapper.space.factors import divided
from flat_mapper.mapper.space.roles import Outer
from flat_mapper.mapping.space import LoopKind


def candidate(space: EinsumSpace, item: Sequence[Sequence[Any]]) -> CandidateBlock:
    """One candidate from its plain data: by node, innermost first; see `mapper.group.log`."""
    block = start(space)
    for name, factors, *rest in item:
        grid = np.array(factors, dtype=np.int64)[:, None]
        if len(rest) == 1:
            _fan_out(space, block, str(name), grid, np.array(rest[0], dtype=np.int64)[:, None])
        else:
            order, kept = tuple(int(r) for r in rest[0]), frozenset(str(t) for t in rest[1])
            _put_level(space, block, str(name), grid, order, kept)
    return block


def _fan_out(
    space: EinsumSpace, block: CandidateBlock, name: str, grid: np.ndarray, across: np.ndarray
) -> None:
    everything = np.array([float(grid.prod())])
    fanout = next(f for f in space.arch.fanouts if f.name == name)
    for tensor, transfers in block.transfers.items():
        own = [r for r, yes in enumerate(space.relevant[tensor]) if yes]
        relevant = np.array([float(grid[own].prod())])
        for transfer in transfers:
            top, apart = transfer is transfers[-1], reads_apart(fanout, tensor)
            transfer.fan_out(fanout, relevant, everything, outermost=top, apart=apart)
    block.tile, block.spatial = block.tile * grid, block.spatial * everything[0]
    column = np.zeros(1, np.int64)
    block.node_choices.append(NodeChoice(node=name, grid=grid, column=column, across=across))


def _put_level(
    space: EinsumSpace,
    block: CandidateBlock,
    name: str,
    grid: np.ndarray,
    order: tuple[int, ...],
    kept: frozenset[str],
) -> None:
    for tensor, transfers in block.transfers.items():
        for transfer in transfers:
            transfer.passes, transfer.open = looped(
                space.relevant[tensor], transfer.passes, transfer.open, grid, order
            )
    block.tile = block.tile * grid
    zero = np.zeros(1, np.int64)
    block.node_choices.append(
        NodeChoice(node=name, grid=grid, column=zero, choice=zero, orders=(order,))
    )
    block.keep = {**block.keep, name: kept}
    for tensor in kept:
        block.transfers[tensor].append(fresh(space, space.arch.level(name), 1))


@dataclass(slots=True)
class Rebuilder:
    """Mappings of one group; what a log leaves open is drawn by chance."""

    bounds: OuterBounds
    rng: np.random.Generator
    pools: dict[str, list[CandidateBlock]] = field(default_factory=dict)  # candidates left
    good: dict[str, list[CandidateBlock]] = field(default_factory=dict)  # those of solutions

    def completed(
        self,
        space: EinsumSpace,
        item: Sequence[Sequence[Any]],
        kept: Sequence[str] | None = None,
    ) -> CandidateBlock:
        """A candidate around a partial mapping: no loops at the nodes that are missing.

        kept: what the next node keeps, if it is a level; None: anything.
        """
        found = [list(node) for node in item]
        for i, node in enumerate(tuple(reversed(space.inner_nodes))[len(item) :]):
            found.append(self._idle(space, node))
            if i == 0 and kept is not None and isinstance(node, MemoryLevel):
                found[-1][-1] = list(kept)
        return candidate(space, found)

    def _idle(self, space: EinsumSpace, node: MemoryLevel | Fanout) -> list[object]:
        kind: LoopKind = "spatial" if isinstance(node, Fanout) else "temporal"
        options = [space.options(node.name, kind, r, n) for r, n in enumerate(space.sizes)]
        factors = [found[0] if found else 1 for found in options]
        if isinstance(node, Fanout):
            grid, across = space.splits[node.name]
            same = np.flatnonzero((grid == np.array(factors)[:, None]).all(axis=0))
            on_x = across[:, same[0]].tolist() if len(same) else factors
            return [node.name, factors, on_x]
        keeps = space.keep_sets(node.name)
        kept = keeps[int(self.rng.integers(len(keeps)))]
        return [node.name, factors, list(range(len(factors))), sorted(kept)]

    def solution(
        self,
        outer: Sequence[int],
        given: Mapping[str, CandidateBlock],
        *,
        left: bool,
    ) -> GroupSolution | None:
        """A mapping under an outer choice, [staging, order, tile ...].

        given: candidates of some Einsums; those of the others are drawn among what is left, or,
               unless only they will do (left), have no loops. None: what is given does not go
               with the outer choice, or nothing that is left does.
        """
        problem = self.bounds.problem
        tile = np.array(outer[2:], dtype=np.int64)
        picks = []
        for space in problem.spaces:
            name = space.einsum.name
            local = tile[problem.index(space)]
            block = given.get(name) or self._drawn(space, local, left)
            if block is None or not self._under(space, block, local):
                return None
            picks.append(self._pick(space, block, outer))
        return GroupSolution(
            problem=problem,
            staging=self.bounds.stagings[outer[0]],
            tile=tuple(int(v) for v in tile),
            dram_order=self.bounds.orders[outer[1]],
            picks=tuple(picks),
            cycles=0.0,
            energy=0.0,
        )

    def recorded(self, event: Mapping[str, Any]) -> GroupSolution:
        """The mapping that a line gives in full."""
        outer, problem = event["outer"], self.bounds.problem
        picks = []
        for space, item in zip(problem.spaces, event["picks"], strict=True):
            block = candidate(space, item["candidate"])
            pick = self._pick(space, block, outer, tuple(item["shared_order"]), item["stay"])
            picks.append(pick)
        return GroupSolution(
            problem=problem,
            staging=self.bounds.stagings[outer[0]],
            tile=tuple(outer[2:]),
            dram_order=self.bounds.orders[outer[1]],
            picks=tuple(picks),
            cycles=float(event["cycles"]),
            energy=float(event["pj"]),
        )

    def _drawn(self, space: EinsumSpace, local: np.ndarray, left: bool) -> CandidateBlock | None:
        name = space.einsum.name
        pool = [b for b in self.pools.get(name, []) if self._under(space, b, local)]
        if not left:
            good = [b for b in self.good.get(name, []) if self._under(space, b, local)]
            pool = [*pool, *good] or [self.completed(space, [])]
        return pool[int(self.rng.integers(len(pool)))] if pool else None

    def _under(self, space: EinsumSpace, block: CandidateBlock, local: np.ndarray) -> bool:
        """True if a candidate may stand under a tile: it divides it, see `FusedBounds`."""
        if (local % block.tile[:, 0]).any():
            return False
        both = block.on_both_axes[:, 0]
        if self.bounds.problem.group.fused and (both & (local < np.array(space.sizes))).any():
            return False
        return all(
            divided(space.ranks[r].sizes, x, f // x) is not None
            for node in block.node_choices
            if node.across is not None
            for r, (x, f) in enumerate(zip(node.on_x(0), node.factors(0), strict=True))
        )

    def _pick(
        self,
        space: EinsumSpace,
        block: CandidateBlock,
        outer: Sequence[int],
        shared_order: tuple[int, ...] | None = None,
        stay: Sequence[bool] | None = None,
    ) -> Pick:
        problem = self.bounds.problem
        index, tile = problem.index(space), tuple(int(v) for v in outer[2:])
        order = self.bounds.orders[outer[1]]
        if shared_order is None:
            orders = shared_orders(space, [block])
            shared_order = orders[int(self.rng.integers(len(orders)))]
        if stay is None and problem.group.fused:
            may = problem.may_stay(space)
            stay = may if self.rng.integers(2) else (False,) * len(may)
        return Pick(
            space=space,
            candidates=block,
            outer=Outer(
                tile=tuple(tile[r] for r in index),
                dram_order=tuple(index.index(r) for r in order if r in index),
                shared_order=shared_order,
                roles=self.bounds.stagings[outer[0]].roles[space.einsum.name],
                passes=problem.passes(space, tile),
                stay=tuple(bool(yes) for yes in stay or ()),
            ),
        )
