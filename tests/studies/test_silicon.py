"""Measured rows beside the model: a sample of FlashAttention-3 on H100.

Rows: aiconfigurator-core 0.12.0 (NVIDIA, Apache-2.0), systems/data/h100_sxm/attention.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import answer_schema
import pytest

from flat_mapper.arch.cores import error_bands
from flat_mapper.arch.reader import load_platform
from flat_mapper.base.errors import SpecError
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Result
from flat_mapper.energy.tables import unpriced
from flat_mapper.mapping.check import read_checked_record
from flat_mapper.reports.document import result_document
from flat_mapper.reports.folder import write_folder
from flat_mapper.reports.text import summary_text
from studies.silicon.__main__ import main
from studies.silicon.accuracy import findings, summary
from studies.silicon.families import cases, measured, row_files
from studies.silicon.fit import fitted_to

HEAD = (
    "device,framework,kernel,batch,heads,kv_heads,head_dim,v_head_dim,seq,window,causal,sink,"
    "dtype,latency_ms\n"
)
ROWS = """\
h100-sxm,sglang-0.5.14,fa3,1,16,2,128,128,4096,0,1,0,bfloat16,0.138622
h100-sxm,vllm-0.24.0,vllm_flash_attn_fa3,1,16,2,128,128,4096,0,1,0,bfloat16,0.130512
h100-sxm,sglang-0.5.14,fa3,16,16,4,256,256,4096,0,1,0,bfloat16,4.26165
h100-sxm,vllm-0.24.0,vllm_flash_attn_fa3,4,64,8,64,64,4096,128,1,0,bfloat16,0.379957
"""


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text(HEAD + ROWS, encoding="utf-8")
    return path


def test_a_sample_is_near_what_was_measured(rows: Path) -> None:
    """Within a third each."""
    found = measured(rows)
    assert len(found) == 4
    assert all(abs(r.error) < 1 / 3 for r in found), [r.error for r in found]


def test_the_command(rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its JSON, its table, and the records, which `-o` writes, all or none."""
    folder = tmp_path / "out"
    assert main(["--csv", str(rows), "--json", "-o", str(folder)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert answer_schema.faults(document) == []
    names = json.loads((folder / "result.json").read_text(encoding="utf-8"))["files"]
    assert names == [
        *("h100.yaml", "h100.sfu.yaml"),
        *(f"row-{line}.yaml" for line in range(2, 6)),
        "result.json",
    ]
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine").touch()
    assert main(["--csv", str(rows), "-o", str(other)]) == 2
    assert "or add --force" in capsys.readouterr().err
    assert main([]) == 2
    assert "--csv: expected a file of measured times, got 'none'" in capsys.readouterr().err


def test_summary_counts_every_row_once(rows: Path) -> None:
    found = measured(rows)
    assert sum(int(str(s["rows"])) for s in summary(found)) == len(found)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("h100-sxm", "h1", "device: expected a chip among h100"),
        (",4096,", ",x,", "seq: expected a whole number >= 1, got 'x'"),
        (",0.", ",-0.", "latency_ms: expected milliseconds > 0"),
        (",bfloat16,", ",int3,", "dtype: expected a number format of fa3_prefill: bfloat16"),
    ],
)
def test_a_row_that_cannot_be_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(HEAD + ROWS.replace(old, new), encoding="utf-8")
    with pytest.raises(SpecError, match=message):
        measured(path)


OTHERS = {
    "decode": (
        "device,framework,kernel,batch,heads,kv_heads,head_dim,v_head_dim,kv_len,window,sink,"
        "dtype,latency_ms\n"
        "h100-sxm,sglang-0.5.14,fa3,8,12,2,256,256,4096,0,0,bfloat16,0.0392\n"
        "a100-sxm,vllm-0.14.0,vllm_flash_attn,8,48,8,128,128,16384,0,0,bfloat16,0.3428\n"
        "l40s,vllm-0.14.0,vllm_flash_attn,8,8,8,128,128,16384,0,0,bfloat16,0.8\n"
        "h100-sxm,sglang-0.5.14,fa3,8,12,2,128,128,4096,0,0,fp8,0.0292\n"
    ),
    "encoder": (
        HEAD + "h100-sxm,vllm-0.24.0,vllm_vit_flash_attn_fa3,1,20,20,80,80,2304,0,0,0,bfloat16,"
        "0.0828\n"
    ),
    "prefill": HEAD
    + "h200,vllm-0.24.0,vllm_flash_attn_fa3,1,4,4,192,128,1000,128,1,1,bfloat16,0.1\n"
    + "h100,vllm-0.24.0,vllm_flash_attn_fa3,1,4,4,192,128,1000,128,1,1,fp8,0.1\n",
}


@pytest.mark.parametrize("phase", OTHERS)
def test_a_prediction_is_what_evaluate_says_of_the_record(tmp_path: Path, phase: str) -> None:
    """Chips without rows of their own, windows, sinks and odd sizes among them."""
    path, folder = tmp_path / "rows.csv", tmp_path / "out"
    path.write_text(OTHERS[phase], encoding="utf-8")
    rows = measured(path)
    assert {row.case.phase for row in rows} == {phase}
    write_folder(folder, row_files(rows))
    for line, row in enumerate(rows, 2):
        record = read_checked_record(folder / f"row-{line}.yaml")
        again = evaluate(
            record.workload, record.platform, record.mapping, unpriced(record.platform)
        )
        assert isinstance(again, Result)
        assert again.latency_s == row.predicted_s


