"""The answer of why-not: whether some Einsums may be one group, and over which ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from flat_mapper.api.calls import Source, load_problem
from flat_mapper.base.table import Printed
from flat_mapper.mapping.order import execution_order
from flat_mapper.mapping.partitions import refusal, unshared
from flat_mapper.workload.cascade import Scope
from flat_mapper.workload.graph import Workload


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Fusible(Printed):
    """A verdict on some Einsums as one group; true where they may be one."""

    kind: ClassVar = "why-not"  # of answers as JSON
    einsums: tuple[str, ...]
    reason: str  # why they may not; empty where they may
    shared: tuple[str, ...] = ()  # ranks over which they may share loops
    unshared: Mapping[str, str] = field(default_factory=dict)  # by every other rank, why not

    def __bool__(self) -> bool:
        return not self.reason

    def to_dict(self) -> dict[str, object]:
        """The names of `flat-mapper why-not --json`."""
        said = {"einsums": list(self.einsums), "legal": not self.reason, "reason": self.reason}
        return {**said, "shared": list(self.shared), "unshared": dict(self.unshared)}

    def __str__(self) -> str:
        if self.reason:
            return f"no group: {self.reason}"
        ranks = ", ".join(self.shared) or "none, one tile holds all"
        lines = [f"may be a group; shared loops over: {ranks}"]
        return "\n".join([*lines, *(f"  not over {r}: {why}" for r, why in self.unshared.items())])


def why_not(
    einsums: Sequence[str],
    problem: Workload | Source,
    *,
    seq: int | None = None,
    scope: Scope | None = None,
) -> Fusible:
    """The verdict on Einsums or operators as one group: why not, or the loops that it shares."""
    workload = load_problem(problem, scope, seq=seq)
    members = (m for name in einsums for m in workload.operators.get(name, (name,)))
    asked = {workload.einsum(member).name for member in members}
    names = tuple(n for n in execution_order(workload) if n in asked)
    if len(names) > 1 and (reason := refusal(workload, names)):
        return Fusible(einsums=names, reason=reason)
    shared, barred = workload.shareable_ranks(names), unshared(workload, names)
    return Fusible(einsums=names, reason="", shared=tuple(shared), unshared=barred)
