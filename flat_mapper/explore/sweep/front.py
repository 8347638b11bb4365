"""The answer to a design question, and its table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from flat_mapper.base import units
from flat_mapper.base.table import Printed, grid
from flat_mapper.explore.sweep.designs import BUDGETS, Design, Problem


@dataclass(slots=True, repr=False)
class DesignFront(Printed):
    """The state of a search: the front, and why other designs are not on it."""

    kind: ClassVar = "optimize"  # of answers as JSON
    problem: Problem
    front: tuple[Design, ...] = ()
    seen: int = 0
    feasible: int = 0
    over: dict[str, int] = field(default_factory=dict)  # designs by the budget they exceed
    invalid: int = 0  # designs whose attributes contradict each other
    without: int = 0  # designs on which a workload has no mapping

    def to_dict(self) -> dict[str, object]:
        """The fields by name."""
        return {
            "designs": self.seen,
            "feasible": self.feasible,
            "over_budget": dict(self.over),
            "invalid": self.invalid,
            "without_mapping": self.without,
            "front": [design.to_dict() for design in self.front],
        }

    def __str__(self) -> str:
        """The front as a table, what binds each design of it, and why the others are not on it."""
        parts = [f"{self.seen:,} designs: {self.feasible:,} within the budgets with a mapping each"]
        parts += [f"{n:,} over the {name}" for name, n in self.over.items()]
        parts += [f"{self.invalid:,} contradict themselves"] if self.invalid else []
        parts += [f"{self.without:,} without a mapping of every workload"] if self.without else []
        counts = ", ".join(parts)
        if not self.front:
            return f"{counts}\nno design is left; raise a budget or widen a choice"
        choices = list(self.front[0].coordinates)
        head = ("", *choices, *self.problem.objectives, *self.problem.budgets)
        rows = [
            _row(i, design, self.problem, choices) for i, design in enumerate(self.front, start=1)
        ]
        table = grid(rows, head=head, right=range(len(choices) + 1, len(head)))
        binds = [f"{i}: {'; '.join(d.binds)}" for i, d in enumerate(self.front, start=1)]
        return "\n".join([counts, table, "", "what binds", *binds])


def _row(number: int, design: Design, problem: Problem, choices: list[str]) -> tuple[str, ...]:
    reached = [_quantity(name, design.scores[name]) for name in problem.objectives]
    used = [
        f"{_quantity(name, design.uses[name])} ({units.percent(design.uses[name] / limit, 0)})"
        for name, limit in problem.budgets.items()
    ]
    return (str(number), *(_chosen(design.coordinates[c]) for c in choices), *reached, *used)


def _chosen(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _quantity(name: str, value: float) -> str:
    """A score or a use with its unit."""
    if name == "energy":
        return units.si(units.joules_of(value), "J")
    if name == "buffer":
        return units.size(value)
    known = {"latency": "s", "edp": "Js", "bandwidth": "B/s"}
    if name in known:
        return units.si(value, known[name])
    return f"{value:,.4g} {BUDGETS[name]}" if name == "area" else f"{value:,.0f}"
