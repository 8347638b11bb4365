"""The constraints that an architecture's nodes carry, as the search obeys them."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from math import prod
from random import Random

import pytest

from flat_mapper.arch.nodes import largest_factors
from flat_mapper.arch.reader import load_architecture
from flat_mapper.arch.values import Platform
from flat_mapper.base.errors import SpecError
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Result
from flat_mapper.energy.tables import Ert, ert_of
from flat_mapper.mapper.solve.certificate import Solution
from flat_mapper.mapper.solve.driver import search
from flat_mapper.mapping.arch_rules import with_arch_rules
from flat_mapper.mapping.space import Fusion, KeepRule, Mapspace, SlotRule
from flat_mapper.mapping.values import EinsumMapping, FusedMapping, GroupMapping, Loop, Slot
from flat_mapper.spec.yamlio import load_text
from flat_mapper.workload.cascade import attention
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.reader import load_workload
from flat_mapper.workload.softmax import alternatives
from flat_mapper.workload.timeloop import read_problem

FREE = Mapspace(name="free")

PROBLEM = """
problem:
  version: 0.4
  shape:
    name: layer
    dimensions: [C, M, P, R]
    data_spaces:
    - {name: Weights, projection: [C, M, R]}
    - {name: Inputs, projection: [P, C]}
    - {name: Outputs, projection: [P, M], read_write: true}
  instance: {C: 8, M: 8, P: 8, R: 1}
"""

# An array whose PEs hold one tensor in a scratchpad and one word of each tensor in registers.
ARCH = """
variables: {{technology: "45nm", global_cycle_seconds: 1e-9}}
architecture:
  version: 0.4
  nodes:
  - !Component
    name: DRAM
    class: DRAM
    attributes: {{type: "LPDDR4", width: 64, datawidth: 16}}
{dram}
{outside}
  - !Component
    name: GLB
    class: SRAM
    attributes: {{depth: 512, width: 64, datawidth: 16}}
{glb}
  - !Container
    name: PE
    spatial: {{meshX: 4, meshY: 4}}
    constraints:
      spatial: {spatial}
  - !Component
    name: spad
    class: SRAM
    attributes: {{depth: 32, width: 16, datawidth: 16}}
    constraints:
      dataspace: {dataspace}
      temporal: {temporal}
{registers}
  - !Component {{name: MAC, class: intmac, attributes: {{datawidth: 16}}}}
"""
REGISTERS = """
  - !Parallel
    nodes:
    - !Component
      name: w_reg
      class: regfile
      attributes: {depth: 1, width: 16, datawidth: 16}
      constraints: {dataspace: {keep: [Weights]}, temporal: {factors: [C=1, M=1, R=1]}}
    - !Component
      name: i_reg
      class: regfile
      attributes: {depth: 1, width: 16, datawidth: 16}
      constraints: {dataspace: {keep: [Inputs]}, temporal: {factors_only: [M=1]}}
    - !Component
      name: o_reg
      class: regfile
      attributes: {depth: 1, width: 16, datawidth: 16}
      constraints: {dataspace: {keep: [Outputs]}, temporal: {factors: "P=1 M1 C=1"}}
