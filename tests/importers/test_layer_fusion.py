"""A folder of per-layer Timeloop problems, and the attention in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flat_mapper.base.errors import SpecError
from flat_mapper.cli.main import main
from flat_mapper.importers.layer_fusion import AttentionPair, Product, _pair, fuse_layers
from flat_mapper.workload.reader import load_workload

SHAPE = """\
base: &base
  version: 0.4
  shape:
    dimensions: [K, N, T, G]
    data_spaces:
    - {name: Weights, projection: [K, N, G]}
    - {name: Inputs, projection: [T, K, G]}
    - {name: Outputs, projection: [T, N, G], read_write: true}
  instance: {K: 1, N: 1, T: 1, G: 1}
"""
LAYER = "{{{{include_text('../shape.yaml')}}}}\nproblem:\n  <<<: *base\n  instance: {{{}}}\n"

# A block of 4 heads of width 8 over 16 positions: projections, QK, AV, projection, feed-forward.
BLOCK = (
    "K: 32, N: 96, T: 16",
    "K: 8, N: 16, T: 16, G: 4",
    "K: 16, N: 8, T: 16, G: 4",
    "K: 32, N: 32, T: 16",
    "K: 32, N: 128, T: 16",
    "K: 128, N: 32, T: 16",
)
# The same block with its heads written as rows, and the second product first.
LOST = (*BLOCK[:1], "K: 16, N: 8, T: 4", "K: 16, N: 16, T: 4", *BLOCK[3:])


def folder(tmp_path: Path, layers: tuple[str, ...]) -> Path:
    (tmp_path / "shape.yaml").write_text(SHAPE, encoding="utf-8")
    where = tmp_path / "net"
    where.mkdir()
    for number, sizes in enumerate(layers):
        (where / f"{number:02}.yaml").write_text(LAYER.format(sizes), encoding="utf-8")
    return where


def test_the_pair_of_every_block_is_found(tmp_path: Path) -> None:
    found = fuse_layers(folder(tmp_path, BLOCK * 3))
    assert [(p.first, p.second, p.restored) for p in found.pairs] == [
        ("01.yaml", "02.yaml", False),
        ("07.yaml", "08.yaml", False),
        ("13.yaml", "14.yaml", False),
    ]
    assert found.said["01.yaml"] == "QK of pair 1, B=1 H=4 P=16 M=16 E=8 F=8"
    assert found.said["02.yaml"] == "AV of pair 1, with 01.yaml"
    assert found.said["00.yaml"] == "left as it is"
    assert len(found.said) == 18


def test_the_written_problem_is_the_cascade(tmp_path: Path) -> None:
    text = fuse_layers(folder(tmp_path, BLOCK * 2)).problem_text("net")
    workload = load_workload(text, "model")
    assert (workload.name, workload.repeat, workload.source) == (
        *("net", 2),
        "net: 01.yaml and 02.yaml and their like",
    )
    core = load_workload(text)
    assert [e.name for e in core.einsums] == ["QK", "QK_max", "QK_exp", "QK_sum", "A", "AV"]
    assert {r: core.rank_sizes[r] for r in "BHPMEF"} == {
        **{"B": 1, "H": 4, "P": 16},
        **{"M": 16, "E": 8, "F": 8},
    }


def test_heads_that_were_written_as_rows(tmp_path: Path) -> None:
    found = fuse_layers(folder(tmp_path, LOST * 2))
    assert [(p.first, p.second, p.restored) for p in found.pairs] == [
        ("02.yaml", "01.yaml", True),
        ("08.yaml", "07.yaml", True),
    ]
    assert found.said["02.yaml"].endswith("; heads in place of queries, P and E restored")
    assert "# P and E are restored" in found.problem_text("net")
    assert found.shapes() == {(1, 4, 16, 16, 8, 8): 2}


def test_heads_are_not_read_into_rows_that_no_other_layer_bears_out(tmp_path: Path) -> None:
    """Two layers of a perceptron have such sizes too."""
    layers = ("K: 64, N: 16, T: 4", "K: 16, N: 16, T: 4", "K: 16, N: 8, T: 4")
    assert fuse_layers(folder(tmp_path, layers)).pairs == ()


def test_a_feed_forward_layer_is_no_attention(tmp_path: Path) -> None:
    assert fuse_layers(folder(tmp_path, BLOCK[3:] * 2)).pairs == ()


def test_cross_attention_in_two_batch_ranks() -> None:
    first = Product(file="a", batch=(2, 3), reduced=8, free=(10, 20))
    second = Product(file="b", batch=(2, 3), reduced=20, free=(6, 10))
    pair = _pair(first, second, (first, second))
    assert pair is not None
    assert pair.sizes == {"B": 2, "H": 3, "P": 10, "M": 20, "E": 8, "F": 6}
    assert _pair(first, Product(file="b", batch=(2, 4), reduced=20, free=(6, 10)), ()) is None


@given(
    st.integers(2, 16),
    st.integers(2, 64),
    st.integers(2, 64),
    st.integers(2, 64),
    st.booleans(),
    st.booleans(),
)
def test_self_attention_is_known_in_any_order_of_files_and_operands(
    heads: int, length: int, e: int, f: int, flip: bool, swap: bool
) -> None:
    free = (length, f) if flip else (f, length)
    first = Product(file="qk", batch=(heads,), reduced=e, free=(length, length))
    second = Product(file="av", batch=(heads,), reduced=length, free=free)
    pair = _pair(*((second, first) if swap else (first, second)), ())
    assert isinstance(pair, AttentionPair)
    sizes = {"B": 1, "H": heads, "P": length, "M": length, "E": e, "F": f}
    assert e == f == length or not swap or (pair.first, pair.sizes) == ("qk", sizes)
    assert pair.sizes["P"] == pair.sizes["M"] == length


def test_files_that_are_no_matrix_product_are_named(tmp_path: Path) -> None:
    where = folder(tmp_path, BLOCK)
    (where / "cascade.yaml").write_text(
        "problem: {ranks: {I: 2, J: 2}, einsums: ['T[i] = A[i,j] * B[j]', 'Y[i] = exp(T[i])']}\n"
    )
    (where / "copy.yaml").write_text(
        "problem: {ranks: {I: 2}, einsums: [{einsum: 'T[i] = copy(A[i])', unit: matrix}]}\n"
    )
    (where / "other.yaml").write_text("mapping: []\n")
    (where / "broken.yaml").write_text("{{ include_text('no.yaml') }}\n")
    (where / "notes.txt").write_text("not looked at\n")
    said = fuse_layers(where).said
    assert said["cascade.yaml"] == "left out: a cascade of 2 Einsums already"
    assert said["copy.yaml"] == "left out: copy of 1 tensors, not a product of two"
    assert said["other.yaml"].startswith("left out, not read: ")
    assert "expected a file 'no.yaml' to include" in said["broken.yaml"]
    assert "notes.txt" not in said


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where, target = folder(tmp_path, BLOCK), tmp_path / "out" / "net.yaml"
    assert main(["import", str(where), "-o", str(target)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "01.yaml: QK of pair 1, B=1 H=4 P=16 M=16 E=8 F=8"
    assert lines[7:9] == [
        *("6 files, 1 pairs that are attention", "  1 x B=1 H=4 P=16 M=16 E=8 F=8"),
    ]
    assert load_workload(target).name == "net"
    assert main(["check", str(target)]) == 0
    capsys.readouterr()
    assert main(["import", str(where), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["pairs"][0]["ranks"]["H"] == 4
    assert set(document["files"]) == {f"{i:02}.yaml" for i in range(6)}


def test_what_cannot_be_fused_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where, target = folder(tmp_path, BLOCK[3:]), tmp_path / "net.yaml"
    assert main(["import", str(where), "-o", str(target)]) == 2
    assert "expected pairs of matrix products that are attention, all of one shape, got 'none'" in (
        capsys.readouterr().err
    )
    assert not target.exists()
    for number, text in enumerate(("K: 8, N: 16, T: 16, G: 4", "K: 16, N: 8, T: 16, G: 4")):
        (where / f"x{number}.yaml").write_text(LAYER.format(text))
        (where / f"y{number}.yaml").write_text(LAYER.format(text.replace("G: 4", "G: 2")))
    with pytest.raises(SpecError, match=r"got 'B=1 H=4 .* and B=1 H=2 .*'; give each shape a fold"):
        fuse_layers(where).problem_text("net")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", "expected a folder of Timeloop problems, got nothing there"),
        ("file.yaml", "expected a folder of Timeloop problems, got a file"),
        ("empty", "expected files named \\*.yaml, got none"),
    ],
)
def test_no_folder_of_problems(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "file.yaml").write_text("a: 1\n")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SpecError, match=message):
        fuse_layers(tmp_path / name)
