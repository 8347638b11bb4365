"""Tile sizes in a kernel's own words: what fits, what they cost, and shipped ones beside them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import flat_mapper as fm
from flat_mapper.api.calls import load_problem
from flat_mapper.arch.reader import load_platform
from flat_mapper.base.errors import NothingFeasible, SpecError
from flat_mapper.base.formats import Width
from flat_mapper.cli.main import main
from flat_mapper.execution.run import execute
from flat_mapper.explore.kernel_tiles import KERNELS, kernel_named, priced, ranked, worked_on
from flat_mapper.kernels.flash_mapping import Shape, Tile, shape_of
from flat_mapper.kernels.nvidia import FA3
from flat_mapper.workload.cascade import attention
from flat_mapper.workload.graph import Workload

# Tiles of FlashAttention-3 on sm90, no mask: bits, head sizes, rows, keys. Source:
# hopper/tile_size.h of Dao-AILab/flash-attention at 0251105a, all cases evaluated.
SHIPPED = (
    *(
        (16, 64, 64, 192, 192),
        (16, 64, 256, 128, 96),
        (16, 64, 512, 64, 64),
        (16, 96, 96, 192, 144),
    ),
    *((16, 128, 128, 128, 176), (16, 192, 128, 128, 128), (16, 192, 192, 128, 112)),
    *((16, 256, 256, 128, 80), (8, 64, 64, 192, 160), (8, 96, 96, 192, 128)),
    *((8, 128, 128, 128, 224), (8, 192, 128, 128, 160), (8, 256, 256, 128, 128)),
)


def small(seq: int = 512, mask: str = "", **bits: Width) -> Workload:
    text = (
        f"problem: {{ranks: {{B: 1, H: 2, P: {seq}, M: P, E: 64, F: 64}}, "
        f"attention: {{kv_heads: 1}}}}\n"
    )
    return load_problem(text, softmax="online", mask=mask, bits=bits)


def test_fa3s_shipped_tiles_fit_at_every_head_size() -> None:
    for bits, head, v_head, rows, keys in SHIPPED:
        width = "bf16" if bits == 16 else "fp8_e4m3"
        one = attention(B=1, H=1, P=256, M=256, E=head, F=v_head, softmax="online")
        shape = shape_of(_with(one, width))
        fit = FA3.tightest(shape, "h100", Tile(rows=rows, keys=keys))
        assert fit.fits, f"{bits} bits, heads of {head} and {v_head}: {fit}"


def _with(workload: Workload, width: Width) -> Workload:
    from dataclasses import replace

    return replace(workload, tensor_bits=dict.fromkeys(("Q", "K", "V"), width))


def test_shared_memory_of_a_tile_by_hand() -> None:
    # Heads of 128 in bf16, 128 x 176: Q 32 KiB, two stages of K and V 2 x 2 x 44 KiB.
    shape = shape_of(attention(B=1, H=1, P=256, M=256, E=128, F=128, softmax="online"))
    memory, registers = FA3.fit(shape, "h100", Tile(rows=128, keys=176))
    assert memory.needs == 1024 * (32 + 4 * 44)
    assert registers.needs == 128 / 2 + 176 / 2 + 176 / 4 + 32  # sums, scores, P, the rest
    over = FA3.tightest(shape, "h100", Tile(rows=128, keys=256))
    assert (over.what, over.fits) == ("bytes of shared memory", False)


@pytest.mark.parametrize(
    ("kernel", "chip", "mask"),
    [
        *(("fa3", "h100", "causal"), ("fa3", "a100", ""), ("fa2", "l40s", "causal")),
        *(("triton", "a100", "causal"), ("flex", "h100", ""), ("splash", "tpu-v6e", "causal")),
        *(("rpa3", "tpu-v5e", "causal"), ("ttnn", "blackhole-p100a", "causal")),
    ],
)
def test_every_kernel_has_a_best_tile_in_its_words(kernel: str, chip: str, mask: str) -> None:
    one, workload = kernel_named(kernel), small(mask=mask)
    lattice = list(one.lattice(shape_of(workload), chip))
    found = ranked(one, load_platform(chip), workload, lattice[:: max(1, len(lattice) // 8)])
    seconds = [one.seconds for one in found.tiles]
    assert seconds == sorted(seconds)
    assert found.asked == found.unfit + len(found.tiles)
    for tile in found.tiles:
        assert tile.fit.fits
    snippet = found.kernel.snippet(found.best.tile.words)
    sizes = [str(v) for v in found.best.tile.words.values() if isinstance(v, int)][:2]
    assert all(size in snippet for size in sizes)


def test_what_the_models_error_cannot_tell_apart_is_a_tie() -> None:
    found = ranked(KERNELS["flex"], load_platform("a100"), small(mask="causal"))
    (band,) = found.bands
    inside = [t for t in found.tiles if t.seconds / found.best.seconds - 1 <= band.median]
    assert found.tied == len(inside) == found.to_dict()["tied"]
    assert str(found).count(" tie ") == min(found.count, found.tied) + (found.tied > 1)
    workload = small(mask="causal")
    lattice = list(KERNELS["splash"].lattice(shape_of(workload), "tpu-v6e"))[:2]
    unknown = ranked(KERNELS["splash"], load_platform("tpu-v6e"), workload, lattice)
    assert (unknown.bands, unknown.tied) == ((), 1)
    assert " tie " not in str(unknown)


def test_flex_divides_the_blocks_of_a_block_mask() -> None:
    shape = shape_of(small())
    for tile in KERNELS["flex"].lattice(shape, "h100"):
        assert 128 % tile.rows == 128 % tile.keys == 0


def test_a_decode_may_cut_its_keys() -> None:
    decode = load_problem(
        "problem: {ranks: {B: 1, H: 8, P: 1, M: 8192, E: 64, F: 64}, attention: {}}\n",
        softmax="online",
    )
    lattice = [t for t in FA3.lattice(shape_of(decode), "h100") if (t.rows, t.keys) == (64, 64)]
    found = ranked(FA3, load_platform("h100"), decode, lattice)
    assert {one.tile.words["num_splits"] for one in found.tiles} >= {1, 2, 64}
    cut = next(one for one in found.tiles if one.tile.parts == 4)
    assert cut.workload.rank_sizes["S"] == 4


@pytest.mark.parametrize("mask", ["", "causal"])
def test_a_tiles_mapping_computes_attention(mask: str) -> None:
    """On real numbers, with a last tile of keys that is smaller."""
    workload, platform = small(seq=160, mask=mask), load_platform("h100")
    tile = Tile(rows=64, keys=48, packed=True)
    found = priced(FA3, platform, workload, shape_of(workload), tile)
    executed = execute(found.workload, platform, found.result.mapping)  # type: ignore[union-attr]
    assert executed.right
    assert worked_on(workload, tile).rank_sizes["M"] == (160 if mask else 192)


@pytest.mark.parametrize(("kernel", "chip"), [("triton", "a100"), ("ttnn", "blackhole-p100a")])
def test_the_prediction_is_what_evaluate_says_of_the_record(
    kernel, chip, tmp_path: Path, capsys
) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "p.yaml").write_text(
        "problem: {ranks: {B: 1, H: 4, P: 512, M: P, E: 64, F: 64}, mask: causal, attention: {}}\n"
    )
    command = ["tiles", "--for", kernel, "--arch", chip, "--problem", str(tmp_path / "p.yaml")]
    out = tmp_path / "out"
    assert main([*command, "--count", "2", "--json", "-o", str(out)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["tiles"]) == 2
    for number, tile in enumerate(told["tiles"], 1):
        assert main(["evaluate", str(out / str(number) / "fused-mapping.yaml"), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["latency_s"] == tile["predicted_s"]
    assert main([*command, "--snippet"]) == 0
    assert capsys.readouterr().out.startswith(("triton.Config({", "ttnn.SDPAProgramConfig("))
    assert main(command) == 0
    assert "tiles asked, " in capsys.readouterr().out


def test_python_asks_the_same() -> None:
    found = fm.tiles("flex", small(mask="causal"), "a100")
    assert found.best.tile.words.keys() == {"BLOCK_M", "BLOCK_N", "num_warps", "num_stages"}
    assert any(note.startswith("schedule interleaved") for note in found.to_dict()["notes"])
    with pytest.raises(SpecError, match="expected a problem by name"):
        fm.tiles("flex", small(), "a100", mask="causal")
    longer = fm.tiles("flex", small(), "a100", seq=4096).workload
    assert {longer.rank_sizes[rank] for rank in ("P", "M")} == {4096}


def test_what_a_kernel_is_not_for_is_refused() -> None:
    with pytest.raises(SpecError, match=r"--for: expected a kernel among fa3.*did you mean"):
        kernel_named("fa4")
    with pytest.raises(SpecError, match=r"--arch: expected a chip among .*, got 'edge'"):
        ranked(kernel_named("fa3"), load_platform("edge"), small())
    with pytest.raises(SpecError, match="expected an online softmax"):
        ranked(kernel_named("fa3"), load_platform("h100"), attention(B=1, H=1, P=8, M=8, E=8, F=8))
    wide = attention(B=1, H=1, P=512, M=512, E=4096, F=4096, softmax="online")
    with pytest.raises(NothingFeasible, match="no tile of fa3 fits h100: the nearest needs"):
        ranked(kernel_named("fa3"), load_platform("h100"), wide)


def test_a_shape_knows_its_bytes() -> None:
    shape: Shape = shape_of(small(K="bfp8_b", V="fp8_e4m3"))
    assert shape.row_bytes == 64 * 8.5 / 8 + 64
    assert (shape.kv_heads, shape.together, shape.value_bits) == (1, 2, 16)
