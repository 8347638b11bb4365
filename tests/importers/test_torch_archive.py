"""Files of torch.export.save: read without torch, nothing in them run, all of it bounded."""

from __future__ import annotations

import copy
import json
import pickle
import random
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import exported
import numpy as np
import pytest
from exported import BOOL, call, saved, t, tensor

from flat_mapper.cli.main import main
from flat_mapper.importers.graphs.torch_graph import import_torch
from flat_mapper.workload.mask import Mask


class Evil:
    """What writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.target, "ran")


def test_a_graph_is_read_with_the_mask_that_it_makes(tmp_path: Path) -> None:
    found = import_torch(saved(tmp_path / "m.pt2", exported.attention()))
    assert found.workload.mask == Mask(causal=True)
    assert found.macs == 2 * 2 * 4 * 4 * 8 + 2 * 4 * 8 * 8
    assert found.weight_words == 64
    plain = import_torch(saved(tmp_path / "n.pt2", exported.attention(masked=False)))
    assert plain.workload.mask is None
    assert plain.macs == found.macs


def test_products_of_experts_are_left_out_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which rows are whose depends on the input: a cut, and never beside a whole share."""
    model = exported.attention()
    graph = model["graph_module"]["graph"]
    graph["nodes"][-1]["target"] = "torch.ops.aten._grouped_mm.default"
    assert main(["import", str(saved(tmp_path / "m.pt2", model))]) == 2
    assert "left out are _grouped_mm y, 512 multiply-accumulates" in capsys.readouterr().err


def of_nodes(path: Path, nodes: list[dict[str, Any]], **shapes: tuple[int, ...]) -> Path:
    """A program of one input, x, that gives out y; shapes of all its tensors."""
    model = exported.attention()
    graph = model["graph_module"]["graph"]
    graph |= {"nodes": nodes, "tensor_values": {n: tensor(*s) for n, s in shapes.items()}}
    model["graph_module"]["signature"]["input_specs"] = [{"user_input": {"arg": t("x")}}]
    return saved(path, model)


def test_a_square_tensor_times_itself_has_three_ranks(tmp_path: Path) -> None:
    nodes = [call("matmul.default", "y", t("x"), t("x"))]
    found = import_torch(of_nodes(tmp_path / "m.pt2", nodes, x=(4, 4), y=(4, 4)))
    assert (found.macs, list(found.workload.rank_sizes.values())) == (64, [4, 4, 4])


def test_an_axis_is_split_by_what_reads_it(tmp_path: Path) -> None:
    """Heads cut out of a width are ranks of whoever reads it; what crosses them is a view."""
    nodes = [
        call("relu.default", "a", t("x")),
        call("view.default", "heads", t("a"), {"as_ints": [5, 3, 4]}),
        call("view.default", "across", t("a"), {"as_ints": [4, 15]}),
        call("sum.dim_IntList", "h", t("heads"), {"as_ints": [2]}),
        call("matmul.default", "y", t("across"), t("across2")),
    ]
    nodes.insert(3, call("transpose.int", "across2", t("across"), {"as_int": 0}, {"as_int": 1}))
    shapes = {"x": (5, 12), "a": (5, 12), "heads": (5, 3, 4), "across": (4, 15), "h": (5, 3)}
    path = of_nodes(tmp_path / "m.pt2", nodes, **shapes, across2=(15, 4), y=(4, 4))
    found = import_torch(path)
    ranks = {e.name: len(e.output.ranks) for e in found.workload.einsums}
    assert ranks["x_relu"] == 3
    assert found.cuts == ("Reshape across",)
    assert found.workload.views["across"] == "x_relu"


def test_a_reshape_to_other_sizes_comes_to_an_end(tmp_path: Path) -> None:
    nodes = [
        call("view.default", "a", t("x"), {"as_ints": [15, 4]}),
        call("relu.default", "y", t("a")),
    ]
    path = of_nodes(tmp_path / "m.pt2", nodes, x=(3, 3, 7), a=(15, 4), y=(15, 4))
    assert main(["import", str(path)]) in (0, 2)


def with_stored_mask(path: Path, *, pickled: bool, data: bytes) -> Path:
    """The same where the mask is a buffer that the archive stores."""
    model = exported.attention()
    graph = model["graph_module"]["graph"]
    graph["nodes"] = [n for n in graph["nodes"] if n["name"] not in ("inf", "above", "hidden")]
    graph["nodes"].insert(
        2, call("where.ScalarOther", "hidden", t("seen"), t("scores"), {"as_float": "-Infinity"})
    )
    graph["tensor_values"]["seen"] = tensor(4, 4, dtype=BOOL)
    buffer = {"arg": {"name": "seen"}, "buffer_name": "mask", "persistent": True}
    model["graph_module"]["signature"]["input_specs"].append({"buffer": buffer})
    entry = {"path_name": "c0", "is_param": False, "use_pickle": pickled}
    config = {"config": {"mask": {**entry, "tensor_meta": tensor(4, 4, dtype=BOOL)}}}
    files = {
        "data/constants/model_constants_config.json": json.dumps(config).encode(),
        "data/constants/c0": data,
    }
    return saved(path, model, files)


