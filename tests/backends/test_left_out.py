"""What crosscheck leaves to `execute`: counts that the rules between fused Einsums set."""

from __future__ import annotations

from dataclasses import dataclass

from execution.tiny import chip, fused, products

from flat_mapper.api.execution import unpriced
from flat_mapper.arch.values import Platform
from flat_mapper.backends.agreement import Crosscheck, crosscheck
from flat_mapper.cli.crosscheck import crosscheck_text
from flat_mapper.cost_model.evaluation import combine, stats_alone
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.energy.tables import Ert
from flat_mapper.mapping.values import FusedMapping
from flat_mapper.workload.graph import Workload


@dataclass(frozen=True)
class Alone:
    """A backend that counts every Einsum as if it were alone, as timeloop-model does."""

    name: str = "alone"

    def missing(self) -> str | None:
        return None

    def evaluate(
        self, workload: Workload, platform: Platform, mapping: FusedMapping, ert: Ert
    ) -> Result | Infeasible:
        stats = stats_alone(workload, platform, mapping, ert)
        return combine(workload, platform, mapping, ert, stats, backend=self.name)


def checked(*stay: str) -> Crosscheck:
    ert = unpriced(chip())
    return crosscheck(products(), chip(), fused(stay=stay), ert, [Alone()])


def test_what_returns_is_left_out_and_said() -> None:
    """B, four words, is fetched for each of two rows; alone it would stay."""
    found = checked()
    assert found.agrees
    told = {(q.level, q.tensor, q.quantity) for q in found.left_out}
    assert told == {
        *(("GLB", "B", "scalar_reads"), ("RF", "B", "scalar_fills"), ("", "", "cycles")),
    }
    assert "Y at GLB, Y at RF" in crosscheck_text(found)


def test_what_stays_is_compared() -> None:
    found = checked("B")
    assert found.agrees
    assert found.left_out == ()
    assert found.compared == checked().compared + 3
