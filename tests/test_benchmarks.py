"""The benchmark's own measuring, and the files that it measures on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from flat_mapper import load_platform

FOLDER = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(FOLDER))
    return FOLDER


def test_a_process_is_measured_and_its_limits_are_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from measuring import usage

    def run(text: str, seconds: float = 600, memory_mb: int = 500) -> str:
        return usage((sys.executable, "-c", text), seconds=seconds, memory_mb=memory_mb).failed

    done = usage((sys.executable, "-c", "print(sum(range(10**6)))"))
    assert (done.failed, done.printed) == ("", "499999500000\n")
    assert done.cpu_s > 0
    assert done.peak_mb > 5
    assert run("import signal; signal.pause()", seconds=0.3) == "not within 0.3 s"
    if sys.platform == "linux":
        assert run("bytearray(10**9)") == "needs more than 0.5 GB"
    assert run("raise SystemExit(3)") == "failed (exit 3)"
    assert "exit 3" in capsys.readouterr().err


def test_a_table_without_rows_says_why(folder: Path) -> None:
    from measuring import Table, left_out, markdown

    table = Table(title="T", text="Said.", head=("a", "b"), rows=(("1", "2"),))
    text = markdown([table, left_out("grid", "35 minutes were over")])
    assert "## T\n\nSaid.\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n" in text
    assert text.endswith("## grid\n\nNot measured: 35 minutes were over.\n")


def test_the_benchmark_stays_small_while_it_measures() -> None:
    """What it held would count as every child's peak memory."""
    text = "import bench, sys; print(*{'numpy', 'flat_mapper', 'rich'} & set(sys.modules))"
    words = (sys.executable, "-c", text)
    assert subprocess.run(words, cwd=FOLDER, capture_output=True, text=True).stdout == "\n"


def test_the_rate_of_the_model_is_measured(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import run_rate

    monkeypatch.setattr(run_rate, "CHUNKS", (64,))
    monkeypatch.setattr(run_rate, "RATE_S", 0.01)
    assert run_rate.main()["64"] > 0


def test_one_search_is_measured_with_its_counts(folder: Path) -> None:
    from measuring import answer

    found, used = answer("run_search.py", json.dumps({"length": 16, "without": ["RF", "LREG"]}))
    assert not used.failed
    assert found["fits"]
    assert found["einsums"] == 6
    assert found["evaluated"] >= 6


def test_four_levels_are_the_edge_platform_in_clusters() -> None:
    edge, four = load_platform("edge"), load_platform(FOLDER / "four-levels.yaml")
    assert [level.name for level in four.matrix.levels] == ["DRAM", "GLB", "L1", "RF"]
    assert four.matrix.compute.instances == edge.matrix.compute.instances
    assert four.matrix.level("L1").instances == 16
    for path, shipped in ((four.matrix, edge.matrix), (four.vector, edge.vector)):
        assert path is not None
        assert shipped is not None
        for level in shipped.levels:
            same = path.level(level.name)
            assert (same.capacity_words, same.instances) == (level.capacity_words, level.instances)
            assert same.shared_words_per_cycle == level.shared_words_per_cycle
