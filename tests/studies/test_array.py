"""An exhaustive search of the simulator's mapspace, beside the simulator's choices."""

from __future__ import annotations

import json
from pathlib import Path

import answer_schema
import pytest
from simulator_rows import HEADING, ROWS

from studies.common import each
from studies.paper.__main__ import main as paper
from studies.simulator.__main__ import main
from studies.simulator.array import SAME, Choices, mapping_text, search_row
from studies.simulator.rows import simulator_rows


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    path.write_text("\n".join((HEADING, *ROWS[1:], "")), encoding="utf-8")
    return path


@pytest.mark.nightly
def test_never_worse_than_the_simulator(table: Path) -> None:
    for row in simulator_rows(table):
        found = search_row(row)
        for space, ours in found.ours.items():
            assert ours.cost <= found.theirs.cost, (row.key, space)
        # In the space that the simulator's rows show, its choice is the fastest.
        assert found.gain("published") < SAME


@pytest.mark.nightly
def test_says_why(table: Path) -> None:
    bert = search_row(simulator_rows(table)[0])
    assert bert.why("published") == "as fast to 0.01%: weight/output for weight/weight"
    assert bert.why("wide") == "faster: unfused, 1024 rows for 128 rows"


@pytest.mark.nightly
def test_the_command(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--search", "--csv", str(table), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert answer_schema.faults(document) == []
    rows = document["rows"]
    assert [row["model"] for row in rows] == ["BERT", "TrXL"]
    assert rows[0]["simulator"]["mapping"]["rows"] == 128
    assert rows[0]["wide"]["cycles"] < rows[0]["simulator"]["cycles"]
    assert main(["--search", "--csv", str(table)]) == 0
    assert "published: ours is never slower by more than 0.0000%" in capsys.readouterr().out


def test_the_space_is_what_it_says() -> None:
    found = list(Choices().mappings(1024, 32))
    # 16 stagings, 4 pairs of stationarities, fused or not; head, and tiles of 32, 64, 128 rows.
    assert len(found) == len(set(found)) == 16 * 4 * 2 * 4
    whole = Choices(granularities=("all", "batch"), fused=(False, True))
    assert all("QK" in m.on_chip for m in whole.mappings(1024, 32))
    assert {m.rows for m in Choices(rows="any").mappings(1024, 32)} == {32, 64, 128, 256, 512, 1024}
    assert mapping_text(found[0]) == "head, output/output-stationary, nothing on chip"


def _square(value: int) -> int:
    return value * value


@pytest.mark.nightly
def test_each_keeps_the_order() -> None:
    values = list(range(6))
    for workers in (1, 2):
        assert list(each(_square, values, workers)) == [0, 1, 4, 9, 16, 25]
    assert list(each(_square, [])) == []


def test_unknown_platforms_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert paper(["--platforms", "moon"]) == 2
    message = "--platforms: expected platforms among edge, cloud, got 'moon'"
    assert message in capsys.readouterr().err
