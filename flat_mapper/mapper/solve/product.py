"""The least product of two sums, by the least weighted sums of the two."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from math import inf, prod, sqrt

from flat_mapper.base.tolerance import EQUAL
from flat_mapper.mapper.group.incumbent import CyclesPj

SAME_WEIGHT = 1e-6  # chosen: weights that are as near are one
MOST_LINES = 32  # chosen: by so many a bound that is not proven under each grows no more
_Line = tuple[float, float, float]
_Point = tuple[float, float]  # cycles and pJ
_OUTSIDE = 10 * EQUAL  # chosen: by so much rounding may put a corner outside
TILT = 0.01  # chosen: by so much a weight leaves the chord, where a better point may yet be found


def best_product[Path](
    least: CyclesPj,
    under: Callable[[float, float], tuple[Path | None, float]],
    costs: Callable[[Path], CyclesPj],
    late: Callable[[], bool],
    known: Sequence[Path] = (),
    top: float = inf,
    gap: float = 0.0,
) -> tuple[Path | None, float]:
    """The path with the least product of summed cycles and summed energy, and its lower bound.

    The best under one weight of cycles against energy after another, until what all of them prove
    leaves no room for a smaller product (lemma 22).

    least: cycles, and pJ with leakage, of any path.
    under: by weight and a bound that is enough the best path, None where there is none, and the
           bound of any.
    costs: of a path.
    late:  whether to leave off.
    known: paths that are found before.
    top:   a product from which on a path is of no use.
    gap:   relative; a product that is as near to the bound is near enough.
    """
    cycles, energy = least
    lines, paths = [(1.0, 0.0, cycles), (0.0, 1.0, energy)], list(known)
    near = 1 + gap  # times its bound at which a product is near enough
    while True:
        best = min(paths, key=lambda path: prod(costs(path)), default=None)
        most = top if best is None else min(top, prod(costs(best)))
        proven = least_product(lines)
        if near > 1 and most < inf and proven * near >= most:
            return best, proven
        step: tuple[float, float] | None = energy / cycles if cycles > 0 else 1.0, inf
        if most < inf:
            step = next_weight(lines, [costs(path) for path in paths], most / (1 + gap))
        if step is None:
            return best, most / (1 + gap)
        # Between the last two lies the weight of whatever is below, by the least cycles and pJ.
        ends = ((w, inf) for w in (energy**2 / most, most / cycles**2) if 0 < w < inf)
        new = (one for one in (step, *ends) if not _tried(one[0], lines))
        weight, enough = next(new, (inf, inf))
        if (paths and late()) or weight == inf or len(lines) > MOST_LINES:
            return best, most if proven >= most * (1 - _OUTSIDE) else proven
        found, bound = under(weight, enough)
        if found is None:
            return best, inf if bound == inf else least_product([*lines, (weight, 1.0, bound)])
        value = weight * costs(found)[0] + costs(found)[1]
        lines.append((weight, 1.0, value if bound >= value * (1 - EQUAL) else bound))
        paths.append(found)
        # What a sum leaves unproven, no other weight proves: of a product it is twice as much.
        left = value / bound if 0 < bound < min(value, enough) * (1 - EQUAL) else 1.0
        near = max(1 + gap, left**2)


def _tried(weight: float, lines: Sequence[_Line]) -> bool:
    return any(abs(weight - w) <= SAME_WEIGHT * w for w, _, _ in lines[2:])


def least_product(lines: Sequence[_Line]) -> float:
    """Lower bound on the product of cycles and energy, by what weighted sums of them come to.

    The product is quasi-concave: over what the half-planes have in common it is least at a corner.
    """
    found = min((x * y for x, y, _ in _corners(lines)), default=inf)
    alone = lines[0][2] * lines[1][2]
    return max(found, alone) if found < inf else alone


def next_weight(
    lines: Sequence[_Line], points: Sequence[_Point], top: float
) -> tuple[float, float] | None:
    """The weight of cycles under which to look next for a product below `top`.

    And the sum that is enough: where none is below it, nothing around that corner is better.

    Around the corner of least product what may be better lies under a hyperbola, and so under its
    chord between the two edges at which the half-planes leave it: if no sum of the chord's weight
    is below the chord, nothing is better there (lemma 22). Where an edge is of cycles or of energy
    alone, and no point is on it, the weight is that of a chord a little farther out: a better point
    moves the hyperbola.

    None where no corner has a smaller product, but for corners that are one of the points.
    """
    corners = [
        (x * y, x)
        for x, y, pair in _corners(lines)
        if x * y < top * (1 - EQUAL) and not any(_meet_at(pair, point) for point in points)
    ]
    if not corners:
        return None
    _, x = min(corners)
    low = least = lines[0][2]
    high = most = top / lines[1][2] if lines[1][2] else inf
    for w, each, total in lines[2:]:
        inside = total * total - 4 * w * each * top
        if inside <= 0 or not w:
            continue  # nowhere on this line is the product so large
        ends = [(total + sign * sqrt(inside)) / (2 * w) for sign in (-1, 1)]
        if ends[1] <= x * (1 + EQUAL):
            low = max(low, ends[1])
        if ends[0] >= x * (1 - EQUAL):
            high = min(high, ends[0])
    weight = top / (low * high)
    if high == most and all(energy > lines[1][2] * (1 + EQUAL) for _, energy in points):
        weight *= 1 - TILT
    elif low == least and all(cycles > least * (1 + EQUAL) for cycles, _ in points):
        weight *= 1 + TILT
    sums = (weight * cycles + top / cycles for cycles in (low, high) if 0 < cycles < inf)
    return weight, max(sums, default=inf) * (1 + _OUTSIDE)


def _corners(lines: Sequence[_Line]) -> list[tuple[float, float, tuple[_Line, _Line]]]:
    """Corners of what the half-planes of some lines have in common, each with its two lines."""
    found = []
    for one, other in combinations(lines, 2):
        (a, b, least), (c, d, rest) = one, other
        if a * d == b * c:
            continue
        x = (least * d - rest * b) / (a * d - b * c)
        y = (a * rest - c * least) / (a * d - b * c)
        if all(p * x + q * y >= low * (1 - _OUTSIDE) for p, q, low in lines):
            found.append((x, y, (one, other)))
    return found


def _meet_at(pair: tuple[_Line, _Line], point: _Point) -> bool:
    """True if a point lies on two lines, which so meet there and nowhere else."""
    return all(a * point[0] + b * point[1] <= least * (1 + EQUAL) for a, b, least in pair)
