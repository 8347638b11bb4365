"""The result of a need: the least value that reaches a target, or what binds without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from flat_mapper.base import units
from flat_mapper.cost_model.result import Infeasible, Result

Quantity = Literal["buffer", "bandwidth"]


QUANTITIES: tuple[Quantity, ...] = get_args(Quantity)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """The best utilization at one value."""

    steps: int | None  # rows of the buffer or steps of bandwidth; None: unlimited
    found: Result | Infeasible

    @property
    def result(self) -> Result | None:
        """The fastest mapping, where anything fits."""
        return self.found if isinstance(self.found, Result) else None

    @property
    def utilization(self) -> float:
        """0 where nothing fits."""
        return self.result.utilization if self.result else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """The smallest value that reaches the target, and the largest that does not."""

    workload: str
    arch: str
    mapspace: str
    quantity: Quantity
    node: str  # the level that has it
    target: float
    step: float  # bytes of a row, or bytes per second of a step
    present: float  # what the architecture has: steps, not rounded
    reached: Trial
    below: Trial | None  # one step less; None where one step is enough
    trials: int  # searches made
    left_out: tuple[str, ...] = ()  # Einsums of the problem that were not mapped
    wider: str = "block"  # the scope that has those

    @property
    def steps(self) -> int:
        """Rows, or steps of bandwidth."""
        assert self.reached.steps is not None
        return self.reached.steps

    @property
    def value(self) -> float:
        """Bytes, or bytes per second."""
        return self.steps * self.step

    @property
    def result(self) -> Result:
        """The fastest mapping at the value."""
        assert self.reached.result is not None
        return self.reached.result

    def to_dict(self) -> dict[str, object]:
        """The names of `flat-mapper need --json`."""
        names = {"buffer": ("rows", "bytes", "row_bytes")}
        bandwidth = ("steps", "bytes_per_s", "step_bytes_per_s")
        steps, value, step = names.get(self.quantity, bandwidth)
        return {
            "quantity": self.quantity,
            "workload": self.workload,
            "arch": self.arch,
            "mapspace": self.mapspace,
            "level": self.node,
            "target_utilization": self.target,
            steps: self.steps,
            value: self.value,
            step: self.step,
            f"present_{value}": self.present * self.step,
            "utilization": self.reached.utilization,
            "utilization_one_less": self.below.utilization if self.below else 0.0,
            "latency_s": self.result.latency_s,
            "bottleneck": self.result.bottleneck,
            "granularity": self.result.fused.granularity,
            "searches": self.trials,
            "left_out": list(self.left_out),
        }

    def amount(self, steps: float) -> str:
        """A number of steps in units."""
        if self.quantity == "buffer":
            return units.size(steps * self.step)
        return units.si(steps * self.step, "B/s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreached:
    """A target that no value reaches, and what binds then."""

    quantity: Quantity
    node: str
    target: float
    found: Result | Infeasible  # the fastest mapping where the quantity is unlimited

    def __str__(self) -> str:
        where = f"need {self.quantity}: {self.node}"
        if isinstance(self.found, Infeasible):
            return f"{where}: nothing fits at any value: {self.found}"
        reached, change = self.found.utilization, "; lower the target, or widen what binds"
        reasons = "; ".join(_binding(self.found))
        return (
            f"{where}: expected a utilization of {self.target:g}, got at most {reached:.4f} with "
            f"an unlimited {self.quantity} ({reasons}){change}"
        )


def _binding(result: Result) -> list[str]:
    """The limit on the latency of each group, and the use that the Einsums make of its units."""
    lanes = {e.einsum: (e.lanes, e.lanes_total, e.unit) for e in result.einsums}
    found = []
    for group in result.groups:
        idle = [
            f"{name} fills {lanes[name][0]} of {lanes[name][1]} {lanes[name][2]}"
            for name in group.names
            if lanes[name][0] < lanes[name][1]
        ]
        share = group.cycles * result.repeat / result.cycles
        why = f", {', '.join(idle)}" if idle and group.bottleneck in group.compute_cycles else ""
        names = " + ".join(group.names)
        found.append(f"{names}: {group.bottleneck} binds in {100 * share:.0f}% of the time{why}")
    return found
