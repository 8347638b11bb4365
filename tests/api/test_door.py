"""All functions of `import flat_mapper as fm`, found by introspection: what each takes and gives.

Every input that the signature takes as a value is given as a name, a path and a value, and the
answers are equal; `seq=` is the length of the problem; answers print as one screen, echo as one
line, and can be saved. A new function has to be in `ASKED`, or the first test fails.
"""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from shutil import which
from typing import Any

import pytest
import sweep_files

import flat_mapper as fm
from flat_mapper.energy.tables import load_ert
from flat_mapper.spec.yamlio import load_yaml

ROOT = Path(fm.__file__).parents[1]
SCREEN = 60  # lines
ECHO = 300  # characters
# What differs from run to run, where it was found, and what of it was written there.
TIMED = ("seconds", "computed", "points_per_s", "workers", "files", "where", "timeloop_files")
CONFIG = {
    **{"model_type": "bert", "hidden_size": 8, "intermediate_size": 16},
    **{"num_attention_heads": 2, "num_hidden_layers": 3, "max_position_embeddings": 8},
}
DESIGN = (
    "optimize:\n  fixed: {arch: nano.yaml, ert: ert.yaml, mapspace: flat-r}\n"
    "  grid: {arch.GLB.depth: [16, 64]}\n  workloads: [{problem: attend.yaml, seq: 4}]\n"
    "  budgets: {buffer: 256}\n"
)
LAYER = """problem:
  shape:
    name: {name}
    dimensions: [H, X, Y, Z]
    data_spaces:
    - {{name: A, projection: [[[H]], [[X]], [[Z]]]}}
    - {{name: W, projection: [[[H]], [[Y]], [[Z]]]}}
    - {{name: O, projection: [[[H]], [[X]], [[Y]]], read_write: true}}
  instance: {{H: 2, X: 4, Y: {y}, Z: {z}}}
"""
NEST = """mapping:
- {target: DRAM, type: temporal, factors: [H=2, X=4, Y=4, Z=2]}
- {target: GLB, type: temporal, factors: [H=1, X=1, Y=1, Z=1]}
- {target: PE, type: spatial, factors: [H=1, X=1, Y=1, Z=1]}
"""
SMALL: dict[str, Any] = {
    **{"problem": "attend.yaml", "arch": "nano.yaml", "mapspace": "flat-h", "ert": "ert.yaml"},
}
# Of each function the least that it can be asked, in a folder with the files of `folder`.
ASKED: dict[str, dict[str, Any]] = {
    "attention": {"B": 1, "H": 2, "P": 4, "M": 4, "E": 2, "F": 2},
    "check": {"files": ["attend.yaml", "nano.yaml"]},
    "compare": {**SMALL, "mapspaces": ("flex", "flat-h")},
    "crosscheck": {"mapping": "out", "ert": "ert.yaml"},
    "evaluate": {"mapping": "out", "ert": "ert.yaml"},
    "execute": {"mapping": "out", "check": True},
    "front": SMALL,
    "export_sweep": {"sweep": "done.db", "output": "rows.csv"},
    "generate": {**SMALL, "prefill": 8, "decode": 2},
    "import_problem": {"file": "config.json", "name": "mine"},
    "load": {"folder": "out"},
    "load_architecture": {"sources": ("nano.yaml",)},
    "load_mapspace": {"name_or_path": "flat-h"},
    "load_platform": {"source": "nano.yaml"},
    "load_problem": {"problem": "attend.yaml"},
    "load_results": {"results": ("out",)},
    "lower": {"mapping": "out", "ert": "ert.yaml"},
    "model": {"files": ("nano.yaml", "layers/1.yaml", "nest.yaml"), "ert": "ert.yaml"},
    "need": {**SMALL, "quantity": "buffer", "utilization": 0.1},
    "optimize": {"sweep": "design.yaml", "output": "designs.db", "workers": 0},
    "plan_sweep": {"sweep": "sweep.yaml"},
    "report": {"results": "out", "output": "page.html"},
    "save": {"answer": None, "folder": "saved"},
    "search": SMALL,
    "shipped": {"kind": "arch"},
    "sweep": {"sweep": "sweep.yaml", "output": "rows.db", "workers": 0},
    "this_machine": {"output": "cpu.yaml"},
    "tiles": {"kernel": "flex", "problem": "gqa.yaml", "arch": "a100", "seq": 512},
    "why_not": {"einsums": ("QK", "softmax", "AV"), "problem": "attend.yaml"},
}
NEEDS: dict[str, str] = {}
# What gives the answer of a question, and can be saved; the others give inputs, files or texts.
ANSWERS = (
    *("compare", "crosscheck", "evaluate", "execute", "front", "generate", "load", "model"),
    *("need", "optimize", "search", "tiles", "why_not", "check"),
)
# Whose files are elsewhere, or are the answer.
TOLD = (
    *("export_sweep", "import_problem", "load_results", "lower", "plan_sweep", "report", "shipped"),
    *("sweep", "this_machine"),
)
PRINTED = (*ANSWERS, *TOLD)
# A text is read anew at every length; a value cannot be.
TEXT_ONLY = {("generate", "problem"), ("export_sweep", "sweep")}