"""


def workload(text: str = PROBLEM) -> Workload:
    return read_problem(load_text(text, "layer.yaml"), "layer.yaml")


def platform(
    spatial: str = "{}",
    dataspace: str = "{}",
    temporal: str = "{}",
    *,
    registers: str = "",
    glb: str = "",
    dram: str = "",
    outside: str = "",
) -> Platform:
    glb, dram = (f"    constraints: {text}" if text else "" for text in (glb, dram))
    text = ARCH.format(
        spatial=spatial,
        dataspace=dataspace,
        temporal=temporal,
        registers=registers,
        glb=glb,
        dram=dram,
        outside=outside,
    )
    return Platform(name="array", matrix=load_architecture(text))


def prices(chip: Platform) -> Ert:
    levels = {"DRAM": 100, "GLB": 6, "spad": 1}
    table: dict[str, object] = {
        lv.name: dict.fromkeys(("read", "write", "update"), levels.get(lv.name, 0.1))
        for lv in chip.matrix.levels
    }
    return ert_of({**table, "MAC": {"compute": 1}}, "prices")


def best(chip: Platform, mapspace: Mapspace = FREE) -> EinsumMapping:
    found = solved(chip, mapspace)
    return found.mapping.groups[0].einsums[0]


def solved(chip: Platform, mapspace: Mapspace = FREE) -> Result:
    found = search(workload(), chip, mapspace, prices(chip), objective="energy")
    assert isinstance(found, Solution), str(found)
    return found.result


def refusal(chip: Platform, mapspace: Mapspace = FREE, problem: Workload | None = None) -> str:
    with pytest.raises(SpecError) as caught:
        with_arch_rules(mapspace, chip, problem or workload())
    return str(caught.value)


def test_nodes_without_constraints_leave_the_mapspace_as_it_is() -> None:
    assert with_arch_rules(FREE, platform(), workload()) == FREE


def test_rules_of_every_kind() -> None:
    chip = platform(
        "{permutation: [C, M], split: 1, factors: [P=1, R=1]}",
        "{keep: [Outputs], bypass: [Inputs, Weights]}",
        "{permutation: [R, P], factors: [M<=4, C=16]}",
    )
    rules = with_arch_rules(FREE, chip, workload())
    spatial, temporal = rules.slots
    # R has the size 1, and C=16 is above its rank's size: they say nothing.
    assert spatial == SlotRule(
        node="PE", kind="spatial", einsum="layer", factors={"P": 1}, x=("C",), y=("M", "P")
    )
    assert temporal == SlotRule(
        node="spad", kind="temporal", einsum="layer", at_most={"M": 4}, innermost=("P",)
    )
    assert rules.keeps == (
        KeepRule(level="spad", einsum="layer", keep=("Outputs",), bypass=("Weights", "Inputs")),
    )


@pytest.mark.parametrize("stationary", ["Weights", "Outputs"])
def test_the_best_mapping_obeys_the_nodes(stationary: str) -> None:
    """One tensor stays in the PE; C lies along X and M along Y; registers hold one tensor each."""
    others = [t for t in ("Weights", "Inputs", "Outputs") if t != stationary]
    chip = platform(
        "{permutation: [C, M], split: 1, factors: [R=1, P=1]}",
        f"{{keep: [{stationary}], bypass: [{', '.join(others)}]}}",
        "{permutation: [P]}",
        registers=REGISTERS,
    )
    mapping = best(chip)
    assert {p.rank for p in mapping.at(Slot("PE", "x"))} <= {"C"}
    assert {p.rank for p in mapping.at(Slot("PE", "y"))} <= {"M"}
    assert mapping.kept_at("spad") == (stationary,)
    assert [mapping.kept_at(f"{t}_reg") for t in "wio"] == [("Weights",), ("Inputs",), ("Outputs",)]
    assert not {p.rank for p in mapping.at(Slot("w_reg", "temporal"))} & {"C", "M"}
    assert mapping.at(Slot("i_reg", "temporal")) == ()
    assert mapping.at(Slot("o_reg", "temporal")) == ()
    at_spad = [p.rank for p in mapping.at(Slot("spad", "temporal"))]
    assert "P" not in at_spad[:-1]  # innermost where it is there at all


def test_constraints_never_make_a_mapping_cheaper() -> None:
    free = solved(platform())
    held = solved(platform("{factors: [C=1, M<=2]}", "{bypass: [Weights]}", "{factors: [P=2]}"))
    assert held.energy_pj >= free.energy_pj
    mapping = held.mapping.groups[0].einsums[0]
    assert [(p.rank, p.factor) for p in mapping.at(Slot("spad", "temporal"))].count(("P", 2)) == 1
    assert all(p.rank != "C" for axis in ("x", "y") for p in mapping.at(Slot("PE", axis)))


def test_a_loop_moves_inwards_where_the_next_level_may_not_take_it() -> None:
    """Only the accumulator may loop over C, a rank that its tensor lacks; the search tries it."""
    accumulator = """
  - !Component
    name: acc
    class: regfile
    attributes: {depth: 1, width: 16, datawidth: 16}
    constraints: {dataspace: {keep_only: [Outputs]}}
