"""Chips written for the layers of a network, under the Einsums of attention."""

from __future__ import annotations

from pathlib import Path

import pytest

from flat_mapper.api.calls import search
from flat_mapper.arch.reader import load_architecture
from flat_mapper.arch.values import Platform
from flat_mapper.base.errors import SpecError
from flat_mapper.energy.tables import Ert
from flat_mapper.mapping.arch_rules import binding, with_arch_rules
from flat_mapper.mapping.space import Mapspace
from flat_mapper.mapping.space_reader import load_mapspace
from flat_mapper.mapping.values import Policy, Slot
from flat_mapper.reports.answers import SearchResult
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.reader import load_workload

ATTENTION = """
problem:
  name: small
  ranks: {B: 1, H: 2, P: 8, M: P, E: 4, F: 4, D: 8, FF: 8}
  word_bits: 8
  attention: {softmax: row}
"""
# Row by row as simple_weight_stationary and eyeriss_like write theirs, in the names of a layer.
CHIP = """
variables: {technology: "45nm", global_cycle_seconds: 1e-9}
architecture:
  version: 0.4
  nodes:
  - !Component {name: DRAM, class: DRAM, attributes: {type: "LPDDR4", width: 64, datawidth: 8}}
  - !Component
    name: GLB
    class: SRAM
    attributes: {depth: 256, width: 64, datawidth: 8}
    constraints: {dataspace: {keep: [Inputs, Outputs], bypass: [Weights]}}
  - !Container
    name: PE
    spatial: {meshX: 4, meshY: 4}
    constraints: {spatial: {permutation: [C, M], split: 1, factors: [R=1, S=1, P=1, Q=1, N=1]}}
  - !Parallel
    nodes:
    - !Component
      name: w_spad
      class: regfile
      attributes: {depth: 4, width: 8, datawidth: 8}
      constraints: {dataspace: {keep: [Weights]}, temporal: {factors: [M=1, P<=4]}}
    - !Component
      name: i_reg
      class: regfile
      attributes: {depth: 2, width: 8, datawidth: 8}
      constraints: {dataspace: {keep: [Inputs]}, temporal: {factors_only: [C=2]}}
    - !Nothing {constraints: {dataspace: {keep: [Outputs]}}}
  - !Component {name: mac, class: intmac, attributes: {multiplier_width: 8}}
"""
# The same by hand: what each constraint means to each Einsum.
BY_HAND = """
mapspace:
  policy: {buffering: 1, softmax: free}
  constraints:
  - {einsum: QK, target: GLB, type: dataspace, keep: [Q, QK], bypass: [K]}
  - {einsum: AV, target: GLB, type: dataspace, keep: [A, AV], bypass: [V]}
  - {einsum: QK, target: PE, type: spatial, permutation: [E, H, M], split: 1, factors: [P=1]}
  - {einsum: AV, target: PE, type: spatial, permutation: [M, H, F], split: 1, factors: [P=1]}
  - {einsum: QK, target: w_spad, type: dataspace, keep: [K], bypass: [Q, QK]}
  - {einsum: AV, target: w_spad, type: dataspace, keep: [V], bypass: [A, AV]}
  - {einsum: QK, target: w_spad, type: temporal, factors: [M=1, P<=4]}
  - {einsum: AV, target: w_spad, type: temporal, factors: [F=1, P<=4]}
  - {einsum: QK, target: i_reg, type: dataspace, keep: [Q], bypass: [K, QK]}
  - {einsum: AV, target: i_reg, type: dataspace, keep: [A], bypass: [V, AV]}
  - {einsum: QK, target: i_reg, type: temporal, factors: [H=1, P=1, M=1, E=2]}
  - {einsum: AV, target: i_reg, type: temporal, factors: [H=1, P=1, F=1, M=2]}
"""
SPACE = Mapspace(name="free", policy=Policy(buffering=1, softmax="free"))


def chip(text: str = CHIP) -> Platform:
    return Platform(name="layer", matrix=load_architecture(text))


def prices(platform: Platform) -> Ert:
    rows = {"DRAM": 100.0, "GLB": 6.0}
    levels = {
        lv.name: dict.fromkeys(("read", "write", "update"), rows.get(lv.name, 1.0))
        for lv in platform.matrix.levels
    }
    return Ert(levels={**levels, "mac": {"compute": 1.0}}, source="chosen")


def best(platform: Platform, space: Mapspace, workload: Workload) -> SearchResult:
    found = search(workload, platform, space, prices(platform), objective="energy")
    assert isinstance(found, SearchResult), str(found)
    return found


