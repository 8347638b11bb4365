"""Factors and orders of ranks in the constraints of a node, in all the ways they are written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from math import prod

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.spec.document import checked, did_you_mean, kind_of

_FACTOR = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*?)\s*(<=|>=|=|)\s*([0-9]{1,18})\s*(?:,|\s|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorLimits:
    """Factors by rank: exact ones (0: the whole rank), and bounds from above."""

    exact: Mapping[str, int] = field(default_factory=dict)
    at_most: Mapping[str, int] = field(default_factory=dict)

    def joined(self, other: FactorLimits) -> FactorLimits:
        """Both together; of a rank that both name, what stands here."""
        own = {*self.exact, *self.at_most}
        return FactorLimits(
            exact={**{r: n for r, n in other.exact.items() if r not in own}, **self.exact},
            at_most={**{r: n for r, n in other.at_most.items() if r not in own}, **self.at_most},
        )

    def over(self, sizes: Mapping[str, int]) -> FactorLimits:
        """Those of some ranks, by their sizes; a factor above the size says nothing."""
        exact = {r: n or sizes[r] for r, n in self.exact.items() if r in sizes}
        return FactorLimits(
            exact={r: n for r, n in exact.items() if n <= sizes[r]},
            at_most={r: n for r, n in self.at_most.items() if r in sizes and n < sizes[r]},
        )


def largest_factors(sizes: Mapping[str, int], capacity: int) -> dict[str, int]:
    """The divisors of ranks, one for each, whose product is the largest within a capacity.

    Of several such products, the one that gives most to the ranks named first.
    """
    found: dict[int, dict[str, int]] = {1: {}}
    for rank, size in sizes.items():
        divisors = [n for n in range(1, min(size, capacity) + 1) if size % n == 0]
        grown = {
            reached * n: {**factors, rank: n}
            for reached, factors in found.items()
            for n in divisors
            if reached * n <= capacity
        }
        found = dict(sorted(grown.items()))
    return found[max(found)]


def largest_on_mesh(
    sizes: Mapping[str, int],
    fixed: Mapping[str, int],
    mesh: tuple[int, int],
    axes: Mapping[str, str],
) -> dict[str, int]:
    """The divisors of ranks with the largest product on a mesh, each rank along one axis.

    fixed: factors that the mesh has besides.
    mesh:  copies along X and Y.
    axes:  `x` or `y` for ranks whose axis is given.
    """
    best: dict[str, int] = dict.fromkeys(sizes, 1)
    ranks = (*fixed, *sizes)
    for placed in product(*(axes.get(rank, "xy") for rank in ranks)):
        at = dict(zip(ranks, placed, strict=True))
        rooms = {
            axis: copies // prod(n for rank, n in fixed.items() if at[rank] == axis)
            for axis, copies in zip("xy", mesh, strict=True)
        }
        if not all(rooms.values()):
            continue
        found: dict[str, int] = {}
        for axis, room in rooms.items():
            found |= largest_factors({r: n for r, n in sizes.items() if at[r] == axis}, room)
        if prod(found.values()) > prod(best.values()):
            best = {rank: found[rank] for rank in sizes}
    return best


def read_factors(
    value: object, known: tuple[str, ...] | None, where: str, least: int = 0
) -> FactorLimits:
    """Factors from `[P=2, M<=4]`, `P=2 M=4`, `P2 M4` or `{P: 2}`.

    known: the ranks there are, where that is to be checked. least: the smallest factor.
    """
    if isinstance(value, Mapping):
        items: list[object] = [f"{rank}={factor}" for rank, factor in value.items()]
    else:
        listed = [value] if isinstance(value, str) else value
        items = checked([] if listed is None else listed, list, where)
    condition = f"RANK=N or RANK<=N with N >= {least}, as in P=1 or P<=8"
    exact: dict[str, int] = {}
    at_most: dict[str, int] = {}
    for i, item in enumerate(items):
        spot = f"{where}.{i}"
        if not isinstance(item, str):
            raise SpecError(f"{spot}: expected {condition}, got {kind_of(item)}")
        text, position = item.partition("#")[0].strip(), 0
        while position < len(text):
            found = _FACTOR.match(text, position)
            if found is None or found[2] == ">=" or int(found[3]) < least:
                raise SpecError(expected(spot, condition, text[position:]))
            rank, factor = found[1], int(found[3])
            if known is not None:
                _known(rank, known, spot)
            if rank in exact or rank in at_most:
                raise SpecError(expected(spot, "each rank once", rank, "remove one"))
            (at_most if found[2] == "<=" else exact)[rank] = factor
            position = found.end()
    return FactorLimits(exact=exact, at_most=at_most)


def read_order(value: object, known: tuple[str, ...], where: str) -> tuple[str, ...]:
    """Ranks innermost first, from `[R, S]`, `RS`, `R S` or `R,S`."""
    if isinstance(value, str):
        words = [w for w in re.split(r"[,\s]+", value.partition("#")[0]) if w]
        listed = [c for w in words for c in ([w] if w in known else w)]
    else:
        listed = [
            checked(r, str, where) for r in checked([] if value is None else value, list, where)
        ]
    ranks = tuple(_known(str(rank), known, where) for rank in listed)
    if len(set(ranks)) < len(ranks):
        raise SpecError(expected(where, "each rank once", ", ".join(ranks)))
    return ranks


def _known(rank: str, known: tuple[str, ...], where: str) -> str:
    if rank not in known:
        change = did_you_mean(rank, known) or "rename the ranks of one of the two"
        raise SpecError(expected(where, f"ranks of the problem, {', '.join(known)}", rank, change))
    return rank
