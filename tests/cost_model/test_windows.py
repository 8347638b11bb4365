"""Tensors whose tiles overlap: the count of windows against recorded answers and by hand.

tests/data/timeloop_window_cases.jsonl: answers of timeloop-model (NVlabs/timeloop 4cf6d4c), run for
this project on convolutions, plain, strided, dilated and transposed, with random sizes, chips,
factors, orders and bypasses, made as for timeloop_cases.jsonl.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from timeloop_cases import DATA, architecture_of, cases

from flat_mapper.base.errors import SpecError
from flat_mapper.cost_model.einsum import EinsumCosts, einsum_costs
from flat_mapper.cost_model.nest import factors_of, nest_of
from flat_mapper.cost_model.windows import windowed_traffic
from flat_mapper.energy.tables import ert_of
from flat_mapper.timeloop.mapping_reader import read_mapping
from flat_mapper.workload.einsum import TensorAccess
from flat_mapper.workload.timeloop import read_problem

EXACT = [c for c in cases() if "levels" in c["timeloop"] and not c.get("remainders")]


def as_sums(access: TensorAccess) -> TensorAccess:
    """A tensor whose plain ranks are written as sums of one term."""
    return replace(access, sums=tuple(((rank, 1),) for rank in access.ranks))


@pytest.mark.parametrize("part", range(8))
def test_plain_tensors_count_as_timeloop_counts(part: int) -> None:
    """The walk over tiles knows no rule of plain tensors, and comes to the recorded answers."""
    for case in EXACT[part::8]:
        workload, arch = read_problem({"problem": case["problem"]}), architecture_of(case)
        einsum = workload.einsums[0]
        mapping = read_mapping(case["mapping"], arch, einsum, sizes=workload.rank_sizes)
        inputs = tuple(as_sums(a) for a in einsum.inputs)
        nest = nest_of(arch, replace(einsum, inputs=inputs, output=as_sums(einsum.output)), mapping)
        for access in einsum.accesses:
            found = windowed_traffic(nest, factors_of(nest, [mapping]), access.tensor)
            for (level, tensor), traffic in found.items():
                said = case["timeloop"]["levels"][arch.levels[level].name]["tensors"][tensor]
                got = {
                    "scalar_reads": int(traffic.reads[0]),
                    "scalar_fills": int(traffic.fills[0]),
                    "scalar_updates": int(traffic.updates[0]),
                }
                assert got == {key: said[key] for key in got}, (case["id"], level, tensor)


def recorded() -> list[dict[str, Any]]:
    """The recorded convolutions."""
    text = (DATA / "timeloop_window_cases.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def costs_of(case: dict[str, Any]) -> EinsumCosts:
    workload, arch = read_problem({"problem": case["problem"]}, case["id"]), architecture_of(case)
    einsum = workload.einsums[0]
    mapping = read_mapping(case["mapping"], arch, einsum, sizes=workload.rank_sizes)
    return einsum_costs(
        workload, arch, [mapping], ert_of(case["ert_pj"], case["id"]), handed_on=True
    )


@pytest.mark.parametrize("kind", ["flat", "row", "grid", "bare", "two", "deep"])
def test_convolutions_count_as_timeloop_counts(kind: str) -> None:
    mine = [case for case in recorded() if case["kind"] == kind]
    assert len(mine) >= 15
    for case in mine:
        stats, said = costs_of(case).stats(0), case["timeloop"]
        got = {
            "cycles": stats.cycles,
            "computes": stats.computes,
            "lanes": stats.lanes,
            "levels": {
                level.level: {
                    "cycles": level.cycles,
                    "tensors": {
                        t.tensor: {
                            key: t.to_dict()[key]
                            for key in said["levels"][level.level]["tensors"][t.tensor]
                            if key != "energy_total_pj"
                        }
                        for t in level.tensors
                    },
                }
                for level in stats.levels
                if level.tensors
            },
        }
        for level in stats.levels:
            for tensor in level.tensors:
                theirs = said["levels"][level.level]["tensors"][tensor.tensor]
                energy = theirs.pop("energy_total_pj")
                assert tensor.energy_pj == pytest.approx(energy, rel=1e-9, abs=0.0051), case["id"]
        assert got == said, case["id"]


CONV = {
    "version": "0.4",
    "shape": {
        "name": "conv",
        "dimensions": ["R", "P"],
        "coefficients": [{"name": "stride", "default": 1}],
        "data_spaces": [
            {"name": "W", "projection": [[["R"]]]},
            {"name": "I", "projection": [[["R"], ["P", "stride"]]]},
            {"name": "O", "projection": [[["P"]]], "read_write": True},
        ],
    },
    "instance": {"R": 3, "P": 16},
}
CHIP = [
    ["!Component", {"name": "DRAM", "class": "DRAM", "attributes": {"width": 8, "datawidth": 8}}],
    [
        "!Component",
        {
            "name": "RF",
            "class": "regfile",
            "attributes": {"width": 8, "datawidth": 8, "depth": 64},
        },
    ],
    ["!Component", {"name": "MAC", "class": "intmac", "attributes": {"width": 8}}],
]
PRICES = {"DRAM": dict.fromkeys(("read", "write", "update"), 1.0), "MAC": {"compute": 1.0}}
PRICES["RF"] = PRICES["DRAM"]


@pytest.mark.parametrize(
    ("stride", "dram", "rf", "reads", "held"),
    [
        # A window of 3 slides over 18 words, one new word a step: 3 + 15.
        (1, "P=16", "R=3", 18, 3),
        # A stride of 2: two new words a step: 3 + 15 x 2.
        (2, "P=16", "R=3", 33, 3),
        # A stride of 4 steps over a word each time, and nothing overlaps: 16 x 3.
        (4, "P=16", "R=3", 48, 3),
        # Rows of 16, shifted by one for each weight: 16 + 1 + 1.
        (1, "R=3", "P=16", 18, 16),
        # Tiles of 4 outputs need 6 words and share 2: 6 + 3 x 4.
        (1, "P=4", "R=3 P=4", 18, 6),
    ],
)
def test_windows_by_hand(stride: int, dram: str, rf: str, reads: int, held: int) -> None:
    instance = {"R": 3, "P": 16, "stride": stride}
    case = {
        "id": "by hand",
        "kind": "flat",
        "problem": {**CONV, "instance": instance},
        "architecture": CHIP,
        "mapping": [
            {"target": "DRAM", "type": "temporal", "factors": dram},
            {"target": "RF", "type": "temporal", "factors": rf},
        ],
        "ert_pj": PRICES,
    }
    stats = costs_of(case).stats(0)
    found = {(lv.level, t.tensor): t for lv in stats.levels for t in lv.tensors}
    assert found["DRAM", "I"].scalar_reads == found["RF", "I"].scalar_fills == reads
    assert found["RF", "I"].utilized_capacity == held
    assert found["DRAM", "I"].utilized_capacity == 15 * stride + 3


def test_remainders_beside_sums_are_refused() -> None:
    factors = [
        {"target": "DRAM", "type": "temporal", "factors": "P=4"},
        {"target": "RF", "type": "temporal", "factors": "R=3 P=5,1"},
    ]
    case = {"id": "r", "kind": "r", "problem": CONV, "architecture": CHIP, "mapping": factors}
    with pytest.raises(SpecError, match="conv: I: expected factors that divide their ranks"):
        costs_of({**case, "ert_pj": PRICES}).stats(0)