"""
    spad = "{keep_only: [Weights]}", "{factors: [C=1, M=1]}"
    mapping = best(platform("{factors_only: [M=4]}", *spad, registers=accumulator))
    assert [(p.rank, p.factor) for p in mapping.at(Slot("acc", "temporal"))] == [("C", 8)]


def test_the_shared_level_lets_a_tensor_by() -> None:
    chip = platform(glb="{dataspace: {keep: [Inputs, Outputs], bypass: [Weights]}}")
    mapping = best(chip)
    assert mapping.kept_at("GLB") == ("Inputs", "Outputs")


def test_the_outer_levels_have_the_loops_that_their_nodes_ask_for() -> None:
    glb = "{temporal: {factors: [P=2, C=1]}}"
    mapping = best(platform(glb=glb, dram="{temporal: {permutation: [P], factors: [P=2, M=4]}}"))
    at_dram = [(p.rank, p.factor) for p in mapping.at(Slot("DRAM", "temporal"))]
    assert {("P", 2), ("M", 4)} <= set(at_dram)
    assert at_dram[-1] == ("P", 2)  # innermost
    at_glb = {p.rank: p.factor for p in mapping.at(Slot("GLB", "temporal"))}
    assert at_glb["P"] == 2
    assert "C" not in at_glb


def test_nodes_hold_for_the_einsums_of_every_form_of_a_softmax() -> None:
    """What corrects an online softmax is in one of the alternatives only."""
    for form in ("online", "any"):
        cascade = attention(B=1, H=1, P=4, M=4, E=4, F=4, softmax=form)
        chip = Platform(
            name="array",
            matrix=platform().matrix,
            vector=platform(dataspace="{bypass: ['*']}").matrix,
        )
        mapspace = Mapspace(name="fused", fusion=Fusion(groups=(("QK", "softmax", "AV"),)))
        ruled = {rule.einsum for rule in with_arch_rules(mapspace, chip, cascade).keeps}
        forms = alternatives(cascade)
        every = {e.name for one in forms for e in one.einsums if e.unit == "vector"}
        assert ruled == every


@pytest.mark.parametrize(
    ("constraint", "rule"),
    [
        ("{no_iteration_over_dataspaces: [Weights]}", {"C": 1, "M": 1}),
        ("{must_iterate_over_dataspaces: [Inputs]}", {"M": 1}),
        ("{factors_only: [P=4]}", {"P": 4, "C": 1, "M": 1}),
        ("{factors: {P: 0}}", {"P": 8}),
    ],
)
def test_macros_of_the_front_end(constraint: str, rule: dict[str, int]) -> None:
    (found,) = with_arch_rules(FREE, platform(temporal=constraint), workload()).slots
    assert found.factors == rule


@pytest.mark.parametrize(
    ("dataspace", "keep", "bypass"),
    [
        ("{keep_only: [Weights]}", ("Weights",), ("Inputs", "Outputs")),
        ("{bypass_only: [Weights]}", ("Inputs", "Outputs"), ("Weights",)),
        ("{bypass: ['*']}", (), ("Weights", "Inputs", "Outputs")),
    ],
)
def test_lists_of_tensors(dataspace: str, keep: tuple[str, ...], bypass: tuple[str, ...]) -> None:
    (found,) = with_arch_rules(FREE, platform(dataspace=dataspace), workload()).keeps
    assert (found.keep, found.bypass) == (keep, bypass)


@pytest.mark.parametrize(
    ("chip", "line"),
    [
        (
            platform(temporal="{no_reuse: true}"),
            "spad.constraints.temporal: expected constraints that the search honours: factors, "
            "factors_only, permutation, no_iteration_over_dataspaces, "
            "must_iterate_over_dataspaces, maximize_dims, maximize_dims_capacity, "
            "got 'no_reuse: True'; remove it",
        ),
        (
            platform(temporal="{maximize_dims: [C]}"),
            "spad.constraints.temporal: expected maximize_dims_capacity beside maximize_dims",
        ),
        (
            platform("{maximize_dims: [[C, M]], factors: [M=2]}"),
            "maximize_dims.0: expected ranks whose factor the node does not fix, got 'M'",
        ),
        (
            platform(temporal="{factors: [Q=1]}"),
            "factors.0: expected ranks of the problem, C, M, P",
        ),
        (
            platform(temporal="{factors: [P>=2]}"),
            "expected RANK=N or RANK<=N with N >= 0, as in P=1 or P<=8, got 'P>=2'",
        ),
        (platform(temporal="{permutation: [P, P]}"), "permutation: expected each rank once"),
        (platform(dataspace="{keep: [Weight]}"), "'Weight'; did you mean 'Weights'?"),
        (
            platform("{permutation: [C, M]}"),
            "PE.constraints.spatial: expected split beside permutation where a fanout has two axes",
        ),
        (platform("{permutation: [C], split: 2}"), "split: expected at most 1, the ranks of the"),
        (platform(dram="{dataspace: {bypass: [Inputs]}}"), "expected every tensor kept off chip"),
        (
            platform(outside="  - !Container {name: chip, spatial: {meshX: 2}}"),
            "chip: expected no fanout outside GLB, the outermost level on chip, got '2 x 1 copies",
        ),
        (
            platform(registers=REGISTERS.replace("keep: [Inputs]", "bypass: [Weights]")),
            "!Parallel: expected a branch that keeps each tensor of layer, got 'none for Inputs'",
        ),
    ],
)
def test_what_cannot_be_honoured_is_named(chip: Platform, line: str) -> None:
    message = refusal(chip)
    assert line in message
    assert "\n" not in message


def test_a_mapspace_that_contradicts_the_nodes() -> None:
    chip = platform(dataspace="{bypass: [Weights]}")
    mapspace = Mapspace(name="mine", keeps=(KeepRule(level="spad", keep=("Weights",)),))
    assert refusal(chip, mapspace) == (
        "mine: constraints: spad: expected Weights kept or bypassed as the architecture says, "
        "got 'the opposite'; change one"
    )


def test_constraints_on_a_cascade_hold_for_the_einsums_that_have_the_names() -> None:
    core = attention(B=1, H=2, P=4, M=4, E=8, F=8)
    pair = core.subset(("QK", "AV"))
    chip = platform(dataspace="{keep: [QK]}", temporal="{factors: [F=1]}")
    rules = with_arch_rules(FREE, chip, pair)
    assert [(r.einsum, dict(r.factors)) for r in rules.slots] == [("AV", {"F": 1})]
    assert [(r.einsum, r.keep) for r in rules.keeps] == [("QK", ("QK",))]


def test_an_intermediate_cannot_bypass_the_shared_level() -> None:
    text = """
