"""Heads that share keys and values, phases, and the layers around the attention."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from prices import PRICES
from small_platform import platform

from flat_mapper.api import calls as api
from flat_mapper.base.errors import SpecError
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.mapper.solve.driver import search
from flat_mapper.mapping.space import granularity_of, partitions
from flat_mapper.mapping.space_reader import load_mapspace
from flat_mapper.workload.cascade import attention, block, grouped
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.problem_file import Lengths, sequence_lengths
from flat_mapper.workload.reader import check_problem, load_workload
from flat_mapper.workload.roles import Roles

SIZES = {"B": 2, "H": 4, "P": 4, "M": 4, "E": 4, "F": 4}


def best(workload: Workload, space: str = "flat", objective: str = "edp") -> Result:
    found = search(
        workload, platform(), load_mapspace(space), PRICES, objective=api.objective_of(objective)
    )
    assert not isinstance(found, Infeasible)
    return found.result


def costs(result: Result) -> tuple[float, ...]:
    parts = (result.cycles, result.energy_pj, result.offchip_bytes, result.utilization)
    return (*parts, *(use.live_words for use in result.buffers().values()))


def test_a_group_shares_keys_and_values():
    workload = attention(**SIZES, kv_heads=2)
    assert dict(workload.rank_sizes) == {**SIZES, "G": 2, "H": 2}
    assert workload.tensor_ranks["Q"] == ("B", "G", "H", "P", "E")
    assert workload.tensor_ranks["K"] == ("B", "G", "M", "E")
    assert workload.tensor_ranks["V"] == ("B", "G", "M", "F")
    names = tuple(e.name for e in workload.einsums)
    assert workload.shareable_ranks(names) == ("B", "G", "H", "P")
    assert workload.einsum("QK").text == "QK[b,g,h,p,m] = Q[b,g,h,p,e] * K[b,g,m,e]"
    alone = attention(**SIZES)
    for einsum in workload.einsums:  # the same arithmetic
        assert workload.iterations(einsum) == alone.iterations(alone.einsum(einsum.name))


@pytest.mark.parametrize("space", ["flat", "flex"])
@pytest.mark.parametrize("objective", ["energy", "edp"])
def test_one_head_per_group_is_multi_head_attention(space: str, objective: str):
    alone = best(attention(**SIZES), space, objective)
    groups = best(attention(**SIZES, kv_heads=4), space, objective)
    assert costs(groups) == pytest.approx(costs(alone))


def test_one_group_is_multi_query_attention():
    one = attention(**SIZES, kv_heads=1)
    assert one.rank_sizes["G"] == 1
    written = load_workload(
        "problem:\n  ranks: {B: 2, H: 4, P: 4, M: 4, E: 4, F: 4}\n  einsums:\n"
        "  - QK[b,h,p,m] = Q[b,h,p,e] * K[b,m,e]\n"
        "  - QK_max[b,h,p] = max(QK[b,h,p,m])\n"
        "  - QK_exp[b,h,p,m] = exp(QK[b,h,p,m] - QK_max[b,h,p])\n"
        "  - QK_sum[b,h,p] = sum(QK_exp[b,h,p,m])\n"
        "  - A[b,h,p,m] = QK_exp[b,h,p,m] / QK_sum[b,h,p]\n"
        "  - AV[b,h,p,f] = A[b,h,p,m] * V[b,m,f]\n"
        "  operators: {softmax: [QK_max, QK_exp, QK_sum, A]}\n"
    )
    assert costs(best(one)) == pytest.approx(costs(best(written)))


def test_fewer_keys_and_values_never_cost_more():
    found = [best(attention(**SIZES, kv_heads=n), objective="energy") for n in (4, 2, 1)]
    assert [r.macs for r in found] == [found[0].macs] * 3
    for more, fewer in pairwise(found):
        assert fewer.offchip_bytes < more.offchip_bytes
        assert fewer.energy_pj < more.energy_pj


@pytest.mark.parametrize(
    ("granularity", "held"),
    [("batch", "B"), ("group", "BG"), ("head", "BGH"), ("row", "BGH")],
)
def test_granularities_hold_their_ranks(tmp_path: Path, granularity: str, held: str):
    file = tmp_path / "space.yaml"
    file.write_text(
        "mapspace:\n  fusion: {groups: [[QK, softmax, AV]], granularity: " + granularity + "}\n"
    )
    workload = attention(**SIZES, kv_heads=2)
    found = search(workload, platform(), load_mapspace(file), PRICES, objective="energy")
    assert not isinstance(found, Infeasible)
    shared = {loop.rank: loop.factor for loop in found.result.mapping.groups[0].shared}
    for rank in held:
        assert shared[rank] == workload.rank_sizes[rank]
    for rank in {"B", "G", "H"} - set(held):
        assert rank not in shared


def test_names_of_tiles():
    sizes = {"B": 2, "G": 4, "H": 3, "P": 8}
    roles = Roles(batch="B", groups="G", heads="H", queries="P", keys="M")
    assert granularity_of({**sizes, "G": 1}, sizes, roles) == "group"
    assert granularity_of({**sizes, "G": 1, "H": 1}, sizes, roles) == "head"
    assert granularity_of({**sizes, "G": 1}, {**sizes, "H": 1}, roles) == "head"
    assert granularity_of({**sizes, "P": 1}, sizes, roles) == "row"


@pytest.mark.parametrize("kv_heads", [3, 8, 0, -1, 1.0, True])
def test_heads_that_make_no_groups_are_refused(kv_heads):
    condition = "attention: kv_heads: expected a divisor of the 4 query heads, got"
    with pytest.raises(SpecError, match=condition):
        attention(**SIZES, kv_heads=kv_heads)


def test_the_block_of_grouped_heads_projects_fewer_keys():
    workload = block(**SIZES, kv_heads=2, feed_forward="gated", FF=48)
    assert workload.rank_sizes["D"] == 16  # of all heads
    words = {t: workload.tensor_words(t) for t in ("WQ", "WK", "WV", "WO", "W1", "W3", "W2")}
    assert words == {
        **{"WQ": 16 * 16, "WK": 8 * 16, "WV": 8 * 16, "WO": 16 * 16},
        **{"W1": 16 * 48, "W3": 16 * 48, "W2": 48 * 16},
    }
    assert workload.einsum("FC1").unit == "vector"


def test_in_decode_only_the_new_rows_are_projected():
    workload = block(**{**SIZES, "P": 1}, phase="decode")
    assert "XK" not in workload.tensor_ranks
    assert workload.iterations(workload.einsum("KN")) == 2 * 4 * 1 * 4 * 16
    assert {"K", "V"}.isdisjoint(workload.producers)
    with pytest.raises(SpecError, match="phase: expected one of prefill, decode, got 'x'"):
        block(**SIZES, phase="x")
    with pytest.raises(SpecError, match="feed_forward: expected one of plain, gated, got 'x'"):
        block(**SIZES, feed_forward="x")


def test_decode_of_every_position_is_prefill():
    sizes = {"B": 1, "H": 2, "P": 2, "M": 2, "E": 2, "F": 2, "D": 2, "FF": 2}
    whole, steps = (best(block(**sizes, phase=p), "flex-stream") for p in ("prefill", "decode"))
    assert costs(steps) == pytest.approx(costs(whole))


def test_the_product_of_a_gate_is_no_part_of_the_softmax():
    workload = block(B=1, H=2, P=4, M=4, E=4, F=4, feed_forward="gated")
    fused, unfused = partitions(workload, load_mapspace("flat"))
    assert ("QK", "QK_max", "QK_exp", "QK_sum", "A", "AV") in [g.names for g in fused]
    assert ("QK_max", "QK_exp", "QK_sum", "A") in [g.names for g in unfused]
    for groups in (fused, unfused):
        assert ("FC1",) in [g.names for g in groups]


TEXT = """
problem:
  ranks: {B: 1, H: 8, P: 64, M: P, E: 16, F: E, FF: 96}
  feed_forward: gated
  attention: {kv_heads: H / 4}
