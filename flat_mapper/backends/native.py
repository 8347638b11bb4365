"""Backend `native`: the package's own model."""

from __future__ import annotations

from flat_mapper.arch.values import Platform
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.energy.tables import Ert
from flat_mapper.mapping.values import FusedMapping
from flat_mapper.workload.graph import Workload


class NativeBackend:
    """The model in flat_mapper/model; it needs nothing else."""

    @property
    def name(self) -> str:
        """The name that `--backend` takes."""
        return "native"

    def missing(self) -> str | None:
        """Nothing is ever missing."""
        return None

    def evaluate(
        self, workload: Workload, platform: Platform, mapping: FusedMapping, ert: Ert
    ) -> Result | Infeasible:
        """The mapping's cost, or why it does not fit."""
        return evaluate(workload, platform, mapping, ert)
