"""Sizes without useful divisors: mappings with remainders, found by way of larger sizes."""

from __future__ import annotations

import pytest
import small_platform as small

from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Result
from flat_mapper.energy.tables import Ert
from flat_mapper.mapper.solve.optimum import is_awkward, larger_sizes, search
from flat_mapper.mapper.solve.result import Solution
from flat_mapper.mapper.solve.solve import best_mapping
from flat_mapper.mapping.space import Fusion, Mapspace
from flat_mapper.workload.cascade import attention

FLAT = Mapspace(name="flat", fusion=Fusion(groups=(("QK", "softmax", "AV"),), optional=True))


@pytest.mark.parametrize(
    ("size", "awkward"),
    [
        (1, False),
        (16, False),
        (17, False),
        (37, True),
        (197, True),
        (514, True),
        (1500, False),
        (4096, False),
    ],
)
def test_what_is_awkward(size: int, awkward: bool) -> None:
    assert is_awkward(size) is awkward


def test_larger_sizes_come_with_least_work_first() -> None:
    workload = attention(B=1, H=1, P=197, M=4, E=4, F=4)
    assert larger_sizes(workload, FLAT) == [{"P": 200}, {"P": 208}, {"P": 224}]


def test_a_prime_length_fills_the_array() -> None:
    workload = attention(B=2, H=2, P=37, M=4, E=8, F=8)
    platform = small.platform()
    prices = {"read": 1.0, "write": 1.0, "update": 1.0}
    levels = {
        "DRAM": dict.fromkeys(prices, 100.0),
        "GLB": dict.fromkeys(prices, 10.0),
        "RF": prices,
        "VRF": prices,
        "MAC": {"compute": 1.0},
        "VALU": {"compute": 1.0},
    }
    ert = Ert(levels=levels, source="this test")
    found = search(workload, platform, FLAT, ert)
    plain = best_mapping(workload, platform, FLAT, ert)
    assert isinstance(found, Solution)
    assert isinstance(plain, Solution)
    assert plain.certificate.optimal
    assert not found.certificate.optimal
    assert found.result.edp_js < plain.result.edp_js
    again = evaluate(found.workload, platform, found.result.mapping, ert)
    assert isinstance(again, Result)
    assert again.edp_js == found.result.edp_js
    assert found.workload.rank_sizes == workload.rank_sizes
