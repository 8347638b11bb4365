"""Shipped files by name, and paths where a name could stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from flat_mapper.base.errors import SpecError
from flat_mapper.spec import catalog
from flat_mapper.spec.catalog import resolve, shipped_names


def test_names_and_paths(tmp_path: Path) -> None:
    edge = resolve("arch", "edge")
    assert (edge.name, edge.is_file()) == ("edge.yaml", True)
    assert resolve("arch", str(edge)) == edge
    (tmp_path / "mine.yaml").touch()
    assert resolve("arch", tmp_path / "mine.yaml") == tmp_path / "mine.yaml"


def test_what_ships_has_a_line_each() -> None:
    lines = dict(shipped_names("arch"))
    assert {"cloud", "edge"} <= lines.keys()
    assert "edge.sfu" not in lines
    assert all(lines.values())
    assert lines["edge"].startswith("FLAT's edge platform: 32x32 PEs")


def test_misses_list_the_names(tmp_path: Path) -> None:
    with pytest.raises(
        SpecError, match=r"arch: expected one of .*cloud, edge.*, got 'egde'; did you"
    ):
        resolve("arch", "egde")
    with pytest.raises(SpecError, match=r"got 'zzz'; or give the path of a file"):
        resolve("arch", "zzz")
    with pytest.raises(SpecError, match=r"gone\.yaml: expected a readable file, got no such file"):
        resolve("arch", "gone.yaml")
    with pytest.raises(SpecError, match=r"got no such file; the shipped 'edge' is named without"):
        resolve("arch", "nowhere/edge.yaml")
    with pytest.raises(SpecError, match=r"expected a readable file, got a folder"):
        resolve("arch", tmp_path)


def test_an_installed_package_reads_its_own_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "flat_mapper" / "data" / "arch"
    folder.mkdir(parents=True)
    (folder / "only.yaml").write_text("# The one: a line on it\na: 1\n")
    (folder / "only.sfu.yaml").write_text("a: 1\n")
    (folder / "plain.yaml").write_text("a: 1\n")
    monkeypatch.setattr(catalog, "__file__", str(tmp_path / "flat_mapper" / "spec" / "catalog.py"))
    assert shipped_names("arch") == [("only", "The one: a line on it"), ("plain", "")]
    assert resolve("arch", "only") == folder / "only.yaml"
    assert shipped_names("problems") == []
