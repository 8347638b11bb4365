"""The result of a need: the least value that reaches a target, or what binds without it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, isclose
from typing import ClassVar, Literal, NoReturn, get_args

from flat_mapper.base import units
from flat_mapper.base.errors import MissingResult
from flat_mapper.base.table import Printed, grid
from flat_mapper.base.tolerance import EQUAL
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.reports.text import busy_text, left_out_text
from flat_mapper.workload.graph import Workload

Quantity = Literal["buffer", "bandwidth", "cores"]

QUANTITIES: tuple[Quantity, ...] = get_args(Quantity)
_NOUNS: Mapping[Quantity, str] = {"buffer": "rows", "bandwidth": "steps", "cores": "cores"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The target of the fastest mapping: a latency, a utilization, or a unit's busy share."""

    value: float  # seconds at most, or a share at least
    unit: str = ""  # whose busy share; none: utilization
    latency: bool = False

    @property
    def name(self) -> str:
        """The target."""
        if self.latency:
            return "latency"
        return f"busy share of {self.unit}" if self.unit else "utilization"

    def of(self, result: Result | None) -> float:
        """The value that a mapping reaches; where there is none, no share and no end."""
        if self.latency:
            return result.latency_s if result else inf
        if result is None:
            return 0.0
        return result.busy[self.unit] if self.unit else result.utilization

    def reached(self, value: float) -> bool:
        """True if so much is enough."""
        beyond = value <= self.value if self.latency else value >= self.value
        return beyond or isclose(value, self.value, rel_tol=EQUAL)

    def excluded(self, trial: Trial) -> bool:
        """True if no mapping of a trial can reach it, by the bound of its search."""
        if self.latency:
            return not self.reached(trial.bound_s)
        if trial.result is None:
            return True
        return not self.reached(self.of(trial.result) * trial.result.latency_s / trial.bound_s)

    def text(self, value: float) -> str:
        """A value of it in units."""
        return units.si(value, "s") if self.latency else f"{value:.6f}"

    def __str__(self) -> str:
        amount = units.si(self.value, "s") if self.latency else f"{self.value:g}"
        return f"a {self.name} of {amount}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """The fastest mapping at one value."""

    steps: int | None  # rows of the buffer, steps of bandwidth or cores; None: unlimited
    found: Result | Infeasible | None  # None: no mapping is fast enough
    bound_s: float = 0.0  # seconds that no mapping beats

    @property
    def result(self) -> Result | None:
        """The fastest mapping, where one was found."""
        return self.found if isinstance(self.found, Result) else None

    def ceiling(self, target: Target, *, overlapped: bool) -> float:
        """The ceiling that the problem sets here: all units at peak, in turn or side by side.

        overlapped: whether the mapspace lets units work side by side.
        """
        needs = list(self.result.busy.values()) if self.result else []
        least = max(needs, default=0.0) if overlapped else sum(needs)
        if target.latency:
            return self.result.latency_s * least if self.result else 0.0
        return min(1.0, target.of(self.result) / least) if least else 0.0


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Need(Printed):
    """The smallest value that reaches the target, and the largest that does not."""

    kind: ClassVar = "need"  # of answers as JSON
    workload: Workload
    arch: str
    mapspace: str
    quantity: Quantity
    node: str  # the level that has it
    target: Target
    step: float  # bytes of a row, bytes per second of a step, or one core
    present: float  # what the architecture has: steps, not rounded
    reached: Trial
    below: Trial | None  # one step less; None where one step is enough
    trials: int  # searches made
    ceiling: float  # what the problem allows, whatever the chip's memories, or with all cores
    unproven: tuple[int, ...] = ()  # smaller values that no bound excludes

    @property
    def steps(self) -> int:
        """Rows, steps of bandwidth, or cores."""
        assert self.reached.steps is not None
        return self.reached.steps

    @property
    def value(self) -> float:
        """Bytes, bytes per second, or cores."""
        return self.steps * self.step

    @property
    def result(self) -> Result:
        """The fastest mapping at the value."""
        assert self.reached.result is not None
        return self.reached.result

    def to_dict(self) -> dict[str, object]:
        """The names of `flat-mapper need --json`."""
        one_less = self.target.of(self.below.result if self.below else None)
        return {
            "quantity": self.quantity,
            "workload": self.workload.name,
            "arch": self.arch,
            "mapspace": self.mapspace,
            "level": self.node,
            "of": self.target.name,
            "target": self.target.value,
            "ceiling": self.ceiling,
            **self._value(),
            "reached": self.target.of(self.result),
            "one_less": None if one_less == inf else one_less,
            "one_less_bound_s": self.below.bound_s if self.below else None,
            "unproven": list(self.unproven),
            "utilization": self.result.utilization,
            "busy": dict(self.result.busy),
            "latency_s": self.result.latency_s,
            "bottleneck": self.result.bottleneck,
            "granularity": self.result.fused.granularity,
            "searches": self.trials,
            "left_out": list(self.workload.left_out),
            "other_layers": [kind.to_dict() for kind in self.workload.other_layers],
        }

    def _value(self) -> dict[str, object]:
        """The value, and what the architecture has."""
        if self.quantity == "cores":
            return {"cores": self.steps, "present_cores": int(self.present)}
        unit = "bytes" if self.quantity == "buffer" else "bytes_per_s"
        noun = _NOUNS[self.quantity]
        return {
            noun: self.steps,
            unit: self.value,
            f"{noun[:-1]}_{unit}": self.step,
            f"present_{unit}": self.present * self.step,
        }

    def amount(self, steps: float) -> str:
        """A number of steps in units."""
        if self.quantity == "cores":
            return units.count(int(steps))
        if self.quantity == "buffer":
            return units.size(steps * self.step)
        return units.si(steps * self.step, "B/s")

    def __str__(self) -> str:
        """The value, one step less, and what the architecture has."""
        cores, noun = self.quantity == "cores", _NOUNS[self.quantity]
        head = (
            *("", noun, "" if cores else self.quantity),
            *("util.", "busy", "latency", "off-chip", "granularity", "bottleneck"),
        )
        rows = [self._row(trial) for trial in (self.below, self.reached) if trial]
        least = "least number of cores" if cores else f"smallest {self.quantity}"
        most = "least" if self.target.latency else "most"
        where = "however many cores, " if cores else ""
        has, one = self.amount(self.present), f"one of the {noun} is {self.amount(1)}; "
        sure = f"proven: with {'fewer' if cores else 'less'} no mapping of the mapspace reaches it"
        if self.unproven:
            open_ = ", ".join(units.count(n) for n in self.unproven)
            sure = f"none was found for {open_}, which no bound excludes"
        lines = (
            f"{self.workload.name} on {self.arch}, mapspace {self.mapspace}: the {least} of "
            f"{self.node} for {self.target}",
            grid(rows, head=head, right=range(1, 7)),
            f"the problem allows a {self.target.name} of at {most} "
            f"{self.target.text(self.ceiling)}: {where}all units at their peak, transfers beside "
            "them",
            f"{'' if cores else one}{self.arch} has {has}; {self.trials} searches for the least "
            f"latency; {sure}",
            left_out_text(self.workload),
        )
        return "\n".join(line for line in lines if line)

    def _row(self, trial: Trial) -> tuple[str, ...]:
        steps, result = trial.steps or 0, trial.result
        start = (
            "reaches" if trial is self.reached else "misses",
            units.count(steps),
            "" if self.quantity == "cores" else self.amount(steps),
        )
        if trial.found is None:
            return (*start, "", "", f"> {units.si(trial.bound_s, 's')}", "", "none so fast", "")
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
    target: Target
    found: Result | Infeasible  # the fastest mapping where the quantity is unlimited
    ceiling: float = 0.0
    cores: int = 0  # tried at most, where they are asked for

    def __bool__(self) -> Literal[False]:
        return False

    def __getattr__(self, name: str) -> NoReturn:
        raise MissingResult(self, name)

    def __str__(self) -> str:
        where = f"need {self.quantity}: {self.node}"
        if isinstance(self.found, Infeasible):
            return f"{where}: nothing fits at any value: {self.found}"
        target, reasons = self.target, "; ".join(_binding(self.found))
        most, change = "most", "lower the target, or widen what binds"
        if target.latency:
            most, change = "least", "raise the target, or widen what binds"
        elif target.value > self.ceiling:
            change = "lower the target, or choose units of other rates"
        limit = f"an unlimited {self.quantity}"
        if self.cores:
            limit = f"{self.cores} cores, as many as can have a tile"
        return (
            f"{where}: expected {target}, got at {most} {self._shown(target.of(self.found))} with "
            f"{limit} ({reasons}); the problem allows at {most} "
            f"{self._shown(self.ceiling)}, {busy_text(self.found)} busy now; {change}"
        )

    def _shown(self, value: float) -> str:
        return self.target.text(value) if self.target.latency else f"{value:.4f}"


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
