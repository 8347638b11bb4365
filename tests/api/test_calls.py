"""The package from Python: the same answers as from the command line."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from prices import EDGE_ERT
from timeloop_cases import cases

import flat_mapper
from flat_mapper.base.errors import SpecError
from flat_mapper.cost_model.result import Infeasible
from flat_mapper.reports.answers import Comparison, ModelResult, SearchResult
from flat_mapper.spec.yamlio import dump

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "tests" / "data" / "run_sample"


@pytest.fixture(scope="module")
def ert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ert") / "ert.yaml"
    path.write_text(EDGE_ERT)
    return path


@pytest.fixture(scope="module")
def compared(ert: Path) -> Comparison:
    workload = flat_mapper.load_problem("tiny", sizes={"P": 4, "M": 4})
    return flat_mapper.compare(workload, "edge", ("naive", "flat"), ert)


def test_search_from_names(ert: Path) -> None:
    steps: list[float] = []
    found = flat_mapper.search(
        "tiny", "edge", "flat", ert, objective="energy", progress=lambda s, _: steps.append(s)
    )
    assert isinstance(found, SearchResult)
    assert found.to_dict()["objective"] == "energy"
    assert found.result.energy_source == str(ert)
    assert all(0 <= share <= 1 for share in steps)


def test_search_is_a_function_although_a_module_has_its_name() -> None:
    code = "import flat_mapper.mapper.group.incumbent, flat_mapper as f; print(callable(f.search))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "True\n", done.stderr


def test_every_public_name_is_there() -> None:
    for name in flat_mapper.__all__:
        assert getattr(flat_mapper, name)
    assert dir(flat_mapper) == sorted(flat_mapper.__all__)
    with pytest.raises(AttributeError, match="no attribute 'serach'"):
        _ = flat_mapper.serach  # type: ignore[attr-defined]


def test_version_is_the_packages() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert flat_mapper.__version__ == project["version"]


def test_import_is_light() -> None:
    code = (
        "import sys, flat_mapper, flat_mapper.cli.arguments; "
        "print([m for m in ('numpy', 'rich', 'matplotlib', 'hwcomponents', 'yaml') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "[]\n", done.stderr


def test_fusion_wins_and_the_first_row_is_the_reference(compared: Comparison) -> None:
    assert list(compared.rows) == ["naive", "flat"]
    rows = compared.to_dict()["rows"]
    assert isinstance(rows, list)
    assert rows[0]["speedup"] == 1
    assert rows[1]["speedup"] >= 1
    assert rows[1]["energy_pj"] < rows[0]["energy_pj"]


def test_unknown_words_list_the_known_ones() -> None:
    with pytest.raises(SpecError, match=r"objective: expected one of .*, got 'edq'; did you mean"):
        flat_mapper.compare("tiny", "edge", objective="edq")
    with pytest.raises(SpecError, match=r"backend: expected one of native.*, got 'nativ'"):
        flat_mapper.evaluate("record.yaml", backend="nativ")
    with pytest.raises(SpecError, match=r"mapspaces: expected at least one, each once"):
        flat_mapper.compare("tiny", "edge", ("flat", "flat"))


def test_problem_at_other_sizes() -> None:
    workload = flat_mapper.load_problem("bert-base", sizes={"P": 64, "M": 32})
    assert (workload.rank_sizes["P"], workload.rank_sizes["M"]) == (64, 32)


def model_inputs(folder: Path, index: int) -> list[Path]:
    """A recorded case of timeloop-model as the three files it came from."""
    from flat_mapper.spec.document import Tagged

    def tagged(nodes: list[list[object]]) -> list[object]:
        return [Tagged(str(tag), body) for tag, body in nodes]

    case = cases()[index]
    architecture = {"version": 0.4, "nodes": tagged(case["architecture"])}
    names = [str(body["name"]) for tag, body in case["architecture"] if tag == "!Component"]
    actions = ("read", "write", "update", "compute")
    ert = {name: dict.fromkeys(actions, 1.0) for name in names}
    documents = {
        "arch": {"architecture": architecture},
        "problem": {"problem": case["problem"]},
        "mapping": {"mapping": case["mapping"]},
        "ert": ert,
    }
    paths = []
    for name, document in documents.items():
        path = folder / f"{name}.yaml"
        path.write_text(dump(document))
        paths.append(path)
    return paths


def test_model_files_answers_as_timeloop_did(tmp_path: Path) -> None:
    counts = ("scalar_reads", "scalar_fills", "scalar_updates", "utilized_capacity")
    seen = 0
    for index in range(0, 60, 3):
        arch, problem, mapping, ert = model_inputs(tmp_path, index)
        said = cases()[index]["timeloop"]
        found = flat_mapper.model([mapping, arch, problem], ert)
        if "levels" not in said:
            assert isinstance(found, Infeasible)
            continue
        assert isinstance(found, ModelResult)
        levels = found.to_dict()["levels"]
        assert isinstance(levels, dict)
        seen += 1
        for level, stats in said["levels"].items():
            for tensor, numbers in stats["tensors"].items():
                mine = levels[level]["tensors"][tensor]
                assert [mine[c] for c in counts] == [numbers[c] for c in counts]
    assert seen > 3


def test_one_file_may_hold_everything(tmp_path: Path) -> None:
    arch, problem, mapping, ert = model_inputs(tmp_path, 0)
    whole = tmp_path / "whole.yaml"
    whole.write_text("".join(path.read_text() for path in (arch, problem, mapping)))
    apart = flat_mapper.model([arch, problem, mapping], ert)
    assert str(flat_mapper.model([whole], ert)).splitlines()[1:] == str(apart).splitlines()[1:]
