"""Ragged batches: the sum over the lengths of what each costs by itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from findings_inputs import answer, refusal

import flat_mapper as fm
from flat_mapper.reports.answers import SearchResult
from flat_mapper.reports.layers import reread_note

TEXT = """problem:
  name: ragged
  ranks: {H: 2, E: 4, F: 4, D: 8}
  mask: causal
  lengths: [8, 32, 8]
  attention: {}
"""
LENGTHS = "  lengths: [8, 32, 8]\n"
TOTALS = ("latency_s", "energy_pj", "offchip_bytes", "macs", "cycles")
CASE = ("--arch", "edge", "--mapspace", "naive", "--objective", "latency")


def of_one_length(batch: int, queries: int, keys: int) -> str:
    """The same problem with the sequences of one length alone, its sizes written out."""
    sizes = f"ranks: {{B: {batch}, P: {queries}, M: {keys}, "
    return TEXT.replace(LENGTHS, "").replace("ranks: {", sizes)


def best(problem: object, **options: object) -> SearchResult:
    found = fm.search(problem, "edge", "naive", objective="latency", **options)
    assert isinstance(found, SearchResult)
    return found


@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_a_ragged_batch_costs_the_sum_of_its_lengths(phase: str) -> None:
    whole = best(fm.load_problem(TEXT, phase=phase))
    rows = {"prefill": (8, 32), "decode": (1, 1)}[phase]
    texts = [of_one_length(2, rows[0], 8), of_one_length(1, rows[1], 32)]
    each = [best(fm.load_problem(text)) for text in texts]
    for name in TOTALS:
        by_hand = sum(getattr(one.result, name) for one in each)
        assert getattr(whole.result, name) == pytest.approx(by_hand, rel=1e-12)
        assert len({getattr(one.result, name) for one in each}) == 2
    counts = ("sequences", "queries", "keys")
    listed = whole.to_dict()["layers"]
    assert isinstance(listed, list)
    assert [tuple(kind[n] for n in counts) for kind in listed] == [
        (1, rows[1], 32),
        (2, rows[0], 8),
    ]
    assert "3 sequences of 2 lengths" in str(whole)


def test_equal_lengths_are_a_batch() -> None:
    same = fm.load_problem(TEXT.replace("[8, 32, 8]", "[16, 16]"))
    assert not same.sequences
    assert same.rank_sizes == fm.load_problem(of_one_length(2, 16, 16)).rank_sizes


def test_the_command_takes_lengths_in_place_of_the_problems_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed, written = tmp_path / "listed.yaml", tmp_path / "written.yaml"
    listed.write_text(TEXT, encoding="utf-8")
    written.write_text(of_one_length(5, 64, 64), encoding="utf-8")
    out = tmp_path / "out"
    whole = answer(capsys, "map", *CASE, "--problem", str(listed), "-o", str(out))
    other = answer(capsys, "map", *CASE, "--problem", str(written), "--lengths", "8,32,8")
    assert other["latency_s"] == whole["latency_s"]
    saved = json.loads((out / "result.json").read_text(encoding="utf-8"))
    assert saved["energy_pj"] == whole["energy_pj"]
    again = [answer(capsys, "evaluate", str(out / f"layers-{i}")) for i in (1, 2)]
    assert sum(float(str(a["energy_pj"])) for a in again) == pytest.approx(whole["energy_pj"])
    weights = reread_note(fm.load_problem(TEXT, scope="block"))
    assert weights.endswith("for themselves: WQ, WK, WV, WO, W1, W2")
    assert not reread_note(fm.load_problem(TEXT))
    checked = answer(capsys, "check", str(listed))["files"]
    assert "32" in json.dumps(checked)


def test_what_a_sum_says_is_said_wherever_it_is_added_up() -> None:
    """A change to each kind's answer, as of a sweep's rows, leaves the words and the proof."""
    whole = fm.search(TEXT, "edge", "naive", scope="block")
    assert isinstance(whole, SearchResult)
    again = whole.each(lambda part: part)
    assert again.result.notes == whole.result.notes
    assert sum("least edp" in note for note in whole.result.notes) == 1
    assert again.certificate.optimal is whole.certificate.optimal is False


def test_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(text: str, *more: str) -> str:
        path = tmp_path / "one.yaml"
        path.write_text(text, encoding="utf-8")
        return refusal(capsys, "map", *CASE, "--problem", str(path), *more)

    assert "problem.ranks: expected no size beside lengths, got 'P'" in said(
        TEXT.replace("H: 2", "H: 2, P: 8")
    )
    assert "lengths.1" in said(TEXT.replace("32", "0"))
    assert "a length, or several" in said(TEXT.replace("[8, 32, 8]", "[]"))
    assert "either seq or lengths" in said(TEXT, "--seq", "8", "--lengths", "8,16")
    assert "ranks other than those of batch and keys" in said(TEXT, "--set", "B=4")
    assert "--lengths: expected int > 0" in said(TEXT, "--lengths", "8,x")
    path = tmp_path / "one.yaml"
    need = ("need", "buffer", "--utilization", "0.5", "--arch", "edge", "--problem", str(path))
    assert "one length" in refusal(capsys, *need)
