"""Specifications in memory: plain documents, a stand-in for timeloopfe's, and the real one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import small_platform as small

import flat_mapper as fm
from flat_mapper.arch.reader import load_platform
from flat_mapper.base.errors import SpecError
from flat_mapper.reports.answers import ModelResult
from flat_mapper.spec.document import Quoted, Tagged
from flat_mapper.spec.timeloopfe import plain_document
from flat_mapper.spec.yamlio import load_yaml, write_text
from flat_mapper.timeloop.write import lowered

FILES = ("arch.yaml", "problem.yaml", "mapping.yaml")


class DoubleQuotedScalarString(str):
    """What the front end's YAML reader makes of a word in quotes."""

    __slots__ = ()


class Node(dict[str, object]):
    """A node as the front end has it: with defaults filled in, and knowing which those are."""

    def __init__(self, body: dict[str, object], tag: str | None, defaults: dict[str, object]):
        super().__init__({**defaults, **body, "_own": object(), "processors": []})
        self.tag, self.defaults = tag, defaults

    def is_defined_non_default_non_empty(self, key: str) -> bool:
        return self.get(key) not in (None, [], {}, "", self.defaults.get(key))


FILLED: dict[str, object] = {
    "n_banks": 2,
    "enabled": True,
    "constraints": Node({}, None, {"spatial": Node({}, None, {"type": "spatial", "target": ""})}),
}


def front_ends(value: object) -> Any:
    """A document as the front end's nodes."""
    if isinstance(value, Tagged):
        return Node({k: front_ends(v) for k, v in value.body.items()}, value.tag, FILLED)  # type: ignore[attr-defined]
    if isinstance(value, dict):
        return Node({k: front_ends(v) for k, v in value.items()}, None, {})
    if isinstance(value, list):
        return [front_ends(item) for item in value]
    return DoubleQuotedScalarString(value) if isinstance(value, Quoted) else value


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """QK and QK_exp of the small fused mapping, as files."""
    for name, file in lowered(small.workload(), small.platform(), small.fused()).files.items():
        write_text(tmp_path / name, file.text)
    return tmp_path


def documents(folder: Path, einsum: str) -> dict[str, object]:
    found: dict[str, object] = {}
    for name in FILES:
        found |= load_yaml(folder / einsum / name)  # type: ignore[operator]
    return found


def test_a_specification_says_what_its_files_say(folder: Path) -> None:
    plain = documents(folder, "QK")
    specification = front_ends(plain)
    assert specification["architecture"]["nodes"][0]["n_banks"] == 2
    assert plain_document(plain) == plain
    found = plain_document(specification)
    for entry in plain["mapping"]:  # type: ignore[attr-defined]
        for empty in [key for key, value in entry.items() if value == []]:
            del entry[empty]  # the front end cannot tell an empty list from none
    assert found == plain
    quoted = found["variables"]["technology"]  # type: ignore[index]
    assert isinstance(quoted, Quoted)


def test_it_is_taken_wherever_names_and_files_are(folder: Path) -> None:
    paths = (front_ends(load_yaml(folder / name)) for name in ("small.yaml", "small.sfu.yaml"))
    platform = fm.load_platform(next(paths), vector=next(paths))
    shipped = load_platform(folder / "small.yaml")
    assert platform.matrix.nodes == shipped.matrix.nodes
    assert platform.vector is not None
    matrix = front_ends(documents(folder, "QK"))
    assert fm.load_problem(matrix).rank_sizes == {"B": 1, "H": 12, "P": 512, "M": 512, "E": 64}
    assert fm.load_problem(matrix, sizes={"P": 64}).rank_sizes["P"] == 64
    ert = {"DRAM": 1.0, "GLB": 1.0, "RF": 1.0}
    matrix["ERT"] = Node({"tables": [*map(table, ert), table("MAC", "compute")]}, None, {})
    modelled = fm.model(matrix)
    assert isinstance(modelled, ModelResult)
    assert modelled.energy_source == "specification"
    assert modelled.stats.cycles == 196608


def table(name: str, *actions: str) -> Node:
    listed = [{"name": a, "energy": 1.0} for a in actions or ("read", "write", "update")]
    return Node({"name": f"system.{name}[1..1]", "actions": listed}, None, {})


def test_what_a_specification_lacks_is_named(folder: Path) -> None:
    whole = documents(folder, "QK")
    with pytest.raises(SpecError, match="got none in specification"):
        fm.model({key: value for key, value in whole.items() if key != "mapping"})
    with pytest.raises(SpecError, match="expected the key 'architecture'"):
        fm.load_platform({"problem": whole["problem"]})
    with pytest.raises(SpecError, match=r"sparse_optimizations\.targets: expected none"):
        fm.load_platform({**whole, "sparse_optimizations": {"targets": [1]}})


def test_timeloopfes_own_specification(folder: Path) -> None:
    v4 = pytest.importorskip("timeloopfe.v4")
    specifications = {
        name: v4.Specification.from_yaml_files([str(folder / name / file) for file in FILES])
        for name in ("QK", "QK_exp")
    }
    for name, specification in specifications.items():
        left = ("variables", "architecture", "problem", "mapping")
        plain, found = documents(folder, name), plain_document(specification)
        assert found["architecture"]["nodes"] == plain["architecture"]["nodes"]  # type: ignore[index]
        assert set(found) == set(left)
    platform = fm.load_platform(specifications["QK"], vector=specifications["QK_exp"])
    assert platform.matrix.nodes == small.platform().matrix.nodes
