"""The search, for sizes with and without useful divisors.

A rank such as 197 has no factor that fills an array. Timeloop's remainders (`P=32,5`) help: a loop
makes fewer passes in the last pass of the loops above it. Such mappings are found by way of larger
sizes: the best mapping of 200 = 8 x 25, cut back to 197, is a mapping with remainders, whose counts
the model takes as timeloop-model does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from math import inf, prod
from typing import TYPE_CHECKING

import numpy as np

from flat_mapper.arch.values import Platform
from flat_mapper.base.budget import Budget, Limits, Progress, part_of
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.base.tolerance import ABOVE
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.energy.tables import Ert
from flat_mapper.mapper.chip.assignments import check_one_array
from flat_mapper.mapper.group.incumbent import Goal, Objective, better_pair
from flat_mapper.mapper.solve.alternatives import binding_limit, is_over, least_refused, tasks
from flat_mapper.mapper.solve.certificate import Solution, certified, of_all_runs, value_of
from flat_mapper.mapper.solve.solve import best_mapping
from flat_mapper.mapper.space.factors import divisors
from flat_mapper.mapping.arch_rules import with_arch_rules
from flat_mapper.mapping.resize import resized_mapping
from flat_mapper.mapping.space import Mapspace
from flat_mapper.workload.graph import Workload

if TYPE_CHECKING:  # at run time both are imported where they are asked for
    from flat_mapper.mapper.space.handover import InsideQuestion

USEFUL = 32  # a rank is awkward if no divisor up to this
LEAST = 16  # is at least this
GRANULES = (8, 16, 32)  # larger sizes that are tried are the next multiples of these
# Chosen: cut back, a best mapping loses this power of the share in cycles and in energy each, where
# both count; measured: in their product at most the power 1.16, not 2.
SAVED = 0.75
Question = tuple[Workload, Platform, Mapspace, Ert]


@dataclass(slots=True)
class _Tried:
    """Findings of all sizes so far."""

    best: Solution | None = None
    refused: Infeasible | None = None  # why no mapping of the sizes as they are fits
    size: int = 0
    evaluated: int = 0

    @property
    def costs(self) -> tuple[float, float] | None:
        """Cycles and dynamic pJ of the best so far."""
        return _costs(self.best.result) if self.best else None

    def take(self, found: Solution | Infeasible | None) -> None:
        """A mapping of the sizes as they are, which is the best so far if it is one."""
        if isinstance(found, Solution):
            self.best = found
            self.count(found)
        else:
            self.refused = found

    def count(self, found: Solution) -> None:
        """Add up what was searched."""
        self.size += found.certificate.mapspace_size
        self.evaluated += found.certificate.evaluated


def search(
    workload: Workload,
    platform: Platform,
    mapspace: Mapspace,
    ert: Ert,
    *,
    objective: Objective = "edp",
    progress: Progress | None = None,
    budget: Budget | None = None,
) -> Solution | Infeasible:
    """The mapping of least objective in a mapspace, or why there is none.

    Among mappings whose factors divide the ranks it is the best, and the certificate says so. Where
    a rank has no useful divisor, mappings with remainders are looked at as well: the best of each
    larger size, cut back. That is no proof, and the certificate says so too.

    objective: latency, energy or edp; ties are broken by the other two.
    progress:  called with the share done and what is being searched.
    budget:    what may be spent; where it ends, the best so far is returned with its gap.
    """
    begin, budget = time.perf_counter(), budget or Budget()
    what, fusion = (workload, platform, mapspace, ert), mapspace.fusion
    if fusion.on_cores or fusion.anything is not None:
        if budget.limits and fusion.anything is not None:
            raise SpecError(
                expected("--max-...", "a mapspace that lists its groups", mapspace.name)
            )
        return _elsewhere(mapspace)(*what, objective=objective, progress=progress, budget=budget)
    check_one_array(platform, mapspace)
    if fusion.intermediates and not budget.limits:
        return best_inside(*what, objective=objective, budget=budget)
    larger = larger_sizes(workload, mapspace)
    larger = larger and larger_sizes(workload, mapspace, _fixed_by_nodes(*what[:3]))
    if larger:
        tried = _through_sizes(what, larger, objective, progress, budget)
    else:
        tried = _Tried()
        tried.take(best_mapping(*what, objective=objective, progress=progress, budget=budget))
    if tried.best is None:
        if budget.limits:
            return _why_not(what, budget.limits)
        assert tried.refused is not None
        return tried.refused
    return _with_gap(tried, what, objective, budget, begin) if larger else tried.best


def _through_sizes(
    what: Question,
    larger: Sequence[Mapping[str, int]],
    objective: Objective,
    progress: Progress | None,
    budget: Budget,
) -> _Tried:
    """The best mapping of each size, as it is and larger."""
    tried = _Tried()
    if budget.limits:  # asked about the sizes as they are
        tried.take(best_mapping(*what, objective=objective, budget=budget))
        if tried.best is None:
            return tried
    for number, sizes in enumerate(larger):
        cut = ", ".join(f"{r} as {n}" for r, n in sizes.items())
        step = part_of(progress, number, len(larger) + 1, cut)
        _try(tried, what, objective, sizes, step, budget)
    if not budget.limits and not (tried.best and budget.stopped):
        # Last, since little of it is left once a larger size has an answer.
        step = part_of(progress, len(larger), len(larger) + 1, "no larger size")
        found = best_mapping(
            *what, objective=objective, cutoff=tried.costs, progress=step, budget=budget
        )
        tried.take(found)
    return tried


def _with_gap(
    tried: _Tried, what: Question, objective: Objective, budget: Budget, begin: float
) -> Solution:
    """The best of all sizes, with the gap to what no mapping is below, with remainders or not."""
    assert tried.best is not None
    _, platform, _, ert = what
    goal = Goal(kind=objective, leak=sum(ert.leak_per_cycle(platform).values()))
    result, known = tried.best.result, tried.best.certificate
    found = certified(
        what,
        tried.best.workload,
        result,
        objective,
        proven=of_all_runs(result, objective, _least(*what, goal)),
        mapspace_size=tried.size,
        evaluated=tried.evaluated,
        pruned=known.pruned,
        stopped=budget.stopped,
        seconds=time.perf_counter() - begin,
        infeasible=known.infeasible,
    )
    return replace(found, certificate=replace(found.certificate, optimal=False))


def _least(
    workload: Workload, platform: Platform, mapspace: Mapspace, ert: Ert, goal: Goal
) -> float:
    """Lower bound on a goal of all mappings, those with remainders too; of one run."""
    ruled = with_arch_rules(mapspace, platform, workload)
    found = []
    for task in tasks(workload, platform, ruled, ert):
        every = np.array([one.least_of_any_size() for one in task.searches])
        cycles, energy = every.sum(axis=0)
        found.append(float(goal.first(cycles, energy)))
    return min(found)


def _elsewhere(mapspace: Mapspace) -> Callable[..., Solution | Infeasible]:
    """The search over the cores of a chip, or over partitions; imported where it is asked for."""
    if mapspace.fusion.anything is None:
        from flat_mapper.mapper.solve.on_cores import best_on_cores

        return partial(best_on_cores, alone=search)
    from flat_mapper.mapper.solve.partition import best_partition

    return best_partition


def _why_not(what: Question, limits: Limits) -> Infeasible:
    """The limit that no mapping whose factors divide the ranks keeps."""

    def solved(objective: Objective, own: Limits) -> Solution | Infeasible | None:
        return best_mapping(*what, objective=objective, budget=Budget(limits=own))

    return binding_limit(limits, solved)


def _fixed_by_nodes(workload: Workload, platform: Platform, mapspace: Mapspace) -> set[str]:
    """Ranks with a factor that a platform's node fixes at more than one: a cut may lessen it."""
    rules = with_arch_rules(mapspace, platform, workload).slots
    return {rank for rule in rules for rank, factor in rule.factors.items() if factor > 1}