"""


def test_a_file_says_it():
    workload = load_workload(TEXT, "block")
    assert (workload.rank_sizes["G"], workload.rank_sizes["H"]) == (2, 4)
    assert "UP" in workload.producers
    assert load_workload(TEXT, sizes={"G": 4}).rank_sizes["H"] == 2
    ranks = load_workload(TEXT.replace("H: 8", "H: 8, G: 2").replace("kv_heads: H / 4", ""))
    assert dict(ranks.rank_sizes) == dict(load_workload(TEXT).rank_sizes)


def test_decode_keeps_the_cache_and_takes_one_position():
    step = load_workload(TEXT, "block", phase="decode")
    assert (step.rank_sizes["P"], step.rank_sizes["M"]) == (1, 64)
    assert "KN" in step.producers
    step = load_workload(TEXT, phase="decode", sizes={"P": 4, "M": 100})
    assert (step.rank_sizes["P"], step.rank_sizes["M"]) == (4, 100)
    given = load_workload(TEXT.replace("{kv", "{phase: decode, kv"), "block", sizes={"P": 1})
    assert "KN" in given.producers
    assert "K" in load_workload(TEXT, "block", phase="prefill").producers


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("H / 4", "3", "attention: kv_heads: expected a divisor of the 8 query heads, got 3"),
        ("H / 4", "'2'", "kv_heads.*expected int > 0, got '2'"),
        ("H: 8", "H: 8, G: 2", "attention: expected kv_heads here or G among the ranks, got"),
        ("gated", "gatd", "feed_forward.*expected one of plain, gated, got 'gatd'; did you mean"),
        ("{kv", "{phase: deocde, kv", "phase.*expected one of prefill, decode.*did you mean"),
        ("kv_heads", "kvheads", "keys among .*got 'kvheads'"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(old: str, new: str, message: str):
    with pytest.raises(SpecError, match=message):
        load_workload(TEXT.replace(old, new), "block")


def test_what_is_refused_elsewhere():
    with pytest.raises(SpecError, match="phase: expected one of prefill, decode, got 'decoding'"):
        load_workload(TEXT, phase="decoding")
    cascade = "problem:\n  ranks: {I: 4, J: 4}\n  einsums: ['Y[i] = A[i,j] * B[j]']\n"
    with pytest.raises(SpecError, match="decode: expected roles that say which ranks are"):
        load_workload(cascade, phase="decode")
    (line,) = check_problem(cascade + "  feed_forward: gated\n")
    assert "feed_forward: expected attention beside it" in line


def test_a_line_over_heads_becomes_one_over_groups():
    assert grouped(("Q[b,h,p,e] = X[b,p,d] * WQ[h,e,d]",)) == (
        "Q[b,g,h,p,e] = X[b,p,d] * WQ[g,h,e,d]",
    )


def test_a_length_is_that_of_the_cache_in_decode():
    assert sequence_lengths(64) == Lengths(queries=64, keys=64)
    assert sequence_lengths(64, "decode") == Lengths(queries=None, keys=64)
    step = load_workload(TEXT, phase="decode", lengths=sequence_lengths(32, "decode"))
    assert (step.rank_sizes["P"], step.rank_sizes["M"]) == (1, 32)
