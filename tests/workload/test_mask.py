"""Masks: which tiles are done, what that leaves of every count, and the search under a mask."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import product

import pytest
from agreement import agree
from hypothesis import given
from hypothesis import strategies as st
from nests import few
from online_mapping import ONLINE, by_name, cost, mapping
from oracles.brute_force import front
from oracles.small_cases import online_case
from prices import PRICES
from small_platform import platform

from flat_mapper.base.errors import BackendError, SpecError
from flat_mapper.cost_model.backend import refuse_operations
from flat_mapper.cost_model.result import Result
from flat_mapper.explore.need_search import need
from flat_mapper.mapper.solve.driver import frontier, search
from flat_mapper.mapping.record import read_record
from flat_mapper.mapping.space import Fusion, Mapspace
from flat_mapper.reports.document import masked_work
from flat_mapper.reports.text import mask_text
from flat_mapper.timeloop.write import lowered
from flat_mapper.workload.cascade import attention
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.mask import Mask, mask_of, mask_tiles, pairs
from flat_mapper.workload.problem_file import sequence_lengths
from flat_mapper.workload.reader import load_workload

CAUSAL = Mask(causal=True)
TEXT = "problem:\n  ranks: {B: 1, H: 2, P: 8, M: 8, E: 4, F: 4}\n  attention: {softmax: online}\n"


def masked(mask: Mask | None) -> Workload:
    return replace(ONLINE, mask=mask)


@st.composite
def questions(draw: st.DrawFn) -> tuple[Mask, int, int, int, int]:
    rows, columns = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    queries, keys = rows * draw(st.integers(1, 4)), columns * draw(st.integers(1, 5))
    mask = draw(
        st.builds(Mask, causal=st.just(True), window=st.none() | st.integers(1, 20))
        | st.builds(Mask, causal=st.booleans(), window=st.integers(1, 20))
    )
    mask = replace(mask, parts=draw(st.integers(1, 3)))
    return mask, min(queries, keys) // rows * rows or rows, max(keys, rows), rows, columns


@few
@given(questions())
def test_tiles_are_what_their_pairs_say(question: tuple[Mask, int, int, int, int]) -> None:
    mask, queries, keys, rows, columns = question
    keys = -(-max(keys, queries) // columns) * columns
    whole = partial = skipped = 0
    by_row, by_column = [0] * (queries // rows), [0] * (keys // columns)
    first = mask.parts * keys - queries
    for i, j in product(range(queries // rows), range(keys // columns)):
        seen = [
            (not mask.causal or k <= q) and (mask.window is None or abs(q - k) < mask.window)
            for q in range(first + i * rows, first + (i + 1) * rows)
            for k in range(mask.parts * j * columns, mask.parts * (j + 1) * columns)
        ]
        whole += all(seen)
        skipped += not any(seen)
        partial += any(seen) and not all(seen)
        by_row[i] += any(seen)
        by_column[j] += any(seen)
    found = mask_tiles(mask, queries, keys, rows, columns)
    assert (found.whole, found.partial, found.skipped) == (whole, partial, skipped)
    for said, seen in ((found.by_row, by_row), (found.by_column, by_column)):
        assert said == tuple(sorted(Counter(n for n in seen if n).items()))


@pytest.mark.parametrize("n", [1, 7, 4096])
def test_causal_pairs_at_tile_one(n: int) -> None:
    assert pairs(CAUSAL, n, n) == n * (n + 1) // 2


def test_a_window_as_wide_as_the_sequence_is_dense() -> None:
    dense, wide = cost(mapping(), masked(None)), cost(mapping(), masked(Mask(window=512)))
    assert wide.einsums == dense.einsums
    assert wide.cycles == dense.cycles


def test_every_count_follows_the_tiles() -> None:
    """64 queries x 128 keys: of the 4 tiles in each of 8 rows, 1 1 2 2 3 3 4 4 are visited."""
    dense, causal = cost(mapping(), masked(None)), cost(mapping(), masked(CAUSAL))
    before, after = by_name(dense), by_name(causal)
    for name in before:
        if name != "AV_div":
            assert after[name].computes * 32 == before[name].computes * 20
            assert after[name].compute_cycles * 32 == before[name].compute_cycles * 20
    assert after["AV_div"] == before["AV_div"]
    dram = {
        t.tensor: (t.moved_words, u.moved_words)
        for name in before
        for t, u in zip(before[name].levels[0].tensors, after[name].levels[0].tensors, strict=True)
    }
    for tensor in ("Q", "AV_div"):
        assert dram[tensor][0] == dram[tensor][1] == 12 * 512 * 64
    for tensor in ("K", "V"):
        assert dram[tensor] == (8 * 12 * 512 * 64, 8 * 12 * 512 * 64 * 20 // 32)
    held = {t.tensor: t for t in after["AV_cor"].level("GLB").tensors}["AV"]  # type: ignore[union-attr]
    rows = 12 * 64 * 64
    assert (held.scalar_updates, held.scalar_reads) == (20 * rows, (20 - 8) * rows)
    assert causal.bound.cycles < dense.bound.cycles


def test_the_result_says_what_was_done() -> None:
    found = masked_work(masked(CAUSAL), cost(mapping(), masked(CAUSAL)))
    assert found is not None
    assert found["tiles"] == {"queries": 64, "keys": 128, "whole": 12, "partial": 8, "skipped": 12}
    assert found["dense_macs"] == 2 * 12 * 512 * 512 * 64
    assert found["effective_macs"] == 12 * 512 * 513 * 64
    assert found["macs"] == 2 * 12 * 512 * 512 * 64 * 20 // 32
    uncut = cost(mapping("H12 P8", corrected=False), masked(CAUSAL))
    said = {"mask": masked_work(masked(CAUSAL), uncut), "softmax": "online"}
    assert "no tile is skipped" in mask_text(said, masked(CAUSAL))


def test_files_and_words() -> None:
    assert load_workload(TEXT + "  mask: causal\n").mask == CAUSAL
    window = load_workload(TEXT + "  mask: {window: 4, causal: true}\n")
    assert window.mask == Mask(causal=True, window=4) == mask_of("causal,window=4")
    assert load_workload(TEXT + "  mask: causal\n", mask="window=2").mask == Mask(window=2)
    parted = load_workload(TEXT + "  mask: {causal: true, parts: 2}\n").mask
    assert parted == Mask(causal=True, parts=2) == mask_of("causal,parts=2")
    assert parted is not None
    assert mask_of(parted.words) == parted
    assert str(parted) == "causal, parts 2"
    for bad, message in (
        ("  mask: diagonal\n", "problem.mask: expected causal, or {window: N}, got 'diagonal'"),
        ("  mask: {windw: 3}\n", "problem.mask: expected keys among .*got 'windw'"),
        ("  mask: {causal: false}\n", "expected causal, a window, or both, got 'neither'"),
    ):
        with pytest.raises(SpecError, match=message):
            load_workload(TEXT + bad)
    with pytest.raises(SpecError, match="--mask: expected causal, window=N"):
        mask_of("window=none")
    with pytest.raises(SpecError, match="mask: expected at most the 4 positions of its keys, got"):
        replace(attention(B=1, H=1, P=8, M=4, E=1, F=1), mask=CAUSAL)


def test_a_record_keeps_its_mask_and_timeloop_refuses_it(tmp_path) -> None:  # type: ignore[no-untyped-def]
    files = lowered(masked(CAUSAL), platform(), mapping()).files
    assert all("/" not in name for name in files)
    for name, file in files.items():
        (tmp_path / name).write_text(file.text)
    assert read_record(tmp_path / "fused-mapping.yaml").workload == masked(CAUSAL)
    parted = masked(replace(CAUSAL, parts=2))
    for name, file in lowered(parted, platform(), mapping()).files.items():
        (tmp_path / name).write_text(file.text)
    assert read_record(tmp_path / "fused-mapping.yaml").workload == parted
    with pytest.raises(BackendError, match="timeloop: expected no mask"):
        refuse_operations(masked(CAUSAL), platform(), mapping(), "timeloop")


def test_two_passes_are_not_searched_under_a_mask() -> None:
    cascade = replace(attention(B=1, H=1, P=4, M=4, E=2, F=2, softmax="online-2pass"), mask=CAUSAL)
    space = Mapspace(name="flat", fusion=Fusion(groups=(("QK", "softmax", "AV"),)))
    with pytest.raises(SpecError, match="expected a cascade whose keys are cut in one pass"):
        search(cascade, platform(), space, PRICES)


@pytest.mark.parametrize("window", [None, 1, 2])
@pytest.mark.parametrize("seed", [5, 11])
def test_search_finds_what_brute_force_finds(seed: int, window: int | None) -> None:
    case = online_case(seed)
    mask = Mask(causal=window is None, window=window)
    sizes = {**case.workload.rank_sizes, "P": 2, "M": 4}
    agree(replace(case, workload=replace(case.workload.with_ranks(sizes), mask=mask)), seed)


def test_a_search_under_a_mask_skips_tiles() -> None:
    case = online_case(5)
    sizes = {**case.workload.rank_sizes, "P": 4, "M": 4}
    cascade = replace(case.workload.with_ranks(sizes), mask=CAUSAL)
    found = search(cascade, case.platform, case.mapspace, case.ert)
    dense = search(replace(cascade, mask=None), case.platform, case.mapspace, case.ert)
    assert isinstance(found.result, Result)  # type: ignore[union-attr]
    assert found.result.edp_js < dense.result.edp_js  # type: ignore[union-attr]


def test_needs_refuse_a_mask() -> None:
    case = online_case(5)
    cascade = replace(case.workload, mask=Mask(window=2))
    given = (cascade, case.platform, case.mapspace, case.ert)
    with pytest.raises(SpecError, match="need: attention: expected no mask"):
        need(*given, quantity="buffer", utilization=0.5)


def test_a_front_under_a_mask_is_that_of_brute_force() -> None:
    case = online_case(5)
    sizes = {**case.workload.rank_sizes, "P": 2, "M": 4}
    case = replace(case, workload=replace(case.workload.with_ranks(sizes), mask=CAUSAL))
    found = frontier(case.workload, case.platform, case.mapspace, case.ert)
    assert isinstance(found, tuple)
    truth = front(case)
    assert [s.result.cycles for s in found] == [cycles for cycles, _ in truth]
    assert [s.result.energy_pj for s in found] == pytest.approx([e for _, e in truth], rel=1e-9)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", [s for s in range(1000, 1200) if s % 4 < 2])
def test_search_under_a_mask_finds_what_brute_force_finds(seed: int) -> None:
    case = online_case(seed)
    masks = (CAUSAL, Mask(window=1), Mask(window=2), Mask(causal=True, window=2))
    sizes = {**case.workload.rank_sizes, "P": 2, "M": 4}
    mask = masks[seed // 4 % 4]
    agree(replace(case, workload=replace(case.workload.with_ranks(sizes), mask=mask)), seed)


@pytest.mark.parametrize("mask", ["causal", "{window: 3, causal: true}"])
@pytest.mark.parametrize("keys", [1, 7, 64])
def test_a_decode_against_any_cache_is_asked_under_a_mask(mask: str, keys: int) -> None:
    """The mask is about the one query of a decode, not about the file's own number of queries."""
    text = f"""
problem:
  ranks: {{B: 1, H: 2, P: 16, M: P, E: 4, F: 4}}
  mask: {mask}
  attention: {{}}
"""
    step = load_workload(text, lengths=sequence_lengths(keys, "decode"), phase="decode")
    seen = min(keys, 3) if "window" in mask else keys
    assert (step.rank_sizes["P"], step.rank_sizes["M"]) == (1, seen)
