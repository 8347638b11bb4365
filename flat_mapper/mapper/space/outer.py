"""The choices that all Einsums of a group share: tiles, DRAM loop order, and what is staged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from math import prod

from flat_mapper.mapper.space.einsum import EinsumSpace, Rank, loop_orders
from flat_mapper.mapper.space.factors import divisors
from flat_mapper.mapper.space.group import FOLLOW, GroupProblem
from flat_mapper.mapper.space.roles import Role
from flat_mapper.mapping.sharing import shared_level
from flat_mapper.mapping.space import held_ranks


@dataclass(frozen=True, kw_only=True)
class Staging:
    """What the shared level keeps whole. Roles by Einsum and tensor."""

    staged: tuple[str, ...]
    roles: Mapping[str, tuple[Role, ...]]


def stagings(problem: GroupProblem) -> list[Staging]:
    """Every set of tensors that may be staged."""
    must, never = _ruled_stagings(problem)
    external = problem.external
    free = [t for t in external if t not in must | never]
    found = []
    for bits in range(1 << len(free)):
        chosen = must.union(t for i, t in enumerate(free) if bits >> i & 1)
        staged = tuple(t for t in external if t in chosen)
        found.append(Staging(staged=staged, roles=_roles(problem, staged)))
    return found


def _ruled_stagings(problem: GroupProblem) -> tuple[set[str], set[str]]:
    """External tensors that are staged in any case, and those that are not; the first prevail."""
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


def _placed(problem: GroupProblem) -> set[str]:
    """External tensors that several Einsums read, or that accumulate over the inner loops."""
    readers = {t: sum(t in s.tensors for s in problem.spaces) for t in problem.external}
    return {t for t, count in readers.items() if count > 1 or t in problem.carried}


def _roles(problem: GroupProblem, staged: tuple[str, ...]) -> dict[str, tuple[Role, ...]]:
    met: set[str] = set()
    roles: dict[str, tuple[Role, ...]] = {}
    for space in problem.spaces:
        mine: list[Role] = []
        for tensor in space.tensors:
            if tensor not in problem.external or (tensor in staged and tensor in met):
                mine.append("inside")
            else:
                mine.append("staged" if tensor in staged else "stream")
            met.add(tensor)
        roles[space.einsum.name] = tuple(mine)
    return roles


def tiles(problem: GroupProblem, staging: Staging) -> Iterator[tuple[int, ...]]:
    """Tile extents below the DRAM loops, by group rank."""
    if problem.group.fused:
        ranks = range(len(problem.ranks))
        yield from product(*(shared_extents(problem, i) for i in ranks))
    elif staging.staged:
        yield from product(*(_own_extents(problem, i) for i in range(len(problem.ranks))))
    else:  # DRAM loops and the shared level's loops are then one and the same
        yield tuple(r.size for r in problem.ranks)


def _own_extents(problem: GroupProblem, i: int) -> list[int]:
    """Tile extents of a single Einsum's rank."""
    space, rank = problem.spaces[0], problem.ranks[i]
    fixed = [
        f
        for rule in space.rules(space.arch.levels[0].name, "temporal")
        for m, f in rule.factors.items()
        if m in rank.members
    ]
    if fixed:
        return [rank.size // fixed[0]] if rank.size % fixed[0] == 0 else []
    # Over a rank that all tensors have nothing is reused: its loop stands outermost of all.
    return [FOLLOW] if space.common[i] else list(divisors(rank.size))


def shared_extents(problem: GroupProblem, i: int) -> list[int]:
    """Tile extents of a fused group's rank."""
    rank, fixed = problem.ranks[i], problem.mapspace.fusion.tiles
    if i not in problem.shared_ranks:
        return [rank.size]
    found = list(divisors(rank.size))
    if any(set(rank.members) & set(s.einsum.each) for s in problem.spaces):
        found = found[:-1]  # uncut, the rank is in the space without what runs in each pass
    extent = _granular_extent(problem, i)
    if extent is not None:
        found = [extent]
    for member in rank.members:
        if member in fixed:
            found = [d for d in found if d in fixed[member]]
    return found


def _granular_extent(problem: GroupProblem, i: int) -> int | None:
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


def dram_orders(problem: GroupProblem) -> list[tuple[int, ...]]:
    """Orders of the DRAM loops that may differ in cost, innermost first, by group rank."""
    return _fused_orders(problem) if problem.group.fused else _own_orders(problem.spaces[0])


def _fused_orders(problem: GroupProblem) -> list[tuple[int, ...]]:
    """Orders of a fused group's shared loops."""
    rest = tuple(i for i in range(len(problem.ranks)) if i not in problem.shared_ranks)
    lacks = [
        frozenset(r for r in problem.shared_ranks if not _has_rank(s, t, problem.ranks[r]))
        for s in problem.spaces
        for t in s.tensors
        if t in problem.external
    ]
    # Where an order decides nothing, ranks stay as the problem has them: outermost first.
    ranks = tuple(r for r in reversed(problem.shared_ranks) if r not in problem.inner)
    inner = tuple(reversed(problem.inner))
    return [
        inside + order + rest
        for inside in loop_orders(inner, lacks)
        for order in loop_orders(ranks, lacks)
    ]


def _has_rank(space: EinsumSpace, tensor: str, rank: Rank) -> bool:
    """Whether a rank of the group is one of a tensor's own."""
    return rank in space.ranks and space.relevant[tensor][space.ranks.index(rank)]


def _own_orders(space: EinsumSpace) -> list[tuple[int, ...]]:
    """Orders of the DRAM loops of an Einsum on its own."""
    lacking = [
        frozenset(r for r, yes in enumerate(space.relevant[t]) if not yes) for t in space.tensors
    ]
    # Ranks that all tensors have stand outermost, where their loops part no others.
    common = tuple(r for r, yes in enumerate(space.common) if yes)
    others = [r for r in range(len(space.ranks)) if r not in common]
    return [order + common for order in loop_orders(others, lacking)]
