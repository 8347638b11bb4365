"""Timeloop problem files read as workloads of one Einsum."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flat_mapper.base.errors import Faults, SpecError
from flat_mapper.spec.yamlio import load_text
from flat_mapper.workload.timeloop import problem_workload, read_problem

CASES = Path(__file__).parents[1] / "data" / "timeloop_cases.jsonl"

GEMM = """\
problem:
  version: 0.4
  shape:
    name: MatMul
    dimensions: [K, M, N]
    data_spaces:
    - {name: A, projection: [[[M]], [[K]]]}
    - {name: B, projection: [[[K]], [[N]]]}
    - {name: Z, projection: [[[M]], [[N]]], read_write: true}
  instance: {K: 64, M: 128, N: 256}
"""

# The dimensions and projections of Timeloop's own 2-D convolution, sizes left open.
CONV = """\
problem:
  shape:
    name: Conv
    dimensions: [C, M, R, S, N, P, Q]
    coefficients: [{name: Wstride, default: 1}, {name: Wdilation, default: 1}]
    data-spaces:
    - {name: Weights, projection: [[[C]], [[M]], [[R]], [[S]]]}
    - name: Inputs
      projection: [[[N]], [[C]], [[R, Wdilation], [P, Wstride]], [[S], [Q]]]
    - {name: Outputs, projection: [[[N]], [[M]], [[Q]], [[P]]], read-write: True}
"""


def workload(text: str):
    return read_problem(load_text(text, "p.yaml"), "p.yaml")


def faults(text: str) -> list[str]:
    faults = Faults()
    problem_workload(load_text(text, "p.yaml"), "p.yaml", {}, faults)
    return faults


def test_a_matrix_product():
    problem = workload(GEMM)
    (einsum,) = problem.einsums
    assert (problem.name, einsum.name, einsum.operation, einsum.unit) == (
        *("MatMul", "MatMul"),
        *("mul", "matrix"),
    )
    assert [(a.tensor, a.ranks, a.is_output) for a in einsum.accesses] == [
        ("A", ("M", "K"), False),
        ("B", ("K", "N"), False),
        ("Z", ("M", "N"), True),
    ]
    assert list(problem.rank_sizes.items()) == [("K", 64), ("M", 128), ("N", 256)]
    assert problem.iterations(einsum) == 64 * 128 * 256


def recorded_cases() -> list[dict[str, Any]]:
    return [json.loads(line) for line in CASES.read_text(encoding="utf-8").splitlines()]


def test_every_recorded_case_loads():
    cases = recorded_cases()
    assert len(cases) == 400
    for case in cases:
        shape, sizes = case["problem"]["shape"], case["problem"]["instance"]
        problem = read_problem(case, case["id"])
        (einsum,) = problem.einsums
        assert einsum.name == case["einsum"]
        assert list(problem.rank_sizes) == shape["dimensions"]
        assert problem.rank_sizes == sizes
        spaces = {s["name"]: [r[0][0] for r in s["projection"]] for s in shape["data_spaces"]}
        assert {a.tensor: list(a.ranks) for a in einsum.accesses} == spaces
        assert einsum.output.tensor == shape["data_spaces"][-1]["name"]
        assert len(einsum.inputs) == len(spaces) - 1


@pytest.mark.parametrize(
    ("inputs", "operation"),
    [
        ("- {name: X, projection: [[[P]], [[M]]]}", "sum"),
        ("- {name: X, projection: [[[P]]]}\n    - {name: W, projection: [[[M]]]}", "mul"),
        (
            "- {name: X, projection: [[[P]]]}\n    - {name: W, projection: [[[M]]]}\n"
            "    - {name: U, projection: [[[M]], [[P]]]}",
            "mul",
        ),
    ],
)
def test_one_two_or_more_inputs(inputs, operation):
    text = f"""\
problem:
  shape:
    dimensions: [P, M]
    data_spaces:
    - {{name: Y, projection: [[[P]]], read_write: true}}
    {inputs}
  instance: {{P: 4, M: 8}}
