"""Weighted-sum (dichotomic) search: the best of groups that run one after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from math import inf, prod, sqrt

import numpy as np

from flat_mapper.base.budget import Budget, Stopped
from flat_mapper.base.tolerance import EQUAL, whole_cycles
from flat_mapper.cost_model.result import Infeasible
from flat_mapper.mapper.bounds.candidate_set import CandidateCache
from flat_mapper.mapper.group.group import GroupSearch
from flat_mapper.mapper.group.incumbent import Costs, Goal, GoalIncumbent, better_pair
from flat_mapper.mapper.group.picks import GroupSolution, total_of
from flat_mapper.mapper.solve.symmetry import renamed, symmetric_groups
from flat_mapper.mapper.space.group import GroupProblem

SAME_WEIGHT = 1e-6  # chosen: weights that are as near are one
MOST_LINES = 32  # chosen: by so many a bound that is not proven under each grows no more


def weight_between(
    fast: Costs, lean: Costs, top: float, weights: tuple[float, float] = (inf, 0.0)
) -> float | None:
    """The weight of cycles under which a corner of the hull is found between two others, if any.

    No point between two corners lies below the lines of the weights under which they are the best.
    top: the product of cycles and pJ that it has to be below. weights: of the two; by default the
    least cycles and the least pJ.
    """
    (c0, e0), (c1, e1) = fast, lean
    cycles, energy = c0, e1
    if weights[1] < weights[0] < inf:
        cycles = (weights[0] * c0 + e0 - weights[1] * c1 - e1) / (weights[0] - weights[1])
        energy = weights[1] * (c1 - cycles) + e1
    if c1 <= c0 or e1 >= e0 or max(c0 * e1, cycles * energy) >= top:
        return None
    return (e0 - e1) / (c1 - c0)


def corners_between[Found](
    ends: tuple[tuple[float, Found], tuple[float, Found]],
    cost: Callable[[Found], Costs],
    middle: Callable[[float], Found],
    top: float,
    enough: Callable[[list[Found]], bool],
) -> list[Found]:
    """Corners of the hull from one to another, as far as some product may be the least.

    ends: each with the weight of cycles under which it is the best, the heavier first.
    middle: the best under a weight. top: a product that is known. enough: whether to leave off.
    """
    corners, todo = [found for _, found in ends], [ends]
    while todo and not enough(corners):
        left, right = todo.pop()
        least = min(top, *(prod(cost(c)) for c in corners))
        weight = weight_between(cost(left[1]), cost(right[1]), least, (left[0], right[0]))
        if weight is None:
            continue
        found = middle(weight)
        own, other = (weight * c + e for c, e in (cost(found), cost(left[1])))
        if own < other * (1 - EQUAL):
            corners.append(found)
            todo += [(left, (weight, found)), ((weight, found), right)]
    return corners


def best_product[Path](
    least: Costs,
    under: Callable[[float, float], tuple[Path, float]],
    costs: Callable[[Path], Costs],
    late: Callable[[], bool],
    known: Sequence[Path] = (),
) -> tuple[Path, float]:
    """The path with the least product of summed cycles and summed energy, and its lower bound.

    The best under one weight of cycles against energy after another, until what all of them prove
    leaves no room for a smaller product (lemma 22).

    least: cycles, and pJ with leakage, of any path.
    under: by weight and a bound that is enough the best path, and the bound of any.
    costs: of a path; infinite where it is none.
    late:  whether to leave off.
    known: paths that are found before.
    """
    cycles, energy = least
    lines, paths = [(1.0, 0.0, cycles), (0.0, 1.0, energy)], list(known)
    while True:
        points = [costs(path) for path in paths]
        best = min(points, key=prod, default=(inf, inf))
        if prod(best) < inf:
            step = next_weight(lines, points)
        else:
            step = energy / cycles if cycles < inf else 1.0, inf
        if step is None:
            return paths[points.index(best)], prod(best)
        weight, enough = step
        again = any(abs(weight - w) <= SAME_WEIGHT * w for w, _, _ in lines[2:])
        if (paths and late()) or again or len(lines) > MOST_LINES:
            return paths[points.index(best)], least_product(lines)
        found, bound = under(weight, enough)
        own = costs(found)
        if prod(own) == inf:
            return found, inf
        value = weight * own[0] + own[1]
        lines.append((weight, 1.0, value if bound >= value * (1 - EQUAL) else bound))
        paths.append(found)


def quick_mapping(search: GroupSearch, goal: Goal) -> GroupSolution | None:
    """A good mapping of a group, not the best one; None where the quick way finds none."""
    incumbent = GoalIncumbent.of((goal,), (None,))
    with search.budget.until_stopped(lambda: not incumbent.open):
        search.warm(incumbent)
    return incumbent.solutions[0]


def staged_mapping(
    problem: GroupProblem, known: CandidateCache, budget: Budget, goal: Goal
) -> GroupSolution | None:
    """A mapping of a group in which all its tensors are staged, found the quick way.

    These are few outer choices, however many Einsums there are. known: see `GroupSearch`.
    """
    fusion = replace(problem.mapspace.fusion, staging="all")
    group = replace(problem.group, beside=())  # that set is there in every execution order
    one = replace(problem, group=group, mapspace=replace(problem.mapspace, fusion=fusion))
    return quick_mapping(GroupSearch.of(one, CandidateCache(), budget).again(known), goal)


@dataclass(slots=True)
class _Pool:
    """The solutions of one group, each with the goal under which it is the best."""

    search: GroupSearch
    found: list[tuple[Goal, GroupSolution]] = field(default_factory=list)
    start: GroupSolution | None = None  # a good one, under no goal the best
    bounds: dict[Goal, float] = field(default_factory=dict)  # proven, of goals that were solved
    exact: bool = True  # whether all of these were solved to the end

    def known(self, goal: Goal) -> GroupSolution | None:
        """The best under a goal, where that follows from what is solved already.

        Under a weight of cycles against energy: what is best under a lighter weight and as fast as
        can be is best under every heavier one; and what is best under a lighter and under a heavier
        weight is best between them.
        """
        least = whole_cycles(self.search.floor()[0])
        lighter: list[GroupSolution] = []
        heavier: list[GroupSolution] = []
        for own, solution in self.found:
            if own == goal:
                return solution
            if own.kind == goal.kind == "weighted" and own.weight <= goal.weight:
                if solution.cycles <= least:
                    return solution
                lighter.append(solution)
            elif own.kind == goal.kind == "weighted":
                heavier.append(solution)
        costs = {(solution.cycles, solution.energy) for solution in heavier}
        return next((s for s in lighter if (s.cycles, s.energy) in costs), None)

    def warm(self, goal: Goal) -> GroupSolution | None:
        """A good solution, not the best one; None where the quick way finds none."""
        self.start = self.best(goal) or quick_mapping(self.search, goal)
        return self.start

    def proven(self, goal: Goal) -> float:
        """Lower bound on a goal that is a sum over groups."""
        least = self.search.least(goal)
        known = self.known(goal) if self.exact else None
        if known is not None:
            least = max(least, _value(goal, known))
        return max(least, self.bounds.get(goal, 0.0))

    def solve(self, goals: list[Goal]) -> Infeasible | None:
        """Solve for all goals that are not known yet, in one pass.

        raises: Stopped where the budget ends before there is a mapping.
        """
        new = tuple(g for g in dict.fromkeys(goals) if self.known(g) is None)
        if not new:
            return None
        starts = [self.best(g) for g in new]
        incumbent = GoalIncumbent.of(
            new, tuple((s.cycles, s.energy) if s else None for s in starts)
        )
        self.search.solve(incumbent, warmed=not incumbent.open)
        for goal, start, solution in zip(new, starts, incumbent.solutions, strict=True):
            chosen = solution or start
            if chosen is None and self.search.budget.stopped:
                raise Stopped  # it may have a mapping: nobody has looked for all of them
            if chosen is None:
                return self.search.infeasibility()
            left = self.search.proven(goal)
            self.bounds[goal] = min(_value(goal, chosen), left)
            self.exact &= left >= _value(goal, chosen)
            self.found.append((goal, chosen))
        return None

    def best(self, goal: Goal) -> GroupSolution | None:
        """The best so far under a goal."""
        best = self.start
        for _, other in self.found:
            if best is None or better_pair(
                goal, (other.cycles, other.energy), (best.cycles, best.energy)
            ):
                best = other
        return best


class WeightedSumSearch:
    """The groups of one alternative. Those that differ in names only are solved once."""

    def __init__(self, searches: list[GroupSearch], goal: Goal, gap: float = 0.0) -> None:
        self.searches, self.goal, self.gap = searches, goal, gap
        self.weights: dict[Goal, None] = {}
        self.same = symmetric_groups([s.problem for s in searches])
        self.pools = {i: _Pool(searches[i]) for i in dict.fromkeys(self.same)}

    def best(self, known: Costs | None) -> list[GroupSolution] | Infeasible:
        """Groups that are the best together; known: of another alternative, to improve on."""
        every = [pool.search for pool in self.pools.values()]
        refused = [search for search in every if not search.fits]
        if refused:  # before the others are searched for nothing
            return refused[0].infeasibility()
        if self.goal.kind == "edp":
            return self.product(known)
        self._quick(self.goal)
        infeasible = self._solved([self.goal])
        return self._chosen(self.goal) if infeasible is None else infeasible

    def product(self, best: Costs | None) -> list[GroupSolution] | Infeasible:
        """Groups with the least product of summed cycles and summed energy.

        A product of two sums is quasi-concave, so its minimum over all combinations is at a corner
        of their convex hull; and a corner of a sum of sets is the sum of their corners under one
        weight of cycles against energy. At the minimum (C, E) that weight is E / C. Bounds of C and
        E from below and one known product enclose it; between the two ends weights are tried until
        no new corner can improve.

        best: cycles and pJ of another alternative, to improve on.
        """
        bounds = [self.searches[i].floor() for i in self.same]
        least = self._whole((sum(c for c, _ in bounds), sum(e for _, e in bounds)))
        goal = self._weight(least[1] / least[0])
        if not self._quick(goal):
            infeasible = self._solved([goal])
            if infeasible is not None:
                return infeasible
        corners = [self._chosen(goal)]
        known = min(prod(self._cost(corners[0])), prod(self._whole(best)) if best else inf)
        ends = [self._weight(known / least[0] ** 2), self._weight(least[1] ** 2 / known)]
        infeasible = self._solved(ends)
        if infeasible is not None:
            return infeasible
        fast, lean = ((g.weight, self._chosen(g)) for g in ends)
        enough = self._near_enough
        corners += corners_between((fast, lean), self._cost, self._middle, known, enough)
        best_corner = corners[0]
        for corner in corners[1:]:
            if better_pair(self.goal, total_of(corner), total_of(best_corner)):
                best_corner = corner
        return best_corner

    def _middle(self, weight: float) -> list[GroupSolution]:
        """Groups that are the best together under a weight."""
        goal = self._weight(weight)
        self._solved([goal])
        return self._chosen(goal)

    def _quick(self, goal: Goal) -> bool:
        """True if every group has a good mapping, found the quick way: then the search may stop."""
        # Those of most Einsums last: the more is left of the time, the longer they look.
        every = sorted(self.pools.values(), key=lambda pool: len(pool.search.problem.spaces))
        return all([pool.warm(goal) for pool in every])

    def so_far(self) -> Costs | None:
        """Cycles and pJ of each group's best so far together; None where one has none."""
        goal = next(reversed(self.weights), self.goal)
        found = [self.pools[i].best(goal) for i in self.same]
        known = [solution for solution in found if solution is not None]
        return total_of(known) if len(known) == len(found) else None

    def _near_enough(self, corners: list[list[GroupSolution]]) -> bool:
        """True if the best corner is known to be as near to the best of all as is asked for."""
        if not self.gap:
            return False
        top = min(prod(self._cost(c)) for c in corners)
        return self.bound() * (1 + self.gap) >= top

    @property
    def exact(self) -> bool:
        """True if every group was solved to the end."""
        return all(pool.exact for pool in self.pools.values())

    def bound(self) -> float:
        """Lower bound on the objective of the groups together.

        A weighted sum of cycles and energy that no combination is below is a half-plane with all of
        them, and so are the least cycles and energy. The product is quasi-concave: over what the
        half-planes have in common it is least at a corner.
        """
        if self.goal.kind != "edp":
            return sum(self.pools[i].proven(self.goal) for i in self.same)
        floors = [self._whole(self.searches[i].floor()) for i in self.same]
        lines = [(1.0, 0.0, sum(c for c, _ in floors)), (0.0, 1.0, sum(e for _, e in floors))]
        lines += [
            (g.weight, 1.0, sum(self.pools[i].proven(g) for i in self.same)) for g in self.weights
        ]
        return least_product(lines)

    def _weight(self, weight: float) -> Goal:
        goal = Goal(kind="weighted", weight=weight, leak=self.goal.leak)
        self.weights.setdefault(goal)
        return goal

    def _whole(self, costs: Costs) -> Costs:
        """Cycles, and pJ with leakage."""
        return costs[0], float(self.goal.whole(np.array(costs[0]), np.array(costs[1])))

    def _cost(self, found: list[GroupSolution]) -> Costs:
        return self._whole(total_of(found))

    def _solved(self, goals: list[Goal]) -> Infeasible | None:
        """Solve every group under some goals, or say which one has no mapping."""
        for pool in self.pools.values():
            infeasible = pool.solve(goals)
            if infeasible is not None:
                return infeasible
        return None

    def _chosen(self, goal: Goal) -> list[GroupSolution]:
        """Every group's best under a goal that is solved; else what is good."""
        chosen = []
        for one, i in zip(self.searches, self.same, strict=True):
            solution = self.pools[i].known(goal) or self.pools[i].start
            assert solution is not None
            own = one is self.searches[i]
            chosen.append(solution if own else renamed(solution, one.problem))
        return chosen


