"""One test for each finding about inputs that were answered wrongly without a word."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from renaming import Renaming, nodes_of

from flat_mapper.api import calls as api
from flat_mapper.arch.reader import load_platform
from flat_mapper.cli.main import main
from flat_mapper.mapping.space_reader import load_mapspace
from flat_mapper.reports.answers import SearchResult
from flat_mapper.workload.graph import Workload

SMALL = {"B": 2, "H": 4, "P": 6, "E": 4, "F": 4}


def numbers(found: object) -> tuple[float, ...]:
    assert isinstance(found, SearchResult)
    result = found.result
    return (result.latency_s, result.energy_pj, result.offchip_bytes, result.macs)


def small(problem: str) -> Workload:
    if problem == "deepseek-v2-mla":
        sizes = {"H": 4, "M": 16, "N": 4, "C": 8, "R": 4, "F": 4}
        return api.load_problem(problem, sizes=sizes)
    if problem == "gemm-gemm":
        return api.load_problem(problem, sizes={"I": 8, "J": 12, "K": 16, "L": 6})
    groups = {"G": 2} if problem == "llama3-8b" else {}
    return api.load_problem(problem, "block", sizes={**SMALL, **groups, "D": 8, "FF": 8})


CASES = [
    *(("bert-base", "edge", space) for space in ("flat", "flex", "naive", "flat-r", "flat-b")),
    ("llama3-8b", "cloud", "flat-h"),
    ("deepseek-v2-mla", "edge", "flat-mla"),
    ("gemm-gemm", "edge", "flat"),
    ("tiny", "eyeriss", "flex-stream"),
]


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(("problem", "arch", "space"), CASES)
def test_b3_renaming_and_reordering_everything_changes_no_number(
    problem: str, arch: str, space: str, seed: int, tmp_path: Path
) -> None:
    workload, platform = small(problem), load_platform(arch)
    mapspace = load_mapspace(space)
    new = Renaming(workload, nodes_of(platform), seed)
    found = api.search(workload, platform, mapspace)
    again = api.search(new.workload(workload), new.platform(arch, tmp_path), new.mapspace(mapspace))
    assert numbers(again) == pytest.approx(numbers(found), rel=1e-12)


BLOCK = """
problem:
  ranks: {B: 1, H: 2, P: 8, M: P, E: 4, F: 4, D: 8, N: 16}
  operators: {softmax: [QK_max, QK_exp, QK_sum, A]}
  roles: {batch: B, heads: H, queries: P, keys: M}
  einsums:
  - Q[b,h,p,e] = X[b,p,d] * WQ[h,e,d]
  - QK[b,h,p,m] = Q[b,h,p,e] * K[b,h,m,e]
  - QK_max[b,h,p] = max(QK[b,h,p,m])
  - QK_exp[b,h,p,m] = exp(QK[b,h,p,m] - QK_max[b,h,p])
  - QK_sum[b,h,p] = sum(QK_exp[b,h,p,m])
  - A[b,h,p,m] = QK_exp[b,h,p,m] / QK_sum[b,h,p]
  - AV[b,h,p,f] = A[b,h,p,m] * V[b,h,m,f]
  - O[b,p,d] = AV[b,h,p,f] * WO[h,f,d]
  - {name: NORM, einsum: "G[b,p,d] = gelu(O[b,p,d])", unit: vector}
  - UP[b,p,n] = G[b,p,d] * W[d,n]
"""


def file(folder: Path, text: str, name: str = "mine.yaml") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    return line


def test_b1_a_written_cascade_is_mapped_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = file(tmp_path, BLOCK)
    found = answer(capsys, "map", "--arch", "edge", "--problem", path)
    einsums = found["einsums"]
    assert isinstance(einsums, dict)
    assert (len(einsums), found["left_out"]) == (10, [])
    assert len(api.load_problem(path).einsums) == 10
    line = refusal(capsys, "map", "--arch", "edge", "--problem", path, "--scope", "attention")
    assert "scope: expected block or model for a cascade that is written out" in line


def test_b1_every_answer_says_what_it_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    left_out = ["Q", "K", "V", "O", "FC1", "FC2"]
    case = ("--arch", "edge", "--problem", "tiny")
    assert answer(capsys, "map", *case)["left_out"] == left_out
    assert answer(capsys, "compare", *case)["left_out"] == left_out
    assert main(["map", *case]) == 0
    text = capsys.readouterr().out
    assert f"left out of the problem: {', '.join(left_out)}; --scope block" in text


def chip(folder: Path, edit: tuple[str, str], name: str = "chip") -> str:
    """The example's chip, changed."""
    examples = Path(__file__).parents[2] / "examples"
    for suffix in (".yaml", ".sfu.yaml"):
        text = (examples / f"my_chip{suffix}").read_text(encoding="utf-8")
        file(folder, text.replace(*edit), f"{name}{suffix}")
    return str(folder / f"{name}.yaml")


