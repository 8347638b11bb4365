"""Backends: the same inputs for all of them, the same result from each."""

from __future__ import annotations

from typing import Protocol

from flat_mapper.arch.values import Platform
from flat_mapper.base.errors import BackendError, expected
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.energy.tables import Ert, energy_kind, operation_cycles
from flat_mapper.mapping.values import FusedMapping
from flat_mapper.workload.graph import Workload


class Backend(Protocol):
    """An evaluator of fused mappings."""

    @property
    def name(self) -> str:
        """Name for `--backend`."""

    def missing(self) -> str | None:
        """Missing program and how to get it, in one line; None where it can run."""

    def evaluate(
        self, workload: Workload, platform: Platform, mapping: FusedMapping, ert: Ert
    ) -> Result | Infeasible:
        """The mapping's cost, or why it does not fit.

        raises: MappingError where the mapping contradicts the workload or the platform,
                BackendError where the tool behind it is missing or fails.
        """


def refuse_operations(
    workload: Workload, platform: Platform, mapping: FusedMapping, who: str
) -> None:
    """Refuse operations of other than one cycle, masks, and ports of fills: no other tool has them.

    raises: BackendError.
    """
    if workload.mask:
        condition = "no mask: it has no loops that are longer for some queries than for others"
        raise BackendError(expected(who, condition, str(workload.mask), "use --backend native"))
    for level in (lv for path in platform.paths for lv in path.levels):
        if level.fill_words_per_cycle is not None:
            condition = "no fill_bandwidth: fills pass the write port there"
            got, change = f"{level.fill_words_per_cycle:g}", "use --backend native"
            raise BackendError(expected(f"{who}: {level.name}", condition, got, change))
    for name in mapping.einsum_mappings:
        einsum = workload.einsum(name)
        cycles = operation_cycles(platform.path(einsum.unit), einsum, workload.widths)
        if cycles != 1:
            condition = f"operations of one cycle, as {who} has them"
            change = "use --backend native, or leave out the cycles of operations"
            got = f"{energy_kind(einsum.operation)} of {cycles:g}"
            raise BackendError(expected(f"{who}: {name}", condition, got, change))