def _value(goal: Goal, solution: GroupSolution) -> float:
    """Value of a solution that a goal minimises."""
    return float(goal.first(np.array(solution.cycles), np.array(solution.energy)))


Line = tuple[float, float, float]
Point = tuple[float, float]  # cycles and pJ
OUTSIDE = 1e-9  # chosen: by so much rounding may put a corner outside
TILT = 0.01  # chosen: by so much a weight leaves the chord, where a better point may yet be found


def least_product(lines: Sequence[Line]) -> float:
    """Lower bound on the product of cycles and energy, by what weighted sums of them come to.

    The product is quasi-concave: over what the half-planes have in common it is least at a corner.
    """
    found = min((x * y for x, y, _ in _corners(lines)), default=inf)
    alone = lines[0][2] * lines[1][2]
    return max(found, alone) if found < inf else alone


def next_weight(lines: Sequence[Line], points: Sequence[Point]) -> tuple[float, float] | None:
    """The weight of cycles under which to look next for a product below those of some points.

    And the sum that is enough: where none is below it, nothing around that corner is better.

    Around the corner of least product what may be better lies under a hyperbola, and so under its
    chord between the two edges at which the half-planes leave it: if no sum of the chord's weight
    is below the chord, nothing is better there (lemma 13). Where an edge is of cycles or of energy
    alone, and no point is on it, the weight is that of a chord a little farther out: a better point
    moves the hyperbola.

    None where no corner has a smaller product, but for corners that are one of the points.
    """
    top = min(x * y for x, y in points)
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
    return weight, max(sums, default=inf) * (1 + OUTSIDE)


def _corners(lines: Sequence[Line]) -> list[tuple[float, float, tuple[Line, Line]]]:
    """Corners of what the half-planes of some lines have in common, each with its two lines."""
    found = []
    for one, other in combinations(lines, 2):
        (a, b, least), (c, d, rest) = one, other
        if a * d == b * c:
            continue
        x = (least * d - rest * b) / (a * d - b * c)
        y = (a * rest - c * least) / (a * d - b * c)
        if all(p * x + q * y >= low * (1 - OUTSIDE) for p, q, low in lines):
            found.append((x, y, (one, other)))
    return found


def _meet_at(pair: tuple[Line, Line], point: Point) -> bool:
    """True if a point lies on two lines, which so meet there and nowhere else."""
    return all(a * point[0] + b * point[1] <= least * (1 + EQUAL) for a, b, least in pair)
