"""Alternatives of a search: cascades and partitions into groups; and back to a mapping."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import floor, inf

from flat_mapper.arch.values import Platform
from flat_mapper.base.budget import Budget, Limits, shortened
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.cost_model.widths import check_widths
from flat_mapper.energy.tables import Ert
from flat_mapper.mapper.bounds.candidate_set import CandidateCache
from flat_mapper.mapper.group.any_order import AnyOrder, of_orders
from flat_mapper.mapper.group.group import GroupSearch
from flat_mapper.mapper.group.incumbent import Goal, Objective
from flat_mapper.mapper.group.picks import GroupSolution
from flat_mapper.mapper.group.reconstruct import group_mapping
from flat_mapper.mapper.solve.certificate import Solution
from flat_mapper.mapper.space.execution import execution_orders
from flat_mapper.mapper.space.group import GroupProblem, group_problem
from flat_mapper.mapping.sharing import shared_level
from flat_mapper.mapping.space import Mapspace, partitions
from flat_mapper.mapping.values import FusedMapping
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.softmax import alternatives

_FEW = 3  # chosen: groups that a line of progress names


@dataclass(frozen=True, slots=True)
class Task:
    """One alternative: a form of the cascade, in one partition into groups."""

    cascade: Workload
    searches: list[GroupSearch]

    @property
    def name(self) -> str:
        """Its groups."""
        return " | ".join("+".join(s.problem.group.names) for s in self.searches)

    @property
    def phase(self) -> str:
        """Its groups as a line of progress names them; their number where they are many."""
        groups = [shortened(s.problem.group.names) for s in self.searches]
        return " | ".join(groups) if len(groups) <= _FEW else f"{len(groups)} groups"


@dataclass(slots=True)
class Tally:
    """Counts over all groups and alternatives, for the certificate."""

    size: int = 0
    evaluated: int = 0
    pruned: dict[str, int] = field(default_factory=dict)

    def add(self, task: Task) -> None:
        """Count the groups of an alternative."""
        for found in task.searches:
            c = found.counters
            self.size += found.space_size()
            self.evaluated += c.evaluated
            for rule, count in (
                ("outer: does not fit", c.outer_infeasible),
                ("outer: bound", c.outer_bounded),
                ("inner: bound", c.candidates_bounded),
            ):
                self.pruned[rule] = self.pruned.get(rule, 0) + count


def tasks(
    workload: Workload,
    platform: Platform,
    mapspace: Mapspace,
    ert: Ert,
    budget: Budget | None = None,
    buffer_words: int | None = None,
) -> list[Task]:
    """All alternatives, in the order of the mapspace.

    Execution orders of a group that stands alone are alternatives; of several groups each has
    orders of its own, as what they take adds up.

    budget:       of all their searches together.
    buffer_words: of the shared level that may be used; None: all.
    """
    check_widths(workload, platform)
    if not any(partitions(workload, mapspace)):
        raise SpecError(
            expected(workload.name, "an Einsum that costs something", "a free softmax alone")
        )
    found = []
    charged = mapspace.policy.softmax == "charged" and not workload.mask  # two passes: no mask
    for cascade in alternatives(workload, charged=charged):
        known = CandidateCache()
        for groups in partitions(cascade, mapspace):
            problems = [
                [
                    replace(
                        group_problem(cascade, platform, ert, mapspace, g),
                        buffer_words=buffer_words,
                    )
                    for g in execution_orders(cascade, platform, mapspace, group)
                ]
                for group in groups
            ]
            if len(groups) > 1 and _masked_apart([orders[0] for orders in problems]):
                condition = "a cascade whose keys are cut in one pass, such as softmax online"
                where = f"{cascade.name}: mask {cascade.mask}"
                raise SpecError(expected(where, condition, f"{cascade.softmax}, in several groups"))
            every = [[GroupSearch.of(p, known, budget) for p in orders] for orders in problems]
            if len(groups) == 1:
                found += [Task(cascade, [one]) for one in of_orders(every[0])]
            else:
                found.append(Task(cascade, [AnyOrder.over(orders) for orders in every]))
    return found


def _masked_apart(problems: Sequence[GroupProblem]) -> bool:
    """True if several groups cut queries and keys under a mask, or one hands on what it masks."""
    masked = [p for p in problems if p.masked_pair]
    pair = set(problems[0].workload.roles.masked or ())
    ranks = problems[0].workload.tensor_ranks
    return len(masked) > 1 or any(pair <= set(ranks[t]) for p in masked for t in p.external)


def space_size(workload: Workload, platform: Platform, mapspace: Mapspace, ert: Ert) -> int:
    """Combinations in a mapspace, as the certificate of a search counts them."""
    total = 0
    for task in tasks(workload, platform, mapspace, ert):
        for search in (one for some in task.searches for one in some.each):
            search.prepare()
            total += len(search.roots.staging) and search.space_size()
    return total


def reconstructed(
    groups: Sequence[GroupSolution],
    cascade: Workload,
    platform: Platform,
    mapspace: Mapspace,
    ert: Ert,
) -> Result:
    """The mapping that group solutions stand for, evaluated by the model."""
    mapping = FusedMapping(
        groups=tuple(group_mapping(s, dict(cascade.rank_sizes)) for s in groups),
        policy=mapspace.policy,
    )
    result = evaluate(cascade, platform, mapping, ert)
    assert isinstance(result, Result), f"the search chose a mapping that does not fit: {result}"
    return result


def least_refused(*found: Infeasible | None) -> Infeasible | None:
    """Of several reasons why nothing fits, the one that asks for least; of equals the first."""
    return min((one for one in found if one is not None), key=lambda one: one.needs, default=None)


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
