"""Tiles that kernels ship with, beside the best ones of their lattices."""

from __future__ import annotations

import json
from pathlib import Path

import answer_schema
import pytest

from studies.tiles.__main__ import main
from studies.tiles.rows import summary, tile_rows

FA3_CSV = """\
kernel,dtype,head_dim,v_head_dim,mask,paged_kv_without_tma,tile_m,tile_n,stages
fa3-sm90,bf16/fp16,128,128,none,0,128,176,2
fa3-sm90,bf16/fp16,192,192,causal,0,128,112,2
"""
# Source: tt-metal's default, and the fastest of seven in polaris at 0334f829, block T2.1.
TTNN_CSV = """\
op,case,grid,q_chunk,k_chunk,fidelity,exp,dest,note
scaled_dot_product_attention,no program config given (kernel default),110,32,32,HiFi2,,bf16,
scaled_dot_product_attention,causal S4096 32/8 heads of 128 bfp8 HiFi2,11x10,256,128,HiFi2,,bf16,
sparse_sdpa,default,,,128,,,,
"""
# Source: tpu-inference at b8692ff0, kernels/ragged_paged_attention/v3/tuned_block_sizes.py.
RPA_CSV = """\
kernel,device,q_dtype,kv_dtype,q_heads,kv_heads,head_dim,page_size,max_model_len,sliding_window,kv_pages_per_block,bkv_tokens,bq_tokens
rpa-v3,TPU v6e,bfloat16,float8_e4m3fn,64,8,256,256,256,,1,256,16
rpa-v3,TPU v7,bfloat16,bfloat16,8,4,256,256,4096,,16,4096,128
"""


@pytest.mark.parametrize(
    ("text", "answered"),
    [
        pytest.param(FA3_CSV, 2, marks=pytest.mark.nightly),
        pytest.param(TTNN_CSV, 2, marks=pytest.mark.nightly),
        (RPA_CSV, 1),
    ],
)
def test_shipped_tiles_stand_beside_the_best(text: str, answered: int, tmp_path: Path) -> None:
    path = tmp_path / "tiles.csv"
    path.write_text(text)
    rows = [row.to_dict() for row in tile_rows(path)]
    with_answer = [row for row in rows if "best_s" in row]
    assert len(with_answer) == answered
    header = text.partition("\n")[0].split(",")
    for row in rows:
        assert set(header) <= set(row)
        assert row.get("left_out") or row["feasible"]
    for row in with_answer:
        assert row["shipped_over_best"] >= 1  # type: ignore[operator]
        assert bool(row["term"]) == (row["shipped_over_best"] > 1)  # type: ignore[operator]
    (first, *_) = summary(tile_rows(path))
    assert first["feasible"] == answered


def test_the_command_prints_a_line_for_each_kernel(tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "tiles.csv"
    path.write_text(RPA_CSV)
    assert main(["--csv", str(path)]) == 0
    told = capsys.readouterr().out
    assert "rpa-v3" in told
    assert "left out: TPU v7: no architecture of it ships" in told
    assert main(["--csv", str(path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert answer_schema.faults(document) == []
    assert len(document["rows"]) == 2
    path.write_text(RPA_CSV.replace(",64,8,256,256,256,", ",64,0,256,256,256,"))
    assert main(["--csv", str(path)]) == 2
    assert "row 2: kv_heads: expected a whole number >= 1, got '0'" in capsys.readouterr().err
    assert main([]) == 2
