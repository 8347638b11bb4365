"""Results of a search: the mapping's result, and the certificate that it is the best."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from flat_mapper.cost_model.result import Result
from flat_mapper.workload.graph import Workload


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
