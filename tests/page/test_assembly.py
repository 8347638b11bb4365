"""The report's page: what it says, what it refuses, and that it needs nothing from outside."""

from __future__ import annotations

import json
import re
import sqlite3
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import report_samples as samples
from cost_model.test_chip import many, over_rows, result_of

from flat_mapper.base.errors import SpecError
from flat_mapper.cli.main import main
from flat_mapper.explore.sweep.store import Store
from flat_mapper.mapper.space.pareto import nondominated
from flat_mapper.page.data import report_rows
from flat_mapper.page.saved import load_results
from flat_mapper.reports.answers import Evaluation


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "compared.json").write_text(json.dumps(samples.compared()))
    return tmp_path


@pytest.fixture
def html(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    page = folder / "report.html"
    assert main(["report", str(folder / "compared.json"), "-o", str(page)]) == 0
    assert "report.html: 3 configurations" in capsys.readouterr().out
    return page.read_text(encoding="utf-8")


def data(html: str) -> dict[str, object]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert found
    loaded = json.loads(found[1])
    assert isinstance(loaded, dict)
    return loaded


def test_the_page_names_what_it_compares(html: str) -> None:
    assert "<h1>attention on small</h1>" in html
    rows = data(html)["rows"]
    assert isinstance(rows, list)
    assert [row["name"] for row in rows] == ["naive", "flat", "flat-m"]
    assert rows[0]["speedup"] == 1
    assert rows[1]["speedup"] > 1
    assert "GLB: needs 9 words (QK 9), has 8; choose less" in html


def test_the_parts_of_an_energy_are_all_there(html: str) -> None:
    rows = data(html)["rows"]
    assert isinstance(rows, list)
    for row in rows[:2]:
        for kind in ("component", "tensor", "einsum"):
            assert sum(row["energy_by_pj"][kind].values()) == pytest.approx(
                row["energy_pj"], rel=1e-5
            )


def test_busy_shares_and_power_by_component_are_those_of_the_answer(html: str) -> None:
    answers = samples.compared()["rows"]
    rows = data(html)["rows"]
    assert isinstance(answers, list)
    assert isinstance(rows, list)
    for answer, row in zip(answers[:2], rows[:2], strict=True):
        assert row["busy"] == pytest.approx(answer["busy"], rel=1e-5)
        assert row["busy_share"] == max(row["busy"].values())
        watts = row["energy_pj"] * 1e-12 / row["latency_s"]
        assert row["total_power_w"] == pytest.approx(watts, rel=1e-5)
        assert sum(row["power_w"].values()) == pytest.approx(watts, rel=1e-5)
        assert {"DRAM", "GLB", "MAC", "VALU"} <= row["power_w"].keys()
    assert re.search(r"highest utilization.*; busy: MAC [\d.]+%, VALU [\d.]+%<", html)
    assert re.search(r"highest average power</span><strong>[\d.]+ \S?W</strong>", html)


def test_a_power_limit_stands_beside_the_power_and_what_is_not_said_stays_open(
    folder: Path,
) -> None:
    document = json.loads(json.dumps(samples.compared()))
    first, second = document["rows"][:2]
    first["power_limit_w"] = 1e-9
    for name in ("busy", "power_w", "power_limit_w"):
        del second[name]
    (folder / "limits.json").write_text(json.dumps(document))
    page = folder / "limits.html"
    assert main(["report", str(folder / "limits.json"), "-o", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "naive; exceeds 1 nW" in text
    rows = data(text)["rows"]
    assert isinstance(rows, list)
    assert rows[0]["power_limit_w"] == 1e-9
    assert (rows[1]["total_power_w"], rows[1]["busy_share"], rows[1]["busy"]) == (None, None, {})
    for row in document["rows"][:2]:
        row["energy_source"] = "none"  # nothing says the energies: no power of 0 W
    (folder / "limits.json").write_text(json.dumps(document))
    assert main(["report", str(folder / "limits.json"), "-o", str(page)]) == 0
    assert "average power</span>" not in page.read_text(encoding="utf-8")


def test_a_group_on_cores_says_how_they_are_filled(folder: Path) -> None:
    """Three rows on two cores: 32 cycles of two, then 24 of one; no energies."""
    workload, mapping = over_rows(3)
    chip = many(2)
    answer = Evaluation(workload=workload, platform=chip, result=result_of(workload, chip, mapping))
    (folder / "cores.json").write_text(json.dumps(answer.to_dict()))
    page = folder / "cores.html"
    assert main(["report", str(folder / "cores.json"), "-o", str(page)]) == 0
    found = data(page.read_text(encoding="utf-8"))
    rows, details = found["rows"], found["details"]
    assert isinstance(rows, list)
    assert isinstance(details, dict)
    assert (rows[0]["total_power_w"], rows[0]["energy_saving"]) == (None, None)
    (group,) = details["0"]["groups"]
    use = group["on_cores"]
    assert (use["given_out"], use["cores"], use["tiles"], use["rounds"]) == (["I=3"], 2, 3, 2)
    assert use["idle_share"] == pytest.approx(24 / 112, rel=1e-5)
    assert use["imbalance"] == pytest.approx(56 / 44, rel=1e-5)
    assert group["tiles"] == 2  # of the fullest core
    assert group["cold_start_cycles"] + 2 * group["tile_cycles"] == pytest.approx(56)


def without_code(html: str) -> str:
    """The page without the text of its scripts."""
    return re.sub(r'(<script type="module">).*?(</script>)', r"\1\2", html, flags=re.DOTALL)


def test_the_page_loads_nothing_from_outside(html: str) -> None:
    page = without_code(html)
    assert page.count("<script") == 2
    assert [url for url in re.findall(r'(?:src|href)="([^"]*)"', page) if url[0] != "#"] == []
    assert "@import" not in page
    assert "url(" not in page
    assert "://" not in page


def test_a_name_in_the_results_stays_text(folder: Path) -> None:
    evil = '</script><img src=x onerror="alert(1)">'
    document = json.loads(json.dumps(samples.compared()))
    document["rows"][0]["mapspace"] = evil
    document["rows"][2]["infeasible"] = evil
    document["rows"][1]["einsums"]["QK"]["notation"] = evil
    (folder / "evil.json").write_text(json.dumps(document))
    page = folder / "evil.html"
    assert main(["report", str(folder / "evil.json"), "-o", str(page), "--title", evil]) == 0
    text = page.read_text(encoding="utf-8")
    assert "<img" not in without_code(text)
    rows = data(text)["rows"]
    assert isinstance(rows, list)
    assert rows[0]["name"].endswith('onerror="alert(1)">')
    details = data(text)["details"]
    assert isinstance(details, dict)
    assert "&lt;img src=x" in details["1"]["tree"]
    assert "<img" not in details["1"]["tree"]


def test_a_sweep_is_read_from_its_database(tmp_path: Path) -> None:
    entries = load_results(samples.sweep(tmp_path / "sweep.db", 100)).entries
    rows = report_rows(entries)
    assert len(entries) == 100
    assert rows.varying == ("arch.GLB.depth", "seq", "mapspace")
    assert rows.rows[0].name == "GLB.depth=8192 · seq=512 · naive"
    assert [e.status for e in entries].count("infeasible") == 2
    held = rows.rows[1]
    assert held.facts["speedup"] == pytest.approx(
        rows.rows[0].facts["latency_s"] / held.facts["latency_s"]
    )


def test_a_folder_of_results_and_several_files_make_one_report(folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "out" / "result.json").write_text(json.dumps(samples.compared()))
    entries = load_results(folder / "compared.json", folder / "out").entries
    assert [r.name for r in report_rows(entries).rows][:4] == [
        "naive",
        "flat",
        "flat-m",
        "naive #2",
    ]


def test_the_front_is_what_nothing_beats() -> None:
    points = np.array([(1.0, 9.0), (2.0, 3.0), (2.0, 4.0), (5.0, 3.0), (9.0, 1.0)])
    assert list(nondominated(points)) == [0, 1, 4]


BAD = [
    ("gone.json", None, r"gone.json: expected JSON of map.*, got: No such file"),
    ("text.json", "just words", r"text.json: expected JSON of map.*, got: Expecting value"),
    ("list.json", "[1]", r"list.json: expected a mapping of keys to values, got a list"),
    ("empty.json", '{"rows": []}', r"results: expected at least one configuration, got"),
    ("row.json", '{"rows": [3]}', r"row.json: rows.0: expected a mapping, got 3"),
    ("bare.json", "{}", r"bare.json: expected the key 'ranks' \(a mapping\)"),
    (
        "old.json",
        '{"ranks": {"P": 4}, "backend": "native"}',
        r"old.json: expected the key 'platform' \(a mapping\)",
    ),
]


@pytest.mark.parametrize(("name", "text", "message"), BAD, ids=[name for name, _, _ in BAD])
def test_bad_results_are_one_line(
    name: str,
    text: str | None,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    if text is not None:
        Path(name).write_text(text)
    assert main(["report", name, "-o", "page.html"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert re.search(message, said.err), said.err
    assert not Path("page.html").exists()


def test_files_of_an_older_schema_are_read(folder: Path) -> None:
    """Up to version 1 an answer said `energy_by`, and its Einsums `tiles`."""
    document = json.loads(json.dumps(samples.compared()))
    for row in document["rows"][:2]:
        row["energy_by"] = row.pop("energy_by_pj")
        for einsum in row["einsums"].values():
            einsum["tiles"] = einsum.pop("tile_words")
    (folder / "older.json").write_text(json.dumps(document))
    older, newer = (load_results(folder / name) for name in ("older.json", "compared.json"))
    assert [e.document for e in older.entries] == [e.document for e in newer.entries]


def test_another_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as opened:
        opened.execute("CREATE TABLE cats (name TEXT)")
    opened.close()
    with pytest.raises(SpecError, match=r"other.db: expected the results of a sweep, got .* cats"):
        load_results(path)


def test_an_einsum_that_is_missing_is_named(folder: Path) -> None:
    document = json.loads(json.dumps(samples.compared()))
    del document["rows"][0]["einsums"]["QK"]
    (folder / "cut.json").write_text(json.dumps(document))
    with pytest.raises(SpecError, match=r"rows.0: groups.0.einsums: expected names among .*'QK'"):
        report_rows(load_results(folder / "cut.json").entries)


def test_names_leave_out_what_another_word_tells(folder: Path) -> None:
    document = json.loads(json.dumps(samples.compared()))
    for row in document["rows"][:2]:
        row["workload"] = "larger"
        row["ranks"] |= {"P": 4096, "M": 4096, "B": 64}
    (folder / "larger.json").write_text(json.dumps(document))
    rows = report_rows(load_results(folder / "compared.json", folder / "larger.json").entries)
    assert rows.varying == ("problem", "mapspace")
    assert rows.rows[4].name == "larger · flat"
    for row in document["rows"][:2]:
        row["workload"] = "attention"
        row["ranks"]["B"] = 1
    (folder / "larger.json").write_text(json.dumps(document))
    rows = report_rows(load_results(folder / "compared.json", folder / "larger.json").entries)
    assert rows.varying == ("P", "mapspace")


def test_the_architectures_that_were_chosen_are_on_the_page(tmp_path: Path) -> None:
    path = samples.sweep(tmp_path / "design.db", 100)
    front = [
        {
            "design": 3,
            "coordinates": {"arch.GLB.depth": 64},
            "scores": {"latency": 1.5e-7, "energy": 4e5, "pes": 1024.0},
            "binds": ["VALU sets <88%> of the latency"],
        }
    ]
    with Store(path) as store:
        store.note("front", json.dumps(front))
    page = tmp_path / "page.html"
    assert main(["report", str(path), "-o", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "<td>64</td><td>150 ns</td><td>400 nJ</td><td>1,024</td>" in text
    assert "VALU sets &lt;88%&gt; of the latency" in text


@pytest.mark.parametrize(
    "place",
    [("platform", "offchip"), ("groups", 0, "buffer", "level"), ("einsums", "QK", "unit")],
    ids=str,
)
def test_a_part_that_an_answer_has_not_is_refused(
    place: tuple[str | int, ...], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = deepcopy(samples.compared()["rows"][1])
    *way, last = place
    inside = found
    for key in way:
        inside = inside[key]
    inside[last] = "nowhere"
    (folder / "one.json").write_text(json.dumps({"schema": "flat-mapper/map/2", **found}))
    assert main(["report", str(folder / "one.json"), "-o", str(folder / "one.html")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "nowhere" in said
