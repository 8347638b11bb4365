"""The choices that all Einsums of a group share: tiles, DRAM loop order, and what is staged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod

import numpy as np

from flat_mapper.arch.values import Platform
from flat_mapper.energy.tables import Ert
from flat_mapper.mapper.space.candidates import Floats, Ints
from flat_mapper.mapper.space.einsum import EinsumSpace, Rank, loop_orders, merged_ranks
from flat_mapper.mapper.space.factors import divisors
from flat_mapper.mapper.space.roles import Role
from flat_mapper.mapping.sharing import (
    carried_tensors,
    crosses_dram,
    in_place_classes,
    leaves_finished,
    shared_level,
    with_unmapped,
)
from flat_mapper.mapping.space import GroupSpace, Mapspace, held_ranks
from flat_mapper.workload.graph import Einsum, Workload

FOLLOW = 0  # a tile extent: whatever the inner rows leave


@dataclass(frozen=True, kw_only=True)
class Staging:
    """What the shared level keeps whole. Roles by Einsum and tensor."""

    staged: tuple[str, ...]
    roles: Mapping[str, tuple[Role, ...]]


@dataclass(frozen=True, kw_only=True)
class GroupProblem:
    """A group of Einsums as a search problem."""

    workload: Workload
    platform: Platform
    ert: Ert
    mapspace: Mapspace
    group: GroupSpace
    ranks: tuple[Rank, ...]
    shared_ranks: tuple[int, ...]  # indices of the ranks with shared loops, outermost first
    spaces: tuple[EinsumSpace, ...]
    whole: tuple[str, ...]  # the group's Einsums, with the free ones that run between them
    inner: tuple[int, ...] = ()  # those of shared_ranks whose loops stand innermost
    share: float = 1.0  # of tiles of queries x keys, what a mask leaves

    def steps(self, space: EinsumSpace, tile: tuple[int, ...]) -> int:
        """How often an Einsum runs in each pass of the other shared loops."""
        each = [i for i, r in enumerate(self.ranks) if r.members[0] in space.einsum.each]
        return prod(self.ranks[i].size // tile[i] for i in each)

    def masked(self, space: EinsumSpace) -> tuple[int, ...] | None:
        """Of the two ranks of a mask, those of an Einsum's tensors; None if it lacks one.

        An Einsum that runs in each pass over the keys has them without a tensor of its own.
        """
        pair = self.workload.roles.masked
        if pair is None or not set(pair) <= set(space.einsum.ranks):
            return None
        ranks = (i for i, r in enumerate(space.ranks) if r.members[0] in pair)
        return tuple(ranks)

    @cached_property
    def carried(self) -> tuple[str, ...]:
        """Tensors that the inner loops carry from pass to pass."""
        return carried_tensors(self.workload, self.whole)

    @cached_property
    def left_out(self) -> tuple[str, ...]:
        """Those of them that a free softmax leaves out of the mapping."""
        mapped = {t for s in self.spaces for t in s.tensors}
        return tuple(t for t in self.carried if t not in mapped)

    @cached_property
    def drained(self) -> tuple[str, ...]:
        """Results that leave through a free Einsum after the loops: held as intermediates are."""
        if self.mapspace.policy.softmax != "free" or not self.group.fused:
            return ()
        names = self.group.names
        return tuple(t for t in self.external if leaves_finished(self.workload, names, t))

    @cached_property
    def external(self) -> tuple[str, ...]:
        """Tensors that cross DRAM, in the order of first use."""
        tensors = dict.fromkeys(t for s in self.spaces for t in s.tensors)
        return tuple(t for t in tensors if crosses_dram(self.workload, self.whole, t))

    @cached_property
    def classes(self) -> dict[str, str]:
        """Tensors that share a buffer: each with the first of them."""
        return in_place_classes(self.workload) if self.mapspace.policy.in_place else {}

    @cached_property
    def cycle_shares(self) -> tuple[int, ...]:
        """By Einsum, 1 where compute cycles add up to the group's at least, else 0."""
        if self.group.schedule != "overlapped":
            return (1,) * len(self.spaces)
        return tuple(int(s.einsum.unit == "matrix") for s in self.spaces)

    def index(self, space: EinsumSpace) -> list[int]:
        """Positions of an Einsum's ranks among the group's."""
        return [self.ranks.index(r) for r in space.ranks]


