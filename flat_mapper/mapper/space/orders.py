"""Orders of the loops at DRAM that may differ in cost, innermost first."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache
from itertools import chain, combinations, permutations, product, takewhile
from typing import NamedTuple

import numpy as np

from flat_mapper.base.grouping import distinct_columns
from flat_mapper.cost_model.candidates import Ints
from flat_mapper.cost_model.facts import Rank
from flat_mapper.mapper.space.einsum import EinsumSpace, chain_orders
from flat_mapper.mapper.space.factors import new_loops
from flat_mapper.mapper.space.group import GroupProblem
from flat_mapper.mapper.space.rules import allowed_orders, dram, is_bound_outside, obeyed


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
    free = fixed_shared_orders(problem) or problem.counted
    own = [[*permutations(r)] if free else chain_orders(r, lacks) for r in (inner, ranks)]
    return [inside + order + rest for inside, order in product(*own)]


def stays_of(problem: GroupProblem) -> tuple[MayStay, ...]:
    """Those of a group, each once."""
    found: dict[MayStay, None] = {}
    for space in problem.spaces:
        loops = frozenset(
            r
            for r in problem.shared_ranks
            if problem.ranks[r] in space.ranks or problem.ranks[r].members[0] in space.einsum.each
        )
        for t, may in zip(space.tensors, problem.may_stay(space), strict=True):
            lacks = frozenset(r for r in loops if not _has_rank(space, t, problem.ranks[r]))
            if lacks and (may or t in problem.external):
                found[MayStay(loops, lacks, t in problem.counted)] = None
    return tuple(found)


def orders_of_tiles(
    problem: GroupProblem, orders: Sequence[tuple[int, ...]], grid: Ints
) -> list[tuple[int, Ints]]:
    """Orders of a fused group's shared loops, by place, and the tiles that each may be best for.

    orders: of `dram_orders`. grid: tiles, int64[R, n].
    """
    if not grid.shape[1]:  # as where a core's keys are too few to be cut
        return [(0, grid)]
    if fixed_shared_orders(problem):
        return _obeying(problem, orders, grid)
    if not problem.counted:  # they are few, one for each chain
        return [(number, grid) for number in range(len(orders))]
    sizes = np.array([r.size for r in problem.ranks], dtype=np.int64)[:, None]
    patterns, _, which = distinct_columns((grid < sizes).astype(np.int64))
    needed = np.zeros((patterns.shape[1], len(orders)), np.bool_)
    stays = stays_of(problem)
    for i, pattern in enumerate(patterns.T):
        real = frozenset(np.flatnonzero(pattern).tolist())
        needed[i, list(needed_orders(tuple(orders), real, stays, problem.masked_pair))] = True
    found = ((number, grid[:, needed[which, number]]) for number in range(len(orders)))
    return [(number, some) for number, some in found if some.shape[1]]


def _obeying(
    problem: GroupProblem, orders: Sequence[tuple[int, ...]], grid: Ints
) -> list[tuple[int, Ints]]:
    """The same under the rules of a group's Einsums: every order that obeys, once."""
    sizes = np.array([r.size for r in problem.ranks], dtype=np.int64)[:, None]
    found: list[tuple[int, Ints]] = []
    for number, (order, (_, good)) in enumerate(
        zip(orders, new_loops(sizes // grid, orders), strict=True)
    ):
        for relevant, own in fixed_shared_orders(problem):
            good &= obeyed(relevant, tuple(r for r in order if r in own), grid < sizes)
        found.append((number, grid[:, good]))
    return found


def fixed_shared_orders(problem: GroupProblem) -> list[tuple[tuple[int, ...], frozenset[int]]]:
    """Permutations of DRAM loops in a fused group: the ranks listed, and all of that Einsum."""
    position = {m: i for i, rank in enumerate(problem.ranks) for m in rank.members}
    return [
        (
            tuple(position[m] for m in rule.innermost if m in space.einsum.ranks),
            frozenset(position[m] for m in space.einsum.ranks),
        )
        for space in problem.spaces
        for rule in space.rules(dram(space), "temporal")
        if set(rule.innermost) & set(space.einsum.ranks)
    ]


def _has_rank(space: EinsumSpace, tensor: str, rank: Rank) -> bool:
    """True if a rank of the group is one of a tensor's own."""
    return rank in space.ranks and space.relevant[tensor][space.ranks.index(rank)]


def _own_orders(space: EinsumSpace) -> list[tuple[int, ...]]:
    """Orders of the DRAM loops of an Einsum on its own."""
    lacking = [
        frozenset(r for r, yes in enumerate(space.relevant[t]) if not yes) for t in space.tensors
    ]
    # Ranks that all tensors have stand outermost, where their loops part no others.
    follow = {r for r, yes in enumerate(space.common) if yes and not is_bound_outside(space, r)}
    common = tuple(r for r, yes in enumerate(space.common) if yes and r not in follow)
    common += tuple(sorted(follow))
    others = [r for r in range(len(space.ranks)) if r not in common]
    orders = [order + common for order in chain_orders(others, lacking)]
    found = allowed_orders(orders, space, dram(space))
    return [order for order in found if set(order[len(order) - len(follow) :]) == follow]


class MayStay(NamedTuple):
    """Loops that a tensor may stay over in an Einsum, by group rank: all that an order decides."""

    loops: frozenset[int]  # of the Einsum
    lacks: frozenset[int]  # of these, over ranks that the tensor lacks
    counted: bool  # whether DRAM moves a number of its words in all


_Way = tuple[tuple[frozenset[int], ...], tuple[int, ...]]


@cache
def needed_orders(
    orders: tuple[tuple[int, ...], ...],
    real: frozenset[int],
    stays: tuple[MayStay, ...],
    masked: tuple[int, int] | None = None,
) -> tuple[int, ...]:
    """Of orders of shared loops, innermost first, those that may be the best, by their places.

    An order goes if in another one every tensor stays over the same loops or more, and one of
    which DRAM moves a number of words in all over the same (lemma 2). Of equals the first stays.

    real: loops of two passes or more. masked: those of queries and keys, whose rows may differ.
    """
    found: dict[_Way, int] = {}
    for number, order in enumerate(orders):
        loops = [r for r in order if r in real]
        runs = tuple(
            frozenset(takewhile(one.lacks.__contains__, filter(one.loops.__contains__, loops)))
            for one in stays
        )
        inner = [r for r in loops if r in (masked or ())][:1]
        found.setdefault((runs, tuple(inner)), number)

    def goes(key: _Way) -> bool:
        return any(
            inner == key[1]
            and runs != key[0]
            and all(
                run == less if one.counted else run >= less
                for one, run, less in zip(stays, runs, key[0], strict=True)
            )
            for runs, inner in found
        )

    return tuple(number for key, number in found.items() if not goes(key))


def inner_orders(
    space: EinsumSpace, tensors: Collection[str], counted: Collection[str]
) -> list[tuple[int, ...]]:
    """Orders of a level's loops that may differ in cost, innermost first.

    tensors: with a tile right below that may stay. counted: those of which DRAM moves a number of
             words in all.
    """
    ranks = range(len(space.ranks))
    lacks = {t: frozenset(r for r in ranks if not space.relevant[t][r]) for t in tensors}
    if not any(lacks[t] for t in counted):
        return chain_orders(ranks, list(dict.fromkeys(lacks.values())))
    some = frozenset(r for r in ranks if space.sizes[r] > 1)
    stays = dict.fromkeys(MayStay(some, lacks[t] & some, t in counted) for t in tensors)
    return list(_of_any_loops(tuple(permutations(ranks)), tuple(sorted(some)), tuple(stays)))


@cache
def _of_any_loops(
    orders: tuple[tuple[int, ...], ...], ranks: tuple[int, ...], stays: tuple[MayStay, ...]
) -> tuple[tuple[int, ...], ...]:
    """Those that are needed for some real loops among ranks."""
    every = chain.from_iterable(combinations(ranks, n) for n in range(len(ranks) + 1))
    needed = {i for real in every for i in needed_orders(orders, frozenset(real), stays)}
    return tuple(orders[i] for i in sorted(needed))
