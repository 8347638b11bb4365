"""Exports: the CSV says what the frame does, and filters are values."""

from __future__ import annotations

import csv
import io
import re
from contextlib import nullcontext
from pathlib import Path

import pytest
from sweep_files import COUNTS, POINTS, written

from flat_mapper import load_results
from flat_mapper.api.calls import load_problem
from flat_mapper.arch.edits import edit_platform
from flat_mapper.cli.main import main
from flat_mapper.energy.tables import unpriced
from flat_mapper.explore.sweep.engines import Engine
from flat_mapper.explore.sweep.inputs import Inputs
from flat_mapper.explore.sweep.run import run_sweep
from flat_mapper.explore.sweep.spec import load_sweep
from flat_mapper.explore.sweep.store import Store
from flat_mapper.mapper.solve.certificate import Solution
from flat_mapper.mapper.solve.driver import search
from flat_mapper.mapping.space_reader import load_mapspace


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    with Store(folder / "r.db") as store:
        inputs = Inputs(load_sweep(written(folder)))
        run_sweep(inputs, store, lambda: nullcontext(Engine()), lambda _: None)
    return folder / "r.db"


def exported(
    capsys: pytest.CaptureFixture[str], results: Path, *words: str
) -> list[dict[str, str]]:
    assert main(["sweep", str(results), *words]) == 0
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))


def test_csv(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = exported(capsys, results)
    assert [int(row["position"]) for row in rows] == list(range(POINTS))
    done = [row for row in rows if row["status"] == "done"]
    assert len(done) == COUNTS["done"]
    assert all(float(row["latency_s"]) > 0 and row["bottleneck"] for row in done)
    assert {row["arch.GLB.depth"] for row in rows} == {"-1", "4", "64", "256"}


def test_csv_has_busy_shares_and_power_by_component(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = exported(capsys, results)
    assert {name for name in rows[0] if name.startswith("busy.")} >= {"busy.MAC"}
    for row in rows:
        watts = [float(v) for n, v in row.items() if n.startswith("power_w.") and v]
        if row["status"] == "done":
            energy, seconds = float(row["energy_pj"]) * 1e-12, float(row["latency_s"])
            assert sum(watts) == pytest.approx(energy / seconds)
            assert 0 < float(row["busy.MAC"]) <= 1
        else:
            assert watts == []
            assert row["busy.MAC"] == row["power_limit_w"] == ""
    assert len(exported(capsys, results, "--where", "busy.MAC<=1")) == COUNTS["done"]


def test_filters(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def count(*conditions: str) -> int:
        words = [word for condition in conditions for word in ("--where", condition)]
        return len(exported(capsys, results, *words))

    assert count("status=done") == COUNTS["done"]
    assert count("arch.GLB.depth>=64") == 8
    assert count("arch.GLB.depth >= 64", "seq = 8", "mapspace=flat-r") == 2
    assert count("status!=done") == POINTS - COUNTS["done"]
    assert count("mapspace='flat-h'") == 8
    assert count("latency_s<1") == COUNTS["done"]
    assert count("reason='; DROP TABLE points; --'") == 0
    assert count() == POINTS


def test_a_file_has_the_rows_and_the_columns_of_the_frame(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pandas", reason="needs the extra `frames`")
    out = tmp_path / "r.csv"
    assert main(["sweep", str(results), "--format", "csv", "-o", str(out)]) == 0
    assert capsys.readouterr().out == f"{POINTS} rows in {out}\n"
    rows = list(csv.DictReader(out.open(encoding="utf-8")))
    table = load_results(results).to_frame()
    assert list(rows[0]) == list(table)
    assert len(rows) == len(table) == POINTS
    for i, row in enumerate(rows):
        assert row["objective"] == "latency"
        for name in ("latency_s", "energy_pj", "seconds"):
            said = table[name][i]
            assert row[name] == ("" if said != said else str(said))
    types = {name: str(table[name].dtype) for name in ("arch.GLB.depth", "latency_s", "arch")}
    assert list(types.values()) == ["Int64", "float64", "string"]


BAD = [
    (("--where", "latency_s"), "--where: expected a column, one of .*, got 'latency_s'"),
    (("--where", "x; DROP TABLE points=1"), "--where: expected a column, one of"),
    (("--where", "statu=done"), "--where: expected a column among arch, .* did you mean 'status'"),
    (("--format", "parquet"), "format: expected csv, got 'parquet'; in Python load_results"),
    (("-o", "no/folder/x.csv"), "no/folder/x.csv: expected a file that can be written"),
]


@pytest.mark.parametrize(("words", "message"), BAD)
def test_refused(
    results: Path, words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", str(results), *words]) == 2
    assert re.search(message, capsys.readouterr().err)
    with Store(results) as store:
        assert store.counts() == COUNTS


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", str(tmp_path / "none.db"), "--format", "csv"]) == 2
    assert "none.db: expected the results of a sweep, got no such file" in capsys.readouterr().err
    assert not (tmp_path / "none.db").exists()


def test_every_number_of_cores_has_a_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Numbers that divide nothing among them; each row is the answer for a file of so many."""
    (tmp_path / "cores.yaml").write_text(
        "sweep:\n"
        "  fixed: {arch: h100, problem: tiny, mapspace: cores, objective: latency}\n"
        "  grid: {arch.SM.meshX: [1, 7, 108, 132], mask: [none, causal]}\n"
    )
    results = tmp_path / "r.db"
    assert main(["sweep", str(tmp_path / "cores.yaml"), "-o", str(results), "--workers", "0"]) == 0
    capsys.readouterr()
    rows = exported(capsys, results)
    assert [int(row["arch.SM.meshX"]) for row in rows] == [1, 1, 7, 7, 108, 108, 132, 132]
    for row in rows:
        cores, tiles, rounds = (int(row[name]) for name in ("cores", "tiles", "rounds"))
        assert cores == int(row["arch.SM.meshX"])
        assert rounds >= -(-tiles // cores)
        assert 0 <= float(row["idle_share"]) < 1 <= float(row["imbalance"]) + 1e-9
        assert float(row["gap"]) >= 0
    plain = [float(row["latency_s"]) for row in rows if row["mask"] == "none"]
    assert plain[0] > plain[1] >= plain[2] == plain[3]  # more cores than tiles of any use
    (wide,) = exported(capsys, results, "--where", "arch.SM.meshX=7", "--where", "mask=none")
    alone = edit_platform("h100", {"SM.meshX": 7})
    found = search(load_problem("tiny"), alone, load_mapspace("cores"), unpriced(alone),
                   objective="latency")  # fmt: skip
    assert isinstance(found, Solution)
    assert float(wide["latency_s"]) == found.result.latency_s
