"""ONNX graphs of four small models read as cascades, beside what the libraries count of them.

The files were written by `export_models.py`, which also has torch count their products.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from flat_mapper.base.errors import BackendError, SpecError
from flat_mapper.cli.main import main
from flat_mapper.importers.graphs.imported import Imported
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.layers import LayerForm, layer
from flat_mapper.workload.mask import Mask
from flat_mapper.workload.reader import load_workload

pytest.importorskip("onnx")
from flat_mapper.importers.graphs.onnx_file import import_onnx

DATA = Path(__file__).parent.parent / "data" / "graphs"
COUNTS = json.loads((DATA / "counts.json").read_text(encoding="utf-8"))
MODELS = tuple(COUNTS)


def read(name: str) -> Imported:
    return import_onnx(DATA / f"{name}.onnx")


def shapes(workload: Workload) -> list[tuple[str, tuple[int, ...]]]:
    """Each Einsum's operation and sizes, in an order of their own: names are another's."""
    return sorted(
        (e.operation, tuple(sorted(workload.rank_sizes[r] for r in e.ranks)))
        for e in workload.einsums
    )


@pytest.mark.parametrize("name", MODELS)
def test_products_are_those_that_torch_counts(name: str) -> None:
    found = read(name)
    assert found.macs == COUNTS[name]["macs"]
    assert found.share == 1


def test_weights_are_the_library_s_where_none_is_tied_or_repeated() -> None:
    for name in ("llama", "vit"):
        assert read(name).weight_words == COUNTS[name]["parameters"]


@pytest.mark.parametrize("name", MODELS)
def test_the_problem_that_is_written_is_the_cascade(name: str, tmp_path: Path) -> None:
    found = read(name)
    (tmp_path / f"{name}.yaml").write_text(found.problem_text("x"), encoding="utf-8")
    again = load_workload(tmp_path / f"{name}.yaml")
    assert again.einsums == found.workload.einsums
    assert again.views == found.workload.views
    assert again.operators == found.workload.operators
    assert (again.mask, again.roles) == (found.workload.mask, found.workload.roles)


def test_a_llama_is_the_layers_that_its_configuration_has() -> None:
    """The graph of two layers has the Einsums of `layer` twice, and the model's ends."""
    sizes = {"B": 1, "H": 4, "P": 16, "M": 16, "E": 8, "F": 8, "D": 32, "FF": 96}
    form = LayerForm(norm="rms", positions="rotary", activation="silu")
    one = layer(form, **sizes, kv_heads=2, feed_forward="gated")  # type: ignore[arg-type]
    twice = Counter((op, tuple(s for s in size if s > 1)) for op, size in shapes(one) * 2)
    ends = Counter(shapes(read("llama").workload))
    ends.subtract(twice)
    norm = {("square", (16, 32)): 1, ("rsqrt", (16,)): 1, ("mul", (16, 32)): 2}
    assert +ends == Counter({**norm, ("mul", (16, 32, 64)): 1})
    assert -ends == Counter()


def test_grouped_heads_and_their_mask_are_found() -> None:
    work = read("llama").workload
    assert work.mask == Mask(causal=True)
    assert {r: work.rank_sizes[r] for r in "GHPME"} == {"G": 2, "H": 2, "P": 16, "M": 16, "E": 8}
    assert read("bert").workload.mask is None


def test_one_product_for_queries_keys_and_values_is_three() -> None:
    work = read("gpt2").workload
    assert not any(size % 96 == 0 for size in work.rank_sizes.values())
    assert sum(e.operation == "gelu" for e in work.einsums) == 2


def test_a_norm_and_a_softmax_are_one_operator_each() -> None:
    members = [len(m) for m in read("bert").workload.operators.values()]
    assert sorted(members) == [4, 4, 7, 7, 7, 7, 7]
    rms = [len(m) for m in read("llama").workload.operators.values()]
    assert sorted(rms) == [4] * 7


def test_the_class_token_is_a_cut_and_the_patches_are_a_product(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = read("vit")
    assert found.cuts == ("Concat cat",)
    assert load_workload(found.problem_text("m.onnx")).dropped == found.cuts
    assert 3 * 8 * 8 * 16 * 32 in {
        found.workload.iterations(e) for e in found.workload.einsums if e.unit == "matrix"
    }
    assert main(["import", str(DATA / "vit.onnx"), "--json"]) == 0
    assert '"Concat cat"' in capsys.readouterr().out


def test_a_part_of_a_part_is_a_view_of_what_an_einsum_makes(tmp_path: Path) -> None:
    """Queries of which some words alone are turned, as in GPT-NeoX: a part of a part is joined."""
    import onnx
    from onnx import TensorProto, helper

    float32, int64 = TensorProto.FLOAT, TensorProto.INT64
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["both"]),
        helper.make_node("Split", ["both"], ["q", "k"], axis=-1, num_outputs=2),
        helper.make_node("Slice", ["q", "begin", "ends", "axes"], ["some"]),
        helper.make_node("Concat", ["some", "x"], ["joined"], axis=-1),
        helper.make_node("Transpose", ["k"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["q", "t"], ["scores"]),
        helper.make_node("MatMul", ["joined", "u"], ["out"]),
    ]
    weights = [
        helper.make_tensor("w", float32, [8, 16], [0.5] * 128),
        helper.make_tensor("u", float32, [12, 4], [0.5] * 48),
        helper.make_tensor("begin", int64, [1], [0]),
        helper.make_tensor("ends", int64, [1], [4]),
        helper.make_tensor("axes", int64, [1], [-1]),
    ]
    made = [helper.make_tensor_value_info(n, float32, None) for n in ("scores", "out")]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", float32, [6, 8])], made, weights
    )
    onnx.save(helper.make_model(graph), str(tmp_path / "g.onnx"))
    found = import_onnx(tmp_path / "g.onnx")
    assert found.cuts == ("Concat joined",)
    assert found.workload.views["joined"] in {e.name for e in found.workload.einsums}


