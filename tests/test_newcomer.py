"""A newcomer's hour: a chip, a model and a cascade of one's own; a sweep stopped and gone on with.

README, tutorial and how-to pages run as written in `test_docs`; a typed script in `test_facade`.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sweep_files

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
        "import-hf config.json -o model.yaml",
        "compare --arch nano.yaml --ert ert.yaml --problem model.yaml --mapspace flat-h flat-r "
        "-o model",
        "execute model/flat-h/fused-mapping.yaml --check",
        "evaluate cascade/fused-mapping.yaml",
        "report cascade model -o page.html",
    ):
        assert main(line.split()) == 0, line
    assert "<html" in (folder / "page.html").read_text(encoding="utf-8")


def test_a_sweep_that_is_stopped_says_what_is_stored_and_goes_on(folder: Path) -> None:
    """Stopped from the keyboard after its first points, as a user would."""
    command = [sys.executable, "-m", "flat_mapper", "sweep", "sweep.yaml", "-o", "rows.db"]
    command += ["--workers", "0"]
    whole = [*command[:-4], "-o", "whole.db", "--workers", "0", "--json"]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while run.poll() is None and time.monotonic() < deadline and not _stored(folder / "rows.db"):
        time.sleep(0.02)
    run.send_signal(signal.SIGINT)
    said = run.communicate(timeout=120)[1]
    if run.returncode == 130:  # else it was done before the signal came
        assert "points are stored in rows.db; the same command goes on" in said
    answers = [
        json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
        for words in ([*command, "--json"], whole)
    ]
    first, second = answers
    assert first["content"] == second["content"]
    assert first["done"] == second["done"] == sweep_files.COUNTS["done"]


def _stored(path: Path) -> int:
    """Rows of a results file so far."""
    import sqlite3
    from contextlib import closing, suppress

    if path.exists():
        with suppress(sqlite3.Error), closing(sqlite3.connect(path)) as connection:
            return int(connection.execute("SELECT count(*) FROM results").fetchone()[0])
    return 0