def test_b2_widths_that_differ_are_converted_at_the_same_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = Path(__file__).parents[2] / "examples"
    case = ("--problem", "tiny", "--seq", "8", "--set", "B=1")
    plain = answer(capsys, "map", "--arch", str(examples / "my_chip.yaml"), *case)
    for bits, factor in ((8, 2), (32, 0.5)):
        text = {
            'type: "LPDDR4", width: 64, datawidth: 16, shared_bandwidth: 8': 'type: "LPDDR4", '
            f"width: 64, datawidth: {bits}, shared_bandwidth: {8 * factor:g}",
        }
        ((old, new),) = text.items()
        chip(tmp_path, (old, new))
        for suffix in (".yaml", ".sfu.yaml"):
            path = tmp_path / f"chip{suffix}"
            narrow = path.read_text(encoding="utf-8").replace(
                "width: 256, depth: 4096, datawidth: 16, shared_bandwidth: 256",
                f"width: 256, depth: 4096, datawidth: {bits}, shared_bandwidth: {256 * factor:g}",
            )
            path.write_text(narrow, encoding="utf-8")
        found = answer(capsys, "map", "--arch", str(tmp_path / "chip.yaml"), *case)
        notes = found["notes"]
        assert isinstance(notes, list)
        if bits == 8:
            for key in ("latency_s", "energy_pj", "offchip_bytes"):
                assert found[key] == plain[key]
            assert "DRAM, GLB: words of 8 bits taken as 16" in notes[0]
        else:  # registers of 16 bits beside words of 32: those hold one value each
            assert notes == [f"{n}: words of 32 bits hold one value each" for n in ("DRAM", "GLB")]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            ("width: 16, depth: 32, datawidth: 16", "width: 8, depth: 32, datawidth: 8"),
            "RF: expect",
        ),
        (("multiplier_width: 16", "multiplier_width: 8"), "MAC.attributes.multiplier_width: "),
    ],
)
def test_b2_widths_that_cannot_be_converted_are_refused(
    edit: tuple[str, str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refusal(capsys, "map", "--arch", chip(tmp_path, edit), "--problem", "tiny")
    assert message in line
    assert "set word_bits: 8 in the problem" in line


def test_b3_the_unfused_baseline_goes_by_operators_not_by_names(tmp_path: Path) -> None:
    """Without the declaration nothing is one operator, whatever it is called."""
    whole = api.load_problem(file(tmp_path, BLOCK))
    bare = api.load_problem(
        file(tmp_path, BLOCK.replace("  operators: {softmax: [QK_max, QK_exp, QK_sum, A]}\n", ""))
    )
    groups = {
        name: [len(g.einsums) for g in api.search(w, "edge", "flex").mapping.groups]  # type: ignore[union-attr]
        for name, w in (("declared", whole), ("bare", bare))
    }
    assert (max(groups["declared"]), max(groups["bare"])) == (4, 1)


GEMMA3 = {
    **{"model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10240},
    **{"num_hidden_layers": 34, "sliding_window": 1024, "max_position_embeddings": 131072},
}
MISTRAL = {
    **{"model_type": "mistral", "hidden_size": 4096, "intermediate_size": 14336},
    **{"num_hidden_layers": 32, "num_attention_heads": 32, "sliding_window": 4096},
}
GEMMA2 = {
    **{"model_type": "gemma2", "hidden_size": 2304, "intermediate_size": 9216},
    **{"num_hidden_layers": 26, "num_attention_heads": 8, "num_key_value_heads": 4},
    **{"sliding_window": 4096, "max_position_embeddings": 8192},
}


def test_b4_an_imported_model_has_its_masks_and_its_layers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def problem(config: object, *options: str) -> tuple[str, int, int]:
        path = file(tmp_path, json.dumps(config), "config.json")
        target = str(tmp_path / "model.yaml")
        assert main(["import-hf", path, *options, "-o", target]) == 0
        capsys.readouterr()
        found = api.load_problem(target, "model")
        scores = found.einsum("QK")
        return str(found.mask), found.repeat, found.unmasked_iterations(scores)

    pairs = 32 * 128 * (8192 * 4096 - 4096 * 4095 // 2)
    assert problem(MISTRAL, "--seq", "8192") == ("causal, window 4096", 32, pairs)
    assert problem(MISTRAL, "--seq", "4096")[:2] == ("causal", 32)
    for config, counts in ((GEMMA3, (29, 5)), (GEMMA2, (13, 13))):
        windowed = problem(config, "--seq", "8192", "--layers", "window")
        full = problem(config, "--seq", "8192", "--layers", "full")
        assert (windowed[1], full[1]) == counts
        assert (windowed[0], full[0]) == (f"causal, window {config['sliding_window']}", "causal")
        line = refusal(capsys, "import-hf", str(tmp_path / "config.json"), "--seq", "8192")
        assert "expected layers that all see the same keys" in line
        assert "choose --layers window or --layers full" in line
    encoder = {**MISTRAL, "model_type": "bert", "max_position_embeddings": 512}
    assert problem(encoder)[0] == "None"


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
    found = answer(capsys, "map", "--arch", "edge", "--problem", "gemm-gemm", "--set", "I=8")
    note = "flat: the problem has nothing of the group QK, softmax, AV: not fused"
    assert found["notes"] == [note]


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
    ("width: 64, datawidth: 16", "width: 64, word_bits: 10**20", "at most 1024 bits of a word"),
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
            "word_bits: expected bits, an integer",
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
        ("queries: P", "query: P", "unknown key 'query'"),
        ("queries: P", "queries: M", "one role for each rank, got 'M twice'"),
    ],
)
def test_b5_roles_and_operators_are_known_or_refused(
    old: str, new: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = file(tmp_path, BLOCK.replace(old, new))
    assert message in refusal(capsys, "map", "--arch", "edge", "--problem", path)


def test_b1_generate_and_need_say_it_too(capsys: pytest.CaptureFixture[str]) -> None:
    case = ("--arch", "edge", "--problem", "tiny")
    left_out = ["Q", "K", "V", "O", "FC1", "FC2"]
    found = answer(capsys, "map", *case, "--objective", "latency,energy")
    assert found["left_out"] == left_out
    found = answer(capsys, "need", "buffer", *case, "--utilization", "0.01")
    assert found["left_out"] == left_out
    found = answer(capsys, "generate", *case, "--prefill", "8", "--decode", "1")
    assert found["left_out"] == ["Q", "K", "V", "O", "FC1", "FC2"]
    assert found["cache_bytes"] == 2 * (2 * 2 * 16 * 8 * 2)  # two layers, K and V, 16 positions


REFUSED_BY_MAP = [
    (
        "class: intmac, attributes: {multiplier_width: 16",
        "class: fpmac, attributes: {width: 16",
        "",
    ),
    (
        "- !Component\n    name: GLB",
        "- !Container {name: DIE, spatial: {meshX: 2}}\n  - !Component\n    name: GLB",
        "",
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
    assert (mac["instances"], mac["operations_per_s"]) == (1024, pytest.approx(1024 * 940e6))
    assert min(glb["read_pj"], glb["area_um2"], mac["compute_pj"]) > 0
    qk = problem["einsums"]["QK"]
    assert qk["macs"] == 64 * 12 * 512 * 512 * 64
    assert (qk["bytes_in"], qk["bytes_out"]) == (96 * 2**20, 384 * 2**20)
    assert (space["granularity"], space["unfused_too"], space["constraints"]) == ("any", True, 0)
    assert together["size"] > 10**50
    assert main(["check", str(root / files[0])]) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("512 KiB", "1,000 GB/s", "962.6 Gop/s", "940 MHz"))
