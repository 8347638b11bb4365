"""Blackhole's prefill and decode beside the model: a sample of the measured rows.

Rows: tenstorrent/polaris at 0334f829 (Apache-2.0), tests/test_perf/test_roofline_sdpa.py.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from flat_mapper.arch.reader import load_platform
from flat_mapper.backends.agreement import compare_run
from flat_mapper.base.errors import SpecError
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Result
from flat_mapper.energy.tables import unpriced
from flat_mapper.execution.run import execute
from flat_mapper.mapping.record import read_record
from flat_mapper.workload.cascade import attention
from flat_mapper.workload.mask import Mask
from studies.common import read_rows
from studies.silicon.accuracy import findings, leave_one_out
from studies.silicon.blackhole import are_counters, counted, counters_text
from studies.silicon.families import measured, row_files
from studies.silicon.sdpa_mapping import chunk_mapping

HEAD = (
    "label,block,polaris_use,variant,S,kv_seq,batch,num_heads,num_kv_heads,head_dim,v_head_dim,"
    "causal,window,chunk_start,dense_mask,mask_density,joint_seq,paged,q_chunk,k_chunk,cores,"
    "fidelity,input_dtype,kv_dtype,accum,exp_approx,wall_cycles,wall_us\n"
)
SWEEP = "plain,4096,4096,1,32,8,128,128,{},0,0,0,,0,0,{},{},110,HiFi2,bfp8_b,bfp8_b,bfloat16,1,0,"
# By causal, q_chunk and k_chunk: block T2.1, us.
MEASURED = {
    (1, 128, 128): 1898.25,
    (1, 128, 512): 2022.07,
    (1, 256, 128): 1352.73,
    (1, 512, 128): 1811.4,
    (1, 512, 512): 1358.86,
    (0, 128, 128): 2136.76,
    (0, 256, 128): 1959.11,
    (0, 512, 512): 1665.27,
}
OTHERS = """\
causal 64 cores,T2.3,fit,plain,4096,4096,1,32,8,128,128,1,0,0,0,,0,0,128,128,64,HiFi2,bfp8_b,\
bfp8_b,bfloat16,1,2962746,2194.63
windowed S8192 W1024,T2.3,fit,plain,8192,8192,1,16,16,128,128,1,1024,0,0,,0,0,128,128,110,HiFi2,\
bfp8_b,bfp8_b,bfloat16,1,1411340,1045.44
masked S4096 d0.25,R1a,prediction,plain,4096,4096,1,16,16,128,128,0,0,0,1,0.25,0,0,128,128,110,\
HiFi2,bfp8_b,bfp8_b,bfloat16,1,1945668,1441.24
MLA nh48 S2048,R1J2,prediction,mla,2048,2048,1,48,1,576,512,1,0,0,0,,0,0,32,128,110,HiFi4,\
bfloat16,bfloat16,bfloat16,0,28633519,21210.01
sparse T8192 TOPK1024,R1a,fit,sparse,2048,1024,1,32,1,576,512,0,0,0,0,,0,0,128,128,110,HiFi4,\
bfloat16,bfloat16,bfloat16,0,8603386,6372.88
main-tip fp32 S2048 q128,FP32M,prediction,plain,2048,2048,1,32,8,128,128,1,0,0,0,,0,0,128,128,110,\
HiFi4,bfp8_b,bfp8_b,float32,0,976606,723.41
"""


def sweep() -> str:
    lines = [
        f"c{c} q{q} k{k},T2.1,fit,{SWEEP.format(c, q, k)}{us}\n"
        for (c, q, k), us in MEASURED.items()
    ]
    return "".join(lines)


def written(tmp_path: Path, rows: str) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text(HEAD + rows, encoding="utf-8")
    return path


@pytest.mark.nightly
def test_the_model_names_the_fastest_chunks(tmp_path: Path) -> None:
    """Under a mask and without one, within 1 % of the fastest."""
    found = findings(measured(written(tmp_path, sweep())))
    assert [one["longer_percent"] for one in found["best_chunks"]] == pytest.approx([0, 0], abs=1)
    assert found["leave_one_out"][0]["rows"] == len(MEASURED)
    assert found["leave_one_out"][0]["median_percent"] < 8.8  # type: ignore[operator]


@pytest.mark.nightly
def test_every_kind_of_row_is_near_what_was_measured(tmp_path: Path) -> None:
    rows = measured(written(tmp_path, OTHERS))
    assert all(abs(row.error) < 0.2 for row in rows), [row.error for row in rows]
    sparse = next(r for r in rows if r.case.columns["variant"] == "sparse").to_dict()
    assert "values are all 576 of a latent, for 512" in str(sparse["left_out"])
    aside = [r.case.aside for r in rows if r.case.columns["polaris_use"] == "prediction"]
    assert aside == [True] * 3


DECODE = """\
label,block,batch,q_heads,kv_heads,head_dim,v_head_dim,cur_pos,cache_len,cores,kv_dtype,q_dtype,\
fidelity,accum,paged,page,k_chunk,max_cores_per_head_batch,q_in_dram,v_streamed,wall_us
paged,T2.8,32,32,8,128,128,4096,16384,110,bfp8_b,bfloat16,HiFi2,float32,1,32,0,16,1,1,901.9
unpaged,R1b,8,32,8,128,128,4095,4096,110,bfloat16,bfloat16,HiFi2,bfloat16,0,0,128,,1,1,397.3
MLA,R1b,8,128,1,576,512,8192,16384,110,bfp8_b,bfloat16,HiFi4,bfloat16,1,64,128,16,0,0,531.3
"""


def test_decode_is_near_what_was_measured(tmp_path: Path) -> None:
    """Bytes from DRAM nearly alone; a latent that several cores read, less so."""
    path = tmp_path / "decode.csv"
    path.write_text(DECODE, encoding="utf-8")
    paged, unpaged, latent = measured(path)
    assert abs(paged.error) < 0.03
    assert abs(unpaged.error) < 0.03
    assert abs(latent.error) < 0.3
    assert [len(row.result.groups) for row in (paged, unpaged, latent)] == [1, 1, 2]  # a merge
    assert "queries that are in L1 already are read from DRAM" in latent.case.left_out


@pytest.mark.nightly
def test_records_are_priced_as_the_rows_were(tmp_path: Path) -> None:
    """Each with the chip as its kernel has it: cores, passes, exponentials, streams."""
    rows = measured(written(tmp_path, OTHERS))
    files = row_files(rows)
    for name, text in files.items():
        (tmp_path / name).write_bytes(text)
    assert sum(name.startswith("blackhole") for name in files) > 4
    for line, row in enumerate(rows, 2):
        record = read_record(tmp_path / f"row-{line}.yaml")
        prices = unpriced(record.platform)
        again = evaluate(record.workload, record.platform, record.mapping, prices)
        assert isinstance(again, Result)
        assert again.cycles == row.result.cycles, row.case.columns["label"]


COUNTERS = """\
variant,S,kv_seq,batch,num_heads,num_kv_heads,head_dim,v_head_dim,causal,window,chunk_start,\
dense_mask,mask_density,joint_seq,paged,q_chunk,k_chunk,cores,fidelity,input_dtype,kv_dtype,accum,\
exp_approx,fpu_cycles,sfpu_cycles,math_cycles
plain,4096,4096,1,32,8,128,128,1,0,0,0,,0,0,128,512,110,HiFi2,bfp8_b,bfp8_b,bfloat16,1,678931,203031,0
plain,4096,4096,1,32,8,128,128,0,0,0,0,,0,0,128,128,110,HiFi2,bfp8_b,bfp8_b,bfloat16,1,1403662,597085,0
"""


def test_busy_cycles_are_those_of_products_and_exponentials(tmp_path: Path) -> None:
    """By hand: 32 heads of 32 x 32 steps of 128 tile products of 32 cycles, on 110 cores."""
    path = tmp_path / "counters.csv"
    path.write_text(COUNTERS, encoding="utf-8")
    assert are_counters(read_rows(path))
    wide, whole = counted(path)
    assert whole.ours["fpu_cycles"] == pytest.approx(32 * 32 * 32 * 128 * 32 / 110)
    assert all(0.8 < row.ratios["fpu_cycles"] < 1.05 for row in (wide, whole))
    assert wide.ratios["sfpu_cycles"] > whole.ratios["sfpu_cycles"] > 0.5  # fewer steps
    assert "median ratios: matrix unit 0.9" in counters_text([wide, whole])
    broken = COUNTERS.replace(",1403662,", ",0,")
    path.write_text(broken, encoding="utf-8")
    with pytest.raises(SpecError, match="row 3: fpu_cycles: expected a number > 0, got '0'"):
        counters_text(counted(path))


def test_one_left_out_has_the_others_factor(tmp_path: Path) -> None:
    """Of three rows but for their times alike: the factor is a mean, off by 15, 0 and 12.5 %."""
    line = f"a,T2.1,fit,{SWEEP.format(1, 256, 128)}"
    found = leave_one_out(measured(written(tmp_path, f"{line}1000\n{line}1100\n{line}1200\n")))
    assert found["median_percent"] == pytest.approx(12.5)


@pytest.mark.parametrize("mask", [None, Mask(causal=True)])
def test_lists_of_chunks_are_what_is_executed(mask: Mask | None) -> None:
    """The kernel's mapping on real numbers: counts, words alive and latency on three cores."""
    from flat_mapper.arch.edits import edit_platform
    from flat_mapper.arch.reader import platform_files
    from flat_mapper.spec import catalog

    files = platform_files(catalog.resolve("arch", "blackhole-p100a"))
    edits = {"core.meshX": 3, "PE.meshX": 4, "PE.meshY": 2, "lane.meshX": 2}
    platform = edit_platform(files, edits)
    workload = attention(B=1, H=2, P=16, M=16, E=4, F=4, softmax="online")
    workload = replace(workload, mask=mask)
    mapping = chunk_mapping(
        workload,
        platform,
        {"B": 1, "H": 1, "P": 4, "M": 4},
        "sdpa_causal" if mask else "sdpa_full",
        "lists",
    )
    result = evaluate(workload, platform, mapping, unpriced(platform))
    assert isinstance(result, Result)
    executed = execute(workload, platform, mapping)
    assert executed.right
    assert compare_run(executed, result) == ()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",HiFi2,", ",HiFi5,", "fidelity: expected one of LoFi, HiFi2, HiFi3, HiFi4, got 'HiFi5'"),
        (",bfp8_b,", ",fp7,", "input_dtype: expected one of bfp8_b"),
        (",plain,", ",ring,", "variant: expected one of plain, chunked, mla"),
        (",128,128,1,0", ",x,128,1,0", "head_dim: expected a whole number >= 1, got 'x'"),
        (",32,8,", ",32,5,", "num_heads: expected a multiple of num_kv_heads, got 32"),
    ],
)
def test_a_row_that_cannot_be_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    line = f"a,T2.1,fit,{SWEEP.format(1, 256, 128)}1000\n".replace(old, new, 1)
    with pytest.raises(SpecError, match=message):
        measured(written(tmp_path, line))


def test_the_chip_has_a_factor_for_each_kernel() -> None:
    variables = load_platform("blackhole-p100a").matrix.variables
    assert sum(name.startswith("sdpa_") and name.endswith("_factor") for name in variables) == 8
