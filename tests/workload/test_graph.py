"""The multi-Einsum graph: checks, order, row dependence."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flat_mapper.base.errors import SpecError
from flat_mapper.workload.cascade import attention, block
from flat_mapper.workload.einsum import MAX_ITERATIONS, Einsum, TensorAccess, faults, is_size
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.notation import parse_einsum

CORE = ("QK", "QK_max", "QK_exp", "QK_sum", "A", "AV")


def cascade(*lines: str, size: int = 4, **fields: object) -> Workload:
    """A workload of notation lines, every rank of one size."""
    einsums = tuple(parse_einsum(line) for line in lines)
    ranks = {r: size for e in einsums for r in e.ranks}
    return Workload(**{"name": "w", "rank_sizes": ranks, "einsums": einsums, **fields})


def small_attention() -> Workload:
    return attention(B=2, H=2, P=4, M=8, E=4, F=4)


# Graph checks


def test_a_cycle_is_refused_with_its_path():
    with pytest.raises(SpecError, match="w: expected Einsums without a cycle, got 'A -> B -> A'"):
        cascade("A[p] = exp(B[p])", "B[p] = exp(A[p])")


def test_an_einsum_that_reads_its_own_output_is_refused():
    with pytest.raises(SpecError, match="w: A: expected each tensor once in an Einsum, got 'X, A"):
        cascade("A[p] = X[p] + A[p]")


def test_a_tensor_nobody_reads_is_a_result_and_a_tensor_nobody_writes_an_input():
    workload = cascade("T[p] = exp(X[p])", "U[p] = exp(X[p])")
    assert workload.intermediates == ()
    assert workload.ancestors == {"T": (), "U": ()}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("T[p,m] = X[p] * Z[m]", "Y[p] = sum(T[p])"), "for sum to reduce"),
        (
            ("T[p,m] = X[p] * Z[m]", "Y[p] = exp(T[p])"),
            r"w: Y: T: expected T\[p,m\], as it is elsewhere, got 'T\[p\]'",
        ),
        (
            ("T[p,m] = X[p] * Z[m]", "Y[p,m] = exp(T[m,p])"),
            r"w: Y: T: expected T\[p,m\], as it is elsewhere, got 'T\[m,p\]'",
        ),
        (("Y[p,q] = exp(X[p])",), r"w: Y: Y\[p,q\]: expected ranks that an input has, got 'Q'"),
        (("Y[p] = sum(X[p,p,m])",), r"w: Y: X: expected each rank once, got 'X\[p,p,m\]'"),
        (("Y[p] = X[p] + X[p]",), "w: Y: expected each tensor once in an Einsum, got 'X, X, Y'"),
        (
            ("Y[p] = exp(X[p])", "Y[p] = exp(Z[p])"),
            "w: Einsum Y: expected one of that name, got 2",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(lines, message):
    with pytest.raises(SpecError, match=message):
        cascade(*lines)


def test_two_einsums_must_not_write_one_tensor():
    first = parse_einsum("Y[p] = exp(X[p])", name="first")
    second = parse_einsum("Y[p] = exp(Z[p])", name="second")
    with pytest.raises(SpecError, match="tensor Y: expected one Einsum that writes it, got 2"):
        Workload(name="w", rank_sizes={"P": 4}, einsums=(first, second))


def test_a_rank_without_a_size_is_named_with_the_known_ones():
    with pytest.raises(SpecError, match=r"w: Y: X\[p\]: expected ranks among M, E, got 'P'"):
        cascade("Y[p] = exp(X[p])", rank_sizes={"M": 4, "E": 4})


def test_an_empty_cascade_is_refused():
    with pytest.raises(SpecError, match="w: expected at least one Einsum, got 'none'"):
        Workload(name="w", rank_sizes={}, einsums=())


def test_counts_that_overflow_64_bits_are_refused():
    with pytest.raises(SpecError, match=r"w: Y: expected fewer than 2\^61 iterations"):
        cascade("Y[p,m] = X[p] * Z[m]", size=2**31)
    assert cascade("Y[p,m] = X[p] * Z[m]", size=2**30).tensor_words("Y") == 2**60
    assert MAX_ITERATIONS == 2**61


def test_every_fault_is_listed_not_only_the_first():
    einsums = (parse_einsum("T[p] = exp(X[q])"), parse_einsum("Y[m] = exp(T[m])"))
    lines = list(faults("w", {"P": 0, "M": 4}, einsums))
    assert [line.split(": expected")[0] for line in lines] == [
        "w: ranks.P",
        "w: T: X[q]",
        "w: T: T[p]",
        "w: Y: T",
    ]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"word_bits": 0}, "w: word_bits: expected int > 0, got 0"),
        ({"tensor_bits": {"X": 1.5}}, "w: X: expected int > 0, got 1.5"),
        ({"tensor_bits": {"X": "fp7"}}, "w: X: expected bits, or one of fp.*, bfp4_b, got 'fp7'"),
        ({"tensor_bits": {"Z": 8}}, "w: tensor_bits: expected one of X, Y, got 'Z'"),
        ({"repeat": -1}, "w: repeat: expected int > 0, got -1"),
    ],
)
def test_fields_are_checked(fields, message):
    with pytest.raises(SpecError, match=message):
        cascade("Y[p] = exp(X[p])", **fields)


@pytest.mark.parametrize(("value", "answer"), [(1, True), (0, False), (True, False), (2.0, False)])
def test_a_size_is_an_integer_above_zero(value, answer):
    assert is_size(value) is answer


# Order


def test_tensors_go_from_who_writes_them_to_who_reads_them():
    work = small_attention()
    edges = {(work.producers[t], e.name): t for t in work.intermediates for e in work.readers(t)}
    assert edges == {
        ("QK", "QK_max"): "QK",
        ("QK", "QK_exp"): "QK",
        ("QK_max", "QK_exp"): "QK_max",
        ("QK_exp", "QK_sum"): "QK_exp",
        ("QK_exp", "A"): "QK_exp",
        ("QK_sum", "A"): "QK_sum",
        ("A", "AV"): "A",
    }


@given(st.permutations(CORE))
def test_any_order_of_declaration_is_put_into_execution_order(names):
    workload = small_attention()
    shuffled = replace(workload, einsums=tuple(workload.einsum(n) for n in names))
    assert tuple(e.name for e in shuffled.ordered) == CORE
    assert shuffled.shareable_ranks(CORE) == ("B", "H", "P")


def test_ties_are_broken_by_declaration():
    lines = ("C[p] = exp(X[p])", "A[p] = exp(X[p])", "B[p] = A[p] + C[p]")
    assert [e.name for e in cascade(*lines).ordered] == ["C", "A", "B"]
    swapped = (lines[1], lines[2], lines[0])
    assert [e.name for e in cascade(*swapped).ordered] == ["A", "C", "B"]


# Row dependence and sharing


def test_a_softmax_binds_the_row_and_qk_binds_its_own_sum():
    workload = small_attention()
    assert workload.whole_row_ranks(CORE) == {"M", "E"}
    assert workload.whole_row_ranks(CORE[1:5]) == {"M"}
    assert workload.shareable_ranks(CORE) == ("B", "H", "P")


@pytest.mark.parametrize(
    ("group", "ranks"),
    [
        (("QK",), ("B", "H", "P", "M", "E")),
        (("AV",), ("B", "H", "P", "M", "F")),
        (("A", "AV"), ("B", "H", "P", "M")),  # the row sum is outside: complete before it starts
        (("QK", "QK_max"), ("B", "H", "P", "M")),  # the row maximum leaves the group
        (("QK_max", "QK_exp"), ("B", "H", "P")),
        (CORE[1:5], ("B", "H", "P")),
    ],
)
def test_shareable_ranks_of_parts_of_attention(group, ranks):
    assert small_attention().shareable_ranks(group) == ranks


def test_the_middle_rank_of_two_gemms_may_be_shared():
    workload = cascade("T[i,k] = A[i,j] * B[j,k]", "Y[i,l] = T[i,k] * C[k,l]")
    assert workload.whole_row_ranks(("T", "Y")) == {"J"}
    assert workload.shareable_ranks(("T", "Y")) == ("I", "K")


def test_attention_without_a_softmax_may_share_the_keys():
    workload = cascade("QK[p,m] = Q[p,e] * K[m,e]", "AV[p,f] = QK[p,m] * V[m,f]")
    assert workload.shareable_ranks(("QK", "AV")) == ("P", "M")


def test_a_group_must_not_leave_out_what_stands_between():
    message = "group QK, AV: expected QK_max in it, because AV waits for it, got 'QK, AV'"
    with pytest.raises(SpecError, match=message):
        small_attention().shareable_ranks(("QK", "AV"))


def renamed(workload: Workload, names: dict[str, str]) -> Workload:
    """The workload under other rank names."""

    def access(old: TensorAccess) -> TensorAccess:
        return replace(old, ranks=tuple(names[r] for r in old.ranks))

    def einsum(old: Einsum) -> Einsum:
        inputs = tuple(access(a) for a in old.inputs)
        return replace(old, output=access(old.output), inputs=inputs, text="")

    return replace(
        workload,
        rank_sizes={names[r]: n for r, n in workload.rank_sizes.items()},
        einsums=tuple(einsum(e) for e in workload.einsums),
    )


@given(st.permutations("BHPMEFD"), st.sampled_from(CORE), st.sampled_from(CORE))
def test_renaming_ranks_renames_the_answers_and_nothing_else(letters, first, last):
    workload = block(B=2, H=3, P=5, M=7, E=4, F=6, D=9, FF=8)
    names = dict(zip(workload.rank_sizes, [*letters, "S"], strict=True))
    other = renamed(workload, names)
    assert tuple(other.ancestors) == tuple(workload.ancestors)
    assert other.ancestors == workload.ancestors
    for old, new in zip(workload.einsums, other.einsums, strict=True):
        assert tuple(names[r] for r in old.ranks) == new.ranks
        assert workload.iterations(old) == other.iterations(new)
    assert [workload.tensor_words(t) for t in workload.tensor_ranks] == [
        other.tensor_words(t) for t in other.tensor_ranks
    ]
    group = workload.between(first, last) if first in workload.ancestors[last] else (first,)
    shared = workload.shareable_ranks(group)
    assert tuple(names[r] for r in shared) == other.shareable_ranks(group)


# Parts and sizes


def test_between_lists_the_einsums_on_the_paths():
    workload = block(B=2, H=2, P=4, M=4, E=4, F=4)
    assert workload.between("QK", "AV") == CORE
    assert workload.between("QK_exp", "A") == ("QK_exp", "QK_sum", "A")
    assert workload.between("V", "AV") == ("V", "AV")


def test_a_subset_keeps_only_the_ranks_and_bits_it_needs():
    workload = replace(small_attention(), tensor_bits={"QK": 32, "AV": 8})
    part = workload.subset(("QK", "QK_max"))
    assert tuple(part.rank_sizes) == ("B", "H", "P", "M", "E")
    assert (dict(part.tensor_bits), part.bits("QK"), part.bits("Q")) == ({"QK": 32}, 32, 16)
    with pytest.raises(SpecError, match=r"expected one of the Einsums QK, QK_max, .*, got 'QV'"):
        workload.subset(("QV",))


def test_with_ranks_changes_sizes_and_refuses_unknown_ranks():
    workload = small_attention().with_ranks({"P": 64})
    assert (workload.rank_sizes["P"], workload.tensor_words("QK")) == (64, 2 * 2 * 64 * 8)
    with pytest.raises(SpecError, match="attention: ranks: expected one of B, H, P, M, E, F, got"):
        workload.with_ranks({"N": 64})
    with pytest.raises(SpecError, match=r"attention: ranks.P: expected an integer > 0, got 0"):
        workload.with_ranks({"P": 0})


def test_a_workload_is_a_plain_value():
    assert small_attention() == small_attention()
    assert small_attention() != small_attention().with_ranks({"P": 8})
