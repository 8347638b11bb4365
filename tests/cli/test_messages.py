"""Bad input: one line in the house form, exit 2, no traceback, nothing written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flat_mapper.cli.arguments import grammar
from flat_mapper.cli.main import main

ROOT = Path(__file__).parents[2]
TINY = ("--problem", "tiny")
EDGE = ("--arch", "edge")
FILES = {
    "key.yaml": "problem:\n  ranks: {B: 1}\n  atention: {softmax: row}\n",
    "type.yaml": (  # three faults
        'problem:\n  ranks: {B: 1, H: "two", P: 0, M: -8, E: 4, F: 4}\n  attention: {}\n'
    ),
    "unit.yaml": (
        "problem:\n  ranks: {B: 1, H: 2, P: 4 KB, M: 8, E: 4, F: 4}\n  attention: {softmax: row}\n"
    ),
    "rank.yaml": "problem:\n  ranks: {I: 4, J: 4}\n  einsums: ['Y[i] = A[i,x] * W[i,x]']\n",
    "space.yaml": "mapspace:\n  fusoin: {granularity: any}\n",
    "grain.yaml": "mapspace:\n  fusion: {groups: [[QK, softmax, AV]], granularity: rwo}\n",
    "names.yaml": "mapspace:\n  fusion: {groups: [[QQ, AV]]}\n",
    "evil.yaml": 'problem: !!python/object/apply:os.system ["touch pwned"]\n',
    "bomb.yaml": (
        "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
        + "".join(
            f"{name}: &{name} [{','.join(['*' + before] * 10)}]\n"
            for before, name in zip("abcdefgh", "bcdefghi", strict=True)
        )
    ),
    "ert.yaml": "GLB: {raed: 1}\n",
    "short.yaml": "GLB: {read: 1, write: 1}\n",
    "text": "just words",
}
FORMER = {
    "model": "evaluate FILE ...",
    "execute": "evaluate FILE --execute",
    "crosscheck": "evaluate FILE --crosscheck",
    "why-not": "check --why-not EINSUM ...",
    "optimize": "sweep DESIGN.yaml",
    "export": "sweep RESULTS",
    **dict.fromkeys(("import-hf", "import-onnx", "import-torch", "fuse-layers"), "import FILE"),
}
CASES = [
    ((), "flat-mapper: expected a command among map, .*, got 'none'"),
    (("mpa",), "got 'mpa'; did you mean 'map'\\?"),
    (("map",), "flat-mapper map: expected --problem, --arch, got none"),
    (("map", *EDGE), "flat-mapper map: expected --problem, got none"),
    (("map", *EDGE, *TINY, "--sequ", "5"), "got '--sequ'; did you mean '--seq'\\?"),
    (("map", "--arch"), "flat-mapper map: --arch: expected a value, got none"),
    (("map", *EDGE, *TINY, "--log", "."), "expected the name of a file to write, got a folder"),
    (("map", *EDGE, *TINY, "--seq", "512 KB"), "--seq: expected int > 0, got '512 KB'"),
    (("map", *EDGE, *TINY, "--seq", "0"), "--seq: expected int > 0, got 0"),
    (("map", *EDGE, *TINY, "--set", "P"), "--set: expected RANK=SIZE, .*, got 'P'"),
    (("map", *EDGE, *TINY, "--set", "P=-3"), "--set P: expected int > 0, got -3"),
    (("map", *EDGE, *TINY, "--set", "Z=4"), "expected ranks among B, H, .*, got 'Z'"),
    (("map", *EDGE, *TINY, "--scope", "al"), "scope: expected one of attention, .*, got 'al'"),
    (
        ("map", *EDGE, *TINY, "--objective", "edq"),
        "objective: expected one of .*did you mean 'edp'",
    ),
    (("map", *EDGE, *TINY, "--backend", "x"), "backend: expected one of native.*, got 'x'"),
    (("map", "--arch", "edgy", *TINY), "arch: expected one of .*cloud, edge.*did you mean 'edge'"),
    (("map", "--arch", "nothere.yaml", *TINY), "nothere.yaml: expected a readable file"),
    (("map", *EDGE, "--problem", "key.yaml"), "key.yaml: problem: expected either attention"),
    (("map", *EDGE, "--problem", "type.yaml"), "type.yaml:2: problem.ranks.H: .* got 'two'"),
    (("map", *EDGE, "--problem", "unit.yaml"), "ranks.P: expected int > 0, got '4 KB'"),
    (("map", *EDGE, "--problem", "rank.yaml"), "expected ranks among I, X, got 'J'"),
    (("map", *EDGE, "--problem", "evil.yaml"), "evil.yaml:1: expected a plain value, got '!!py"),
    (("map", *EDGE, "--problem", "bomb.yaml"), "bomb.yaml.*: expected at most"),
    (("map", *EDGE, "--problem", "text"), "problems: expected one of .*, got 'text'"),
    (("map", *EDGE, *TINY, "--mapspace", "space.yaml"), "keys among .*got 'fusoin'; .*'fusion'\\?"),
    (("map", *EDGE, *TINY, "--mapspace", "grain.yaml"), "granularity: .*got 'rwo'"),
    (("map", *EDGE, *TINY, "--mapspace", "flit"), "mapspaces: expected one of .*got 'flit'"),
    (
        ("map", *EDGE, *TINY, "--ert", "ert.yaml"),
        "ert.yaml:1: GLB: expected keys among read, write, ",
    ),
    (("map", *EDGE, *TINY, "--ert", "short.yaml"), "short.yaml: expected energies of 'DRAM'"),
    (("map", *EDGE, *TINY, "--ert", "folder"), "folder: expected a readable file, got: Is a dir"),
    (("map", *EDGE, *TINY, "-o", "text"), "text: expected a folder, or a new name, got .* a file"),
    (("map", *EDGE, *TINY, "-o", "text/x"), "text/x: expected a folder, or a new name"),
    (("compare", *EDGE, *TINY, "--mapspace", "flat", "flat"), "mapspaces: expected at least one"),
    (("evaluate", "nothere.yaml"), "nothere.yaml: expected a readable file"),
    (("evaluate", "key.yaml"), "key.yaml:1: expected keys among fused_mapping.*got 'problem'"),
    (("lower", "folder", "-o", "x"), "folder/fused-mapping.yaml: expected a readable file"),
    (("lower", "key.yaml"), "flat-mapper lower: expected -o/--output, got none"),
    (("evaluate",), "flat-mapper evaluate: expected FILE, got none"),
    (("evaluate", "text"), "text: expected a mapping of keys to values, got 'just words'"),
    (("evaluate", "key.yaml", "key.yaml"), "expected one file with the key 'architecture'"),
    (("evaluate", "text", "--execute", "--ert", "x"), "evaluate --execute: expected options among"),
    (("evaluate", "a", "--execute", "--crosscheck"), "one of --execute and --crosscheck, got"),
    (("map", *EDGE, *TINY, "--set", "P=4", "--set", "P=8"), "each name once, got 'P=4 P=8'"),
    (("evaluate", "a", "b", "--crosscheck"), "the one record of a mapping, as map -o"),
    (("map", *EDGE, *TINY, "--objective", "latency,energy", "--backend", "x"), "got '--backend'"),
    *(((word, "x"), f"got '{word}'; it is now flat-mapper {now}") for word, now in FORMER.items()),
    (("list", "archs"), "list: expected one of arch, problems, mapspaces, got 'archs'"),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Bad files in the working folder, so that messages name them as the user does."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "message"), CASES, ids=[message[:40] for _, message in CASES]
)
def test_bad_input_is_one_line(
    arguments: tuple[str, ...], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(folder.rglob("*"))
    code = main(arguments)
    said = capsys.readouterr()
    assert code == 2, said.err
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert said.err.startswith(("SpecError: ", "MappingError: "))
    assert re.search(message, said.err), said.err
    assert sorted(folder.rglob("*")) == before


def test_check_says_all_of_it_at_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "type.yaml", "space.yaml", "evil.yaml", "ert.yaml", "text", "gone"]) == 2
    lines = capsys.readouterr().out.splitlines()
    for message in (
        "type.yaml:2: problem.ranks.H: expected int > 0, got 'two'",
        "type.yaml:2: problem.ranks.P: expected int > 0, got 0",
        "type.yaml:2: problem.ranks.M: expected int > 0, got -8",
        "space.yaml:2: mapspace: expected keys among description, ",
        "evil.yaml:1: expected a plain value",
        "ert.yaml:1: GLB: expected keys among read, write, ",
        "text: expected a mapping of keys to values, got 'just words'",
        "gone: expected a file or a shipped name, got 'gone'",
    ):
        assert any(line.startswith(message) for line in lines), message


def test_check_names_a_misspelt_kind(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "kind.yaml").write_text("problm: {}\n")
    assert main(["check", "kind.yaml"]) == 2
    assert "did you mean 'problem'?" in capsys.readouterr().out


def test_a_mapping_is_checked_with_its_problem(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "mapping.yaml").write_text("mapping: []\n")
    assert main(["check", "mapping.yaml"]) == 2
    assert "check it together with a sound architecture" in capsys.readouterr().out


def test_help_is_one_screen_that_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    words = set(re.findall(r"[\w-]+", "\n".join(lines)))
    assert set(grammar()[1]) <= words


def test_a_comparison_without_any_mapping_ends_with_1_and_names_what_is_nearest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = "compare --arch edge --problem tiny --set M=40000000 --mapspace flat-h flat-r"
    assert main(line.split()) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    (said,) = printed.err.splitlines()
    assert said.startswith("Infeasible: nothing fits in any of 2 mapspaces; nearest is flat-r: ")
    assert "GLB: needs" in said
