"""A newcomer's hour: a chip, a model and a cascade of one's own; a sweep stopped and gone on with.

README, tutorial and how-to pages run as written in `test_docs`; a typed script in `test_facade`.
"""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path

import pytest
import sweep_files

from flat_mapper.cli import terminal
from flat_mapper.cli.main import main

ROOT = Path(__file__).parent.parent
MINE = ("my_chip.yaml", "my_chip.sfu.yaml", "my_cascade.yaml", "my_fusion.yaml")
CONFIG = {
    **{"model_type": "bert", "hidden_size": 16, "intermediate_size": 32},
    **{"num_attention_heads": 2, "num_hidden_layers": 2, "max_position_embeddings": 8},
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The newcomer's own folder, with the examples' files in it."""
    for name in MINE:
        shutil.copy(ROOT / "examples" / name, tmp_path)
    sweep_files.written(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_chip_a_model_and_a_cascade_of_ones_own(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    for line in (
        "check my_chip.yaml my_cascade.yaml my_fusion.yaml",
        "map --arch my_chip.yaml --problem my_cascade.yaml --mapspace my_fusion.yaml -o cascade",
        "import config.json -o model.yaml",
        "compare --arch nano.yaml --ert ert.yaml --problem model.yaml --mapspace flat-h flat-r "
        "-o model",
        "evaluate model/flat-h/fused-mapping.yaml --execute --check",
        "evaluate cascade/fused-mapping.yaml",
        "report cascade model -o page.html",
    ):
        assert main(line.split()) == 0, line
    assert "<html" in (folder / "page.html").read_text(encoding="utf-8")


class Impatient(io.StringIO):
    """A terminal whose user types Ctrl-C at the seventh line."""

    def write(self, text: str) -> int:
        """The same, and Ctrl-C."""
        written = super().write(text)
        if "\n" in text and self.getvalue().count("\n") == 7:
            raise KeyboardInterrupt
        return written


def test_a_sweep_that_is_stopped_says_what_is_stored_and_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stopped from the keyboard after its first points, as a user would."""
    words = ["sweep", "sweep.yaml", "--workers", "0", "-o"]
    with monkeypatch.context() as patched:
        patched.setattr(terminal, "PERIOD_S", 0.0)  # a line at each point
        patched.setattr(sys, "stderr", said := Impatient())
        assert main([*words, "rows.db"]) == 130
    line = "interrupted: 7 points are stored in rows.db; the same command goes on"
    assert said.getvalue().splitlines()[7:] == [line]
    answers = []
    for name in ("rows.db", "whole.db"):
        capsys.readouterr()
        assert main([*words, name, "--json"]) == 0
        answers.append(json.loads(capsys.readouterr().out))
    first, second = answers
    assert (first["computed"], second["computed"]) == (sweep_files.POINTS - 7, sweep_files.POINTS)
    assert first["content"] == second["content"]
    assert first["done"] == second["done"] == sweep_files.COUNTS["done"]
