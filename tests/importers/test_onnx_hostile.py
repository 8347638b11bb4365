"""ONNX files that nobody should believe: one line, in bounded time and memory."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flat_mapper.cli.main import main
from flat_mapper.importers.graphs.onnx_file import import_onnx

onnx = pytest.importorskip("onnx")
FLOAT, INT64 = 1, 7
Nodes = list[Any]


def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> Any:
    return onnx.helper.make_node(kind, inputs, [output], name=output, **attributes)


def saved(folder: Path, nodes: Nodes, weights: list[Any] = [], out: str = "y") -> Path:  # noqa: B006
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes, "g", [info("x", FLOAT, [4, 4])], [info(out, FLOAT, [4, 4])], weights
    )
    path = folder / "g.onnx"
    path.write_bytes(onnx.helper.make_model(graph).SerializeToString())
    return path


def numbers(name: str, *values: int) -> Any:
    return onnx.helper.make_tensor(name, INT64, [len(values)], values)


def one_line(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["import", str(path)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


LARGE = {
    "range": [
        node("Constant", [], "n", value_float=1e9),
        node("Constant", [], "z", value_float=0.0),
        node("Constant", [], "s", value_float=1.0),
        node("Range", ["z", "n", "s"], "c"),
    ],
    "constant of a shape": [
        node("Constant", [], "n", value_ints=[10**5, 10**5]),
        node("ConstantOfShape", ["n"], "c"),
    ],
    "expand": [
        node("Constant", [], "n", value_ints=[10**5, 10**5]),
        node("Constant", [], "s", value_float=1.0),
        node("Expand", ["s", "n"], "c"),
    ],
    "tile": [
        node("Constant", [], "n", value_ints=[10**10]),
        node("Constant", [], "s", value_floats=[1.0]),
        node("Tile", ["s", "n"], "c"),
    ],
    "sums along both sides": [
        node("Constant", [], "n", value_ints=[2**20, 1]),
        node("ConstantOfShape", ["n"], "a"),
        node("Transpose", ["a"], "b"),
        node("Add", ["a", "b"], "c"),
    ],
    "many of them": [
        node("Constant", [], "n", value_float=1.6e7),
        node("Constant", [], "z", value_float=0.0),
        node("Constant", [], "s", value_float=1.0),
        *(node("Range", ["z", "n", "s"], f"c{i}") for i in range(40)),
        node("Constant", [], "c", value_float=1.0),
    ],
}


@pytest.mark.parametrize("name", LARGE)
def test_constants_have_a_bound(tmp_path: Path, name: str) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    path = saved(tmp_path, [*LARGE[name], node("Add", ["x", "c"], "r"), node("Relu", ["x"], "y")])
    assert main(["import", str(path)]) in (0, 2)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20  # KiB


BROKEN: dict[str, Nodes] = {
    "a cycle": [node("Add", ["x", "b"], "a"), node("Relu", ["a"], "b"), node("Relu", ["b"], "y")],
    "out of order": [node("Relu", ["p"], "y"), node("Relu", ["x"], "p")],
    "no such tensor": [node("MatMul", ["x", "nope"], "y")],
    "an equation of one operand": [node("Einsum", ["x", "x"], "y", equation="ij->ij")],
    "no equation": [node("Einsum", ["x", "x"], "y")],
    "a product of one": [node("MatMul", ["x"], "y")],
    "a Gemm of nothing": [node("Gemm", ["x"], "y")],
    "a permutation beyond": [node("Transpose", ["x"], "y", perm=[0, 7])],
    "a permutation that wraps": [node("Transpose", ["x"], "y", perm=[2, -3])],
    "nothing to join": [node("Concat", [], "y", axis=0)],
    "fewer parts than outputs": [
        onnx.helper.make_node("Split", ["x"], ["y", "z", "w"], name="y", axis=0, num_outputs=2)
    ],
    "an operator of nobody": [
        onnx.helper.make_node("Foo", ["x"], ["y"], name="y", domain="nobody")
    ],
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_makes_no_sense_is_one_line(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = one_line(saved(tmp_path, BROKEN[name]), capsys)
    assert "Error:" not in said.removeprefix("SpecError:"), "a class of Python's is no word of ours"


def outside(location: str, offset: str = "0") -> Any:
    weight = onnx.TensorProto(name="shape", data_type=INT64, dims=[2])
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    weight.external_data.add(key="offset", value=offset)
    return weight


def test_numbers_beside_the_file_are_read_and_none_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for place in (tmp_path, folder):
        (place / "data").write_bytes(np.array([7, 2, 8], dtype=np.int64).tobytes())
    steps = [node("Reshape", ["x", "shape"], "r"), node("Relu", ["r"], "y")]
    weight = onnx.helper.make_tensor("w", FLOAT, [8, 3], [0.5] * 24)
    product = node("MatMul", ["r", "w"], "z")
    found = import_onnx(saved(folder, [*steps, product], [outside("data", "8"), weight]))
    assert found.macs == 2 * 8 * 3
    for location, offset in (("../data", "8"), ("/etc/passwd", "0"), ("", "0"), ("data", "x")):
        one_line(saved(folder, steps, [outside(location, offset)]), capsys)


CHAINS: dict[str, Callable[[str, str], Any]] = {
    "functions": lambda before, name: node("Relu", [before], name),
    "doubled": lambda before, name: node("Add", [before, before], name),
    "turned": lambda before, name: node("Transpose", [before], name, perm=[1, 0]),
    "of one name": lambda before, name: onnx.helper.make_node(
        "Transpose", [before], [name], name="same", perm=[1, 0]
    ),
}


def calls_of(path: Path) -> int:
    """Calls and returns of functions while a file is refused: its work, whatever the machine."""
    count = 0

    def counted(*_: object) -> None:
        nonlocal count
        count += 1

    before = sys.getprofile()
    sys.setprofile(counted)
    try:
        assert main(["import", str(path)]) == 2
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("name", CHAINS)
def test_a_long_chain_takes_work_by_its_length(tmp_path: Path, name: str) -> None:
    """Twice the operators, up to 20,000, are at most twice the calls: no square of them."""
    calls = []
    for count in (5_000, 10_000, 20_000):  # the first one imports what is needed
        names = ["x", *(f"n{i}" for i in range(count - 1)), "y"]
        calls.append(calls_of(saved(tmp_path, [CHAINS[name](a, b) for a, b in pairwise(names)])))
    assert calls[2] < 2.2 * calls[1]


def test_whatever_bytes_are_changed_it_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(3)
    nodes = [
        node("Reshape", ["x", "shape"], "r"),
        node("Softmax", ["r"], "s", axis=-1),
        node("MatMul", ["s", "x"], "y"),
    ]
    path = saved(tmp_path, nodes, [numbers("shape", 4, 4)])
    whole = path.read_bytes()
    assert main(["import", str(path)]) == 0
    capsys.readouterr()
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 3)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        path.write_bytes(data)
        code = main(["import", str(path)])
        assert code in (0, 2)
        assert capsys.readouterr().err.count("\n") == (1 if code else 0)
