"""One test for each finding about inputs that were answered wrongly without a word."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from findings_inputs import BLOCK, answer, chip, file, refusal
from renaming import Renaming, nodes_of

from flat_mapper.api import calls as api
from flat_mapper.arch.reader import load_platform
from flat_mapper.cli.main import main
from flat_mapper.mapping.sharing import in_place_classes
from flat_mapper.mapping.space_reader import load_mapspace
from flat_mapper.reports.answers import SearchResult
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.notation import parse_einsum

SMALL = {"B": 2, "H": 4, "P": 6, "E": 4, "F": 4}


def numbers(found: object) -> tuple[float, ...]:
    assert isinstance(found, SearchResult)
    result = found.result
    return (result.latency_s, result.energy_pj, result.offchip_bytes, result.macs)


def small(problem: str) -> Workload:
    if problem in ("online", "online-2pass"):
        return api.load_problem("bert-base", sizes={**SMALL, "B": 1}, softmax=problem)
    if problem == "deepseek-v2-mla":
        sizes = {"H": 4, "M": 16, "N": 4, "C": 8, "R": 4, "F": 4}
        return api.load_problem(problem, sizes=sizes)
    if problem == "gemm-gemm":
        return api.load_problem(problem, sizes={"I": 8, "J": 12, "K": 16, "L": 6})
    groups = {"G": 2} if problem == "llama3-8b" else {}
    return api.load_problem(problem, scope="block", sizes={**SMALL, **groups, "D": 8, "FF": 8})


CASES = [
    *(("bert-base", "edge", space) for space in ("flat", "flex", "naive", "flat-r", "flat-b")),
    ("llama3-8b", "cloud", "flat-h"),
    ("deepseek-v2-mla", "edge", "flat-mla"),
    ("gemm-gemm", "edge", "flat"),
    ("tiny", "eyeriss", "flex-stream"),
    ("online", "edge", "flat"),
    ("online-2pass", "edge", "flat-h"),
]


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.nightly)])
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


def test_b3_the_place_of_a_result_does_not_hang_on_the_order_of_operands() -> None:
    """Y = G + H in the place of the wider one, whichever is named first."""
    sizes = {"I": 4, "J": 4, "K": 4}
    lines = ("T[i,k] = A[i,j] * W[j,k]", "G[i,k] = exp(T[i,k])", "H[i,k] = U[i,j] * V[j,k]")
    bits = {"G": 8, "T": 8, "H": 32, "Y": 16}
    live = []
    for operands in ("G[i,k] + H[i,k]", "H[i,k] + G[i,k]"):
        einsums = tuple(parse_einsum(line) for line in (*lines, f"Y[i,k] = {operands}"))
        cascade = Workload(name="sum", rank_sizes=sizes, einsums=einsums, tensor_bits=bits)
        names = tuple(e.name for e in cascade.ordered)
        live.append(in_place_classes(cascade, names, "GLB"))
    assert live[0] == live[1]
    assert live[0]["Y"] == live[0]["H"] == "H"


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


def test_b2_widths_that_differ_are_converted_at_the_same_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = Path(__file__).parents[2] / "examples"
    case = ("--problem", "tiny", "--seq", "8", "--set", "B=1", "--mapspace", "flat")
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
            held = [f"{n}: words of 32 bits hold one value each" for n in ("DRAM", "GLB")]
            assert notes[:2] == held


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
    assert "take --word-bits 8" in line


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
        assert main(["import", path, *options, "-o", target]) == 0
        capsys.readouterr()
        found = api.load_problem(target, scope="model")
        scores = found.einsum("QK")
        return str(found.mask), found.repeat, found.unmasked_iterations(scores)

    pairs = 32 * 128 * (8192 * 4096 - 4096 * 4095 // 2)
    assert problem(MISTRAL, "--seq", "8192") == ("causal, window 4096", 32, pairs)
    assert problem(MISTRAL, "--seq", "4096")[:2] == ("causal", 32)
    for config, counts in ((GEMMA3, (29, 5)), (GEMMA2, (13, 13))):
        window = config["sliding_window"]
        windowed = problem(config, "--seq", "8192", "--layers", "window")
        full = problem(config, "--seq", "8192", "--layers", "full")
        assert (windowed[1], full[1]) == counts
        assert (windowed[0], full[0]) == (f"causal, window {window}", "causal")
        problem(config, "--seq", "8192")
        whole = api.load_problem(str(tmp_path / "model.yaml"), scope="model")
        kinds = {str(kind.mask): kind.count for kind in whole.layers}
        assert kinds == {f"causal, window {window}": counts[0], "causal": counts[1]}
        path = str(tmp_path / "config.json")
        assert "one of window, full" in refusal(capsys, "import", path, "--layers", "all")
    encoder = {**MISTRAL, "model_type": "bert", "max_position_embeddings": 512}
    assert problem(encoder)[0] == "None"


def test_b1_generate_and_need_say_it_too(capsys: pytest.CaptureFixture[str]) -> None:
    case = ("--arch", "edge", "--problem", "tiny", "--mapspace", "flat-h")
    left_out = ["Q", "K", "V", "O", "FC1", "FC2"]
    found = answer(capsys, "map", *case, "--objective", "latency,energy")
    assert found["left_out"] == left_out
    found = answer(capsys, "need", "buffer", *case, "--utilization", "0.01")
    assert found["left_out"] == left_out
    found = answer(capsys, "generate", *case, "--prefill", "8", "--decode", "1")
    assert found["left_out"] == ["Q", "K", "V", "O", "FC1", "FC2"]
    assert found["cache_bytes"] == 2 * (2 * 2 * 16 * 8 * 2)  # two layers, K and V, 16 positions


def test_b3_a_granularity_needs_roles_not_letters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = BLOCK.replace("  roles: {batch: B, heads: H, queries: P, keys: M}\n", "")
    path, space = file(tmp_path, bare), ("--mapspace", "flat-h")
    line = refusal(capsys, "map", "--arch", "edge", "--problem", path, *space)
    assert "granularity head: expected roles in the problem that say which ranks are batch" in line
    line = refusal(capsys, "map", "--arch", "edge", "--problem", path, "--seq", "16")
    assert "sequence length: expected roles that say which ranks are queries and keys" in line
    line = refusal(capsys, "map", "--arch", "edge", "--problem", path, "--mask", "causal")
    assert "mask: expected roles that say which ranks are its queries and keys" in line
    found = answer(
        capsys, "map", "--arch", "edge", "--problem", file(tmp_path, BLOCK), *space, "--seq", "16"
    )
    assert isinstance(found["ranks"], dict)
    assert (found["granularity"], found["ranks"]["P"], found["ranks"]["M"]) == ("head", 16, 16)


def test_b4_an_imported_model_decodes_under_its_mask(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A row softmax does whole rows, so a cache of any length can be cut with a remainder."""
    text = "problem:\n  ranks: {B: 1, H: 2, P: 16, M: P, E: 4, F: 4}\n"
    text += "  attention: {}\n  mask: causal\n"
    case = ("--prefill", "16", "--decode", "5", "--page", "1")
    path = file(tmp_path, text)
    masked = answer(capsys, "generate", "--arch", "edge", "--problem", path, *case)
    dense = answer(capsys, "generate", "--arch", "edge", "--problem", path, *case, "--mask", "none")
    assert masked["costs"] == dense["costs"]
