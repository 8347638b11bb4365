"""Bounds that no mapping of a question is below: the one place where an answer's bounds are made.

A bound that is stated is one of all that the question leaves open: the forms of a softmax and its
keys in parts, what corrects partial results or needs no correction, schedules, partitions, tiles.
What was chosen has no say in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from math import inf

from flat_mapper.arch.cores import units_at_once
from flat_mapper.arch.values import Platform
from flat_mapper.base.budget import GAP, Budget
from flat_mapper.base.tolerance import ABOVE
from flat_mapper.base.units import finite
from flat_mapper.cost_model.chip.evaluation import bound
from flat_mapper.cost_model.result import Bound, Result
from flat_mapper.energy.tables import Ert
from flat_mapper.mapper.chip.assignments import cascades
from flat_mapper.mapper.group.incumbent import Objective
from flat_mapper.mapping.space import Mapspace
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.softmax import alternatives

WIDE = 0.1  # chosen: a gap above it deserves a warning


def ended(gap: float, budget: Budget, unproven: str) -> str:
    """The end of a search: the gap that was asked, its budget's end, or what it left open."""
    if 0 < gap <= budget.gap * (1 + ABOVE):
        return "gap"
    return budget.stopped or (unproven if gap else "")


def end_words(stopped: str, seconds: float) -> str:
    """Words for the end of a search whose answer is not proven; seconds: its limit."""
    words = {
        "": "each part as near as asked, their sum is not",
        "time": f"time limit {seconds:g} s",
        "memory": "memory limit",
        "steps": "limit of steps",
        "tiles": "not every tile is searched",
        "remainders": "not every remainder is searched",
    }
    return words.get(stopped, f"stopped by {stopped}")


def gap_warning(gap: float, stopped: str, sizes: Sequence[str]) -> str:
    """A line that says what would help where an answer is far from proven; empty where it is not.

    stopped: what ended its search, of which asked it had no part. sizes: of ranks that do not
    divide, and the next that do.
    """
    helps = {
        "time": "more --time-limit, or a mapspace with fewer choices",
        "memory": "more --memory-limit, or a mapspace with fewer choices",
        "steps": "a budget of more steps",
        "tiles": "a mapspace that names the level or the tiles",
        "remainders": f"sizes that divide: {', '.join(sizes) or 'multiples of the tiles'}",
    }
    if gap <= WIDE or stopped == "gap":
        return ""
    much = f"{100 * gap:.3g} %" if gap < inf else "unknown"
    change = helps.get(stopped, "to let the search run on")
    return f"warning: gap {much}, a better mapping may be left; what would help: {change}"


def floor(
    workload: Workload,
    platform: Platform,
    mapspace: Mapspace,
    ert: Ert,
    *,
    at_once: bool | None = None,
) -> Bound:
    """Costs that no mapping of a question is below: what goes in and out once, units at peak.

    Of each cost the least over all forms. at_once: whether units may work at once; by default
    where some schedule of the mapspace has them so.
    """
    charged = mapspace.policy.softmax == "charged"
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
            at_once=mapspace.fusion.at_once if at_once is None else at_once,
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


def of_all_runs(objective: Objective, once: float, cycle_seconds: float, runs: int) -> float:
    """The same over all runs, of what one run of the cascade has: cycles, pJ or their product."""
    seconds = cycle_seconds * runs
    scale = {"latency": seconds, "energy": runs, "edp": 1e-12 * seconds * runs}
    return float(once * scale[objective])


def turns_note(
    mapspace: Mapspace, platform: Platform, results: Iterable[Result]
) -> tuple[str, ...]:
    """A line on answers of a mapspace whose units take turns on a chip where they need not.

    It says what that costs at most: how far the slowest for its bound is above it.
    """
    fusion = mapspace.fusion
    if not fusion.fuses or fusion.at_once or not units_at_once(platform.matrix):
        return ()
    both = (one for one in results if len(one.busy) > 1 and one.bound.cycles)
    times = max((one.cycles / one.bound.cycles for one in both), default=1.0)
    if times < 1 + GAP:
        return ()
    return (
        f"units take turns in mapspace {mapspace.name}, and need not on {platform.name}: at once "
        f"at most {times:.3g} x as fast, by the lower bound; schedule any searches it",
    )


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
    stopped: str  # what ended the search before a proof of optimality, see `end`; empty: nothing
    seconds: float
    asked_gap: float = 0.0  # that was near enough
    time_limit_s: float = inf
    infeasible: Mapping[str, str] = field(default_factory=dict)  # why, by alternative, if any is
    any_tiles_bound: float = 0.0  # no mapping is below, whether its tiles divide the sizes or not

    @property
    def among(self) -> str:
        """The mappings that the proof is about; empty: all."""
        return "" if self.any_tiles_bound >= self.proven_bound else "tiles that divide"

    @property
    def end(self) -> str:
        """The end of the search, in words."""
        if self.optimal:
            return "proven"
        if self.stopped == "gap":
            return f"within the {100 * self.asked_gap:g} % asked"
        return end_words(self.stopped, self.time_limit_s)

    def to_dict(self) -> dict[str, object]:
        """The fields by name."""
        every = {own.name: getattr(self, own.name) for own in fields(self)}
        return every | {
            "pruned": dict(self.pruned),
            "gap": finite(self.gap),
            "time_limit_s": finite(self.time_limit_s),
            "infeasible": dict(self.infeasible),
            "among": self.among,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """The best mapping of a mapspace."""

    workload: Workload  # the cascade that was mapped: of several, the one that was chosen
    result: Result
    mapspace: str
    objective: str
    certificate: Certificate
