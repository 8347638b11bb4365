"""The notation of one Einsum, read and written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flat_mapper.base.errors import SpecError
from flat_mapper.workload.notation import (
    BINARY,
    OPERATORS,
    REDUCTIONS,
    UNARY,
    format_einsum,
    parse_einsum,
)


def test_a_product_reads_as_a_matrix_einsum():
    einsum = parse_einsum("QK[b,h,p,m] = Q[b,h,p,e] * K[b,h,m,e]")
    assert einsum.name == einsum.output.tensor == "QK"
    assert einsum.output.is_output
    assert einsum.output.ranks == ("B", "H", "P", "M")
    assert [(a.tensor, a.ranks, a.is_output) for a in einsum.inputs] == [
        ("Q", ("B", "H", "P", "E"), False),
        ("K", ("B", "H", "M", "E"), False),
    ]
    assert einsum.ranks == ("B", "H", "P", "M", "E")
    assert einsum.reduced_ranks == ("E",)
    assert (einsum.operation, einsum.unit) == ("mul", "matrix")


@pytest.mark.parametrize(
    ("text", "operation", "unit", "reduced"),
    [
        ("Y[p] = max(X[p,m])", "max", "vector", ("M",)),
        ("Y[p] = min(X[p,m])", "min", "vector", ("M",)),
        ("Y[p] = sum(X[p,m])", "sum", "vector", ("M",)),
        ("Y[p] = X[p,m]", "sum", "vector", ("M",)),
        ("Y[p] = copy(X[p,m])", "sum", "vector", ("M",)),
        ("Y[m,p] = X[p,m]", "copy", "vector", ()),
        ("Y[p,m] = exp(X[p,m] - Z[p])", "exp", "vector", ()),
        ("Y[p,m] = X[p,m] / Z[p]", "div", "vector", ()),
        ("Y[p] = max(X[p], Z[p])", "max", "vector", ()),
        ("Y[p] = add(X[p], Z[p])", "add", "vector", ()),
        ("Y[p] = sum(X[p,m] * Z[m,p])", "mul", "matrix", ("M",)),
        ("Y[p] = mul(X[p,m], Z[m])", "mul", "matrix", ("M",)),
        ("Y[p] = copy(X[p,m] * Z[m])", "mul", "matrix", ("M",)),
        ("Y[p,m] = X[p,m] * Z[p]", "mul", "vector", ()),  # a rescale: nothing is summed
        ("Y[p] = W[m] * X[p,m] * Z[m]", "mul", "matrix", ("M",)),
        ("Y[p] = W[p] + X[p] + Z[p]", "add", "vector", ()),
        ("Y[p,s] = gelu(X[p,s])", "gelu", "vector", ()),
    ],
)
def test_operation_unit_and_reduction(text, operation, unit, reduced):
    einsum = parse_einsum(text)
    assert (einsum.operation, einsum.unit, einsum.reduced_ranks) == (operation, unit, reduced)


def test_name_and_unit_can_be_given():
    einsum = parse_einsum("Y[p] = X[p,m] * Z[m]", name="step", unit="vector")
    assert (einsum.name, einsum.unit, einsum.output.tensor) == ("step", "vector", "Y")


@pytest.mark.parametrize(
    "text",
    [
        "QK_exp[b,h,p,m] = exp(QK[b,h,p,m] - QK_max[b,h,p])",
        "QK_exp [B, H,P ,M]=exp( QK[ b,h,p,m ]-QK_max[b,h,p] )",
        "\tQK_exp[b,h,p,m]\n= exp(QK[b,h,p,m]\n   - QK_max[b,h,p])\n",
    ],
)
def test_spacing_and_the_case_of_ranks_do_not_matter(text):
    einsum = parse_einsum(text)
    assert einsum.text == "QK_exp[b,h,p,m] = exp(QK[b,h,p,m] - QK_max[b,h,p])"
    assert format_einsum(einsum) == einsum.text


def test_the_comma_of_a_function_is_spaced_and_that_of_ranks_is_not():
    assert parse_einsum("Y[p,m]=max(X[p,m],Z[p])").text == "Y[p,m] = max(X[p,m], Z[p])"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "einsum: column 1 of '': expected a tensor name, got 'the end'"),
        ("Y", r"column 2 of 'Y': expected '\[' and the ranks of Y, got 'the end'"),
        ("Y[p", r"column 4 .*: expected ',' or '\]' after the ranks of Y, got 'the end'"),
        ("Y[] = X[p]", "column 3 .*: expected a rank of Y, got ']'"),
        ("Y[p,] = X[p]", "column 5 .*: expected a rank of Y, got ']'"),
        ("Y[2] = X[p]", "column 3 .*: expected a rank of Y, got '2'"),
        ("Y[p+r] = X[p]", r"column 4 .*: expected ',' or '\]' after the ranks of Y, got '\+'"),
        ("Y[p] = X[0*p]", "column 10 .*: expected a step of 1 or more, got '0'"),
        ("Y[p] = X[2p]", r"column 11 .*: expected '\*' and a rank of X after its step, got 'p'"),
        ("Y[p] = X[p+]", "column 12 .*: expected a rank of X, got ']'"),
        ("Y[p] X[p]", "column 6 .*: expected '=', got 'X'"),
        ("Y[p] =", "column 7 .*: expected a tensor or a function, got 'the end'"),
        ("Y[p] = 2 * X[p]", "column 8 .*: expected a tensor or a function, got '2'"),
        ("Y[p] = softmax(X[p])", "column 8 .*: expected a function among max, .*, got 'softmax'"),
        ("Y[p] = exp(X[p]", r"column 16 .*: expected '\)', got 'the end'"),
        ("Y[p] = exp(X[p], Z[p])", "column 8 .*: expected one of mul, .* with a comma, got 'exp'"),
        ("Y[p] = sub(X[p])", r"column 8 .*: expected two tensors with a comma in sub\(...\)"),
        ("Y[p] = X[p] * Z[p] + W[p]", "after Z.p., got '[+]'; say the rest in an Einsum of its"),
        ("Y[p] = X[p] - Z[p] - W[p]", "expected the end after Z.p., got '-'; say the rest"),
        ("Y[p] = X[p] Z[p]", r"column 13 .*: expected the end after X\[p\], got 'Z'"),
        ("Y[p,m] = max(X[p,m])", r"expected a rank that Y\[p,m\] lacks, for max to reduce, got 'X"),
        ("Y[p,m] = sum(X[p,m] * Z[p])", "for sum to reduce, got 'X.p,m., Z.p.'"),
        ("\u00e9[p] = X[p]", "column 1 .*: expected a tensor name"),
        ("Y[p] = X[p]; import os", "column 12 .*: expected the end after X.p., got ';'"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_column(text, message):
    with pytest.raises(SpecError, match=message):
        parse_einsum(text)


def test_windows_of_a_convolution():
    einsum = parse_einsum("Y[p,k] = X[2*p + r,c] * W[r,c,k]")
    window = einsum.inputs[0]
    assert window.ranks == ("P", "R", "C")
    assert einsum.windowed == ("X",)
    assert window.words({"P": 4, "R": 3, "C": 5}) == (2 * 3 + 2 + 1) * 5
    assert str(window) == "X[2*p + r,c]"
    assert parse_einsum(format_einsum(einsum)) == einsum
    assert parse_einsum(f"Y[p,k] = {window} * W[r,c,k]").inputs == einsum.inputs


def test_errors_carry_the_place():
    with pytest.raises(SpecError, match=r"^p.yaml: einsums.2: column 1 of '=': expected a tensor"):
        parse_einsum("=", where="p.yaml: einsums.2")


RANKS = st.lists(st.sampled_from("BHPMEF"), min_size=1, max_size=4, unique=True).map(tuple)


@st.composite
def lines(draw):
    """A line of the notation, and what it says."""
    out, first, second = draw(RANKS), draw(RANKS), draw(RANKS)
    shown = [f"{t}[{','.join(r).lower()}]" for t, r in (("Y", out), ("X", first), ("Z", second))]
    reduces = bool({*first, *second} - {*out})
    forms = [(f"{shown[1]} {sign} {shown[2]}", name, 2) for sign, name in OPERATORS.items()]
    forms += [(f"{name}({shown[1]}, {shown[2]})", name, 2) for name in BINARY]
    forms += [(f"{name}({shown[1]})", name, 1) for name in UNARY if name != "copy"]
    if {*first} - {*out}:
        forms += [(f"{name}({shown[1]})", name, 1) for name in REDUCTIONS]
    right, operation, count = draw(st.sampled_from(forms))
    return f"{shown[0]} = {right}", operation, (out, first, second)[: count + 1], reduces


@given(lines())
def test_any_line_reads_as_what_it_says_and_is_written_back(case):
    line, operation, ranks, reduces = case
    einsum = parse_einsum(line)
    assert einsum.operation == operation
    assert (einsum.output.ranks, *(a.ranks for a in einsum.inputs)) == ranks
    assert (einsum.unit == "matrix") == (operation == "mul" and reduces)
    assert format_einsum(einsum) == line


@given(st.text(alphabet="YXZpm[],=*/+-() exp2\n", max_size=40) | st.text(max_size=20))
def test_any_text_is_an_einsum_or_one_line_that_says_why_not(text):
    try:
        einsum = parse_einsum(text)
    except SpecError as error:
        line = str(error)
    else:
        line = ""
        assert parse_einsum(einsum.text) == einsum
    assert not line or line.startswith("einsum: ")
    assert "\n" not in line
