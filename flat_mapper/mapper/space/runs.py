"""Orders of loops by what they decide: the loops that each tensor stays over.

Of an input of which DRAM moves a number of words in all, as a level between it and the cores keeps
it, the first words wait less where it comes again (lemma 2).
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from itertools import chain, combinations, permutations, takewhile
from typing import NamedTuple

from flat_mapper.mapper.space.einsum import EinsumSpace, loop_orders


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
        return loop_orders(ranks, list(dict.fromkeys(lacks.values())))
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
