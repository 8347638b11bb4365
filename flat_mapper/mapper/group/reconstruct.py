"""From the search's arrays back to a mapping with every loop named."""

from __future__ import annotations

from collections.abc import Iterator
from math import gcd

from flat_mapper.cost_model.facts import Rank
from flat_mapper.cost_model.residence import staying
from flat_mapper.mapper.group.picks import GroupSolution, Pick
from flat_mapper.mapper.space.factors import divided
from flat_mapper.mapper.space.group import FOLLOW
from flat_mapper.mapping.space import granularity_of
from flat_mapper.mapping.values import Axis, EinsumMapping, GroupMapping, Loop, Slot


class Members:
    """Hands factors of merged ranks out to their members, outermost slot first."""

    def __init__(self, ranks: tuple[Rank, ...], sizes: dict[str, int]) -> None:
        self.ranks = {r.name: r for r in ranks}
        self.left = dict(sizes)

    def loops(self, rank: Rank, factor: int) -> tuple[Loop, ...]:
        """The loops of a factor, outermost first.

        Inner members keep theirs as long as they can, so that a tile holds whole heads before it
        holds a second batch element. Any split works: a factor of the product of what is left is
        always a product of factors of its parts.
        """
        return self._taken(rank, rank.members, factor)

    def on_axes(
        self, rank: Rank, on_x: int, on_y: int
    ) -> tuple[tuple[Axis, tuple[Loop, ...]], ...]:
        """The loops of a rank that stands on both axes, each of its members on one."""
        chosen = divided(rank.sizes, on_x, on_y)
        assert chosen is not None
        own = tuple(m for m, yes in zip(rank.members, chosen, strict=True) if yes)
        others = tuple(m for m in rank.members if m not in own)
        return (("x", self._taken(rank, own, on_x)), ("y", self._taken(rank, others, on_y)))

    def _taken(self, rank: Rank, members: tuple[str, ...], factor: int) -> tuple[Loop, ...]:
        taken = []
        for member in members:
            part = gcd(factor, self.left[member])
            factor //= part
            self.left[member] //= part
            taken.append((member, part))
        assert factor == 1, f"{rank.name}: a factor that its members lack"
        return tuple(Loop(m, f) for m, f in taken if f > 1)


def group_mapping(solution: GroupSolution, sizes: dict[str, int]) -> GroupMapping:
    """The mapping of a solved group; sizes: of the workload's ranks."""
    group = solution.problem.group
    einsums = tuple(_einsum_mapping(p, solution, sizes) for p in solution.picks)
    shared: tuple[Loop, ...] = ()
    tile = dict(sizes)
    if group.fused:
        dram = Slot(solution.problem.platform.dram.name, "temporal")
        shared = einsums[0].at(dram)
        for loop in shared:
            tile[loop.rank] //= loop.factor
    legal = [m for i in solution.problem.shared_ranks for m in solution.problem.ranks[i].members]
    level = solution.problem.spaces[0].arch.levels[solution.problem.spaces[0].shared].name
    staged = dict.fromkeys(t for m in einsums for t in m.kept_at(level))
    return GroupMapping(
        einsums=einsums,
        shared=shared,
        staged=tuple(staged),
        schedule=group.schedule,
        phases=group.phases,
        granularity=granularity_of(
            tile, {r: sizes[r] for r in legal}, solution.problem.workload.roles
        )
        if group.declared
        else "none",
    )


def _einsum_mapping(pick: Pick, solution: GroupSolution, sizes: dict[str, int]) -> EinsumMapping:
    space, candidates = pick.space, pick.candidates
    members = Members(space.ranks, sizes)
    tile = [
        int(candidates.tile[r, 0]) if extent == FOLLOW else extent
        for r, extent in enumerate(pick.outer.tile)
    ]
    order = [r for r in solution.dram_order if solution.problem.ranks[r] in space.ranks]
    local = [space.ranks.index(solution.problem.ranks[r]) for r in order]
    loops: list[tuple[Slot, tuple[Loop, ...]]] = []

    def put(slot: Slot, factors: list[int], inner_first: list[int]) -> None:
        found: list[Loop] = []
        for r in reversed(inner_first):
            set_aside = aside.get((slot, r))
            found.extend(set_aside or members.loops(space.ranks[r], factors[r]))
        if found:
            loops.append((slot, tuple(found)))

    aside = {
        (Slot(node_choice.node, axis), r): loops_
        for node_choice in candidates.node_choices
        if node_choice.across is not None
        for r, x in enumerate(node_choice.on_x(0))
        if 1 < x < node_choice.factors(0)[r]
        for axis, loops_ in members.on_axes(space.ranks[r], x, node_choice.factors(0)[r] // x)
    }
    levels = space.arch.levels
    dram = [size // extent for size, extent in zip(space.sizes, tile, strict=True)]
    put(Slot(levels[0].name, "temporal"), dram, local)
    if pick.outer.passes > 1:
        passes = tuple(_passes(solution, space.einsum.each))
        loops[:1] = [(Slot(levels[0].name, "temporal"), (*(loops[0][1] if loops else ()), *passes))]
    inside = [extent // int(candidates.tile[r, 0]) for r, extent in enumerate(tile)]
    put(Slot(levels[space.shared].name, "temporal"), inside, list(pick.outer.shared_order))
    for node_choice in reversed(candidates.node_choices):
        factors = node_choice.factors(0)
        if node_choice.across is None:
            put(Slot(node_choice.node, "temporal"), factors, list(node_choice.order(0)))
            continue
        on_x = node_choice.on_x(0)
        on_y = [f // x for f, x in zip(factors, on_x, strict=True)]
        put(Slot(node_choice.node, "y"), on_y, list(range(len(on_y))))
        put(Slot(node_choice.node, "x"), on_x, list(range(len(on_x))))
    return EinsumMapping(
        einsum=space.einsum.name, loops=tuple(loops), keep=_keeps(pick), stay=_stays(pick)
    )


def _passes(solution: GroupSolution, each: tuple[str, ...]) -> Iterator[Loop]:
    """The shared loops, outermost first, in each of whose passes an Einsum runs."""
    for r in reversed(solution.dram_order):
        rank = solution.problem.ranks[r]
        if rank.members[0] in each:
            yield Loop(rank.members[0], rank.size // solution.tile[r])


def _stays(pick: Pick) -> tuple[str, ...]:
    """Tensors that stay at a private level over the shared loops."""
    if not pick.outer.stay:
        return ()
    return staying(pick.space, pick.candidates, pick.outer)


def _keeps(pick: Pick) -> tuple[tuple[str, tuple[str, ...]], ...]:
    space, levels = pick.space, pick.space.arch.levels
    roles = dict(zip(space.tensors, pick.outer.roles, strict=True))
    keeps = []
    for i, level in enumerate(levels):
        if i == 0:
            kept = [t for t in space.tensors if roles[t] != "inside"]
        elif i == space.shared:
            kept = [t for t in space.tensors if roles[t] != "stream"]
        else:
            kept = [t for t in space.tensors if t in pick.candidates.keep.get(level.name, ())]
        keeps.append((level.name, tuple(kept)))
    return tuple(keeps)
