"""Bounds that no mapping of a question is below: the one place where an answer's bounds are made.

A bound that is stated is one of all that the question leaves open: the forms of a softmax and its
keys in parts, what corrects partial results or needs no correction, schedules, partitions, tiles.
What was chosen has no say in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import inf

from flat_mapper.arch.values import Platform
from flat_mapper.base.tolerance import EQUAL
from flat_mapper.cost_model.chip.evaluation import bound
from flat_mapper.cost_model.result import Bound, Result
from flat_mapper.energy.tables import Ert
from flat_mapper.mapper.chip.assignments import cascades
from flat_mapper.mapper.group.incumbent import Objective
from flat_mapper.mapping.order import overlaps
from flat_mapper.mapping.space import Mapspace
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.softmax import alternatives


def certified(
    question: tuple[Workload, Platform, Mapspace, Ert],
    cascade: Workload,
    result: Result,
    objective: Objective,
    *,
    proven: float,
    mapspace_size: int,
    evaluated: int,
    pruned: Mapping[str, int],
    stopped: str,
    seconds: float,
    unproven: str = "",
    infeasible: Mapping[str, str] | None = None,
) -> Solution:
    """The answer to a question, with the bounds of all that the question leaves open.

    cascade:  that was mapped: of several, the one that was chosen.
    proven:   the objective (s, pJ or J s, of all runs) that no mapping of the question is below, as
              far as its search knows: 0 where it knows nothing, infinite where nothing is left.
    stopped:  what ended the search early. unproven: the same where an answer is not proven and
              nothing ended it.
    """
    least = floor(*question)
    result, reached = replace(result, bound=least), value_of(result, objective)
    seconds_once = least.cycles * result.cycle_seconds
    lowest = {
        "latency": seconds_once,
        "energy": least.energy_pj,
        "edp": least.energy_pj * 1e-12 * seconds_once,
    }[objective]
    known = min(max(lowest, proven), reached)
    optimal = known >= reached * (1 - EQUAL)
    return Solution(
        workload=cascade,
        result=result,
        mapspace=question[2].name,
        objective=objective,
        certificate=Certificate(
            mapspace_size=mapspace_size,
            evaluated=evaluated,
            pruned=pruned,
            optimal=optimal,
            lower_bound=lowest,
            proven_bound=reached if optimal else known,
            gap=0.0 if optimal else reached / known - 1 if known > 0 else inf,
            stopped=stopped or ("" if optimal else unproven),
            seconds=seconds,
            infeasible=infeasible or {},
        ),
    )


def floor(workload: Workload, platform: Platform, mapspace: Mapspace, ert: Ert) -> Bound:
    """Costs that no mapping of a question is below: what goes in and out once, units at peak.

    Of each cost the least over all forms; units work at once if some schedule that is left has
    them so.
    """
    schedule, charged = mapspace.fusion.schedule, mapspace.policy.softmax == "charged"
    if mapspace.fusion.on_cores:
        every = tuple(cascades(workload, platform, mapspace))
    else:
        every = alternatives(workload)
    each = [
        bound(
            one,
            platform,
            [e.name for e in one.einsums if charged or e.unit == "matrix"],
            ert,
            at_once=schedule == "any" or overlaps(schedule),
        )
        for one in every
    ]
    return Bound(
        cycles=min(one.cycles for one in each),
        energy_pj=min(one.energy_pj for one in each),
        offchip_bytes=min(one.offchip_bytes for one in each),
    )


def value_of(result: Result, objective: Objective) -> float:
    """The objective of a result: s, pJ or J s."""
    values = {"latency": result.latency_s, "energy": result.energy_pj, "edp": result.edp_js}
    return values[objective]


def of_all_runs(result: Result, objective: Objective, once: float) -> float:
    """The same over all runs, of what one run of the cascade has: cycles, pJ or their product."""
    seconds, runs = result.cycle_seconds, result.repeat
    scale = {"latency": seconds * runs, "energy": runs, "edp": 1e-12 * seconds * runs**2}
    return float(once * scale[objective])


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """Proof of a search: what it looked at, and why nothing else can be better."""

    mapspace_size: int  # combinations of outer and inner choices; or partitions
    evaluated: int  # inner mappings priced exactly
    pruned: Mapping[str, int]  # by rule
    optimal: bool
    lower_bound: float  # of the objective, of all that the question allows: see `certificate.floor`
    proven_bound: float  # of the objective: no mapping of the mapspace is below
    gap: float  # what was found over `proven_bound`, less one
    stopped: str  # what ended the search early; empty where nothing did
    seconds: float
    infeasible: Mapping[str, str] = field(default_factory=dict)  # why, by alternative, if any is

    def to_dict(self) -> dict[str, object]:
        """The fields by name."""
        return {
            "mapspace_size": self.mapspace_size,
            "evaluated": self.evaluated,
            "pruned": dict(self.pruned),
            "optimal": self.optimal,
            "lower_bound": self.lower_bound,
            "proven_bound": self.proven_bound,
            "gap": self.gap,
            "stopped": self.stopped,
            "seconds": self.seconds,
            "infeasible": dict(self.infeasible),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """The best mapping of a mapspace."""

    workload: Workload  # the cascade that was mapped: of several, the one that was chosen
    result: Result
    mapspace: str
    objective: str
    certificate: Certificate