def _functions() -> dict[str, Callable[..., Any]]:
    return {n: f for n in fm.__all__ if inspect.isfunction(f := getattr(fm, n))}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a chip, a problem and one of every file that a function reads."""
    where, before = tmp_path_factory.mktemp("door"), Path.cwd()
    sweep_files.written(where)
    os.chdir(where)
    texts = {"config.json": json.dumps(CONFIG), "design.yaml": DESIGN, "nest.yaml": NEST}
    texts["gqa.yaml"] = (
        "problem:\n  name: gqa\n  ranks: {B: 1, H: 8, P: 512, M: P, E: 128, F: E}\n"
        "  attention: {kv_heads: 2, softmax: online}\n"
    )
    own = sweep_files.FILES["attend.yaml"]
    texts["attend.yaml"] = own.replace("problem:\n", "problem:\n  name: attend\n")
    for name, text in texts.items():
        Path(name).write_text(text, encoding="utf-8")
    Path("layers").mkdir()
    Path("layers/1.yaml").write_text(LAYER.format(name="first", y=4, z=2), encoding="utf-8")
    Path("layers/2.yaml").write_text(LAYER.format(name="second", y=2, z=4), encoding="utf-8")
    found = fm.search("attend.yaml", "nano.yaml", "flat-h", "ert.yaml")
    fm.save(found, "out") if found else pytest.fail(str(found))
    fm.sweep("sweep.yaml", "done.db", workers=0)
    yield where
    os.chdir(before)


@cache
def _answer(name: str) -> Any:
    """The answer of a function to its own question."""
    return _asked(name)


def _asked(name: str, **changed: Any) -> Any:
    """The answer of a function to its own question, with some arguments changed."""
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    given = {**ASKED[name], **changed}
    function = _functions()[name]
    known = inspect.signature(function).parameters
    if name == "save":
        given["answer"] = given["answer"] or fm.load("out")
        given.setdefault("force", True)
    if name == "this_machine" and which("cc") is None:
        pytest.skip("needs a C compiler")
    if name == "crosscheck":
        pytest.importorskip("accelforge")
    listed = next((n for n, p in known.items() if p.kind is p.VAR_POSITIONAL), "")
    several = given.pop(listed, ())
    return function(*several, **{n: v for n, v in given.items() if n in known})


def _plain(answer: Any) -> Any:
    """An answer without what differs from run to run."""
    if hasattr(answer, "to_dict"):
        return _plain(answer.to_dict())
    if isinstance(answer, Mapping):
        return {k: _plain(v) for k, v in answer.items() if k not in TIMED}
    if isinstance(answer, list | tuple):
        return [_plain(item) for item in answer]
    if is_dataclass(answer) and not isinstance(answer, type):
        return _plain({f.name: getattr(answer, f.name) for f in fields(answer)})
    return answer


VALUES: dict[str, Callable[[Any], tuple[Any, ...]]] = {
    "Problem": lambda given: (Path(given), Path(given).read_text(), fm.load_problem(given)),
    "Chip": lambda given: (
        (fm.load_platform(given),)
        if given == "a100"
        else (Path(given), fm.load_platform(given), fm.load_platform(Path(given)))
    ),
    "Space": lambda given: (
        ROOT / f"mapspaces/{given}.yaml",
        fm.load_mapspace(given),
    ),
    "Energies": lambda given: (Path(given), load_ert(given)),
    "Recorded": lambda given: (
        *(Path(given), f"{given}/fused-mapping.yaml", fm.load(given)),
        fm.search("attend.yaml", "nano.yaml", "flat-h", "ert.yaml"),
    ),
    "Source": lambda given: (Path(given), Path(given).read_text(), load_yaml(Path(given))),
    "ModelFile": lambda given: (Path(given), json.loads(Path(given).read_text())),
    "Saved": lambda given: (
        *(Path(given), [given], fm.load_results(given)),
        fm.search("attend.yaml", "nano.yaml", "flat-h", "ert.yaml"),
    ),
}


def _taken() -> Iterator[tuple[str, str, str]]:
    """Every input of every function: the function, the parameter, the value that it may be."""
    for name, function in _functions().items():
        for parameter in inspect.signature(function).parameters.values():
            kinds = str(parameter.annotation).replace("[", " ").replace("]", " ").split()
            kind = next((k for k in VALUES if k in kinds), "")
            if (name, parameter.name) in TEXT_ONLY:
                continue
            if kind and isinstance(ASKED.get(name, {}).get(parameter.name), str):
                yield name, parameter.name, kind


TAKEN = list(_taken())


def test_every_function_of_the_door_is_asked_something() -> None:
    assert set(_functions()) == set(ASKED)
    inputs = {"problem", "arch", "mapspace", "ert", "mapping", "sweep", "results", "file"}
    listed = {(f, p) for f, p, _ in TAKEN} | TEXT_ONLY | {("load_results", "results")}
    for name, function in _functions().items():
        for parameter in inspect.signature(function).parameters:
            if parameter in inputs and parameter in ASKED[name]:
                assert (name, parameter) in listed, f"{name}({parameter}=) takes no value"


@pytest.mark.parametrize(("name", "parameter", "kind"), TAKEN)
def test_a_name_a_path_and_a_value_have_one_answer(
    folder: Path, name: str, parameter: str, kind: str
) -> None:
    given = ASKED[name][parameter]
    expected = _plain(_answer(name))
    for form in VALUES[kind](given):
        assert _plain(_asked(name, **{parameter: form})) == expected, f"{parameter}={form!r}"


@pytest.mark.parametrize("name", sorted({f for f, _, k in TAKEN if k == "Problem"}))
def test_seq_is_the_length_of_the_problem(folder: Path, name: str) -> None:
    parameter = next(p for f, p, k in TAKEN if (f, k) == (name, "Problem"))
    given = ASKED[name][parameter]
    longer = 1024 if name == "tiles" else 8
    value = fm.load_problem(given, seq=longer)
    assert {value.rank_sizes[r] for r in ("P", "M")} == {longer}
    named = _plain(_asked(name, seq=longer))
    assert _plain(_asked(name, **{parameter: fm.load_problem(given)}, seq=longer)) == named
    if "seq" not in ASKED[name]:
        assert _plain(_asked(name, **{parameter: value})) == named
        if name not in ("why_not",):
            assert named != _plain(_answer(name))


def test_what_a_value_cannot_be_read_again_for_is_refused() -> None:
    value = fm.load_problem("tiny")
    for word in ({"phase": "decode"}, {"mask": "causal"}, {"softmax": "online"}):
        with pytest.raises(fm.SpecError, match=r"expected a problem by name, file or text, got"):
            fm.load_problem(value, **word)  # type: ignore[arg-type]
    with pytest.raises(fm.SpecError, match="seq: expected int > 0, got 0"):
        fm.search(value, "edge", seq=0)


def test_what_is_an_answer_has_a_kind(folder: Path) -> None:
    given = {name for name in ASKED if name not in (*NEEDS, "crosscheck")}
    assert {name for name in given if hasattr(_answer(name), "kind")} == given & set(PRINTED)


@pytest.mark.parametrize("name", PRINTED)
def test_an_answer_prints_as_one_screen_and_echoes_as_one_line(folder: Path, name: str) -> None:
    answer = _answer(name)
    for one in answer if isinstance(answer, list) else [answer]:
        assert len(str(one).splitlines()) <= SCREEN
        assert " object at 0x" not in str(one)
        assert not str(one).startswith(f"{type(one).__name__}(")
        assert len(repr(one)) < ECHO, repr(one)
        assert "\n" not in repr(one)


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_a_frame_with_units_in_the_names_of_its_columns(
    folder: Path, name: str
) -> None:
    pytest.importorskip("pandas", reason="needs the extra `frames`")
    table = _answer(name).to_frame()
    assert len(table) > 0 or name == "crosscheck"  # which has a row for each difference
    assert "object" not in {str(kind) for kind in table.dtypes}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_saved_as_its_json(folder: Path, name: str, tmp_path: Path) -> None:
    answer = _answer(name)
    assert "result.json" in fm.save(answer, tmp_path / "saved")
    said = json.loads((tmp_path / "saved/result.json").read_text(encoding="utf-8"))
    wanted = json.loads(json.dumps(_plain(answer)))
    assert {k: _plain(v) for k, v in said.items() if k in wanted and k not in TIMED} == wanted


@pytest.mark.parametrize("name", ["search", "front", "generate", "need"])
def test_what_cannot_be_is_false_and_says_why(folder: Path, name: str) -> None:
    question = {"seq": 4096, "objective": "latency", "utilization": 1.0}
    question |= {"prefill": 4096, "decode": 1}
    found = _asked(name, **question)
    assert not found
    with pytest.raises(fm.NothingFeasible, match=r"GLB"):
        found.result  # noqa: B018  # asked for, to be told why there is none
