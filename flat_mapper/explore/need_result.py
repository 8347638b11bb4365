"""The result of a need: the least value that reaches a target, or what binds without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, NoReturn, get_args

from flat_mapper.base import units
from flat_mapper.base.errors import MissingResult
from flat_mapper.base.table import Printed, grid
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.reports.text import busy_text, left_out_text
from flat_mapper.workload.mask import LayerKind, Mask

Quantity = Literal["buffer", "bandwidth"]

QUANTITIES: tuple[Quantity, ...] = get_args(Quantity)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """The best share at one value."""

    steps: int | None  # rows of the buffer or steps of bandwidth; None: unlimited
    found: Result | Infeasible
    unit: str = ""  # whose share: a unit's busy cycles; none: utilization

    @property
    def result(self) -> Result | None:
        """The fastest mapping, where anything fits."""
        return self.found if isinstance(self.found, Result) else None

    @property
    def share(self) -> float:
        """Utilization, or the unit's busy share; 0 where nothing fits."""
        return share_of(self.result, self.unit) if self.result else 0.0

    def ceiling(self, *, overlapped: bool) -> float:
        """The share that the problem allows: all units at peak, in turn or side by side.

        overlapped: whether the mapspace lets units work side by side.
        """
        needs = list(self.result.busy.values()) if self.result else []
        least = max(needs, default=0.0) if overlapped else sum(needs)
        return min(1.0, self.share / least) if least else 0.0


def share_of(result: Result, unit: str) -> float:
    """The utilization of a result, or the busy share of one of its units."""
    return result.busy[unit] if unit else result.utilization


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Need(Printed):
    """The smallest value that reaches the target, and the largest that does not."""

    kind: ClassVar = "need"  # of answers as JSON
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
    ceiling: float  # the share that the problem allows, whatever the chip's memories
    unit: str = ""  # whose busy share; none: utilization
    left_out: tuple[str, ...] = ()  # Einsums of the problem that were not mapped
    wider: str = "block"  # the scope that has those
    mask: Mask | None = None
    other_layers: tuple[LayerKind, ...] = ()  # layers of the problem with another mask

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
            "of": f"busy share of {self.unit}" if self.unit else "utilization",
            "target": self.target,
            "ceiling": self.ceiling,
            steps: self.steps,
            value: self.value,
            step: self.step,
            f"present_{value}": self.present * self.step,
            "reached": self.reached.share,
            "one_less": self.below.share if self.below else 0.0,
            "utilization": self.result.utilization,
            "busy": dict(self.result.busy),
            "latency_s": self.result.latency_s,
            "bottleneck": self.result.bottleneck,
            "granularity": self.result.fused.granularity,
            "searches": self.trials,
            "left_out": list(self.left_out),
            "other_layers": [kind.to_dict() for kind in self.other_layers],
        }

    def amount(self, steps: float) -> str:
        """A number of steps in units."""
        if self.quantity == "buffer":
            return units.size(steps * self.step)
        return units.si(steps * self.step, "B/s")

    def __str__(self) -> str:
        """The value, one step less, and what the architecture has."""
        trials = [self.reached] if self.below is None else [self.below, self.reached]
        rows = [_row(self, trial) for trial in trials]
        noun = "rows" if self.quantity == "buffer" else "steps"
        head = (
            "",
            noun,
            self.quantity,
            "util.",
            "busy",
            "latency",
            "off-chip",
            "granularity",
            "bottleneck",
        )
        return "\n".join(
            (
                f"{self.workload} on {self.arch}, mapspace {self.mapspace}: the smallest "
                f"{self.quantity} of {self.node} for {target_text(self.unit)} of {self.target:g}",
                grid(rows, head=head, right=range(1, 7)),
                f"the problem allows {target_text(self.unit)} of at most {self.ceiling:.6f}: all "
                "units at their peak, transfers beside them",
                f"one of the {noun} is {self.amount(1)}; {self.arch} has "
                f"{self.amount(self.present)}; {self.trials} searches for the least latency",
                *filter(None, [left_out_text(self)]),
            )
        )


def _row(found: Need, trial: Trial) -> tuple[str, ...]:
    reaches = "reaches" if trial is found.reached else "misses"
    steps = trial.steps or 0
    start = (reaches, units.count(steps), found.amount(steps))
    result = trial.result
    if result is None:
        return (*start, "", "", "", "", "nothing fits", "")
    return (
        *start,
        f"{result.utilization:.6f}",
        busy_text(result),
        units.si(result.latency_s, "s"),
        units.size(result.offchip_bytes),
        result.fused.granularity,
        result.bottleneck,
    )


@dataclass(frozen=True, slots=True)
class Unreached:
    """A target that no value reaches, and what binds then. A value, and false."""

    quantity: Quantity
    node: str
    target: float
    found: Result | Infeasible  # the fastest mapping where the quantity is unlimited
    unit: str = ""
    ceiling: float = 0.0

    def __bool__(self) -> Literal[False]:
        return False

    def __getattr__(self, name: str) -> NoReturn:
        raise MissingResult(self, name)

    def __str__(self) -> str:
        where = f"need {self.quantity}: {self.node}"
        if isinstance(self.found, Infeasible):
            return f"{where}: nothing fits at any value: {self.found}"
        reached, what = share_of(self.found, self.unit), target_text(self.unit)
        reasons = "; ".join(_binding(self.found))
        change = "lower the target, or widen what binds"
        if self.target > self.ceiling:
            change = "lower the target, or choose units of other rates"
        return (
            f"{where}: expected {what} of {self.target:g}, got at most {reached:.4f} with "
            f"an unlimited {self.quantity} ({reasons}); the problem allows at most "
            f"{self.ceiling:.4f}, {busy_text(self.found)} busy now; {change}"
        )


def target_text(unit: str) -> str:
    """The target in words."""
    return f"a busy share of {unit}" if unit else "a utilization"


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
