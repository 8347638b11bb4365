"""FLAT's simulator against this model. Figures: FuseMax artifact, flat_validation.csv (MIT)."""

from __future__ import annotations

import json
from pathlib import Path

import answer_schema
import pytest
from simulator_rows import HEADING, ROWS

from flat_mapper import SpecError
from studies.simulator.__main__ import main
from studies.simulator.mapping import chain, even_part, largest_divisor
from studies.simulator.rows import compare_rows, simulator_rows


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text("\n".join((HEADING, *ROWS, "")), encoding="utf-8")
    return path


def test_rows_of_each_kind_agree(table: Path) -> None:
    for comparison in compare_rows(simulator_rows(table)):
        errors = comparison.errors
        assert abs(errors["offchip_bytes"]) < 0.0007
        assert abs(errors["latency_s"]) < 0.0004
        assert errors["spilled"] == pytest.approx(0, abs=1e-12)


def test_the_command_prints_rows(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--csv", str(table), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert answer_schema.faults(document) == []
    rows = document["rows"]
    assert [row["seq_len"] for row in rows] == ["128K", "2K", "1K"]
    assert rows[0]["published_energy_pj"] == 1376711563060060.8
    assert main(["--csv", str(table)]) == 0
    assert "largest errors over 3 rows" in capsys.readouterr().out


def test_without_a_file_it_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    message = "--csv: expected flat_validation.csv of the FuseMax artifact, got 'none'"
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("cloud,", "moon,", r"line 2: platform: expected one of edge, cloud, got 'moon'"),
        ("row,256", "row,0", r"line 2: P1: expected a whole number >= 1, got '0'"),
        (",P1,", ",P2,", r"line 2: P1: expected a whole number >= 1, got None"),
    ],
)
def test_bad_rows_are_refused(table: Path, old: str, new: str, message: str) -> None:
    text = table.read_text(encoding="utf-8")
    table.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(SpecError, match=message):
        simulator_rows(table)


def test_factors_cover_sizes() -> None:
    assert chain(128, 32) == ((4, 4), (32, 32))
    assert chain(100, 32) == ((4, 4), (32, 4))
    assert even_part(1000, 256) == 250
    assert largest_divisor(1000, 32) == 25