"""
    (einsum,) = workload(text).einsums
    assert (einsum.name, einsum.operation) == ("Y", operation)
    assert len(einsum.inputs) == inputs.count("name")


def test_projections_may_be_lists_of_ranks():
    flat = GEMM.replace("[[[M]], [[K]]]", "[M, K]").replace("[[[M]], [[N]]]", "[M, N]")
    assert flat != GEMM
    assert workload(flat) == workload(GEMM)


def test_sizes_may_stand_beside_the_shape_and_versions_may_be_older():
    older = GEMM.replace("  instance: {K: 64, M: 128, N: 256}", "  K: 64\n  M: 128\n  N: 256")
    assert workload(older.replace("0.4", "0.3")) == workload(GEMM)
    assert workload(older.replace("0.4", "'0.4'")) == workload(GEMM)


def test_instances_may_name_more_than_ranks():
    assert workload(GEMM.replace("N: 256", "N: 256, Hpad: 0, G: 1")) == workload(GEMM)


def test_a_one_by_one_convolution_is_a_matrix_product():
    problem = workload(
        CONV + "  instance: {C: 8, M: 16, R: 1, S: 1, N: 2, P: 7, Q: 5, Wdilation: 3}"
    )
    (einsum,) = problem.einsums
    assert [str(a) for a in einsum.accesses] == [
        "Weights[c,m,r,s]",
        "Inputs[n,c,p,q]",
        "Outputs[n,m,q,p]",
    ]
    assert problem.iterations(einsum) == 8 * 16 * 2 * 7 * 5


@pytest.mark.parametrize(
    ("sizes", "shown", "words"),
    [
        ("R: 3, S: 1, N: 1, P: 7, Q: 5", "Inputs[n,c,r + p,s + q]", 8 * (7 + 2) * 5),
        ("R: 3, S: 1, N: 1, P: 7, Q: 5, Wstride: 2", "Inputs[n,c,r + 2*p,s + q]", 8 * 15 * 5),
        ("R: 1, S: 1, N: 1, P: 7, Q: 5, Wstride: 2", "Inputs[n,c,r + 2*p,s + q]", 8 * 13 * 5),
        ("R: 1, S: 3, N: 1, P: 7, Q: 5", "Inputs[n,c,r + p,s + q]", 8 * 7 * 7),
    ],
)
def test_sums_of_ranks(sizes, shown, words):
    """A tensor is the box from its least word to its greatest: (P - 1) * stride + R words wide."""
    problem = workload(CONV + f"  instance: {{C: 8, M: 16, {sizes}}}")
    (einsum,) = problem.einsums
    assert [str(a) for a in einsum.inputs] == ["Weights[c,m,r,s]", shown]
    assert einsum.windowed == ("Inputs",)
    assert problem.tensor_words("Inputs") == words


def test_a_step_below_one_is_refused():
    with pytest.raises(SpecError, match=r"projection.2: expected steps of 1 or more, got '0\*P'"):
        workload(CONV + "  instance: {C: 8, M: 16, R: 3, S: 1, N: 1, P: 7, Q: 7, Wstride: 0}")


@pytest.mark.parametrize("density", ["1", "1.0", "{distribution: fixed_structured, density: 1.0}"])
def test_dense_densities_are_accepted(density):
    dense = GEMM.replace("N: 256", f"N: 256, densities: {{A: {density}}}")
    assert workload(dense) == workload(GEMM)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "N: 256",
            "N: 256, densities: {B: {density: 0.5}}",
            "p.yaml:10: problem.instance.densities: expected density 1 for B: sparse tensors are "
            "not modelled, got 0.5",
        ),
        (
            "N: 256",
            "N: 256, commonDensity: 0.5",
            "density 1 for every tensor: sparse tensors are not modelled, got 0.5",
        ),
        ("N: 256", "n: 256", "p.yaml: problem.instance: expected the key 'N' .int., got the"),
        ("N: 256", "N: 0", "p.yaml:10: problem.instance.N: expected int > 0, got 0"),
        ("N: 256", "N: 512 KB", "instance.N: expected int > 0, got '512 KB'"),
        ("N: 256", "N: 1.5", "p.yaml:10: problem.instance.N: expected int > 0, got 1.5"),
        ("0.4", "0.2", "p.yaml:2: problem.version: expected one of 0.3, 0.4, got 0.2"),
        (
            "[[K]], [[N]]",
            "[[K]], [[L]]",
            r"data_spaces.1.projection.1: expected one of K, M, N, got 'L'",
        ),
        ("[[[K]], [[N]]]", "[[[K, M]], [[N]]]", "expected a rank, or a rank and a coefficient, go"),
        ("[[[K]], [[N]]]", "[[[K]], [[]]]", "expected a rank, or a rank and a coefficient, got ''"),
        ("[[[K]], [[N]]]", "[[[K]], [5]]", "projection.1: expected a list, got 5"),
        ("[[[K]], [[N]]]", "K", "data_spaces.1.projection: expected a list, got 'K'; write .K."),
        ("[[[K]], [[N]]]", "[[[K]], [[K]]]", "p.yaml: MatMul: B: expected each rank once"),
        ("[[[K]], [[N]]]", "[[[K]]]", r"Z\[m,n\]: expected ranks that an input has, got 'N'"),
        ("read_write", "read_writes", "keys among .*got 'read_writes'.* 'read_write'"),
        (", read_write: true", "", "data_spaces: expected one output .read_write: true., got 'no"),
        ("[[K]], [[N]]]}", "[[K]], [[N]]], read_write: true}", "one output .*, got 'B, Z'"),
        (", read_write: true", ", read_write: maybe", "read_write: expected true or false, got 'm"),
        ("[K, M, N]", "[K, M, N, L]", "p.yaml: problem.instance: expected the key 'L'"),
        (
            "dimensions",
            "dimension",
            "p.yaml:5: problem.shape: expected keys among .*got 'dimension'",
        ),
        ("    name: MatMul", "    flatten: []", "expected plain dimensions, got 'flattened ones'"),
        (
            "problem:",
            "problems:",
            "p.yaml: expected the key 'problem' .a mapping., got the keys pr",
        ),
    ],
)
def test_bad_problems_are_refused_with_the_place(old, new, message):
    assert old in GEMM
    with pytest.raises(SpecError, match=message) as caught:
        workload(GEMM.replace(old, new, 1))
    assert "\n" not in str(caught.value)


def test_a_rank_that_no_tensor_has_repeats_the_others():
    """As timeloop-model has it; a correction of an online softmax is written so."""
    text = GEMM.replace("[K, M, N]", "[K, M, N, L]")
    assert workload(text.replace("N: 256", "N: 256, L: 1")).rank_sizes["L"] == 1
    (einsum,) = workload(text.replace("N: 256", "N: 256, L: 2")).einsums
    assert einsum.ranks[-1] == "L"
    assert not any("L" in access.ranks for access in einsum.accesses)


def test_shapes_by_name_and_cascades_are_sent_elsewhere():
    with pytest.raises(
        SpecError, match=r"shape: expected dimensions .*, got 'cnn-layer'; the shap"
    ):
        workload("problem:\n  shape: cnn-layer\n")
    with pytest.raises(SpecError, match="got 'a cascade'; use flat-mapper map"):
        workload("problem:\n  attention: {}\n")


def test_every_fault_is_listed():
    text = GEMM.replace("K: 64", "K: -1").replace("[[K]], [[N]]", "[[K]], [[L]]")
    found = faults(text.replace("N: 256", "N: x"))
    assert [line.partition(": expected")[0] for line in found] == [
        "p.yaml:10: problem.instance.K",
        "p.yaml:10: problem.instance.N",
        "p.yaml:8: problem.shape.data_spaces.1.projection.1",
    ]
    assert faults(GEMM) == []


def test_sizes_may_be_worked_out_from_variables():
    text = GEMM.replace("K: 64", "K: WIDTH / 2").replace("N: 256", "N: 256 * COUNT")
    variables = {"WIDTH": 128, "COUNT": 1}
    assert read_problem(load_text(text, "p.yaml"), "p.yaml", variables).rank_sizes["K"] == 64
    with pytest.raises(SpecError, match=r"p.yaml:10: problem.instance.K: expected a name among"):
        workload(text)
    assert len(faults(text)) == 2


def test_a_layer_whose_output_has_ranks_of_size_one() -> None:
    """Of two ranks of size 1 that are added up, the output's own is the one that is kept."""
    sizes = "  instance: {C: 8, M: 4, R: 1, S: 1, N: 1, P: 16, Q: 1}\n"
    (einsum,) = workload(CONV + sizes).einsums
    assert [str(a) for a in einsum.accesses] == [
        *("Weights[c,m,r,s]", "Inputs[n,c,p,q]", "Outputs[n,m,q,p]"),
    ]


def test_an_output_of_one_element_may_have_a_rank_of_its_own():
    """Origin: sparseloop/01.2.1-DUDU-dot-product: Z[M] with M = 1."""
    dot = "problem: {shape: {name: dot, dimensions: [K, Z], data_spaces: "
    dot += "[{name: A, projection: [K]}, {name: B, projection: [K]}, "
    dot += "{name: O, projection: [Z], read_write: true}]}, "
    assert workload(dot + "instance: {K: 16, Z: 1}}").tensor_words("O") == 1
    with pytest.raises(SpecError, match="expected ranks that an input has, got 'Z'"):
        workload(dot + "instance: {K: 16, Z: 2}}")
