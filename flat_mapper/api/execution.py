"""Execution of a recorded mapping, and the model held against it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from flat_mapper.api.calls import Source
from flat_mapper.arch.reader import load_platform
from flat_mapper.arch.values import Platform
from flat_mapper.backends.referee import Disagreement, compare
from flat_mapper.base.errors import NothingFeasible
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Infeasible
from flat_mapper.energy.tables import unpriced
from flat_mapper.execution import run as referee
from flat_mapper.execution.result import Executed
from flat_mapper.execution.shrink import cut_ranks, shrunk
from flat_mapper.mapping.record import read_record


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """A mapping executed, and what the model says otherwise where it was asked."""

    executed: Executed
    checked: bool = False
    differences: tuple[Disagreement, ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether every difference has a reason."""
        return all(d.reason for d in self.differences)

    def to_dict(self) -> dict[str, object]:
        """The fields by name."""
        found = self.executed.to_dict()
        if self.checked:
            found["differences"] = [d.to_dict() for d in self.differences]
        return found


def execute(
    record: Path | str,
    platform: Platform | Source | None = None,
    *,
    check: bool = False,
    shrink: bool = False,
    seed: int = 0,
) -> Execution:
    """A recorded mapping run on real numbers, tile by tile.

    record:   a fused-mapping.yaml.
    platform: another architecture than the record's own.
    check:    hold the native model against it.
    shrink:   cut the loops at DRAM to two passes first.
    seed:     of the random inputs.
    raises:   SpecError where it takes too many steps; with `check`, NothingFeasible where the model
              says that the mapping does not fit.
    """
    chip = platform
    if chip is not None and not isinstance(chip, Platform):
        chip = load_platform(chip)
    read = read_record(Path(record), chip)
    workload, mapping = replace(read.workload, repeat=1), read.mapping
    if shrink:
        workload, mapping = shrunk(workload, mapping, read.platform.dram.name)
    executed = referee.execute(workload, read.platform, mapping, seed=seed)
    executed = replace(executed, shrunk=cut_ranks(read.workload, workload))
    if not check:
        return Execution(executed=executed)
    result = evaluate(workload, read.platform, mapping, unpriced(read.platform))
    if isinstance(result, Infeasible):
        raise NothingFeasible(result)
    return Execution(executed=executed, checked=True, differences=compare(executed, result))