def group_problem(
    workload: Workload, platform: Platform, ert: Ert, mapspace: Mapspace, group: GroupSpace
) -> GroupProblem:
    """The search problem of a group."""
    apart = [m for rule in mapspace.slots for m in (*rule.factors, *rule.at_most, *rule.innermost)]
    apart += [m for rule in mapspace.slots for axis in (rule.x, rule.y) for m in axis or ()]
    apart += list(mapspace.fusion.tiles)
    apart += [r for e in workload.einsums for r in (*e.each, *e.after)]
    granularity = mapspace.fusion.granularity
    if group.declared and granularity != "any":
        apart += held_ranks(granularity, workload.roles)  # apart from the rows of a group's heads
    ranks = merged_ranks(workload, group.names, apart)
    whole = group.names
    if group.fused and mapspace.policy.softmax == "free":
        whole = with_unmapped(workload, group.names)
    legal = workload.shareable_ranks(whole) if group.fused else ()
    inner = workload.inner_ranks(whole) if group.fused else ()
    spaces = []
    for name in group.names:
        einsum = workload.einsum(name)
        arch = platform.path(einsum.unit)
        spaces.append(
            EinsumSpace(
                einsum=einsum,
                arch=arch,
                ert=ert,
                mapspace=mapspace,
                ranks=tuple(r for r in ranks if r.members[0] in _own_ranks(einsum)),
                shared=[lv.name for lv in arch.levels].index(shared_level(platform).name),
                shares=workload.shares,
            )
        )
    return GroupProblem(
        workload=workload,
        platform=platform,
        ert=ert,
        mapspace=mapspace,
        group=group,
        ranks=ranks,
        shared_ranks=tuple(i for i, r in enumerate(ranks) if set(r.members) <= set(legal)),
        spaces=tuple(spaces),
        whole=whole,
        inner=tuple(i for i, r in enumerate(ranks) if set(r.members) <= set(inner)),
    )


def _own_ranks(einsum: Einsum) -> tuple[str, ...]:
    """Ranks of an Einsum's tensors: those in whose passes it runs are the group's affair."""
    return tuple(r for r in einsum.ranks if r not in einsum.each)


def stagings(problem: GroupProblem) -> list[Staging]:
    """Every set of tensors that may be staged."""
    external = problem.external
    readers = {t: sum(t in s.tensors for s in problem.spaces) for t in external}
    wanted = problem.mapspace.fusion.staging
    # What several read, and what accumulates over the inner loops, has its place there.
    must = {t for t in external if readers[t] > 1 or t in problem.carried}
    if (problem.group.fused and not problem.group.declared) or wanted == "all":
        must.update(external)
    elif isinstance(wanted, tuple):
        must.update(t for t in external if t in wanted)
    never = set() if wanted == "any" else set(external) - must
    level = shared_level(problem.platform).name
    for space in problem.spaces:
        for rule in problem.mapspace.keep_rules(space.einsum.name, level):
            must.update(t for t in rule.keep if t in external and t in space.tensors)
            never.update(t for t in rule.bypass if t in external and t in space.tensors)
    free = [t for t in external if t not in must | never]
    found = []
    for bits in range(1 << len(free)):
        staged = tuple(
            t for t in external if t in must or (t in free and bits >> free.index(t) & 1)
        )
        found.append(Staging(staged=staged, roles=_roles(problem, staged)))
    return found


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
    fusion, rank, sizes = problem.mapspace.fusion, problem.ranks[i], problem.workload.rank_sizes
    if i not in problem.shared_ranks:
        return [rank.size]
    found = list(divisors(rank.size))
    if any(set(rank.members) & set(s.einsum.each) for s in problem.spaces):
        found = found[:-1]  # uncut, the rank is in the space without what runs in each pass
    if problem.group.declared and fusion.granularity != "any":
        roles = problem.workload.roles
        held = held_ranks(fusion.granularity, roles)
        rows = roles.queries in rank.members or i in problem.inner
        if set(rank.members) <= set(held):
            found = [1]
        elif fusion.granularity != "row" or not rows:
            found = [prod(1 if m in held else sizes[m] for m in rank.members)]
    for member in rank.members:
        if member in fusion.tiles:
            found = [d for d in found if d in fusion.tiles[member]]
    return found


def dram_orders(problem: GroupProblem) -> list[tuple[int, ...]]:
    """Orders of the DRAM loops that may differ in cost, innermost first, by group rank."""
    if problem.group.fused:
        rest = tuple(i for i in range(len(problem.ranks)) if i not in problem.shared_ranks)
        lacks = [
            frozenset(
                r
                for r in problem.shared_ranks
                if problem.ranks[r] not in s.ranks
                or not s.relevant[t][s.ranks.index(problem.ranks[r])]
            )
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
    space = problem.spaces[0]
    lacking = [
        frozenset(r for r, yes in enumerate(space.relevant[t]) if not yes) for t in space.tensors
    ]
    # Ranks that all tensors have stand outermost, where their loops part no others.
    common = tuple(r for r, yes in enumerate(space.common) if yes)
    others = [r for r in range(len(space.ranks)) if r not in common]
    return [order + common for order in loop_orders(others, lacking)]


def tile_words(space: EinsumSpace, tensor: str, tile: Ints) -> Ints | Floats:
    """Words of a tensor over tile extents; tile int64[R, n] by the Einsum's ranks."""
    words = np.ones(tile.shape[1:], np.int64)
    for r, mine in enumerate(space.relevant[tensor]):
        if mine:
            words = words * tile[r]
    share = space.share(tensor)
    return words if share == 1 else np.asarray(words * share, np.float64)