def without_constraints(text: str) -> str:
    """The chip with nothing said, !Parallel gone with it."""
    lines = [line for line in text.splitlines() if not line.strip().startswith("constraints:")]
    lines = [line for line in lines if "!Parallel" not in line and "!Nothing" not in line]
    lines = [line for line in lines if line != "    nodes:"]
    return "\n".join(
        line.removeprefix("  ") if line.startswith("    -") else line for line in lines
    )


def test_attention_on_a_layers_chip_is_what_the_constraints_mean_by_hand(tmp_path: Path) -> None:
    by_hand = tmp_path / "hand.yaml"
    by_hand.write_text(BY_HAND, encoding="utf-8")
    workload = load_workload(ATTENTION)
    free = chip(CHIP)
    found = best(free, SPACE, workload)
    bare = chip(without_constraints(CHIP))
    assert [n.constraints for n in bare.matrix.nodes] == [{}] * len(bare.matrix.nodes)
    hand = best(bare, load_mapspace(by_hand), workload)
    assert found.result.energy_pj == hand.result.energy_pj
    assert found.result.cycles == hand.result.cycles
    for name, weights, inner in (("QK", "K", "E"), ("AV", "V", "M")):
        mapping = found.mapping.einsum_mappings[name]
        assert weights in mapping.kept_at("w_spad")
        assert weights not in mapping.kept_at("GLB")
        assert {loop.rank for loop in mapping.at(Slot("PE", "x"))} <= {inner}
    assert found.result.notes[-1] == (
        "architecture: data spaces taken as QK: Inputs Q, Weights K, Outputs QK; "
        "AV: Inputs A, Weights V, Outputs AV"
    )


def test_declared_data_spaces_go_before_the_default() -> None:
    declared = "  data_spaces: {QK: {Inputs: K, Weights: Q, Outputs: QK}}\n"
    workload = load_workload(ATTENTION.rstrip("\n") + "\n" + declared)
    rules = with_arch_rules(SPACE, chip(), workload).keeps
    kept = {(rule.einsum, rule.level): rule.keep for rule in rules}
    assert kept["QK", "w_spad"] == ("Q",)
    assert kept["QK", "i_reg"] == ("K",)
    assert kept["AV", "w_spad"] == ("V",)
    found = binding(chip().matrix, workload.einsum("QK"), workload)
    assert found is not None
    # The keys are now the positions; the queries are the columns of the weights and the output.
    assert (found.ranks["P"], found.ranks["M"], found.ranks["C"]) == (("M",), ("P",), ("E",))


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (
            "{QK: {Inputs: V}}",
            "QK: data_spaces.Inputs: expected a tensor among K, Q,",
        ),
        ("{QK: 3}", "data_spaces.QK: expected a mapping"),
    ],
)
def test_what_is_declared_must_be_there(declared: str, message: str) -> None:
    text = ATTENTION.rstrip("\n") + f"\n  data_spaces: {declared}\n"
    with pytest.raises(SpecError) as caught:
        with_arch_rules(SPACE, chip(), load_workload(text))
    assert message in str(caught.value)


def test_operands_that_nothing_tells_apart() -> None:
    text = """
problem:
  ranks: {I: 4, J: 4, L: 4}
  word_bits: 8
  einsums: ["Y[i,j] = A[i,l] * B[l,j]"]
"""
    with pytest.raises(SpecError, match=r"Y: expected one operand with the rank .*, got 'A, B'"):
        with_arch_rules(SPACE, chip(), load_workload(text))
    declared = text + "  data_spaces: {Y: {Inputs: A, Weights: B, Outputs: Y}}\n"
    assert with_arch_rules(SPACE, chip(), load_workload(declared)).keeps


def test_other_names_are_declared_too() -> None:
    """Any names: those of the chip's own problem, with the ranks of the cascade."""
    named = CHIP.replace("Inputs", "X").replace("Weights", "W").replace("Outputs", "Z")
    ranks = named.replace("factors: [R=1, S=1, P=1, Q=1, N=1]", "factors: [P=1]")
    ranks = ranks.replace("permutation: [C, M]", "permutation: [E, M]").replace("C=2", "E=2")
    spaces = "{QK: {X: Q, W: K, Z: QK}, AV: {X: A, W: V, Z: AV}}"
    workload = load_workload(ATTENTION.rstrip("\n") + f"\n  data_spaces: {spaces}\n")
    rules = with_arch_rules(SPACE, chip(ranks), workload).keeps
    assert {(r.einsum, r.level): r.keep for r in rules}["AV", "w_spad"] == ("V",)
    with pytest.raises(SpecError, match="expected a branch that keeps each tensor of QK"):
        with_arch_rules(SPACE, chip(ranks), load_workload(ATTENTION))
