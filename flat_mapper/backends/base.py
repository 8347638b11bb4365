"""What a backend is: the same inputs for all of them, the same result from each."""

from __future__ import annotations

from typing import Protocol

from flat_mapper.arch import Platform
from flat_mapper.energy_tables import Ert
from flat_mapper.mapping import FusedMapping
from flat_mapper.model.result import Infeasible, Result
from flat_mapper.workload import Workload


class Backend(Protocol):
    """An evaluator of fused mappings."""

    @property
    def name(self) -> str:
        """What `--backend` calls it."""

    def missing(self) -> str | None:
        """What is missing and how to get it, in one line; None where it can run."""

    def evaluate(
        self, workload: Workload, platform: Platform, mapping: FusedMapping, ert: Ert
    ) -> Result | Infeasible:
        """The mapping's cost, or why it does not fit.

        raises: MappingError where the mapping contradicts the workload or the platform,
                BackendError where the tool behind it is missing or fails.
        """
