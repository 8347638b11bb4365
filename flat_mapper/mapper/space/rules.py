"""Rules of a mapspace about the loops at one node, held against factors and orders."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, permutations

import numpy as np

from flat_mapper.cost_model.candidates import Bools, Ints
from flat_mapper.cost_model.facts import Rank
from flat_mapper.mapper.space.einsum import EinsumSpace

_Order = tuple[int, ...]  # ranks by index, innermost first


def dram(space: EinsumSpace) -> str:
    """The outermost level's name."""
    return space.arch.levels[0].name


def shared(space: EinsumSpace) -> str:
    """The shared level's name."""
    return space.arch.levels[space.shared].name


def is_named(space: EinsumSpace, node: str, rank: Rank) -> bool:
    """True if a rule about a level's loops names a rank."""
    return any(
        member in named
        for rule in space.rules(node, "temporal")
        for named in (rule.factors, rule.at_most, rule.innermost)
        for member in rank.members
    )


def is_bound_outside(space: EinsumSpace, r: int) -> bool:
    """True if a rule about DRAM or the shared level names a rank: its loops may not move there."""
    return any(is_named(space, node, space.ranks[r]) for node in (dram(space), shared(space)))


def moves_inward(space: EinsumSpace, r: int) -> bool:
    """True if the rules let a loop at DRAM be the outermost one of the shared level instead."""
    rank = space.ranks[r]
    return space.allows(dram(space), "temporal", rank, 1) and not is_named(
        space, shared(space), rank
    )


def is_one_level(space: EinsumSpace) -> bool:
    """True if all DRAM loops may as well stand at the shared level, as far as rules go."""
    return all(moves_inward(space, r) for r in range(len(space.ranks)))


def shared_fits(space: EinsumSpace, tile: Ints, inner: Ints) -> Bools:
    """True if the shared level's loops obey the rules: those between two tiles int64[R, n].

    tile: below the DRAM loops; 0: the inner one.
    """
    good = np.ones(inner.shape[1], np.bool_)
    for rule in space.rules(shared(space), "temporal"):
        for r, rank in enumerate(space.ranks):
            factor = np.where(tile[r] == 0, 1, tile[r] // inner[r])
            for member in rank.members:
                if member in rule.factors:
                    good &= factor == rule.factors[member]
                if member in rule.at_most:
                    good &= factor <= rule.at_most[member]
    return good


def permutations_at(space: EinsumSpace, node: str) -> list[_Order]:
    """The innermost ranks that the rules fix at a level, each list once."""
    found: dict[_Order, None] = {}
    for rule in space.rules(node, "temporal"):
        named = [
            next((i for i, rank in enumerate(space.ranks) if m in rank.members), -1)
            for m in rule.innermost
        ]
        found[tuple(dict.fromkeys(i for i in named if i >= 0))] = None
    return [order for order in found if order]


def allowed_orders(orders: list[_Order], space: EinsumSpace, node: str) -> list[_Order]:
    """Orders under the rules of a mapspace, made of those that matter without them.

    One rule fixes the innermost ranks. Under several, each order of all ranks is taken, and
    `in_order` tells which loops may stand in it.
    """
    fixed = permutations_at(space, node)
    if len(fixed) > 1:
        return list(permutations(range(len(space.ranks))))
    for own in fixed:
        orders = list(
            dict.fromkeys(own + tuple(r for r in order if r not in own) for order in orders)
        )
    return orders


def in_order(space: EinsumSpace, node: str, order: _Order, factors: Ints) -> Bools:
    """True if the real loops among int64[R, n] factors obey every permutation of a level."""
    good = np.ones(factors.shape[1], np.bool_)
    for own in permutations_at(space, node):
        good &= obeyed(own, order, factors > 1)
    return good


def obeyed(own: Sequence[int], order: _Order, real: Bools) -> Bools:
    """True if the real loops bool[R, n] of an order have some ranks innermost, as listed."""
    good = np.ones(real.shape[1], np.bool_)
    place = {r: i for i, r in enumerate(own)}
    for inner, outer in combinations(order, 2):
        if place.get(inner, len(own)) > place.get(outer, len(own)):
            good &= ~(real[inner] & real[outer])
    return good
