"""What operations of the vector unit cost: in the model, in the bound, and in the search."""

from __future__ import annotations

from dataclasses import replace

import pytest
from agreement import agree
from oracles.small_cases import online_case
from prices import PRICES
from small_platform import fused, platform, workload

from flat_mapper.arch.reader import load_platform
from flat_mapper.arch.values import Platform
from flat_mapper.base.errors import BackendError, SpecError
from flat_mapper.cost_model.backend import refuse_operations
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import EinsumStats, Result
from flat_mapper.energy.hwcomponents import price_with_hwcomponents
from flat_mapper.energy.tables import (
    OPERATIONS,
    Ert,
    energy_kind,
    ert_of,
    in_macs,
    operation_cycles,
    operation_energy,
)
from flat_mapper.timeloop.write import lower_einsum
from flat_mapper.workload.cascade import attention
from flat_mapper.workload.notation import FUNCTIONS


def chip(**variables: object) -> Platform:
    place = platform()
    assert place.vector is not None
    vector = replace(place.vector, variables={**place.vector.variables, **variables})
    return replace(place, vector=vector)


def in_turns(place: Platform) -> Platform:
    """A chip whose units take turns, so that its bound has the cycles of both."""
    variables = {**place.matrix.variables, "units_at_once": 0}
    return replace(place, matrix=replace(place.matrix, variables=variables))


def cost(place: Platform, ert: Ert = PRICES) -> Result:
    result = evaluate(workload(), place, fused(), ert)
    assert isinstance(result, Result)
    return result


def of(result: Result, name: str) -> EinsumStats:
    return next(e for e in result.einsums if e.einsum == name)


def test_each_einsum_takes_the_cycles_and_energy_of_its_operation() -> None:
    plain, slow = map(cost, map(in_turns, (chip(), chip(exp_cycles=4, div_cycles=2, exp_energy=3))))
    # In pJ of Horowitz' table: 7 additions and 6 products for exp, over one of each; 4 and 5 for /.
    exp, div, one = 7 * 0.4 + 6 * 1.1, 4 * 0.4 + 5 * 1.1, 0.4 + 1.1
    for name, cycles, was, energy in (
        *(("QK_exp", 4, exp / one, 3), ("A", 2, div / one, div / one)),
        *(("QK_max", 1, 0.4 / one, 0.4 / one), ("QK_sum", 1, 0.4 / one, 0.4 / one)),
        ("QK", 1, 1, 1),
    ):
        before, after = of(plain, name), of(slow, name)
        compute = PRICES.energy(before.unit, "compute")
        assert after.compute_cycles == cycles * before.compute_cycles
        assert before.compute_energy_pj == pytest.approx(was * compute * before.computes)
        assert after.compute_energy_pj == pytest.approx(energy * compute * after.computes)
        assert after.computes == before.computes
        assert after.ideal_cycles == cycles * before.ideal_cycles
    more = 3 * of(plain, "QK_exp").compute_cycles + of(plain, "A").compute_cycles
    assert slow.cycles == plain.cycles + more
    assert slow.bound.cycles > plain.bound.cycles
    assert 0 < slow.utilization <= 1


def test_an_energy_table_may_price_operations() -> None:
    prices = {name: dict(actions) for name, actions in PRICES.levels.items()}
    prices["VALU"]["exp"] = 7.0
    read = ert_of({k: {a: pj for a, pj in v.items() if a != "compute" or k in ("MAC", "VALU")}
                   for k, v in prices.items()}, "ert.yaml")  # fmt: skip
    found = of(cost(chip(exp_energy=3), read), "QK_exp")
    assert found.compute_energy_pj == 7.0 * found.computes


def test_every_operation_of_the_notation_has_an_energy() -> None:
    assert {energy_kind(o) for o in FUNCTIONS} == set(OPERATIONS)
    assert in_macs("copy") == 0 < in_macs("max") == in_macs("add") < in_macs("mul") < 1
    assert in_macs("div") < in_macs("exp") < in_macs("sigmoid") < in_macs("gelu")


def test_a_product_costs_as_its_operands_are_wide() -> None:
    # hwcomponents at 22 nm: a product of 16 x 16 bits 1.0729 pJ, an addition of 32 bits 0.0711 pJ;
    # its own unit of 8 x 8 bits and 16 of sum has 0.2682 and 0.0355.
    place = load_platform("edge")
    table, _ = price_with_hwcomponents(place)
    whole = attention(B=1, H=1, P=4, M=4, E=4, F=4)
    for bits, pj in (({}, 1.1440), ({"K": 8}, 1.0729 / 2 + 0.0711), ({"K": 4, "Q": 8}, 0.2052)):
        one = replace(whole, tensor_bits=bits)
        found = operation_energy(place.matrix, table, one.einsum("QK"), one.widths)
        assert found == pytest.approx(pj, rel=1e-3)
    assert operation_energy(place.matrix, replace(table, multipliers={}), one.einsum("QK")) == (
        table.energy("MAC", "compute")
    )


def test_kinds() -> None:
    assert [energy_kind(o) for o in ("sum", "sub", "min", "gelu")] == ["add", "add", "max", "gelu"]


@pytest.mark.parametrize("cycles", [0, -1.5, True, "4"])
def test_cycles_that_are_none_are_refused(cycles: object) -> None:
    vector = chip(exp_cycles=cycles).vector
    assert vector is not None
    with pytest.raises(SpecError, match=r"exp_cycles: cycles of a lane: expected number > 0, got"):
        operation_cycles(vector, workload().einsum("QK_exp"))


@pytest.mark.parametrize("seed", [6, 11])
def test_search_finds_what_brute_force_finds(seed: int) -> None:
    case = online_case(seed)
    assert case.platform.vector is not None
    vector = replace(case.platform.vector, variables={"exp_cycles": 3, "add_energy": 2})
    agree(replace(case, platform=replace(case.platform, vector=vector)), seed)


def test_other_tools_have_one_compute_for_all() -> None:
    with pytest.raises(BackendError, match="timeloop: QK_exp: expected operations of one cycle"):
        refuse_operations(workload(), chip(exp_cycles=4), fused(), "timeloop")
    refuse_operations(workload(), chip(exp_energy=4), fused(), "timeloop")
    vector = chip(exp_energy=4).vector
    assert vector is not None
    nest = fused().einsum_mappings["QK_exp"]
    ert = lower_einsum(workload(), vector, nest, PRICES)["ERT.yaml"].text
    assert "energy: 4.0" in ert.partition("VALU")[2]  # of an exponential, as of Timeloop's compute
