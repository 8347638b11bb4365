"""Backend `native`: the package's own model."""

from __future__ import annotations

from flat_mapper.arch import Platform
from flat_mapper.energy_tables import Ert
from flat_mapper.mapping import FusedMapping
from flat_mapper.model.evaluate import evaluate
from flat_mapper.model.result import Infeasible, Result
from flat_mapper.workload import Workload


class NativeBackend:
    """The model in flat_mapper/model; it needs nothing else."""

    @property
    def name(self) -> str:
        """What `--backend` calls it."""
        return "native"

    def missing(self) -> str | None:
        """Nothing is ever missing."""
        return None

    def evaluate(
        self, workload: Workload, platform: Platform, mapping: FusedMapping, ert: Ert
    ) -> Result | Infeasible:
        """The mapping's cost, or why it does not fit."""
        return evaluate(workload, platform, mapping, ert)
