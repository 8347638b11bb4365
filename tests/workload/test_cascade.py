"""The attention builders: shapes, units, scopes."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flat_mapper.base.errors import SpecError
from flat_mapper.workload.cascade import attention, block, scope
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.notation import parse_einsum

CORE = ("QK", "QK_max", "QK_exp", "QK_sum", "A", "AV")
SIZES = {"B": 2, "H": 3, "P": 8, "M": 16, "E": 4, "F": 5}


def test_attention_is_the_cascade_in_execution_order():
    workload = attention(**SIZES)
    assert tuple(workload.ancestors) == CORE
    assert dict(workload.rank_sizes) == SIZES
    assert [e.operation for e in workload.einsums] == ["mul", "max", "exp", "sum", "div", "mul"]
    assert [e.unit for e in workload.einsums] == ["matrix", *["vector"] * 4, "matrix"]
    assert all(e.name == e.output.tensor for e in workload.einsums)
    assert workload.intermediates == ("QK", "QK_max", "QK_exp", "QK_sum", "A")
    assert (workload.softmax, workload.word_bits, workload.repeat) == ("row", 16, 1)


@given(st.tuples(*[st.integers(1, 9)] * 6))
def test_macs_and_words_follow_the_sizes(sizes):
    b, h, p, m, e, f = sizes
    workload = attention(B=b, H=h, P=p, M=m, E=e, F=f, word_bits=8)
    points = {x.name: workload.iterations(x) for x in workload.einsums}
    assert points["QK"] == b * h * p * m * e
    assert points["AV"] == b * h * p * m * f
    assert {points[n] for n in CORE[1:-1]} == {b * h * p * m}
    assert workload.tensor_words("QK") == b * h * p * m
    assert workload.tensor_words("QK_sum") == b * h * p
    assert workload.tensor_words("AV") == b * h * p * f
    assert workload.bits("A") == 8


def test_keys_are_not_shareable_under_the_row_softmax():
    workload = attention(**SIZES)
    assert workload.shareable_ranks(CORE) == ("B", "H", "P")
    assert workload.whole_row_ranks(CORE) == {"E", "M"}


def test_other_kinds_of_softmax_are_refused():
    with pytest.raises(SpecError, match=r"attention: softmax: expected one of row, .* 'flash"):
        attention(**SIZES, softmax="flash")


@pytest.mark.parametrize("size", [0, -4, 2.0, True, "512 KB"])
def test_a_size_that_is_none_is_refused(size):
    with pytest.raises(SpecError, match=r"attention: ranks.P: expected an integer > 0, got"):
        attention(**{**SIZES, "P": size})


def test_a_block_surrounds_attention_with_projections_and_feed_forward():
    workload = block(**SIZES, layers=12)
    before, after = ("Q", "K", "V"), ("O", "FC1", "FC2")
    assert tuple(e.name for e in workload.einsums) == (*before, *CORE, *after)
    assert tuple(e.name for e in workload.ordered) == tuple(e.name for e in workload.einsums)
    assert dict(workload.rank_sizes) == {**SIZES, "D": 12, "FF": 48}
    assert workload.repeat == 12
    assert {t for t in workload.tensor_ranks if t not in workload.producers} == {
        *("X", "XK"),
        *("WQ", "WK", "WV", "WO", "W1", "W2"),
    }
    assert all(workload.einsum(n).unit == "matrix" for n in (*before, *after))


def test_macs_of_a_bert_base_block_are_the_textbook_count():
    n, d = 512, 768
    workload = block(B=1, H=12, P=n, M=n, E=64, F=64, D=d, FF=3072)
    macs = sum(workload.iterations(e) for e in workload.einsums if e.unit == "matrix")
    assert macs == 4 * n * d * d + 2 * n * n * d + 2 * n * d * 3072
    weights = [t for t in workload.tensor_ranks if t.startswith("W")]
    assert sum(workload.tensor_words(t) for t in weights) == 12 * d * d


def test_model_width_and_feed_forward_width_can_be_given():
    workload = block(**SIZES, D=7, FF=9)
    assert (workload.rank_sizes["D"], workload.rank_sizes["FF"]) == (7, 9)
    assert workload.tensor_words("WQ") == 3 * 4 * 7


def test_scopes_cut_the_block_or_repeat_it():
    model = block(**SIZES, layers=4)
    assert scope(model, "model") == model
    assert scope(model, "block") == replace(model, repeat=1)
    core = scope(model, "attention")
    others = ("Q", "K", "V", "O", "FC1", "FC2")
    assert core == replace(attention(**SIZES), name="block")
    assert core.left_out == others
    assert scope(core, "attention") == scope(core, "block") == scope(core, None) == core


def test_an_unknown_scope_is_refused():
    with pytest.raises(
        SpecError, match=r"scope: expected one of attention, block, layer, .*, got 'la'"
    ):
        scope(attention(**SIZES), "la")


@pytest.mark.parametrize("build", [attention, block])
def test_the_softmax_is_what_stands_between_the_products(build):
    workload = build(**SIZES)
    assert workload.core == CORE
    assert workload.operators == {"softmax": CORE[1:-1]}


def test_a_cascade_without_attention_has_no_softmax_and_stays_whole():
    lines = ("T[i,k] = A[i,j] * W1[j,k]", "R[i,k] = relu(T[i,k])", "Y[i,l] = R[i,k] * W2[k,l]")
    workload = Workload(
        name="mlp",
        rank_sizes={"I": 4, "J": 4, "K": 4, "L": 4},
        einsums=tuple(parse_einsum(line) for line in lines),
    )
    assert (workload.operators, workload.core) == ({}, ())
    assert scope(workload, None) == scope(workload, "block") == workload
    with pytest.raises(SpecError, match=r"scope: expected block or model .* leave the scope out"):
        scope(workload, "attention")


def test_the_order_of_einsums_does_not_move_the_attention():
    built = block(**SIZES)
    shuffled = replace(built, einsums=tuple(reversed(built.einsums)))
    assert tuple(scope(shuffled, "attention").ancestors) == CORE
    assert prod(scope(shuffled, "attention").rank_sizes.values()) == prod(SIZES.values())
