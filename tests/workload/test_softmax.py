"""The online softmax: its cascades, what its mappings may do and cost, and the search over them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from agreement import agree
from online_mapping import ONLINE, by_name, cost, mapping
from oracles.small_cases import online_case
from prices import PRICES
from small_platform import fused, platform, workload

from flat_mapper.api.calls import search as best_of
from flat_mapper.arch.reader import load_platform
from flat_mapper.base.errors import MappingError, SpecError
from flat_mapper.mapping.record import read_record
from flat_mapper.mapping.space import Fusion, Mapspace, partitions
from flat_mapper.mapping.space_reader import load_mapspace, unmatched_rules
from flat_mapper.mapping.values import FusedMapping, Policy
from flat_mapper.reports.answers import SearchResult
from flat_mapper.reports.tree import fused_tree_text
from flat_mapper.timeloop.write import lower_einsum, lowered
from flat_mapper.workload.cascade import attention, block, scope
from flat_mapper.workload.graph import Softmax
from flat_mapper.workload.notation import format_einsum
from flat_mapper.workload.reader import check_problem, load_workload
from flat_mapper.workload.softmax import alternatives, passes, with_softmax

ROW = workload()
TWO = with_softmax(workload(), "online-2pass")


# The cascades


def test_the_forms_differ_in_passes_as_in_fusemax() -> None:
    for cascade, count in ((ROW, 3), (TWO, 2), (ONLINE, 1)):
        assert len(set(passes(cascade, tuple(cascade.ancestors)).values())) == count


def test_keys_may_be_cut_only_where_the_cascade_corrects() -> None:
    everything = tuple(ONLINE.ancestors)
    assert ONLINE.shareable_ranks(everything) == ("B", "H", "P", "M")
    assert ONLINE.inner_ranks(everything) == ("M",)
    for left_out in ("QK_cor", "AV_cor"):
        rest = tuple(n for n in everything if n != left_out)
        assert ONLINE.shareable_ranks(rest) == ("B", "H", "P")
    assert TWO.shareable_ranks(tuple(TWO.ancestors)) == ("B", "H", "P")
    first, second = (g.names for g in partitions(TWO, FLAT)[0])
    assert first == ("QK", "QK_max", "QK_cor", "QK_exp", "QK_sum_cor", "QK_sum")
    assert second == ("QK2", "A", "AV", "AV_div")
    assert TWO.inner_ranks(first) == TWO.inner_ranks(second) == ("M",)


def test_what_follows_the_attention_reads_the_quotients() -> None:
    sizes = {"B": 1, "H": 4, "P": 8, "M": 8, "E": 4, "F": 4}
    whole = block(**sizes, kv_heads=2, softmax="online")
    lines = [format_einsum(e) for e in whole.ordered]
    assert "AV[b,g,h,p,f] = AV[b,g,h,p,f] * QK_cor[b,g,h,p]" in lines
    assert "O[b,p,d] = AV_div[b,g,h,p,f] * WO[g,h,f,d]" in lines
    assert scope(whole, "attention").einsums[-1].name == "AV_div"
    assert whole.operators["softmax"][-2:] == ("AV_cor", "AV_div")


def test_a_softmax_that_is_not_there_cannot_be_rewritten() -> None:
    with pytest.raises(SpecError, match="expected a row softmax of the Einsums QK, QK_max"):
        with_softmax(ONLINE, "row")


# Laws of the model


def test_with_one_tile_of_keys_the_scores_cost_what_they_cost_in_the_row_form() -> None:
    """Apart from the division, which is later and smaller, nothing changes: not a count."""
    row, online = by_name(cost(fused(), ROW)), by_name(cost(mapping("H12 P8", corrected=False)))
    for name in ("QK", "QK_max", "QK_exp", "QK_sum"):
        assert online[name] == row[name]
    assert set(row) - set(online) == {"A"}
    assert set(online) - set(row) == {"AV_div"}
    av, other = row["AV"], online["AV"]
    assert (av.cycles, av.computes) == (other.cycles, other.computes)
    assert other.level("RF").energy_pj == av.level("RF").energy_pj  # type: ignore[union-attr]
    assert online["AV_div"].computes * 512 == row["A"].computes * 64  # once per row and value


def test_corrections_cost_a_read_and_a_write_per_tile_of_keys() -> None:
    found = by_name(cost(mapping()))
    rows = 12 * 512
    for name, tensor, words in (
        ("QK_cor", "QK_cor", rows),
        ("QK_sum_cor", "QK_sum", rows),
        ("AV_cor", "AV", rows * 64),
    ):
        stats = found[name]
        held = {t.tensor: t for t in stats.level("GLB").tensors}[tensor]  # type: ignore[union-attr]
        assert stats.computes == 4 * words
        # Nothing is there to be read before the first tile.
        # The old maximum is copied to the correction's place in every tile but the first.
        copied = 3 * words if name == "QK_cor" else 0
        assert (held.scalar_updates, held.scalar_reads) == (4 * words + copied, 3 * words)
    dram = {t.tensor for e in found.values() for t in e.level("DRAM").tensors}  # type: ignore[union-attr]
    assert dram == {"Q", "K", "V", "AV_div"}


def test_the_state_lives_in_the_shared_buffer() -> None:
    use = dict(cost(mapping()).groups[0].buffer.terms)
    assert use["AV"] == 64 * 64  # once: only its quotients leave
    assert use["QK"] == 64 * 128
    assert (use["QK_max"], use["QK_cor"], use["QK_sum"]) == (64, 64, 64)
    overlapped = mapping()
    group = replace(overlapped.groups[0], schedule="overlapped")
    twice = dict(cost(FusedMapping(groups=(group,))).groups[0].buffer.terms)
    for tensor in ("AV", "QK", "QK_max", "QK_cor", "QK_sum"):
        assert twice[tensor] == 2 * use[tensor]


@pytest.mark.parametrize(
    ("shared", "message"),
    [
        ("H12 M4 P8", "expected loops over M, which carry partial results, inside all others"),
        ("H12 P8", "QK_cor: expected|expected factors that cover"),
    ],
)
def test_loops_that_would_lose_partial_results_are_refused(shared: str, message: str) -> None:
    if "M4" in shared:
        with pytest.raises(MappingError, match=message):
            cost(mapping(shared))
        return
    bad = mapping()
    group = replace(bad.groups[0], einsums=bad.groups[0].einsums[:2] + bad.groups[0].einsums[3:])
    with pytest.raises(MappingError, match="expected shared loops over B, H, P, got 'M'"):
        cost(FusedMapping(groups=(group,)))


def test_an_accumulator_that_bypasses_the_shared_buffer_is_refused() -> None:
    free = Policy(softmax="free")
    good = mapping()
    kept = [m for m in good.groups[0].einsums if m.einsum in ("QK", "AV")]
    keep = (("DRAM", ("V", "AV")), ("GLB", ("QK_exp", "V")), ("RF", ("QK_exp", "V", "AV")))
    streamed = (kept[0], replace(kept[1], keep=keep))
    group = replace(good.groups[0], einsums=streamed)
    with pytest.raises(MappingError, match="AV: expected kept at GLB: the shared loops carry"):
        cost(FusedMapping(groups=(group,), policy=free))


# Files


def test_a_record_says_all_of_it(tmp_path: Path) -> None:
    chip, fused_mapping = platform(), mapping()
    for name, file in lowered(ONLINE, chip, fused_mapping).files.items():
        if "/" not in name:
            (tmp_path / name).write_text(file.text)
    record = read_record(tmp_path / "fused-mapping.yaml")
    assert record.workload == ONLINE
    assert record.mapping == fused_mapping


def test_each_pass_is_a_loop_of_timeloops() -> None:
    fix, quotient = (
        next(m for m in mapping().groups[0].einsums if m.einsum == n) for n in ("AV_cor", "AV_div")
    )
    files = lower_einsum(ONLINE, platform().path("vector"), fix)
    assert "M: 4" in files["problem.yaml"].text
    assert "M=4" in files["mapping.yaml"].text
    files = lower_einsum(ONLINE, platform().path("vector"), quotient)
    assert "M" not in files["problem.yaml"].document["problem"]["instance"]  # type: ignore[index]


def test_a_cascade_of_ones_own_may_say_it() -> None:
    lines = [
        '- "QK[p,m] = Q[p,e] * K[m,e]"',
        '- "QK_max[p] = max(QK[p,m])"',
        '- {einsum: "QK_cor[p] = exp(QK_cor[p] - QK_max[p])", each: [m], so_far: [QK_max]}',
        '- {einsum: "QK_exp[p,m] = exp(QK[p,m] - QK_max[p])", so_far: [QK_max]}',
        '- {name: fix, einsum: "AV[p,f] = AV[p,f] * QK_cor[p]", each: [M]}',
        '- "AV[p,f] = QK_exp[p,m] * V[m,f]"',
    ]
    text = "problem:\n  ranks: {P: 4, M: 8, E: 2, F: 2}\n  einsums:\n  " + "\n  ".join(lines)
    cascade = load_workload(text)
    assert cascade.shareable_ranks(tuple(cascade.ancestors)) == ("P", "M")
    bad = text.replace("so_far: [QK_max]}\n  - {einsum", "so_far: [QK]}\n  - {einsum")
    with pytest.raises(SpecError, match=r"so_far: expected inputs of the Einsum \(QK_max\), got"):
        load_workload(bad)
    with pytest.raises(SpecError, match="each: expected ranks that none of its tensors has"):
        load_workload(text.replace("each: [M]", "each: [P]"))


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_what_is_made_of_a_result_so_far_is_corrected(missing: int) -> None:
    """Without it a result would hang on the tiles, with each of the two that are needed."""
    lines = [
        '{name: fix, einsum: "AV[p,f] = AV[p,f] * QK_cor[p]", each: [m]}',
        '{name: fix2, einsum: "Z[p] = Z[p] * QK_cor[p]", each: [m]}',
        '"QK[p,m] = Q[p,e] * K[m,e]"',
        '"QK_max[p] = max(QK[p,m])"',
        '{einsum: "QK_cor[p] = exp(QK_cor[p] - QK_max[p])", each: [m], so_far: [QK_max]}',
        '{einsum: "D[p,m] = sub(QK[p,m], QK_max[p])", so_far: [QK_max]}',
        '"E[p,m] = exp(D[p,m])"',
        '"Z[p] = sum(E[p,m])"',
        '"AV[p,f] = E[p,m] * V[m,f]"',
    ]
    text = "problem:\n  ranks: {P: 4, M: 8, E: 2, F: 2}\n  einsums:\n"
    text += "".join(f"  - {line}\n" for line in lines[missing:])
    wrong = ("AV", "Z")[:missing]
    found = check_problem(text)
    assert len(found) == len(wrong)
    for name in wrong:
        assert any(
            f"{name}: expected a sum over M that an Einsum with each: [M] corr" in line
            for line in found
        )


def test_a_result_so_far_does_not_leave() -> None:
    text = """
    problem:
      ranks: {M: 8, E: 2, F: 2}
      einsums:
      - KV[e,f] = K[m,e] * V[m,f]
      - {einsum: "O[m,f] = Q[m,e] * KV[e,f]", so_far: [KV]}
    """
    with pytest.raises(
        SpecError, match=r"O: expected a sum .* of KV so far, got 'O\[m,f\]'; write"
    ):
        load_workload(text)
    assert not check_problem(text.replace(", so_far: [KV]", ""))


# The search

FLAT = Mapspace(name="flat", fusion=Fusion(groups=(("QK", "softmax", "AV"),)))
PRICED = replace(
    PRICES, levels={**PRICES.levels, "LREG": PRICES.levels["RF"], "VALU": PRICES.levels["MAC"]}
)
SMALL = online_case(5)  # two queries, four keys; the softmax is free


@pytest.mark.parametrize("form", ["row", "online", "any"])
def test_any_is_the_best_of_its_forms(form: Softmax) -> None:
    cascade = with_softmax(attention(**SMALL.workload.rank_sizes), "any")
    best = best_of(cascade, SMALL.platform, SMALL.mapspace, SMALL.ert)
    forms = alternatives(cascade, charged=False)
    assert [f.softmax for f in forms] == ["row", "online"]
    assert best.workload in forms
    one = best_of(with_softmax(cascade, form), SMALL.platform, SMALL.mapspace, SMALL.ert)
    assert best.result.edp_js <= one.result.edp_js * (1 + 1e-12)


def test_any_schedule_is_the_better_of_two() -> None:
    case = online_case(9)
    found = {
        schedule: best_of(
            case.workload, case.platform, case.mapspace, case.ert, schedule=schedule
        ).result.edp_js
        for schedule in ("interleaved", "overlapped", "any")
    }
    assert found["any"] == min(found["interleaved"], found["overlapped"])


def test_a_free_softmax_has_no_first_pass_to_charge() -> None:
    free = replace(FLAT, policy=Policy(softmax="free"))
    with pytest.raises(SpecError, match="expected a softmax that is charged"):
        partitions(TWO, free)


def test_rules_for_the_row_form_say_nothing_of_tensors_that_another_lacks() -> None:
    assert unmatched_rules(load_mapspace("naive"), ONLINE, load_platform("edge")) == []


@pytest.mark.parametrize("seed", [1, 2, 5, 6, 7, 9, 11])
def test_search_finds_what_brute_force_finds(seed: int) -> None:
    agree(online_case(seed), seed)


def test_bert_at_4096_moves_what_tiles_of_keys_let_it_move() -> None:
    """4.03 GB off chip with every MAC busy, as AccelForge's mapper finds without double buffering.

    source: AccelForge 1.0.467 on the same platform, QK and AV fused: 4.03 GB, utilization 1.
    """
    fusion = Fusion(groups=(("QK", "softmax", "AV"),), tiles={"P": (1024,), "M": (32,)})
    space = Mapspace(name="free", fusion=fusion, policy=Policy(softmax="free"))
    sizes = {"B": 64, "H": 12, "P": 4096, "M": 4096, "E": 64, "F": 64}
    cascade = attention(**sizes, softmax="online")
    found = best_of(cascade, "edge", space, PRICED)
    assert isinstance(found, SearchResult)
    result = found.result
    assert result.offchip_bytes <= 4.03e9
    assert result.utilization > 0.999
    assert result.mapping.policy.buffering == 2
    terms = dict(result.groups[0].buffer.terms)
    assert (terms["Q"], terms["AV"], terms["QK"]) == (2 * 65536, 65536, 32768)
    assert terms["QK_max"] == terms["QK_cor"] == terms["QK_sum"] == 1024


def test_the_tree_has_the_division_behind_the_loop_over_keys() -> None:
    lines = fused_tree_text(ONLINE, platform(), mapping()).splitlines()
    columns = {
        word: next(line.index(word) for line in lines if word in line)
        for word in ("for M in [0:4)", "QK[b,h,p,m] =", "AV_div[b,h,p,f] =")
    }
    assert columns["AV_div[b,h,p,f] ="] == columns["for M in [0:4)"] < columns["QK[b,h,p,m] ="]


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(1000, 1300))
def test_search_finds_what_brute_force_finds_hundreds_of_times(seed: int) -> None:
    agree(online_case(seed), seed)
