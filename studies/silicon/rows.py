"""Rows of files of measured times: how they are read, and what a row becomes.

A row is a question to the model: a workload, a platform and the mapping that the measured kernel
uses. Which family of kernels a row belongs to, `families` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

from flat_mapper.values import Architecture, FusedMapping, MappingRecord, Platform, Result, Workload
from studies.common import Columns, evaluated, wrong

SUMS = "+"  # among the widths of tensors: what is added up

# What a chip's file says of a kernel: fitted costs, and errors on rows set aside.
COSTS = ("factor", "tile_cycles", "launch_seconds")
SAID = (*COSTS, "median_error", "p90_error")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A row as a question: mappings of one kernel, the first that fits being the kernel's."""

    where: str  # file and line, of messages
    columns: Columns
    phase: str  # prefill, decode or encoder
    shape: str  # of which the SHA-256 says whether it is set aside
    measured_s: float
    workload: Workload
    platform: Platform
    mappings: Sequence[FusedMapping]
    kernel: str = ""  # whose fitted costs the chip's file has
    kind: str = ""  # of rows that are summed up together; by default by their window
    kept_back: bool | None = None  # where the source of the rows says which are set aside
    left_out: tuple[str, ...] = ()  # what the mapping does not say
    sourced: tuple[str, ...] = ()  # costs of the kernel that were not fitted

    @property
    def aside(self) -> bool:
        """True if the row is never fitted to: a third of all shapes, unless its source says."""
        if self.kept_back is not None:
            return self.kept_back
        return int(sha256(self.shape.encode()).hexdigest()[:8], 16) % 3 == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredRow:
    """A row of a file, and the model's time of its mapping."""

    case: Case
    result: Result

    @property
    def predicted_s(self) -> float:
        """Seconds that `evaluate` says."""
        return self.result.latency_s

    @property
    def error(self) -> float:
        """Predicted over measured, less one."""
        return self.predicted_s / self.case.measured_s - 1

    def to_dict(self) -> dict[str, object]:
        """All columns, and what was found."""
        longest = max(self.result.groups, key=lambda group: group.cycles)
        return {
            **self.case.columns,
            "phase": self.case.phase,
            "set_aside": self.case.aside,
            "predicted_s": self.predicted_s,
            "measured_s": self.case.measured_s,
            "schedule": longest.schedule,
            "bottleneck": longest.bottleneck,
            "left_out": list(self.case.left_out),
        }


def priced(case: Case) -> MeasuredRow:
    """A row with the model's time of its mapping.

    Sums are as wide as words, as they were when costs were fitted.
    raises: SpecError where no mapping of the kernel fits the chip.
    """
    bits = {SUMS: case.workload.word_bits, **case.workload.tensor_bits}
    case = replace(case, workload=replace(case.workload, tensor_bits=bits))
    for mapping in case.mappings:
        result = evaluated(
            MappingRecord(workload=case.workload, platform=case.platform, mapping=mapping)
        )
        if isinstance(result, Result):
            return MeasuredRow(case=case, result=result)
    raise wrong(case.where, "a mapping that fits", result)


def costs_of(arch: Architecture, kernel: str) -> dict[str, float]:
    """All that a chip's file says of a kernel."""
    found = {name: arch.variables.get(f"{kernel}_{name}") for name in SAID}
    return {name: float(n) for name, n in found.items() if isinstance(n, int | float)}
