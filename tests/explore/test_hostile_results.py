"""Results files of others: nothing in them computes, and what is wrong is one line."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from sweep_files import counted, written

from flat_mapper.base.formats import csv_cell
from flat_mapper.cli.main import main

VIEW = "CREATE VIEW results AS SELECT points.*, 1 seconds, '' finished_at, '' worker FROM points"
ENDLESS = (
    "CREATE VIEW results AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) "
    "SELECT points.*, 1 seconds, '' finished_at, '' worker FROM points, c"
)
CHANGED = {
    "an endless view": f"DROP VIEW results; {ENDLESS}",
    "no view": "DROP VIEW results",
    "a view beside it": "CREATE VIEW other AS SELECT 1",
    "a trigger": "CREATE TRIGGER t AFTER INSERT ON meta BEGIN DELETE FROM points; END",
    "an index that computes": "CREATE INDEX i ON points (length(key))",
    "a view in the place of a table": f"DROP VIEW results; DROP TABLE timings; {VIEW};"
    "CREATE VIEW timings AS SELECT 1",
    "another column": "ALTER TABLE points ADD COLUMN more TEXT",
}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    counted(written(tmp_path), tmp_path / "r.db")
    return tmp_path / "r.db"


def changed(results: Path, script: str) -> None:
    connection = sqlite3.connect(results)
    connection.executescript(script)
    connection.close()


@pytest.mark.parametrize("name", CHANGED)
def test_a_schema_that_is_not_ours_is_refused(
    results: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    changed(results, CHANGED[name])
    for words in (
        ["sweep", str(results)],
        ["report", str(results), "-o", str(results.with_name("r.html"))],
        ["sweep", str(results.with_name("sweep.yaml")), "-o", str(results), "--workers", "0"],
    ):
        capsys.readouterr()
        assert main(words) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert "room" not in said


def test_tables_of_others_may_stand_beside(results: Path) -> None:
    changed(results, "CREATE TABLE studies (id INTEGER PRIMARY KEY); CREATE INDEX i ON studies(id)")
    assert main(["sweep", str(results), "-o", str(results.with_name("r.csv"))]) == 0


def test_text_that_is_not_utf_8_is_one_line(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed(results, "UPDATE points SET reason = CAST(x'c7c7' AS TEXT)")
    assert main(["sweep", str(results), "-o", str(results.with_name("r.csv"))]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_column_is_found_whatever_its_name(results: Path) -> None:
    names = ['a"b', "c.d", "e'f", "$", "[0]"]
    row = json.dumps({name: i for i, name in enumerate(names)})
    connection = sqlite3.connect(results)
    with connection:
        connection.execute("UPDATE points SET coordinates = ?", (row,))
    connection.close()
    target = results.with_name("r.csv")
    assert main(["sweep", str(results), "-o", str(target), "--where", "e'f=2"]) == 0
    rows = target.read_text().splitlines()
    assert len(rows) > 1
    assert rows[0].startswith('"a""b",c.d,e\'f,$,[0],')
    assert all(line.startswith("0,1,2,3,4,") for line in rows[1:])


@pytest.mark.parametrize(
    ("column", "text"),
    [
        ("result", '{"groups": [1, "cores", {"cores": 2, "cycles": "x"}], "busy": 3}'),
        ("result", '{"groups": {"cores": 2}, "busy": {"MAC": [1]}, "search": [], "gap": {}}'),
        ("result", "[" * 99999),
        ("result", "[1]"),
        ("coordinates", '{"seq": [4], "coordinates": 1, "result": 2, "a": true, "b": 1e999}'),
        ("coordinates", f'{{"seq": {"9" * 30}, "c": {{"d": "\\ud800"}}}}'),
        ("coordinates", "null"),
    ],
)
def test_whatever_a_row_says_export_ends_well(
    results: Path, column: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    connection = sqlite3.connect(results)
    with connection:
        connection.execute(f"UPDATE points SET {column} = ?", (text,))
    connection.close()
    words = ["sweep", str(results), "--format", "csv", "-o", str(results.with_name("r.csv"))]
    for where in ([], ["--where", "seq>3"]):
        assert main([*words, *where]) in (0, 2)
        assert capsys.readouterr().err.count("\n") <= 1


@pytest.mark.parametrize(
    "word", ["=1", "+1", "-1", "@a", "\n=1", "\t=1", " =1", "\uff1d1", "\uff0b1"]
)
def test_no_cell_is_calculated(word: str) -> None:
    assert str(csv_cell(word)).startswith("'")
