"""Shortest paths with weights that are raised lazily: how far next, and the least product."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, prod

from flat_mapper.mapper.group.incumbent import Costs
from flat_mapper.mapper.solve.weighted_sum import corners_between, least_product

STEP = 1e-4  # chosen: of a partition's cost, by which a group's bound is raised at least,
GROWTH = 8  # and so many times as much each time that it is raised again


def raised(least: float, total: float, beside: float, times: int) -> float:
    """The cost to which the bound of a group on the shortest path is raised next.

    From there on another path is shorter, or a step that grows each time: nearly equal paths would
    take turns else. least: its bound. total: the path's. beside: the shortest path's without it.
    times: that it is raised, with this one.
    """
    return least + max(beside - total, STEP * float(GROWTH) ** times * total)


def best_product[Path](
    least: Costs,
    under: Callable[[float], tuple[Path, float]],
    costs: Callable[[Path], Costs],
    late: Callable[[], bool],
) -> tuple[Path, float]:
    """The path with the least product of summed cycles and summed energy, and its lower bound.

    As `WeightedSumSearch.product`: corners of the hull under weights of cycles against energy,
    between two ends that the least cycles and energy enclose.

    least: cycles, and pJ with leakage, of any path.
    under: by weight the best path, and the bound of any.
    costs: of a path; infinite where it is none.
    late:  whether to leave off.
    """
    cycles, energy = least
    lines = [(1.0, 0.0, cycles), (0.0, 1.0, energy)]

    def corner(weight: float) -> Path:
        found, bound = under(weight)
        lines.append((weight, 1.0, bound))
        return found

    first = corner(energy / cycles if cycles < inf else 1.0)
    known = prod(costs(first))
    if known == inf:
        return first, inf
    heavy, light = known / cycles**2, energy**2 / known
    ends = (heavy, corner(heavy)), (light, corner(light))
    corners = [first, *corners_between(ends, costs, corner, known, lambda _: late())]
    return min(corners, key=lambda one: prod(costs(one))), least_product(lines)
