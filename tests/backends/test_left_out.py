"""What crosscheck takes from one pass, and what it leaves to `execute`."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import pytest
from execution.random_fused import random_mapping, random_platform, random_workload
from execution.tiny import chip, fused, products

from flat_mapper.arch.values import Platform
from flat_mapper.backends.agreement import COUNTS, Crosscheck, compare_backends
from flat_mapper.cost_model.chip.evaluation import combine, stats_alone
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.energy.tables import Ert, unpriced
from flat_mapper.mapping.check import check_fused
from flat_mapper.mapping.values import FusedMapping
from flat_mapper.workload.graph import Workload


@dataclass(frozen=True)
class Alone:
    """A backend that counts every Einsum as if it were alone, as timeloop-model does.

    more: words that it reads too many of B in one pass.
    """

    name: str = "alone"
    more: int = 0

    def missing(self) -> str | None:
        return None

    def evaluate(
        self, workload: Workload, platform: Platform, mapping: FusedMapping, ert: Ert
    ) -> Result | Infeasible:
        check_fused(workload, platform, mapping)
        stats = stats_alone(workload, platform, mapping, ert)
        if self.more and not mapping.groups[0].shared:
            top, glb, registers = stats["Y"].levels
            more = [
                replace(t, scalar_reads=t.scalar_reads + self.more) if t.tensor == "B" else t
                for t in glb.tensors
            ]
            levels = (top, replace(glb, tensors=tuple(more)), registers)
            stats["Y"] = replace(stats["Y"], levels=levels)
        return combine(workload, platform, mapping, ert, stats, backend=self.name)


def checked(*stay: str, more: int = 0) -> Crosscheck:
    ert = unpriced(chip())
    return compare_backends(products(), chip(), fused(stay=stay), ert, [Alone(more=more)])


def test_what_returns_is_one_pass_times_the_passes() -> None:
    """B, four words, is fetched for each of two rows; alone it would stay."""
    found = checked()
    assert found.agrees
    assert found.one_pass == 2  # B's reads at GLB and its fills at RF
    assert [(q.level, q.quantity) for q in found.left_out] == [("", "cycles")]
    assert "2 counts of tiles that return" in str(found)


def test_a_pass_that_moves_more_is_a_difference() -> None:
    """One word too many in a pass is two in two."""
    (found,) = checked(more=1).differences
    assert (found.tensor, found.quantity, found.native, found.other) == ("B", "scalar_reads", 8, 10)
    assert found.exceeds


def test_what_stays_is_compared_with_the_whole() -> None:
    found = checked("B")
    assert found.agrees
    assert (found.one_pass, found.left_out) == (0, ())
    assert found.compared == checked().compared + 1


# Mappings in which most returns; of attention, cascades of one's own, up to five levels.
@pytest.mark.parametrize("seed", range(60))
def test_every_count_of_a_fused_mapping_is_compared(seed: int) -> None:
    rng = random.Random(seed)
    workload = replace(random_workload(rng), mask=None)
    platform = random_platform(rng)
    mapping = random_mapping(rng, workload, platform)
    found = compare_backends(workload, platform, mapping, unpriced(platform), [Alone()])
    assert not found.absent
    assert found.agrees, found.differences
    counts = {(q.einsum, q.level) for q in found.left_out if q.quantity in COUNTS}
    assert counts <= {("QK_cor", "GLB")}  # its copy of the old maximum


def test_a_random_mapping_has_what_returns() -> None:
    rng = random.Random(16)
    workload = replace(random_workload(rng), mask=None)
    platform = random_platform(rng)
    mapping = random_mapping(rng, workload, platform)
    found = compare_backends(workload, platform, mapping, unpriced(platform), [Alone()])
    assert found.one_pass == 23
