"""Five facts, end to end, that a reader can check by hand.

problems/tiny.yaml: 2 batches x 2 heads, 8 queries, 8 keys, width 4, words of 2 bytes. Q, K, V and
AV have 2*2*8*4 = 128 words each, QK and A 2*2*8*8 = 256, and each of the two products takes
2*2*8*8*4 = 1024 multiplications. A row of DRAM has 64 bits: 4 words.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from flat_mapper.api.calls import load_problem, search
from flat_mapper.arch.reader import load_platform
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.energy.tables import ert_of
from flat_mapper.mapping.space import Mapspace
from flat_mapper.mapping.space_reader import load_mapspace

DRAM_ONLY = ert_of(
    {
        "DRAM": {"read": 1.0, "write": 1.0},
        **{name: {"read": 0.0, "write": 0.0} for name in ("GLB", "RF", "LREG")},
        **{name: {"compute": 0.0} for name in ("MAC", "VALU")},
    },
    "1 pJ for a row of DRAM",
)
COMPULSORY = 4 * 128 * 2  # bytes: Q, K and V in, AV out


def _best(mapspace: Mapspace) -> Result:
    found = search(
        load_problem("tiny"), load_platform("edge"), mapspace, DRAM_ONLY, objective="energy"
    )
    assert not isinstance(found, Infeasible)
    return found.result


@pytest.fixture(scope="module")
def fused() -> Result:
    return _best(load_mapspace("flat-m"))


@pytest.fixture(scope="module")
def unfused() -> Result:
    return _best(load_mapspace("flex"))


def test_fused_only_the_inputs_and_the_output_cross_dram(fused: Result) -> None:
    assert fused.offchip_bytes == COMPULSORY


def test_unfused_the_scores_cross_it_four_times(unfused: Result) -> None:
    # QK out of its product and into the softmax, A out of the softmax and into its product.
    assert unfused.offchip_bytes == COMPULSORY + 4 * 256 * 2


def test_with_a_free_softmax_they_cross_it_twice() -> None:
    flex = load_mapspace("flex")
    free = _best(replace(flex, policy=replace(flex.policy, softmax="free")))
    assert free.offchip_bytes == COMPULSORY + 2 * 256 * 2


def test_energy_is_a_picojoule_for_each_row_of_dram(fused: Result, unfused: Result) -> None:
    assert fused.energy_pj == 512 / 4
    assert unfused.energy_pj == (512 + 1024) / 4
    assert fused.macs == 2 * 1024


def test_the_parts_sum_to_the_whole(unfused: Result) -> None:
    for parts in unfused.energy_by().values():
        assert sum(parts.values()) == pytest.approx(unfused.energy_pj, rel=1e-12)
    # One operator after the other.
    assert unfused.cycles == sum(group.cycles for group in unfused.groups)