@pytest.mark.nightly
def test_nothing_is_fitted_to_rows_set_aside(rows: Path) -> None:
    own = [case for case in cases(rows) if not case.aside and case.kernel == "fa3_prefill"]
    rows, _ = fitted_to(own)
    assert rows == len(own)
    with pytest.raises(AssertionError):
        fitted_to([case for case in cases(rows) if case.aside])


def test_answers_carry_the_errors_of_the_kernel_that_they_are_of(rows: Path) -> None:
    """On the chip that was measured, on one that has its numbers from there; else none."""
    found = measured(rows)[0]
    platform, result = found.case.platform, found.result
    (band,) = error_bands(platform.matrix, [found.case.kernel, "", found.case.kernel])
    assert (band.kernel, band.chip) == ("fa3_prefill", "h100")
    assert 0 < band.median < band.p90 < 1
    said = result_document(found.case.workload, platform, result)
    assert said["error_bands"] == [band.to_dict()]
    assert str(band) in summary_text(said, found.case.workload)
    (elsewhere,) = error_bands(load_platform("h200").matrix, [found.case.kernel])
    assert elsewhere == band
    groups = tuple(replace(group, kernel="") for group in result.mapping.groups)
    plain = evaluate(
        found.case.workload, platform, replace(result.mapping, groups=groups), unpriced(platform)
    )
    assert isinstance(plain, Result)
    said = result_document(found.case.workload, platform, plain)
    near = {"fa3_prefill", "vllm_flash_attn_fa3_prefill"}  # of its phase, as it is no kernel's
    counted = {one["kernel"]: one["costs_counted"] for one in said["error_bands"]}
    assert counted == dict.fromkeys(near, False)
    assert "the mapping is no kernel's" in summary_text(said, found.case.workload)
    small = load_platform("edge")
    assert error_bands(small.matrix, [found.case.kernel]) == ()


A100 = "a100-sxm,sglang-0.5.10,flash_attention,"


def test_rows_of_a_tile_that_a_decode_lacks_take_as_long_on_ampere(tmp_path: Path) -> None:
    """One head or eight of a group, as measured; in parts keys are worked on in tiles of 112."""
    rows = (
        "128,1,1,128,128,2048,0,0,bfloat16,0.1958",
        "128,8,1,128,128,2048,0,0,bfloat16,0.1965",
        "32,16,1,128,128,8192,0,0,bfloat16,0.1365",
    )
    path = tmp_path / "rows.csv"
    path.write_text(OTHERS["decode"].split("h100")[0] + "".join(f"{A100}{r}\n" for r in rows))
    one, eight, parts = measured(path)
    assert all(abs(row.error) < 0.1 for row in (one, eight, parts))
    assert one.predicted_s == pytest.approx(eight.predicted_s, rel=0.05)
    assert parts.case.workload.rank_sizes["S"] == 3  # of 25 tiles each: 96 parts on 108 cores
    assert parts.case.workload.rank_sizes["M"] == 25 * 112


def test_an_encoders_last_tile_of_queries_takes_as_long_as_the_others(tmp_path: Path) -> None:
    """17 tiles of 192 queries, of eight heads 136 on 132 cores."""
    rows = "".join(
        f"h100-sxm,sglang-0.5.14,flash_attention_v3,4,2,2,72,72,{n},0,0,0,bfloat16,0.0995\n"
        for n in (3136, 3168)
    )
    path = tmp_path / "rows.csv"
    path.write_text(HEAD + rows)
    odd, whole = measured(path)
    assert odd.predicted_s == whole.predicted_s
    assert abs(odd.error) < 0.15


@pytest.mark.parametrize(("length", "mask"), [("seq", "0,1,0"), ("kv_len", "0,0")])
def test_eight_bits_take_half_of_the_products_and_of_the_cache(
    tmp_path: Path, length: str, mask: str
) -> None:
    """With tables of tiles of their own; where a kernel has none they are refused."""
    path, head = (
        tmp_path / "rows.csv",
        HEAD if length == "seq" else OTHERS["decode"].split("h100")[0],
    )
    row = f"h100,vllm-0.24.0,vllm_flash_attn_fa3,8,16,2,128,128,32768,{mask},"
    path.write_text(f"{head}{row}bfloat16,1\n{row}fp8,1\n", encoding="utf-8")
    wide, narrow = measured(path)
    plain = wide.case.workload  # sums are as wide as words, as when costs were fitted
    assert {plain.bits(t) for t in (*plain.tensor_ranks, "+")} == {16}
    assert {narrow.case.workload.bits(t) for t in ("Q", "K", "V", "QK_exp")} == {8}
    assert narrow.case.workload.bits(narrow.case.workload.ordered[-1].output.tensor) == 16
    assert 0.45 < narrow.predicted_s / wide.predicted_s < 0.9
    if length == "kv_len":  # keys and values are nearly all that is moved
        assert narrow.result.offchip_bytes == pytest.approx(wide.result.offchip_bytes / 2, rel=0.02)
    path.write_text(f"{head}{row}fp8,1\n".replace("h100", "a100"), encoding="utf-8")
    with pytest.raises(SpecError, match="a number format of"):
        measured(path)


LONG = """chip,pass,positions,heads,kv_heads,width,mask,measured_s
a100,forward,2048,64,4,128,causal,0.000414144
a100,forward,8192,64,4,128,causal,0.005223776
a100,backward,8192,64,4,128,causal,0.015323984
"""  # XunhaoLai/native-sparse-attention-triton 9bea856, README


def test_growth_is_told_from_one_fitted_rate(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_text(LONG)
    short, base = findings(measured(path))["growth"]
    assert (short["positions"], base["positions"]) == (2048, 8192)
    assert base["error percent"] == pytest.approx(0.0)
    assert abs(float(str(short["error percent"]))) < 5 < abs(float(str(short["four percent"])))