problem:
  ranks: {I: 4, J: 4, K: 4, L: 4}
  einsums: ["T[i,k] = A[i,j] * B[j,k]", "Y[i,l] = T[i,k] * C[k,l]"]
"""
    chip = platform(glb="{dataspace: {bypass: [T]}}")
    mapspace = Mapspace(name="fused", fusion=Fusion(groups=(("T", "Y"),)))
    assert "GLB: bypass: expected tensors other than T, which a fused group keeps" in refusal(
        chip, mapspace, load_workload(text)
    )
    assert with_arch_rules(FREE, chip, load_workload(text)).keeps
    optional = replace(mapspace, fusion=replace(mapspace.fusion, optional=True))
    found = search(load_workload(text), chip, optional, prices(chip), objective="energy")
    assert isinstance(found, Solution)
    assert len(found.result.mapping.groups) == 2  # what is left is not to fuse


ACCUMULATOR = """
  - !Component
    name: acc
    class: regfile
    attributes: {depth: 2, width: 16, datawidth: 16}
    constraints: {dataspace: {keep_only: [Outputs]}}
"""


def test_no_mapping_that_obeys_the_nodes_beats_the_best() -> None:
    """Mappings drawn by chance under the same constraints, each priced by the model."""
    rng = Random(7)
    spatial = "{permutation: [C, M], split: 1, factors: [P=1]}"
    spad = "{keep_only: [Weights]}", "{permutation: [P], factors: [M=1]}"
    chip = platform(spatial, *spad, registers=ACCUMULATOR)
    least = solved(chip).energy_pj
    drawn = [_drawn(rng) for _ in range(1500)]
    priced = [evaluate(workload(), chip, m, prices(chip)) for m in drawn]
    energies = [found.energy_pj for found in priced if isinstance(found, Result)]
    assert len(energies) > 100
    assert min(energies) >= least * (1 - 1e-12)


def _drawn(rng: Random) -> FusedMapping:
    """A mapping of the layer: C along X, M along Y, P innermost in the scratchpad."""
    places = {"C": ["DRAM", "GLB", "x", "spad", "acc"], "M": ["DRAM", "GLB", "y", "acc"]}
    places["P"] = ["DRAM", "GLB", "spad", "acc"]
    found: dict[str, list[Loop]] = {}
    for rank, nodes in places.items():
        factors = dict.fromkeys(nodes, 1)
        for _ in range(3):  # 8 = 2 x 2 x 2
            node = rng.choice(nodes)
            factors["GLB" if node in "xy" and factors[node] == 4 else node] *= 2
        for node, factor in factors.items():
            if factor > 1:
                found.setdefault(node, []).append(Loop(rank, factor))
    for node, loops in found.items():
        rng.shuffle(loops)
        if node == "spad":
            loops.sort(key=lambda loop: loop.rank == "P")
    tensors = ("Weights", "Inputs", "Outputs")
    kept = tuple(t for t in tensors if rng.random() < 0.5)
    slots = {"x": Slot("PE", "x"), "y": Slot("PE", "y")}
    nest = EinsumMapping(
        einsum="layer",
        loops=tuple((slots.get(n, Slot(n, "temporal")), tuple(at)) for n, at in found.items()),
        keep=(("DRAM", tensors), ("GLB", kept), ("spad", ("Weights",)), ("acc", ("Outputs",))),
    )
    group = GroupMapping(
        einsums=(nest,), shared=(), staged=kept, schedule="sequential", granularity="none"
    )
    return FusedMapping(groups=(group,))


@pytest.mark.parametrize(
    ("constraint", "temporal", "factors"),
    [
        ("{maximize_dims: [[C, M]]}", "{}", {"C": 4, "M": 4}),  # 4 x 4 PEs
        ("{maximize_dims: [M]}", "{}", {"M": 4}),  # a rank lies along one axis
        ("{maximize_dims: [[C], [P]], factors: [M=2]}", "{}", {"C": 4, "P": 2, "M": 2}),
        (
            "{maximize_dims: [[C, P]], permutation: [C, P, M], split: 2}",
            *("{}", {"C": 4, "P": 1}),  # both along X
        ),
        ("{maximize_dims: [[C, M]], maximize_dims_capacity: 4}", "{}", {"C": 4, "M": 1}),
        ("{maximize_dims: [[C, M]]}", "{factors: [C=4]}", {"C": 2, "M": 4}),  # C has 2 left
    ],
)
def test_maximize_dims(constraint: str, temporal: str, factors: dict[str, int]) -> None:
    """As Timeloop's front end chooses them, bottom up and list by list."""
    rules = with_arch_rules(FREE, platform(constraint, temporal=temporal), workload()).slots
    (spatial,) = (rule for rule in rules if rule.kind == "spatial")
    assert dict(spatial.factors) == factors
    if temporal == "{}":
        loops = dict(best(platform(constraint)).loops)
        found: dict[str, int] = {}
        for slot, at in loops.items():
            for loop in at if slot.node == "PE" else ():
                found[loop.rank] = found.get(loop.rank, 1) * loop.factor
        found = {rank: n for rank, n in found.items() if rank in factors}
        assert found == {rank: n for rank, n in factors.items() if n > 1}


@pytest.mark.parametrize(
    ("sizes", "capacity"),
    [({"A": 12, "B": 10}, 16), ({"A": 7, "B": 9, "C": 4}, 30), ({"A": 5}, 4), ({}, 8)],
)
def test_largest_factors_by_enumeration(sizes: dict[str, int], capacity: int) -> None:
    found = largest_factors(sizes, capacity)
    divisors = [[n for n in range(1, size + 1) if size % n == 0] for size in sizes.values()]
    products = [prod(choice) for choice in product(*divisors)]
    assert prod(found.values()) == max(p for p in products if p <= capacity)
    assert all(sizes[rank] % n == 0 for rank, n in found.items())
