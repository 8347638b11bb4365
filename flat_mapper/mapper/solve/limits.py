"""Limits of latency, energy and buffer beside the objective, in the same search.

A goal under limits is infinite where a lower bound is over one of them, so whatever prunes by
bounds prunes by limits as well; what is left to compare keeps all of them. Of groups in sequence
the limits are of sums: the best combination is on the front of cycles and energy, which is a sum of
fronts, and need not be a corner of its hull.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import floor, inf

import numpy as np

from flat_mapper.arch.values import Platform
from flat_mapper.base.budget import Limits
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.mapper.group.group import GroupSearch
from flat_mapper.mapper.group.objective import Goal, Objective, best_index
from flat_mapper.mapper.group.picks import GroupSolution, total_of
from flat_mapper.mapper.solve.certificate import Solution
from flat_mapper.mapping.sharing import shared_level
from flat_mapper.workload.graph import Workload


def limited_goal(goal: Goal, limits: Limits, workload: Workload, platform: Platform) -> Goal:
    """A goal under limits of the whole answer: in cycles and pJ of one run of the workload."""
    cycles = limits.latency_s / platform.matrix.cycle_seconds / workload.repeat
    pj = limits.energy_j * 1e12 / workload.repeat
    return replace(goal, most_cycles=cycles, most_pj=pj)


def buffer_words(limits: Limits, platform: Platform) -> int | None:
    """Words of the shared level that a limit leaves; None: all."""
    if limits.buffer_bytes == inf:
        return None
    return floor(limits.buffer_bytes * 8 / shared_level(platform).word_bits)


def limited_sequence(
    searches: list[GroupSearch], goal: Goal
) -> tuple[list[GroupSolution] | Infeasible | None, float]:
    """The best groups in sequence under limits of their sums; None where nothing keeps them.

    returns: also the lower bound of what was not searched.
    """
    from flat_mapper.mapper.solve.front_search import front_in_sequence

    free = replace(goal.free, kind="edp")
    found = front_in_sequence(searches, [], free)
    if isinstance(found, Infeasible):
        return found, inf
    cycles, energy = np.array([total_of(groups) for groups in found]).T
    best = best_index(goal, cycles, energy)
    if goal.first(cycles, energy)[best] == inf:
        return None, inf
    left = any(s.proven(free) < inf for s in searches)
    floors = [s.floor() for s in searches]
    least = np.array(sum(c for c, _ in floors)), np.array(sum(e for _, e in floors))
    return list(found[best]), float(goal.first(*least)) if left else inf


def is_over(result: Result, limits: Limits) -> bool:
    """True if a result takes more than a limit of latency or energy."""
    return result.latency_s > limits.latency_s or result.energy_pj > limits.energy_j * 1e12


def binding_limit(
    limits: Limits,
    solved: Callable[[Objective, Limits], Solution | Infeasible | None],
) -> Infeasible:
    """The limit that no mapping keeps, by the least that mappings take which keep the others.

    solved: the best mapping for an objective under some limits.
    """
    room = Limits(buffer_bytes=limits.buffer_bytes)
    within = replace(limits, latency_s=inf)
    tries: list[tuple[Objective, Limits]]
    tries = [("latency", room), ("energy", room), ("latency", within)]
    for objective, own in tries:
        best = solved(objective, own)
        if not isinstance(best, Solution):
            assert best is not None
            return best
        fault = _over(best.result, limits, objective)
        if fault is not None:
            return fault
    raise AssertionError("every limit is kept, and no mapping was found")


def _over(result: Result, limits: Limits, objective: Objective) -> Infeasible | None:
    """The fault of a mapping that is the least in an objective, where it is over a limit."""
    if objective == "latency" and result.latency_s > limits.latency_s:
        needs, has, unit = result.latency_s * 1e9, limits.latency_s * 1e9, "ns"
    elif objective == "energy" and result.energy_pj > limits.energy_j * 1e12:
        needs, has, unit = result.energy_pj, limits.energy_j * 1e12, "pJ"
    else:
        return None
    beside = limits.energy_j < inf and objective == "latency"
    hint = "allow more" + (", or more energy" if beside else "")
    if limits.buffer_bytes < inf:
        hint += f", or more than {limits.buffer_bytes:,.0f} bytes of buffer"
    return Infeasible(
        level=f"--max-{objective}",
        needs=-int(-needs // 1),
        has=int(has),
        terms=(),
        hint=hint,
        unit=unit,
    )
