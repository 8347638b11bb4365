"""The package from Python: what a user's script does, its types, and what has no answer."""

from __future__ import annotations

import copy
import json
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
import sweep_files

import flat_mapper as fm
from flat_mapper.reports.answers import Evaluation, SearchResult

SCRIPT = """\
from pathlib import Path

import flat_mapper as fm

best = fm.search("tiny", "edge", "flat-h", seq=16)
latency: float = best.result.latency_s
if best:
    names: list[str] = fm.save(best, "out", force=True)
again = fm.load("out")
assert again.result.latency_s == latency
assert fm.evaluate(best if best else Path("out")).result.energy_pj == best.result.energy_pj
both = fm.compare("tiny", "edge", ["naive", "flat-h"], objective="latency")
assert set(both.feasible) == {"naive", "flat-h"}
files: dict[str, bytes] = fm.lower(best) if best else {}
assert "fused-mapping.yaml" in files
assert len(repr(best)) < 200 and len(repr(both)) < 300
page = fm.report("out", "page.html")
try:
    fm.search("tinny", "edge")
except fm.SpecError as error:
    assert "did you mean" in str(error)
assert fm.why_not(["QK", "softmax", "AV"], "tiny")
needed = fm.need("tiny", "edge", "flat-h", quantity="buffer", utilization=0.01, seq=16)
size: float = needed.value if needed else 0.0
ran = fm.execute("out", check=True)
assert ran.agrees and "the model agrees" in str(ran)
faults: list[str] = [line for file in fm.check("out/fused-mapping.yaml") for line in file.faults]
assert faults == [] and size > 0
text = fm.generate("tiny", "edge", "flat-h", prefill=8, decode=4)
"""
HOPELESS = """problem:
  ranks: {B: 1, H: 1, P: 64, M: 1000000, E: 64, F: 64}
  attention: {}
"""


def test_a_users_script_runs_and_is_typed(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(SCRIPT, encoding="utf-8")
    root = Path(fm.__file__).parents[1]
    config, seen = root / "pyproject.toml", root / ".mypy_cache"  # what `make type` has looked at
    for command in (
        ["-m", "mypy", f"--config-file={config}", f"--cache-dir={seen}", str(path)],
        [str(path)],
    ):
        done = subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            env={"PYTHONPATH": str(root), "MYPYPATH": str(root), "HOME": str(Path.home())},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_an_infeasible_answer_is_false_and_says_why_when_its_result_is_asked_for() -> None:
    found = fm.search(HOPELESS, "edge", "flat-h", objective="latency")
    assert isinstance(found, fm.Infeasible)
    assert not found
    for name in ("result", "mapping", "certificate", "to_frame"):
        with pytest.raises(fm.NothingFeasible, match="GLB: needs "):
            getattr(found, name)
    assert not hasattr(found, "result")
    assert pickle.loads(pickle.dumps(found)) == found == copy.deepcopy(found)


def test_a_comparison_of_nothing_is_false_and_names_what_is_nearest() -> None:
    found = fm.compare(HOPELESS, "edge", ["flat-h", "flat-r"], objective="latency")
    assert not found
    assert re.search(
        r"nothing fits in any of 2 mapspaces; nearest is flat-r: .*GLB: needs", found.refusal
    )


def test_a_length_and_a_scope_are_taken_for_names_and_values() -> None:
    found = fm.search("tiny", "edge", "naive", seq=32)
    assert isinstance(found, SearchResult)
    assert {found.workload.rank_sizes[r] for r in ("P", "M")} == {32}
    value = fm.search(fm.load_problem("tiny"), fm.load_platform("edge"), "naive", seq=32)
    assert value.result.latency_s == found.result.latency_s
    whole = fm.search("tiny", "edge", "naive", scope="model")
    assert whole.result.repeat == fm.load_problem("tiny", scope="model").repeat
    with pytest.raises(fm.SpecError, match="scope: expected a problem by name"):
        fm.search(fm.load_problem("tiny"), "edge", scope="model")


def test_an_answer_is_saved_and_loaded(tmp_path: Path) -> None:
    found = fm.search("tiny", "edge", "flat-h")
    assert isinstance(found, SearchResult)
    names = fm.save(found, tmp_path / "out")
    assert "result.json" in names
    again = fm.load(tmp_path / "out")
    assert isinstance(again, Evaluation)
    assert again.mapping == found.mapping
    assert again.result.energy_pj == pytest.approx(found.result.energy_pj)
    assert set(fm.lower(found)) == set(fm.lower(tmp_path / "out"))
    assert any(name.startswith("mapper/") for name in fm.lower(found, tool="mapper"))
    with pytest.raises(fm.SpecError, match="one of model, mapper, c, pallas"):
        fm.lower(found, tool="x")


def test_help_is_a_page_that_names_everything() -> None:
    text = fm.__doc__ or ""
    assert len(text.splitlines()) < 40
    for name in fm.__all__:
        assert name in text or name in ("__version__", "Infeasible")
        assert getattr(fm, name) is not None


def test_a_sweep_from_python_computes_nothing_twice(tmp_path: Path) -> None:
    asked, results = sweep_files.written(tmp_path), tmp_path / "rows.db"
    seen: list[int] = []
    rows = fm.sweep(asked, results, workers=0, progress=lambda now: seen.append(now.seen))
    assert len(rows) == sweep_files.POINTS
    assert max(seen) == sweep_files.POINTS
    seen.clear()
    again = fm.sweep(asked, results, workers=0, progress=lambda now: seen.append(now.computed))
    assert again.entries == rows.entries
    assert not any(seen)


def test_designs_from_python_are_those_within_the_budgets(tmp_path: Path) -> None:
    sweep_files.written(tmp_path)
    asked = tmp_path / "design.yaml"
    asked.write_text(
        "optimize:\n  fixed: {arch: nano.yaml, ert: ert.yaml, mapspace: flat-r}\n"
        "  grid: {arch.GLB.depth: [16, 64]}\n  workloads: [{problem: attend.yaml, seq: 4}]\n"
        "  budgets: {buffer: 256}\n",
        encoding="utf-8",
    )
    found = fm.optimize(asked, tmp_path / "designs.db", workers=0)
    assert found.over == {"buffer": 1}
    assert [design.coordinates["arch.GLB.depth"] for design in found.front] == [16]
    with pytest.raises(fm.SpecError, match="method: expected one of grid, optuna, got 'x'"):
        fm.optimize(asked, tmp_path / "designs.db", method="x", workers=0)


def test_a_models_configuration_is_a_problem(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(
        json.dumps(
            {"model_type": "bert", "hidden_size": 8, "intermediate_size": 16}
            | {"num_attention_heads": 2, "num_hidden_layers": 3, "max_position_embeddings": 8}
        ),
        encoding="utf-8",
    )
    problem = fm.import_problem(config, batch=2, seq=4, name="mine").workload
    assert problem.name == "mine"
    assert {r: problem.rank_sizes[r] for r in "BHPME"} == {"B": 2, "H": 2, "P": 4, "M": 4, "E": 4}