def test_a_stored_mask_counts(tmp_path: Path) -> None:
    data = np.tril(np.ones((4, 4), dtype=bool)).tobytes()
    found = import_torch(with_stored_mask(tmp_path / "m.pt2", pickled=False, data=data))
    assert found.workload.mask == Mask(causal=True)


def test_stored_constants_have_a_bound_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = np.tril(np.ones((4, 4), dtype=bool)).tobytes()
    path = with_stored_mask(tmp_path / "m.pt2", pickled=False, data=data)
    monkeypatch.setattr("flat_mapper.importers.graphs.torch_graph.MOST_STORED", len(data) - 1)
    assert import_torch(path).workload.mask is None


def test_no_pickle_is_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = tmp_path / "ran"
    evil = pickle.dumps(Evil(ran))
    path = with_stored_mask(tmp_path / "m.pt2", pickled=True, data=evil)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("m/data/sample_inputs/model.pt", evil)
    assert main(["import", str(path)]) == 0
    assert "what it hides depends on the input" in capsys.readouterr().out
    assert not ran.exists()


@pytest.mark.parametrize(
    "target", ["torch.os.system", "_operator.add", "os.system", "torch.ops.evil.system.default", ""]
)
def test_no_name_in_a_graph_is_looked_up(tmp_path: Path, target: str) -> None:
    model = exported.attention()
    node = model["graph_module"]["graph"]["nodes"][2]
    node |= {"target": target, "inputs": [{"name": "c", "arg": {"as_string": "touch ran"}}]}
    assert main(["import", str(saved(tmp_path / "m.pt2", model))]) in (0, 2)
    assert [p.name for p in tmp_path.iterdir()] == ["m.pt2"]


def hostile() -> Iterator[tuple[str, dict[str, Any]]]:
    """Graphs that ask for more than anybody has."""
    model = exported.attention()
    nodes = model["graph_module"]["graph"]["nodes"]
    nodes[2]["inputs"][0]["arg"] = {"as_ints": [10**9, 10**9]}
    yield "a constant of 10^18 words", copy.deepcopy(model)
    model["graph_module"]["graph"]["tensor_values"]["inf"] = tensor(10**9, 10**9)
    yield "the same, as the graph says too", model
    model = exported.attention()
    model["graph_module"]["graph"]["nodes"][2:2] = [
        call("arange.default", "a0", {"as_int": 2**20}),
        *(call("pow.Tensor_Scalar", f"a{i}", t(f"a{i - 1}"), {"as_int": 2}) for i in range(1, 99)),
    ]
    kinds = model["graph_module"]["graph"]["tensor_values"]
    kinds |= {f"a{i}": tensor(2**20) for i in range(99)}
    yield "many constants of a million words", model


@pytest.mark.parametrize(("name", "model"), list(hostile()))
def test_what_is_too_large_takes_no_room(tmp_path: Path, name: str, model: Any) -> None:
    code, peak = imported(saved(tmp_path / "m.pt2", model))
    assert code in (0, 2)
    assert peak < 2**29


def imported(path: Path) -> tuple[int, int]:
    """Exit code of an import, and the most bytes that it held at once."""
    tracemalloc.start()
    try:
        code = main(["import", str(path)])
        return code, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_what_inflates_is_refused_before_it_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with zipfile.ZipFile(tmp_path / "m.pt2", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/models/model.json", b" " * 2**27)
    code, peak = imported(tmp_path / "m.pt2")
    assert code == 2
    assert "expected at most 16777216 bytes" in capsys.readouterr().err
    assert peak < 2**26  # half of what it holds


@pytest.mark.parametrize("text", ["", "[" * 10**5, "{}", "[]", '{"graph_module": 3}', "NaN"])
def test_what_is_no_graph_is_one_line(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with zipfile.ZipFile(tmp_path / "m.pt2", "w") as archive:
        archive.writestr("m/models/model.json", text)
    assert main(["import", str(tmp_path / "m.pt2")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


VALUES: tuple[Any, ...] = (
    *(None, -1, 0, 3, 10**30, 1.5, "x", "", True, [], {}, [None], {"as_int": 5}, {"name": "q"}),
    *([[]], {"as_tensor": {"name": "scores"}}, "Infinity"),
)


def mutated(document: Any, chance: random.Random) -> Any:
    """The document with one thing in it replaced or gone."""
    made = copy.deepcopy(document)
    node, path = made, []
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = chance.choice(keys)
        path.append(key)
        deeper = isinstance(node[key], dict | list) and node[key]
        if not deeper or chance.random() < 0.15:
            break
        node = node[key]
    if chance.random() < 0.2:
        del node[key]
    else:
        node[key] = copy.deepcopy(chance.choice(VALUES))
    return made


def test_whatever_is_changed_in_a_graph_it_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(7)
    whole = exported.attention()
    refused = 0
    for _ in range(150):
        code = main(["import", str(saved(tmp_path / "m.pt2", mutated(whole, chance)))])
        said = capsys.readouterr().err
        assert code in (0, 2)
        assert said.count("\n") == (1 if code else 0)
        refused += code == 2
    assert 20 < refused < 150
