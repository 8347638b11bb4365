"""One test for each finding about names, numbers and what `check` says of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from findings_inputs import BLOCK, answer, chip, file, refusal

from flat_mapper.api import calls as api
from flat_mapper.cli.main import main

SPACE = """
mapspace:
  fusion: {groups: [[QK, softmax, AV]], staging: [Q], tiles: {P: [1, 8]}}
  constraints:
  - {einsum: QK, target: RF, type: dataspace, keep: [K]}
"""
UNKNOWN = [
    ("einsum: QK,", "einsum: QKK,", "expected an Einsum among QK, ", "did you mean 'QK'"),
    ("tiles: {P:", "tiles: {Z:", "fusion.tiles: expected ranks among B", "'Z'"),
    ("staging: [Q]", "staging: [ZZ]", "fusion.staging: expected tensors among", "'ZZ'"),
    ("keep: [K]", "keep: [QKK]", "expected tensors among", "did you mean 'QK'"),
    (
        "softmax,",
        "softmx,",
        "expected Einsums or operators among",
        "did you mean 'softmax'",
    ),
]


@pytest.mark.parametrize(("old", "new", "message", "hint"), UNKNOWN)
def test_b5_a_name_in_a_mapspace_is_known_or_refused(
    old: str, new: str, message: str, hint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = ("map", "--arch", "edge", "--problem", "tiny", "--mapspace")
    assert main([*case, file(tmp_path, SPACE)]) == 0
    capsys.readouterr()
    line = refusal(capsys, *case, file(tmp_path, SPACE.replace(old, new), "other.yaml"))
    assert message in line
    assert hint in line


def test_b5_what_may_be_absent_is_marked_so_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = SPACE.replace("[K]}", "[K], if_present: true}").replace("QK, t", "QKK, t")
    path = file(tmp_path, text)
    assert main(["map", "--arch", "edge", "--problem", "tiny", "--mapspace", path]) == 0
    capsys.readouterr()
    words = ("--problem", "gemm-gemm", "--set", "I=8", "--mapspace", "flat")
    found = answer(capsys, "map", "--arch", "edge", *words)
    note = "flat: the problem has nothing of the group QK, softmax, AV: not fused"
    assert found["notes"][1:] == [note]  # the first is of the width of sums


def test_b6_self_attention_stays_self_attention(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("bert-base", "llama3-8b", "t5-small", "trxl", "xlm", "tiny"):
        sizes = api.load_problem(name, sizes={"P": 128}).rank_sizes
        assert (sizes["P"], sizes["M"]) == (128, 128)
    cross = api.load_problem("whisper-large-cross", sizes={"P": 128}).rank_sizes
    assert (cross["P"], cross["M"]) == (128, 1500)


CHIP = [
    ("global_cycle_seconds: 2e-9}", "global_cycle_seconds: 2e-9, exp_cycle: 4}", "'exp_cycles'"),
    ("global_cycle_seconds: 2e-9}", "global_cycle_seconds: 2e-9, tanx_energy: 4}", "'tanh_energy'"),
    ('"22nm"', '"99999999999nm"', "technology from 1 to 1000 nm"),
    ("width: 64, datawidth: 16", "width: 64, word_bits: 10**20", "from 1 to 1024 bits"),
    ("shared_bandwidth: 8}", "shared_bandwith: 8}", "did you mean 'shared_bandwidth'"),
]


@pytest.mark.parametrize(("old", "new", "message"), CHIP)
def test_b5_a_name_or_a_number_in_an_architecture_is_known_or_refused(
    old: str, new: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = chip(tmp_path, (old, new))
    assert message in refusal(capsys, "map", "--arch", path, "--problem", "tiny")
    assert main(["check", path]) == 2
    assert message in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "word_bits: 16",
            "word_bits: 100000000000000000000",
            "word_bits: expected int > 0, from 1 to 1024 bits",
        ),
        ("layers: 2", "layers: 2\n  tensor_bits: {QQ: 8}", "did you mean 'Q'"),
        ("P: 8,", "P: 8, PP: 9,", "did you mean 'P'"),
        ("layers: 2", "layer: 2", "did you mean 'layers'"),
        ("layers: 2", "layers: 2\n  tensor_bits: {Q: 100000000000000000000}", "from 1 to 1024"),
    ],
)
def test_b5_a_name_or_a_number_in_a_problem_is_known_or_refused(
    old: str, new: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = Path(__file__).parents[2] / "problems" / "tiny.yaml"
    path = file(tmp_path, tiny.read_text(encoding="utf-8").replace(old, new))
    assert message in refusal(capsys, "map", "--arch", "edge", "--problem", path)
    assert main(["check", path]) == 2
    assert message in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("QK_sum, A]", "QK_sums, A]", "operators.softmax: expected Einsums among Q, QK, "),
        ("queries: P", "queries: PP", "roles.queries: expected a rank among B, H, P"),
        (
            "queries: P",
            "query: P",
            "expected keys among batch, groups, heads, queries, keys, got 'query'",
        ),
        (
            "QK_exp, QK_sum, A]",
            "QK_sum, A]",
            "softmax: expected QK_exp in it, because",
        ),
        ("[QK_max, QK_exp, QK_sum, A]", "[]", "softmax: expected at least one Einsum, got 'none'"),
        ("queries: P", "queries: M", "one role for each rank, got 'M twice'"),
    ],
)
def test_b5_roles_and_operators_are_known_or_refused(
    old: str, new: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = file(tmp_path, BLOCK.replace(old, new))
    assert message in refusal(capsys, "map", "--arch", "edge", "--problem", path)


REFUSED_BY_MAP = [
    (
        "- !Component\n    name: GLB",
        "- !Container {name: DIE, spatial: {meshX: 2}}\n  - !Component\n    name: GLB",
        "mapspace: {fusion: {groups: [[QK, softmax, AV]]}}",  # of one array
    ),
    ("width: 16, depth: 32, datawidth: 16", "width: 8, depth: 32, datawidth: 8", "tiny"),
    ("", "", "mapspace: {constraints: [{target: PEE, type: spatial, x: [B]}]}"),
]


@pytest.mark.parametrize(("old", "new", "more"), REFUSED_BY_MAP)
def test_b7_check_refuses_what_map_refuses_in_the_same_words(
    old: str, new: str, more: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = str(Path(__file__).parents[2] / "problems" / "tiny.yaml")
    arch = chip(tmp_path, (old or "name: GLB", new or "name: GLB"))
    files, space = [arch, tiny], []
    if more.startswith("mapspace"):
        files.append(file(tmp_path, more, "space.yaml"))
        space = ["--mapspace", files[-1]]
    line = refusal(capsys, "map", "--arch", arch, "--problem", tiny, *space)
    assert main(["check", *files]) == 2
    assert line.removeprefix("SpecError: ").strip() in capsys.readouterr().out


def test_b7_check_prints_what_it_understood(capsys: pytest.CaptureFixture[str]) -> None:
    root = Path(__file__).parents[2]
    files = ["arch/edge.yaml", "problems/bert-base.yaml", "mapspaces/flat.yaml"]
    found = answer(capsys, "check", *(str(root / name) for name in files))
    listed = found["files"]
    assert isinstance(listed, list)
    chip_, problem, space, together = (f["understood"] for f in listed)
    glb, mac = chip_["levels"]["GLB"], chip_["units"]["MAC"]
    assert (glb["capacity_bytes"], glb["row_words"], glb["bytes_per_s"]) == (
        *(512 * 1024, 32),
        pytest.approx(1e12),
    )
    assert glb["words_per_cycle"] == pytest.approx(1e12 / 2 / 940e6)
    assert (mac["instances"], mac["operations_per_s"]) == (1024, pytest.approx(2 * 1024 * 940e6))
    assert min(glb["read_pj"], glb["area_um2"], mac["compute_pj"]) > 0
    qk = problem["einsums"]["QK"]
    assert qk["macs"] == 64 * 12 * 512 * 512 * 64
    assert (qk["bytes_in"], qk["bytes_out"]) == (96 * 2**20, 384 * 2**20)
    assert (space["granularity"], space["unfused_too"], space["constraints"]) == ("any", True, 0)
    assert together["size"] > 10**50
    assert main(["check", str(root / files[0])]) == 0
    text = capsys.readouterr().out
    assert all(
        word in text
        for word in ("512 KiB", "1,000 GB/s", "1.925 Top/s", "a MAC is two operations", "940 MHz")
    )


def test_b5_constraints_that_hold_nothing_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    case = ("--problem", "gemm-gemm", "--set", "I=8", "--mapspace", "naive")
    found = answer(capsys, "map", "--arch", "edge", *case)
    assert found["notes"][1:] == ["naive: the problem has no QK, AV: 8 constraints hold nothing"]
