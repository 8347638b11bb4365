"""The notebooks of examples/ run, and hold what their cells show: tables, loop trees, figures."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import notebooks  # noqa: E402  # a tool, and no part of the package

SHOWS = {
    "compare_mapspaces": ("<table>", "<svg", "DRAM keeps", "the best of", "files; True"),
    "own_chip_and_cascade": ("G[i,j] = exp(T[i,j])", "DRAM keeps", "GLB", "one_less"),
    "sweep_and_report": ("<table>", "flat-h", "4 configurations", '<iframe src=\\"page'),
}


def _shown(notebook: dict[str, Any]) -> list[list[str]]:
    """What each cell shows, by kind."""
    cells = (cell["outputs"] for cell in notebook["cells"] if cell["cell_type"] == "code")
    return [[key for o in cell for key in o.get("data", ("text",))] for cell in cells]


def test_there_are_three_notebooks() -> None:
    assert {path.stem for path in notebooks.EXAMPLES.glob("*.ipynb")} == set(SHOWS)


@pytest.mark.parametrize(
    "name",
    [
        "own_chip_and_cascade",
        *(pytest.param(n, marks=pytest.mark.nightly) for n in SHOWS if n != "own_chip_and_cascade"),
    ],
)
def test_a_notebook_runs_and_shows_what_it_holds(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("matplotlib", "pandas"):
        pytest.importorskip(package)
    path = notebooks.EXAMPLES / f"{name}.ipynb"
    monkeypatch.chdir(tmp_path)
    made = notebooks.run(path)
    assert _shown(made) == _shown(json.loads(path.read_text(encoding="utf-8")))
    text = json.dumps(made, ensure_ascii=False)
    assert [words for words in SHOWS[name] if words not in text] == []