def larger_sizes(
    workload: Workload, mapspace: Mapspace, fixed: Collection[str] = ()
) -> list[dict[str, int]]:
    """Sizes of awkward ranks to map as well, the most promising first; fixed: of which none.

    First those that leave no rank as it is, and of these the one with least work.
    """
    if workload.mask is not None:
        return []  # its tiles are whole divisors
    ruled = {m for rule in mapspace.slots for m in (*rule.factors, *rule.at_most)}
    ruled |= {*mapspace.fusion.tiles, *fixed}
    sizes = workload.rank_sizes
    used = {r for e in workload.einsums for r in e.ranks}
    awkward = [r for r, n in sizes.items() if r in used and r not in ruled and is_awkward(n)]
    choices = [[sizes[r], *dict.fromkeys(-(-sizes[r] // g) * g for g in GRANULES)] for r in awkward]
    found = [dict(zip(awkward, some, strict=True)) for some in product(*choices)]
    found = [some for some in found if any(n != sizes[r] for r, n in some.items())]
    return sorted(
        found, key=lambda some: (sum(n == sizes[r] for r, n in some.items()), prod(some.values()))
    )


def is_awkward(size: int) -> bool:
    """True if a rank of this size has no useful divisor."""
    return size > LEAST and max(d for d in divisors(size) if d <= USEFUL) < LEAST


def _try(
    tried: _Tried,
    what: Question,
    objective: Objective,
    sizes: Mapping[str, int],
    progress: Progress | None,
    budget: Budget,
) -> None:
    """The best mapping at larger sizes, cut back, if it may be better.

    Every count has each rank at most once as a factor, so cut back it is no less than its share;
    of a product of two it is taken to be no less than `SAVED` says.
    """
    if budget.stopped and tried.best:
        return
    workload, platform, _, ert = what
    scale = prod(workload.rank_sizes[r] / n for r, n in sizes.items())
    best = tried.costs
    saved = scale ** (SAVED if objective == "edp" else 1.0)
    cutoff = (best[0] / saved, best[1] / saved) if best else None
    asked = (workload.with_ranks(sizes), *what[1:])
    found = best_mapping(
        *asked, objective=objective, cutoff=cutoff, progress=progress, budget=budget
    )
    if not isinstance(found, Solution):
        return
    tried.count(found)
    mapping, cascade = found.result.mapping, found.workload
    for rank in sizes:
        mapping = resized_mapping(mapping, cascade, rank, workload.rank_sizes[rank])
        cascade = cascade.with_ranks({rank: workload.rank_sizes[rank]})
    result = evaluate(cascade, platform, mapping, ert)
    if not isinstance(result, Result) or is_over(result, budget.limits):
        return
    goal = Goal(kind=objective, leak=sum(ert.leak_per_cycle(platform).values()))
    if best is None or better_pair(goal, _costs(result), best):
        tried.best = replace(found, workload=cascade, result=result)


def _costs(result: Result) -> tuple[float, float]:
    """Cycles and dynamic pJ of one run of the cascade, as the search counts them."""
    return result.cycles / result.repeat, result.dynamic_pj / result.repeat


def best_inside(
    workload: Workload,
    platform: Platform,
    mapspace: Mapspace,
    ert: Ert,
    *,
    objective: Objective = "edp",
    budget: Budget | None = None,
) -> Solution | Infeasible:
    """The best mapping with intermediates handed over where the mapspace has them.

    budget: what may be spent; where it ends, the best so far is returned with its gap.
    raises: SpecError where it asks for what this search has not.
    """
    from flat_mapper.mapper.space.handover import inside_questions

    begin = time.perf_counter()
    goal = Goal(kind=objective, leak=sum(ert.leak_per_cycle(platform).values()))
    found = _Inside(goal=goal, budget=budget or Budget())
    for question in inside_questions(workload, platform, mapspace, ert):
        if found.best and found.budget.stopped:
            break
        if not found.take(question):  # there is no room beside what is handed over
            for one in question.by_tile():
                assert found.take(one), "a tile that its level does not hold"
    if found.best is None:
        assert found.refused is not None
        return found.refused
    value, known = value_of(found.best.result, objective), found.best.certificate
    bound = min(value / (1 + found.budget.gap), found.bound)
    return certified(
        (workload, platform, mapspace, ert),
        found.best.workload,
        found.best.result,
        objective,
        proven=0.0 if found.budget.stopped else inf if value <= bound * (1 + ABOVE) else bound,
        mapspace_size=found.size,
        evaluated=found.evaluated,
        pruned={**known.pruned, "handed over otherwise": found.cut},
        stopped=found.budget.stopped,
        seconds=time.perf_counter() - begin,
        infeasible=known.infeasible,
    )


@dataclass
class _Inside:
    """The best of several questions."""

    goal: Goal
    budget: Budget
    best: Solution | None = None
    refused: Infeasible | None = None
    bound: float = inf  # of the questions that were answered
    size: int = 0
    evaluated: int = 0
    cut: int = 0

    def take(self, question: InsideQuestion) -> bool:
        """Ask a question, if it may be better; False where its answer does not fit."""
        assert self.goal.kind != "weighted"
        cutoff = None if self.best is None else _costs(self.best.result)
        found = best_mapping(
            *question.asked(), objective=self.goal.kind, cutoff=cutoff, budget=self.budget
        )
        if not isinstance(found, Solution):
            self.refused = least_refused(self.refused, found)
            self.cut += 1
            return True
        self.size += found.certificate.mapspace_size
        self.evaluated += found.certificate.evaluated
        cascade = replace(found.workload, tensor_bits=question.workload.tensor_bits, absent={})
        mapping = question.mapped(found.result.mapping)
        mine = evaluate(cascade, question.platform, mapping, question.ert)
        if isinstance(mine, Infeasible):
            self.refused = least_refused(self.refused, mine)
            return False
        assert mine.cycles == found.result.cycles, "a cost that is another inside"
        self.bound = min(self.bound, found.certificate.proven_bound)
        if self.best is None or better_pair(self.goal, _costs(mine), _costs(self.best.result)):
            self.best = replace(found, workload=cascade, result=mine)
        return True
