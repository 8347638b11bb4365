"""The choices that all Einsums of a group share: tiles of the DRAM loops, and what is staged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from flat_mapper.cost_model.candidates import Ints
from flat_mapper.cost_model.roles import Role
from flat_mapper.mapper.space.factors import combinations, divisors, new_loops
from flat_mapper.mapper.space.group import FOLLOW, GroupProblem
from flat_mapper.mapper.space.rules import (
    dram,
    in_order,
    is_bound_outside,
    is_one_level,
    moves_inward,
)
from flat_mapper.mapping.sharing import shared_level
from flat_mapper.mapping.space import held_ranks


@dataclass(frozen=True, kw_only=True)
class StagedTensors:
    """Tensors that the shared level keeps whole. Roles by Einsum and tensor."""

    staged: tuple[str, ...]
    roles: Mapping[str, tuple[Role, ...]]


def stagings(problem: GroupProblem, step: Callable[[], None] | None = None) -> list[StagedTensors]:
    """Every set of tensors that may be staged; step: is called for each, as they may be many."""
    must, never = ruled_stagings(problem)
    external = problem.external
    free = [t for t in external if t not in must | never]
    found = []
    for bits in range(1 << len(free)):
        if step is not None:
            step()
        chosen = must.union(t for i, t in enumerate(free) if bits >> i & 1)
        staged = tuple(t for t in external if t in chosen)
        found.append(StagedTensors(staged=staged, roles=_roles(problem, staged)))
    return found


def ruled_stagings(problem: GroupProblem) -> tuple[set[str], set[str]]:
    """External tensors that are staged in any case, and those that are not.

    Where a tensor is among both, the mapspace contradicts itself: see `contradicts`.
    """
    external, wanted = problem.external, problem.mapspace.fusion.staging
    must = _placed(problem)
    if (problem.group.fused and not problem.group.declared) or wanted == "all":
        must.update(external)
    elif isinstance(wanted, tuple):
        must.update(t for t in external if t in wanted)
    never = set() if wanted == "any" else set(external) - must
    level = shared_level(problem.platform).name
    for space in problem.spaces:
        own = set(external) & set(space.tensors)
        for rule in problem.mapspace.keep_rules(space.einsum.name, level):
            must.update(own.intersection(rule.keep))
            never.update(own.intersection(rule.bypass))
    return must, never


def contradicts(problem: GroupProblem) -> bool:
    """True if no set of staged tensors obeys the rules about the shared level and DRAM.

    What crosses DRAM is kept there and nothing else is; what does not, at the shared level.
    """
    must, never = ruled_stagings(problem)
    external, level = set(problem.external), shared_level(problem.platform).name
    for space in problem.spaces:
        inside, crossing = set(space.tensors) - external, external & set(space.tensors)
        for rule in problem.mapspace.keep_rules(space.einsum.name, level):
            if inside.intersection(rule.bypass):
                return True
        for rule in problem.mapspace.keep_rules(space.einsum.name, dram(space)):
            if inside.intersection(rule.keep) or crossing.intersection(rule.bypass):
                return True
    return bool(must & never)


def _placed(problem: GroupProblem) -> set[str]:
    """External tensors that several Einsums read, or that accumulate over the inner loops."""
    readers = {t: sum(t in s.tensors for s in problem.spaces) for t in problem.external}
    return {t for t, count in readers.items() if count > 1 or t in problem.carried}


def _roles(problem: GroupProblem, staged: tuple[str, ...]) -> dict[str, tuple[Role, ...]]:
    """Roles by Einsum and tensor.

    A staged tensor is brought by the first Einsum that reads it, and sent by the one that makes it:
    what only corrects it has its turn before.
    """
    movers: dict[str, str] = {}
    for space in problem.spaces:
        for tensor in space.tensors:
            movers.setdefault(tensor, space.einsum.name)
    made = {t: maker for t, maker in problem.workload.producers.items() if t in movers}
    names = {space.einsum.name for space in problem.spaces}
    movers |= {t: maker for t, maker in made.items() if maker in names}

    def role(einsum: str, tensor: str) -> Role:
        if tensor not in problem.external or (tensor in staged and movers[tensor] != einsum):
            return "inside"
        return "staged" if tensor in staged else "stream"

    return {
        space.einsum.name: tuple(role(space.einsum.name, t) for t in space.tensors)
        for space in problem.spaces
    }


def outer_tiles(problem: GroupProblem, *, loops: bool) -> Ints:
    """Tile extents below the DRAM loops, by group rank; int64[R, n]. loops: whether there are."""
    ranks = range(len(problem.ranks))
    extents = [[r.size] for r in problem.ranks]
    if problem.group.fused:
        extents = [shared_extents(problem, i) for i in ranks]
    elif loops:
        extents = [_own_extents(problem, i) for i in ranks]
    if contradicts(problem):
        extents = [[]] * len(extents)
    return combinations(extents)


def has_dram_loops(problem: GroupProblem, staging: StagedTensors) -> bool:
    """True if loops at DRAM and at the shared level differ for an Einsum on its own.

    Where nothing is staged and no rule says where they stand, they are one and the same.
    """
    return bool(staging.staged) or not is_one_level(problem.spaces[0])


def _own_extents(problem: GroupProblem, i: int) -> list[int]:
    """Tile extents of a single Einsum's rank."""
    space, rank = problem.spaces[0], problem.ranks[i]
    # Over a rank that all tensors have nothing is reused: its loop stands outermost of all.
    if space.common[i] and not is_bound_outside(space, i):
        return [FOLLOW]
    every, node = divisors(rank.size), dram(space)
    return [d for d in every if space.allows(node, "temporal", rank, rank.size // d)]


def shared_extents(problem: GroupProblem, i: int) -> list[int]:
    """Tile extents of a fused group's rank."""
    rank = problem.ranks[i]
    found = _declared_extents(problem, i) if i in problem.shared_ranks else [rank.size]
    return [
        extent
        for extent in found
        if all(
            space.allows(dram(space), "temporal", rank, rank.size // extent)
            for space in problem.spaces
            if rank.members[0] in space.einsum.ranks
        )
    ]


def _declared_extents(problem: GroupProblem, i: int) -> list[int]:
    """Tile extents of a shared rank that the mapspace's fusion section leaves."""
    rank, fixed = problem.ranks[i], problem.mapspace.fusion.tiles
    found = list(divisors(rank.size))
    if any(set(rank.members) & set(s.einsum.each) for s in problem.spaces):
        found = found[:-1]  # uncut, the rank is in the space without what runs in each pass
    extent = granular_extent(problem, i)
    if extent is not None:
        found = [extent]
    for member in rank.members:
        if member in fixed:
            found = [d for d in found if d in fixed[member]]
    return found


def granular_extent(problem: GroupProblem, i: int) -> int | None:
    """The one tile extent that the granularity leaves a shared rank; None where it is free."""
    granularity, rank = problem.mapspace.fusion.granularity, problem.ranks[i]
    if granularity == "any" or not problem.group.declared:
        return None
    roles = problem.workload.roles
    at_one = held_ranks(granularity, roles)
    of_rows = roles.queries in rank.members or i in problem.inner
    if granularity == "row" and of_rows and not set(rank.members) <= set(at_one):
        return None
    sizes = zip(rank.members, rank.sizes, strict=True)
    return prod(1 if member in at_one else size for member, size in sizes)


def single_tiles(
    problem: GroupProblem, orders: Sequence[tuple[int, ...]], staging: StagedTensors, grid: Ints
) -> list[tuple[int, Ints]]:
    """DRAM orders and tiles of one Einsum, without those that repeat another.

    Innermost at DRAM, a loop over a rank that no staged tensor has might as well stand
    outermost in the shared level: the order of all loops, and so every count, is the same.
    Unless a rule fixes its place.
    """
    space = problem.spaces[0]
    sizes = np.array([r.size for r in problem.ranks], dtype=np.int64)[:, None]
    loops = np.where(grid == FOLLOW, 1, sizes // np.where(grid == FOLLOW, 1, grid))
    matters = [
        any(space.relevant[t][r] for t in staging.staged) or not moves_inward(space, r)
        for r in range(len(space.ranks))
    ]
    found: list[tuple[int, Ints]] = []
    for order, (_, good) in enumerate(new_loops(loops, orders)):
        good &= in_order(space, space.arch.levels[0].name, orders[order], loops)
        still = np.ones(grid.shape[1], np.bool_)
        for r in orders[order]:
            if not matters[r]:
                good &= ~(still & (loops[r] > 1))
            still &= loops[r] == 1
        found.append((order, grid[:, good]))
    return found
