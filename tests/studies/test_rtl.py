"""Fused pairs of products in RTL beside the model, and their mapping run on real numbers.

Rows: pku-liang/TileFlow d72d278, AE/validation/accelerator (MIT), in studies/rtl/fused_gemms.csv.
"""

from __future__ import annotations

import json
from pathlib import Path

import answer_schema
import pytest

import flat_mapper as fm
from studies.rtl.__main__ import main
from studies.rtl.rows import ROWS, SIZES, record_of

EACH = 12  # so many rows of the file for one by day
LINKS = ("dram_to_buffer", "buffer_to_dram", "buffer_to_registers", "registers_to_buffer")


def answered(capsys: pytest.CaptureFixture[str], *options: str) -> dict:
    assert main([*options, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert answer_schema.faults(document) == []
    return document


def is_beside_the_rtl(document: dict, count: int) -> None:
    """Every link equal; of the cycles' errors the median and the 90th percentile."""
    assert document["summary"]["equal"] == dict.fromkeys(LINKS, count)
    assert document["summary"]["median"] < 0.1
    assert document["summary"]["percentile_90"] < 0.2
    for row in document["rows"]:
        assert [row[f"ours_{link}"] for link in LINKS] == [int(row[link]) for link in LINKS]


def test_some_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head, *rows = ROWS.read_text(encoding="utf-8").splitlines()
    path = tmp_path / "some.csv"
    path.write_text("\n".join((head, *rows[::EACH])) + "\n", encoding="utf-8")
    is_beside_the_rtl(answered(capsys, "--csv", str(path)), len(rows[::EACH]))
    assert main(["--csv", str(path)]) == 0
    assert "registers_to_buffer 6\nerror of cycles: median" in capsys.readouterr().out


@pytest.mark.nightly
def test_all_rows(capsys: pytest.CaptureFixture[str]) -> None:
    is_beside_the_rtl(answered(capsys), 70)


@pytest.mark.parametrize(
    "sizes",
    [
        (64, 16, 32, 64, 32, 16, 32),
        (72, 5, 40, 56, 40, 24, 40),  # last tiles of every rank, and rows of PEs that are idle
        (24, 5, 8, 24, 20, 24, 20),  # a tile that is larger than its rank
    ],
)
def test_its_mapping_is_what_is_executed(sizes: tuple[int, ...]) -> None:
    """Counts, words alive, latency, and the products' values."""
    record = record_of(dict(zip(SIZES, sizes, strict=True)))
    assert fm.execute(record, check=True)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("16,16,16,", "0,16,16,", "tile_M: expected a whole number >= 1, got '0'"),
        ("542974", "none", "cycles: expected a number > 0, got 'none'"),
        ("512,64,64,512,16", "8192,64,64,8192,8192", "expected tiles that the Cache holds"),
    ],
)
def test_a_row_that_cannot_be_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, message: str
) -> None:
    path = tmp_path / "rows.csv"
    rows = ROWS.read_text(encoding="utf-8").splitlines()[:2]
    path.write_text("\n".join(rows).replace(old, new, 1), encoding="utf-8")
    assert main(["--csv", str(path)]) == 2
    assert message in capsys.readouterr().err
