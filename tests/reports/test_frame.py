"""Answers as data frames and in notebooks."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import report_samples as samples

from flat_mapper import load_results
from flat_mapper.base.errors import SpecError
from flat_mapper.base.table import Printed, data_frame
from flat_mapper.cost_model.result import Infeasible
from flat_mapper.reports.answers import Comparison, SearchResult

LIBRARIES = ("pandas", "polars")


def compared() -> Comparison:
    rows: dict[str, SearchResult | Infeasible] = {}
    for name, mapping in {"naive": samples.unfused(), "flat": samples.small.fused()}.items():
        priced = samples.priced(mapping)
        rows[name] = SearchResult(
            workload=priced.workload,
            platform=priced.platform,
            result=priced.result,
            mapspace=name,
            objective="edp",
            certificate=samples.certificate(),
        )
    rows["<tight>"] = Infeasible(level="GLB", needs=2, has=1, terms=(("QK", 2),))
    return Comparison(
        workload=samples.small.workload(),
        platform=samples.small.platform(),
        objective="edp",
        rows=rows,
    )


def columns(table: object) -> dict[str, list[object]]:
    if hasattr(table, "to_dicts"):
        found: dict[str, list[object]] = table.to_dict(as_series=False)  # type: ignore[attr-defined]
        return found
    filled = table.astype(object).where(table.notna(), None)  # type: ignore[attr-defined]
    return {str(name): list(filled[name]) for name in filled}


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_comparison_is_a_row_for_each_mapspace(library: str) -> None:
    pytest.importorskip(library, reason="needs the extra `frames`")
    found = compared()
    table = columns(found.to_frame(library))  # type: ignore[call-overload]
    assert table["mapspace"] == ["naive", "flat", "<tight>"]
    assert table["infeasible"][:2] == [None, None]
    assert str(table["infeasible"][2]).startswith("GLB: needs 2 words")
    first, second = found.feasible.values()
    assert table["latency_s"] == [first.result.latency_s, second.result.latency_s, None]
    assert table["speedup"][1] == pytest.approx(first.result.latency_s / second.result.latency_s)
    for i, mapped in enumerate((first, second)):
        parts = [values[i] for name, values in table.items() if name.startswith("energy_pj.")]
        assert sum(p for p in parts if isinstance(p, float)) == pytest.approx(
            mapped.result.energy_pj
        )


@pytest.mark.parametrize("library", LIBRARIES)
def test_an_answer_is_a_row_for_each_einsum(library: str) -> None:
    pytest.importorskip(library, reason="needs the extra `frames`")
    priced = samples.priced(samples.small.fused())
    table = columns(priced.to_frame(library))  # type: ignore[call-overload]
    assert table["einsum"] == ["QK", "QK_max", "QK_exp", "QK_sum", "A", "AV"]
    energies = [e for e in table["energy_pj"] if isinstance(e, float)]
    assert sum(energies) == pytest.approx(priced.result.energy_pj)
    assert table["offchip_words"][1] == 0


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_sweep_is_a_row_for_each_point(library: str, tmp_path: Path) -> None:
    pytest.importorskip(library, reason="needs the extra `frames`")
    saved = load_results(samples.sweep(tmp_path / "sweep.db", 100))
    table = columns(saved.to_frame(library))  # type: ignore[call-overload]
    assert len(saved) == len(table["status"]) == 100
    assert table["arch.GLB.depth"][:4] == [8192, 8192, 16384, 16384]
    assert table["status"].count("infeasible") == 2
    assert table["latency_s"][49] is None
    assert table["reason"][49] is not None


def test_columns_have_types_where_cells_are_missing() -> None:
    pandas = pytest.importorskip("pandas", reason="needs the extra `frames`")
    rows = [{"n": 1, "share": 0.5, "name": "a", "right": True}, {"n": None, "share": None}]
    table = data_frame(rows, "pandas")
    assert isinstance(table, pandas.DataFrame)
    assert [str(kind) for kind in table.dtypes] == ["Int64", "float64", "string", "boolean"]


def test_an_answer_of_any_kind_is_a_frame() -> None:
    pytest.importorskip("pandas", reason="needs the extra `frames`")

    class Tiles(Printed):
        rows_at = ("tiles", "cores")

        def to_dict(self) -> dict[str, object]:
            each = [{"tile": {"M": 8}, "names": ["a", "b"], "parts": [{"left": "out"}]}]
            return {"chip": "edge", "tiles": {"first": {"cores": each}}}

    table = columns(Tiles().to_frame())
    assert table == {"tile": ["first"], "tile.M": [8], "names": ["a b"]}


def test_numbers_beyond_a_frames_integers_become_floats() -> None:
    pytest.importorskip("pandas", reason="needs the extra `frames`")
    found = columns(data_frame([{"n": 2**70}, {"n": 1}], "pandas"))
    assert found["n"][0] == float(2**70)


def test_an_unknown_library_is_named() -> None:
    with pytest.raises(SpecError, match="expected pandas or polars, got 'pandsa'; did you mean"):
        data_frame([], "pandsa")  # type: ignore[call-overload]


def test_a_missing_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(SpecError, match=r"the package polars, got None; pip install 'flat-mapper"):
        data_frame([], "polars")


def test_a_notebook_shows_tables_and_escapes_names(tmp_path: Path) -> None:
    found = compared()
    html = found._repr_html_()
    assert html.count("<tr>") == 4
    assert "&lt;tight&gt;" in html
    assert "<tight>" not in html
    priced = samples.priced(samples.small.fused())
    assert "<pre" in priced._repr_html_()
    assert "QK[b,h,p,m] = Q[b,h,p,e] * K[b,h,m,e]" in priced._repr_html_()
    assert found.feasible["flat"]._repr_html_().startswith("<div><strong>flat: attention on small")
    (tmp_path / "saved.json").write_text(json.dumps(samples.compared()))
    saved = load_results(tmp_path / "saved.json")
    assert str(saved) == "3 configurations, 2 with an answer"
    assert "3 configurations" in saved._repr_html_()


def test_a_report_is_written_from_python(tmp_path: Path) -> None:
    (tmp_path / "saved.json").write_text(json.dumps(samples.compared()))
    page = tmp_path / "a page.html"
    shown = load_results(tmp_path / "saved.json").write_report(page, "Mine")._repr_html_()
    assert "<h1>Mine</h1>" in page.read_text(encoding="utf-8")
    assert 'a%20page.html" title="report"' in shown
