"""Programs compiled and counted by way of the command, and this machine as a chip."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import flat_mapper as fm
from flat_mapper.cli.main import main
from flat_mapper.reports.files import files_of_record
from flat_mapper.running.reuse import arrivals, kept_words
from flat_mapper.running.source import program

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
needs_valgrind = pytest.mark.skipif(shutil.which("valgrind") is None, reason="no valgrind")


STAGED = Path(__file__).parents[2] / "studies/running/staged.yaml"
MEMORIES = "".join(f"{name}: {{read: 1, write: 1}}\n" for name in ("DRAM", "GLB", "RF", "LREG"))
PRICES = f"{MEMORIES}MAC: {{compute: 1}}\nVALU: {{compute: 1}}\n"


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A fused mapping of the tiny problem."""
    folder = tmp_path_factory.mktemp("record")
    (folder / "ert.yaml").write_text(PRICES)
    found = fm.search("tiny", "edge", "flat-h", folder / "ert.yaml", objective="latency")
    assert not isinstance(found, fm.Infeasible)
    files = files_of_record(found)
    for name in ("fused-mapping.yaml", "edge.yaml", "edge.sfu.yaml"):
        (folder / name).write_bytes(files[name])
    return str(folder)


@needs_compiler
def test_a_record_runs_beside_the_unfused_mapping(
    record: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = tmp_path / "c"
    lower = ["lower", record, "--for", "c", "-o", str(where), "--ert", f"{record}/ert.yaml"]
    assert main([*lower, "--run", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)["program"]
    assert [run["name"] for run in said["runs"]] == ["this mapping", "unfused"]
    assert all(run["right"] and run["misses"] is None for run in said["runs"])
    assert said["outputs"] == {"AV": [2, 2, 8, 4]}
    assert "group_1" in (where / "mapping.c").read_text()
    assert main(lower) == 0
    assert "mapping.c: float32 whatever the record's widths" in capsys.readouterr().out


def test_without_tools_one_sentence_says_so(
    record: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    prices = ["--ert", f"{record}/ert.yaml"]
    lower = ["lower", record, "--for", "c", "-o", str(tmp_path / "c"), *prices]
    for asked in ([*lower, "--run"], [*lower, "--misses"], ["check", "--this-machine"]):
        assert main(asked) == 3
        (line,) = capsys.readouterr().err.splitlines()
        assert "expected a C compiler, such as gcc on PATH" in line
    assert main(lower) == 0
    capsys.readouterr()
    assert main(["lower", record, "--run", "-o", str(tmp_path / "d"), *prices]) == 2
    assert (
        "lower: run: expected a program in C, got 'model'; use --for c" in capsys.readouterr().err
    )


@needs_compiler
@needs_valgrind
@pytest.mark.nightly
@pytest.mark.parametrize(("softmax", "mask"), [("row", "none"), ("online", "causal")])
def test_misses_are_what_the_model_reads(softmax: str, mask: str) -> None:
    """Tiles fill half the cache, and inputs are many times the lines that any process needs."""
    sizes = {"B": 1, "H": 6, "P": 64, "M": 64, "E": 64, "F": 64}
    room = 16384 if softmax == "online" else 65536
    asked = {"sizes": sizes, "softmax": softmax, "mask": mask, "max_buffer_bytes": room}
    found = fm.search("bert-base", "edge", STAGED, **asked)
    said = fm.lower(found, tool="c", misses=True).to_dict()["program"]
    (counted,) = (run["misses"] for run in said["runs"])
    lines = counted["lines"] - counted["kept"]
    assert 0.98 * lines < counted["misses"] < 1.02 * lines, counted


@pytest.mark.parametrize("name", ["my_cpu.yaml", "my_cpu.sfu.yaml"])
def test_a_machine_is_not_measured_where_it_cannot_be_written(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flat_mapper.api.programs.measured_machine", pytest.fail)
    (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    assert main(["check", "--this-machine", "-o", str(tmp_path / "my_cpu.yaml")]) == 2
    assert "expected a plain file or a new name, got a link" in capsys.readouterr().err


@needs_compiler
@pytest.mark.nightly
def test_this_machine_is_a_chip_that_maps(tmp_path: Path) -> None:
    path = tmp_path / "my_cpu.yaml"
    assert main(["check", "--this-machine", "-o", str(path), "--json"]) == 0
    assert main(["check", str(path)]) == 0
    found = fm.search("tiny", path, objective="latency")
    said = fm.lower(found, tool="c", run=True).to_dict()["program"]
    assert all(run["right"] for run in said["runs"])
    assert main(["check", "--this-machine", "-o", str(tmp_path / "cpu.txt")]) == 2


def test_other_cascades_have_files_by_their_tensors_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two results that read one tensor when a loop is done are two files."""
    (tmp_path / "p.yaml").write_text("""problem:
  name: own
  ranks: {P: 8, M: 8}
  word_bits: 16
  einsums:
  - S[p] = X[p,m]
  - {einsum: "Y[p] = exp(S[p])", after: [m]}
  - {einsum: "Z[p] = S[p] * W[p]", unit: vector, after: [m]}
""")
    asked = ["--arch", "edge", "--problem", f"{tmp_path}/p.yaml", "--objective", "latency"]
    assert main(["map", *asked, "--mapspace", "any", "-o", f"{tmp_path}/out"]) == 0
    assert main(["lower", f"{tmp_path}/out", "--for", "c", "-o", f"{tmp_path}/c"]) == 0
    capsys.readouterr()
    text = (tmp_path / "c" / "mapping.c").read_text()
    assert "reads X.bin, W.bin and writes Y.bin, Z.bin:" in text


@pytest.mark.parametrize(
    ("mask", "room", "kept"),
    [("none", 2559, 0), ("none", 2560, 12288), ("causal", 1023, 0), ("causal", 1536, 3072)],
)
def test_tiles_within_reach_of_reuse_are_kept(mask: str, room: int, kept: int) -> None:
    """Rows of 16 queries, tiles of 8 keys: between two rows all keys that the first one sees."""
    sizes = {"B": 1, "H": 2, "P": 64, "M": 64, "E": 16, "F": 16}
    asked = {"sizes": sizes, "softmax": "online", "mask": mask, "max_buffer_bytes": 4096}
    found = fm.search("bert-base", "edge", STAGED, **asked)
    assert not isinstance(found, fm.Infeasible)
    (group,) = program(found.workload, found.platform, found.mapping).groups
    assert [(loop.rank, loop.factor) for loop in group.loops] == [("H", 2), ("P", 4), ("M", 8)]
    levels = (einsum.levels[0].tensors for einsum in found.result.einsums)
    words = sum(one.scalar_reads for tensors in levels for one in tensors)
    assert sum(n for _, n, read in arrivals(group) if read) == words
    assert kept_words(group, room) == kept
