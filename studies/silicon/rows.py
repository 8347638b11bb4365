"""Rows of files of measured times: how they are read, and what a row becomes.

A row is a question to the model: a workload, a platform and the mapping that the measured kernel
uses. Which family of kernels a row belongs to, `families` says.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from flat_mapper.arch.values import Platform
from flat_mapper.base.classes import dataclass
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import GroupStats, Result
from flat_mapper.energy.tables import unpriced
from flat_mapper.mapping.values import FusedMapping
from flat_mapper.workload.graph import Workload

Columns = Mapping[str, str]
MOST = 10**8  # of a size


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
    attention: Callable[[], Workload] | None = (
        None  # without the kernels beside it, to search mappings of
    )
    kept_back: bool | None = None  # where the source of the rows says which are set aside
    left_out: tuple[str, ...] = ()  # what the mapping does not say
    sourced: tuple[str, ...] = ()  # costs of the kernel that were not fitted

    @property
    def aside(self) -> bool:
        """True if the row is never fitted to: a third of all shapes, unless its source says."""
        if self.kept_back is not None:
            return self.kept_back
        return self.drawn(0, 3) == 0

    def drawn(self, begin: int, parts: int) -> int:
        """One of so many parts, by eight digits of the SHA-256 of the row's shape."""
        digits = sha256(self.shape.encode()).hexdigest()[begin : begin + 8]
        return int(digits, 16) % parts


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
        longest = longest_group(self.result)
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


def longest_group(result: Result) -> GroupStats:
    """The group that takes most cycles."""
    return max(result.groups, key=lambda group: group.cycles)


def read_rows(path: Path) -> list[Columns]:
    """The rows of a CSV file with a header.

    raises: SpecError for a file that cannot be read or has no rows.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SpecError(expected(str(path), "a CSV file that can be read", str(error))) from error
    if not rows:
        raise SpecError(expected(str(path), "a header and rows", "none"))
    return [{str(k): v or "" for k, v in row.items() if k is not None} for row in rows]


def sizes_of(
    where: str, row: Columns, names: Sequence[str], may_be_zero: Sequence[str]
) -> dict[str, int]:
    """Whole numbers of a row, positive where they must be."""
    found = {}
    for key in names:
        text = row.get(key)
        least = 0 if key in may_be_zero else 1
        if text is None or not text.isdecimal() or not least <= int(text) < MOST:
            raise SpecError(expected(f"{where}: {key}", f"a whole number >= {least}", text))
        found[key] = int(text)
    return found


def seconds_of(
    where: str,
    row: Columns,
    column: str = "latency_ms",
    unit: float = 1e-3,
    *,
    most: float = 1e6,
    noun: str = "",
) -> float:
    """The measured time of a row."""
    try:
        value = float(row[column]) * unit
    except (KeyError, ValueError):
        value = 0.0
    if not 0 < value < most:
        unit_name = {1e-3: "milliseconds", 1e-6: "microseconds"}.get(unit, "seconds")
        raise SpecError(expected(f"{where}: {column}", f"{noun or unit_name} > 0", row.get(column)))
    return value


def count_of(case: Case, column: str) -> float:
    """A positive number of a row that is no time.

    raises: SpecError.
    """
    return seconds_of(case.where, case.columns, column, 1.0, most=1e15, noun="a number")


def priced(case: Case) -> MeasuredRow:
    """A row with the model's time of its mapping.

    raises: SpecError where no mapping of the kernel fits the chip.
    """
    prices = unpriced(case.platform)
    for mapping in case.mappings:
        result = evaluate(case.workload, case.platform, mapping, prices)
        if isinstance(result, Result):
            return MeasuredRow(case=case, result=result)
    raise SpecError(expected(case.where, "a mapping that fits", result))
