"""The page of today's models, on a sweep of two points."""

from __future__ import annotations

from pathlib import Path

import pytest

import flat_mapper as fm
from studies.today.__main__ import HERE, page, rows_of, si, size

SWEEP = """sweep:
  fixed: {arch: edge, problem: tiny, phase: prefill, seq: 64, objective: edp}
  zip: {mapspace: [flex, flat], softmax: [row, online]}
"""


def test_a_sweep_becomes_a_page(tmp_path: Path) -> None:
    spec, results = tmp_path / "two.yaml", tmp_path / "two.db"
    spec.write_text(SWEEP, encoding="utf-8")
    fm.sweep(spec, results, workers=0)
    text = page(rows_of(results))
    assert "## tiny, prefill" in text
    lines = [line for line in text.splitlines() if line.startswith("| edge | 64 |")]
    assert [line.split(" | ")[2] for line in lines] == ["unfused", "online"]


@pytest.mark.parametrize(
    ("value", "text"), [(0.1857, "185.7 ms"), (1.61, "1.61 s"), (9.99996e-4, "1 ms")]
)
def test_quantities_have_four_digits(value: float, text: str) -> None:
    assert si(value, "s") == text


def test_bytes_have_binary_prefixes() -> None:
    assert [size(n) for n in (512, 524288, 4.539 * 2**30)] == ["512 B", "512 KiB", "4.539 GiB"]


def test_the_tables_are_of_the_sweeps() -> None:
    written = (HERE / "tables.md").read_text(encoding="utf-8")
    for name in ("today.yaml", "layers.yaml"):
        assert name in written
