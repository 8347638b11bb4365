"""Networks between levels: the rule for hops, what a file says, and where their energy stands."""

from __future__ import annotations

from dataclasses import replace
from math import fsum

import pytest
from arch.test_arch_reader import DRAM, MAC, arch
from prices import PRICES
from small_platform import platform

from flat_mapper.arch.values import Architecture, Fanout, Platform
from flat_mapper.base.errors import SpecError
from flat_mapper.cost_model.result import Result
from flat_mapper.mapper.solve.certificate import Solution
from flat_mapper.mapper.solve.driver import search
from flat_mapper.mapping.cores import core_platform
from flat_mapper.mapping.space import Mapspace
from flat_mapper.reports.document import result_document
from flat_mapper.workload.cascade import attention

MESHES = [(2, 1), (1, 2), (1, 3), (3, 1), (4, 4), (3, 5), (1, 128), (32, 32)]


def timeloop_hops(mesh: tuple[int, int], copies: list[tuple[int, int]]) -> float:
    """Hops of one word to some copies, as timeloop-model counts them: along x as far as the last,
    and from there along y in each column, from the middle. (ComputeAccurateMulticastedAccesses.)
    """
    middle = (mesh[1] - 1) / 2
    hops = float(max(x for x, _ in copies))
    for column in {x for x, _ in copies}:
        rows = [y - middle for x, y in copies if x == column]
        hops += max(0.0, -min(rows)) + max(0.0, max(rows))
    return hops


@pytest.mark.parametrize("mesh", MESHES)
def test_one_copy_and_all_of_them_are_as_far_as_timeloop_has_it(mesh: tuple[int, int]) -> None:
    copies = [(x, y) for x in range(mesh[0]) for y in range(mesh[1])]
    enter, each = Fanout(name="PE", fanout_x=mesh[0], fanout_y=mesh[1], hop_pj=1.0).word_pj
    alone = [timeloop_hops(mesh, [copy]) for copy in copies]
    assert enter + each == pytest.approx(sum(alone) / len(copies))
    assert enter + each * len(copies) == pytest.approx(timeloop_hops(mesh, copies))
    assert enter >= 0 < each


def test_one_place_has_no_network() -> None:
    assert Fanout(name="PE", hop_pj=3.0).word_pj == (0.0, 0.0)


def test_a_file_prices_a_fanout_and_nothing_inside_it() -> None:
    container = "  - !Container {name: PE, attributes: {hop_energy_pj: e}, spatial: {meshX: 2}}\n"
    lanes = MAC.replace("intmac", "intmac, attributes: {hop_energy_pj: 2}, spatial: {meshX: 4}")
    found = arch(DRAM + container + lanes, "variables: {version: 0.4, e: 1 / 4}\n")
    assert [(f.name, f.hop_pj) for f in found.fanouts] == [("PE", 0.25), ("MAC", 2.0)]
    assert "hop_energy_pj" not in found.compute.attributes


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ("!Container {name: PE, attributes: {hop_energy_pj: 1}}", "expected spatial: {meshX: ...}"),
        (
            "!Container {name: PE, attributes: {hop_energy_pj: -1}, spatial: {meshX: 2}}",
            "PE.attributes.hop_energy_pj: expected number from 0",
        ),
        (
            "!Component {name: B, class: SRAM, attributes: {depth: 4, width: 16, datawidth: 16, "
            "energy_per_hop: 1}}",
            "expected no energy_per_hop (it is not modelled), got 1; write hop_energy_pj",
        ),
        (
            "!Container {name: PE, attributes: {hop_energy: 1}, spatial: {meshX: 2}}",
            "did you mean 'hop_energy_pj'?",
        ),
    ],
)
def test_what_is_wrong_with_a_price(node: str, message: str) -> None:
    with pytest.raises(SpecError) as error:
        arch(f"{DRAM}  - {node}\n{MAC}")
    assert message in str(error.value)


def chip(*names: str) -> Platform:
    """The small platform with 0.5 pJ a hop on some of its fanouts."""

    def path(one: Architecture) -> Architecture:
        nodes = (replace(n, hop_pj=0.5) if n.name in names else n for n in one.nodes)
        return replace(one, nodes=tuple(nodes))

    plain = platform()
    assert plain.vector is not None
    return replace(plain, matrix=path(plain.matrix), vector=path(plain.vector))


def answered(on: Platform) -> Result:
    workload = replace(attention(B=2, H=1, P=4, M=4, E=2, F=2), repeat=3)
    found = search(workload, on, Mapspace(name="flex"), PRICES, objective="energy")
    assert isinstance(found, Solution)
    return found.result


def test_every_cut_has_the_networks_and_adds_up_to_the_last_digit() -> None:
    result = answered(chip("PE", "lane"))
    assert {"network of PE", "network of lane"} <= set(result.energy_by()["component"])
    for cut in result.energy_by().values():
        assert fsum(cut.values()) == result.energy_pj
    assert answered(platform()).energy_pj < result.energy_pj


def test_an_answer_says_which_networks_cost_nothing() -> None:
    def zero(on: Platform) -> list[str]:
        document = result_document(attention(B=2, H=1, P=4, M=4, E=2, F=2), on, answered(on))
        return list(document["zero_energies"])

    assert zero(platform())[0] == "networks between levels"
    assert zero(chip("PE"))[0] == "network of lane"
    assert not any("network" in line for line in zero(chip("PE", "lane")))


def test_a_core_pays_for_the_networks_between_it_and_dram() -> None:
    """The search of one PE's tile: every word from or to DRAM makes the hops of one copy."""
    whole = replace(chip("PE"), vector=None)
    hops = sum(next(f for f in whole.matrix.fanouts if f.name == "PE").word_pj)
    assert core_platform(whole, "RF").dram.outside_pj == hops == pytest.approx(23.5 * 0.5)
    assert core_platform(whole, "GLB").dram.outside_pj == 0
