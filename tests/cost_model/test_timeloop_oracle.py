"""timeloop-model's recorded answers, asked of the native model through the package's loaders."""

from __future__ import annotations

import re
from math import prod
from typing import Any

import batches
import pytest
from timeloop_cases import architecture_of, cases, with_remainders

from flat_mapper.cost_model.einsum import EinsumCosts, einsum_costs
from flat_mapper.cost_model.result import EinsumStats
from flat_mapper.energy.tables import ert_of
from flat_mapper.timeloop.mapping_reader import read_mapping
from flat_mapper.workload.timeloop import read_problem

COUNTS = (
    "scalar_reads",
    "scalar_fills",
    "scalar_updates",
    "temporal_reductions",
    "utilized_capacity",
    "utilized_instances",
)
PRINTED_PJ = 0.005 + 1e-9  # Timeloop prints pJ to two decimals
KINDS = sorted({(c["kind"], c["einsum"]) for c in cases()})


def costs_of(case: dict[str, Any]) -> EinsumCosts:
    workload = read_problem({"problem": case["problem"]}, case["id"])
    arch = architecture_of(case)
    einsum = workload.einsums[0]
    mapping = read_mapping(with_remainders(case), arch, einsum, case["id"], workload.rank_sizes)
    ert = ert_of(case["ert_pj"], case["id"])
    return einsum_costs(workload, arch, [mapping], ert, padded=True)


def compare(case: dict[str, Any], stats: EinsumStats) -> None:
    said, name = case["timeloop"], case["id"]
    assert stats.cycles == said["cycles"], name
    assert stats.computes == case_computes(case), name
    assert stats.compute_cycles == said["mac"]["cycles"], name
    assert stats.lanes == said["mac"]["utilized_instances"], name
    assert 100 * stats.utilization == pytest.approx(said["utilization_percent"], abs=0.0051), name
    assert stats.energy_pj == pytest.approx(said["energy_uj"] * 1e6, rel=1e-9, abs=5001), name
    assert stats.compute_energy_pj == pytest.approx(
        said["mac"]["energy_total_pj"], rel=1e-9, abs=PRINTED_PJ
    ), name
    busy = [lv for lv in stats.levels if lv.tensors]  # Timeloop says nothing of an empty level
    assert {lv.level for lv in busy} == set(said["levels"]), name
    for level in busy:
        theirs, where = said["levels"][level.level], (name, level.level)
        assert level.cycles == theirs["cycles"], where
        assert level.throttling == pytest.approx(theirs["throttling"], abs=0.005 + 1e-9), where
        assert {t.tensor for t in level.tensors} == set(theirs["tensors"]), where
        for tensor in level.tensors:
            mine, other = tensor.to_dict(), theirs["tensors"][tensor.tensor]
            assert {k: mine[k] for k in COUNTS} == {k: other[k] for k in COUNTS}, where
            printed = pytest.approx(other["energy_total_pj"], rel=1e-9, abs=PRINTED_PJ)
            assert tensor.energy_pj == printed, (*where, tensor.tensor)


def case_computes(case: dict[str, Any]) -> int:
    return prod(case["problem"]["instance"].values())


@pytest.mark.parametrize(
    ("kind", "einsum"), KINDS, ids=[f"{kind}-{einsum}" for kind, einsum in KINDS]
)
def test_accepted_mappings_count_as_timeloop_counts(kind: str, einsum: str) -> None:
    for case in cases():
        if (case["kind"], case["einsum"]) == (kind, einsum) and "levels" in case["timeloop"]:
            costs = costs_of(case)
            assert costs.infeasible(0) is None, case["id"]
            assert batches.fits(costs).all(), case["id"]
            compare(case, costs.stats(0))
            for level in costs.nest.arch.levels:
                said = case["timeloop"]["levels"].get(level.name)
                assert said is None or said["instances"] == level.instances, case["id"]


def test_refused_mappings_are_refused_at_the_same_level_for_as_many_words() -> None:
    refused = [c for c in cases() if "refused" in c["timeloop"]]
    assert len(refused) == 67
    for case in refused:
        words = re.fullmatch(
            r"ERROR: couldn't map level (\w+): "
            r"mapped tile size (\d+) exceeds buffer capacity (\d+)",
            case["timeloop"]["refused"],
        )
        assert words, case["id"]
        costs = costs_of(case)
        no = costs.infeasible(0)
        assert no is not None, case["id"]
        assert (no.level, no.needs, no.has) == (words[1], int(words[2]), int(words[3])), case["id"]
        assert sum(w for _, w in no.terms) == no.needs
        assert not batches.fits(costs).any()


def test_all_recorded_cases_are_there() -> None:
    accepted = [c for c in cases() if "levels" in c["timeloop"]]
    remainders = [c for c in cases() if c.get("remainders")]
    assert (len(cases()), len(accepted), len(remainders)) == (520, 453, 120)