def test_a_graph_with_open_sizes_asks_for_them(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    float32 = TensorProto.FLOAT
    left = helper.make_tensor_value_info("x", float32, ["batch", 8])
    out = helper.make_tensor_value_info("y", float32, ["batch", 4])
    weight = helper.make_tensor("w", float32, [8, 4], [0.5] * 32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    graph = helper.make_graph(nodes, "g", [left], [out], [weight])
    onnx.save(helper.make_model(graph), str(tmp_path / "g.onnx"))
    with pytest.raises(SpecError, match="--dim batch=SIZE"):
        import_onnx(tmp_path / "g.onnx")
    found = import_onnx(tmp_path / "g.onnx", sizes={"batch": 3})
    assert (found.macs, found.weight_words) == (96, 32)


def test_a_convolution_of_overlapping_windows_is_refused_with_its_share(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    float32 = TensorProto.FLOAT
    image = helper.make_tensor_value_info("x", float32, [1, 2, 8, 8])
    out = helper.make_tensor_value_info("y", float32, [1, 4, 6, 6])
    weight = helper.make_tensor("w", float32, [4, 2, 3, 3], [0.5] * 72)
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Conv", ["r", "w"], ["y"], name="c"),
    ]
    onnx.save(
        helper.make_model(helper.make_graph(nodes, "g", [image], [out], [weight])),
        str(tmp_path / "g.onnx"),
    )
    with pytest.raises(SpecError, match=r"0 of 2,592'; left out are Conv c, 2,592 multiply"):
        import_onnx(tmp_path / "g.onnx")


def test_what_is_no_graph_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.onnx").write_bytes(b"not a graph")
    assert main(["import", str(tmp_path / "x.onnx")]) == 2
    assert main(["import", str(tmp_path / "y.onnx")]) == 2
    assert "expected an ONNX file" in capsys.readouterr().err


def test_without_torch_a_program_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    from flat_mapper.importers.graphs.torch_graph import import_torch

    assert main(["import", "x.pt2"]) == 2  # a file is read without it
    assert "no such file" in capsys.readouterr().err
    if importlib.util.find_spec("torch"):
        pytest.skip("torch is here")
    with pytest.raises(BackendError, match="pip install torch"):
        import_torch(object())


@pytest.mark.nightly
def test_what_torch_exports_is_the_same_cascade(tmp_path: Path) -> None:
    """Einsums of torch.export's graph beside those of the ONNX file, for the four models."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from export_models import drawn, models

    from flat_mapper.importers.graphs.torch_graph import import_torch

    for name, model, inputs in models():
        drawn(model)
        found = import_torch(torch.export.export(model, inputs), name=name)
        assert found.macs == COUNTS[name]["macs"]
        assert found.weight_words == COUNTS[name]["parameters"]
        assert shapes(found.workload) == shapes(read(name).workload)
        assert found.workload.mask == read(name).workload.mask


@pytest.mark.nightly
def test_a_file_of_a_model_that_gives_out_the_library_s_own_types(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from export_models import models

    _name, model, inputs = next(models())
    saved = tmp_path / "model.pt2"
    torch.export.save(torch.export.export(model, inputs), str(saved))
    command = [sys.executable, "-m", "flat_mapper", "import", "model.pt2", "-o", "graph.yaml"]
    done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert "100.0000% of the graph's" in done.stdout
    assert not done.stderr  # torch prints its own traceback where it knows no such type
    (tmp_path / "model.pt2").write_text("junk", encoding="utf-8")
    assert main(["import", str(saved)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.nightly
def test_exported_again_they_are_the_same(tmp_path: Path) -> None:
    if not (importlib.util.find_spec("torch") and importlib.util.find_spec("transformers")):
        pytest.skip("torch or transformers is missing")
    script = Path(__file__).parent / "export_models.py"
    subprocess.run([sys.executable, str(script), str(tmp_path)], check=True)
    for name in MODELS:
        again = import_onnx(tmp_path / f"{name}.onnx")
        assert shapes(again.workload) == shapes(read(name).workload)


def test_a_graph_without_a_product_is_refused_in_words(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    image, out = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [2, 8]) for n in "xy")
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    graph = helper.make_graph(nodes, "g", [image], [out])
    onnx.save(helper.make_model(graph), str(tmp_path / "g.onnx"))
    with pytest.raises(SpecError, match=r"expected a graph with a product of tensors, .*'none'"):
        import_onnx(tmp_path / "g.onnx")
