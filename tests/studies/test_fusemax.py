"""FuseMax's results beside the model, and its mapping run on real numbers.

Rows: FuseMax artifact (FPSG-UIUC/micro24-fusemax-artifact at f543beb9, MIT), pregenerated results.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from flat_mapper.arch.edits import edit_platform
from flat_mapper.arch.reader import platform_files
from flat_mapper.backends.agreement import compare_run
from flat_mapper.base.errors import SpecError
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Result
from flat_mapper.energy.tables import unpriced
from flat_mapper.execution.run import execute
from flat_mapper.spec import catalog
from flat_mapper.workload.reader import load_workload
from studies.fusemax.rows import CHIP, KINDS, PROBLEM, block_mapping, fusemax_rows

HEAD = "model,seq_len,traffic,latency,energy\n"
ROWS = {
    "attn-binding": """\
BERT,1K,402653184,0.002013140425531915,1950645149855.2659
BERT,256K,463856467968,118.2793728,1.2658834632312842e+17
XLM,1M,35734127902720,4862.10858920851,5.274894234596324e+18
""",
    "attn-arch": """\
T5,1K,268435456,0.003991421276595745,1300430099903.5107
XLM,4K,4294967296,0.18126978723404255,80312436464956.78
""",
    "attn-cascade": """\
TrXL,64K,154618822656,82.61886474893616,1.2062244042042008e+16
XLM,64K,309237645312,91.77494114042554,2.229251949247561e+16
""",
}
SEARCHED = {
    "attn-flat": "TrXL,4K,28171156614.94574,0.2855696340425532,53023581491693.45\n",
    "attn-unfused": "XLM,1K,9663676416,0.030348102127659576,5993255450562.789\n",
    "end2end-flat": "T5,16K,19333644288,0.05570108706781915,60134598664135.28\n",
    "end2end-proposal": "XLM,1K,10234101760,0.05354430638297873,58437722702105.02\n",
}
PARETO = """\
accel,model,PE_dim,traffic,latency,area
proposal,BERT,16,422264004673536,30266.668803268083,5441230.48908
proposal,TrXL,512,8864812498944,39.444305702127664,4885081008.9724
"""


@pytest.mark.parametrize("name", SEARCHED)
def test_the_best_of_a_search_is_no_slower_than_the_artifacts(tmp_path: Path, name: str) -> None:
    """Nor does it take more energy, but for what is handed on there from register to register."""
    path = tmp_path / f"{name}.csv"
    path.write_text(HEAD + SEARCHED[name], encoding="utf-8")
    (row,) = fusemax_rows(path)
    assert row.ratios["latency"] == pytest.approx(1, abs=0.002)
    assert 0.94 < row.ratios["energy_in_registers"] < 1.002
    if name == "attn-unfused":
        assert row.ratios["traffic"] == 1


@pytest.mark.parametrize("name", [name for name in KINDS if name not in SEARCHED])
def test_latency_and_traffic_are_the_artifacts(tmp_path: Path, name: str) -> None:
    """Within 1 %; traffic exactly."""
    path = tmp_path / f"{name}.csv"
    path.write_text(HEAD + ROWS[name] if name in ROWS else PARETO, encoding="utf-8")
    rows = fusemax_rows(path)
    assert len(rows) == path.read_text(encoding="utf-8").count("\n") - 1
    for row in rows:
        assert row.ratios["latency"] == pytest.approx(1, abs=0.01)
        assert row.ratios["traffic"] == 1
        if name != "pareto":  # but for what passes through L3 here, and in registers there
            assert row.ratios["energy_in_registers"] == pytest.approx(1, abs=0.01)
            assert 1.05 < row.ratios["energy"] < 1.3


def test_a_row_says_where_it_asks_for_more_room(tmp_path: Path) -> None:
    path = tmp_path / "attn-binding.csv"
    path.write_text(HEAD + ROWS["attn-binding"], encoding="utf-8")
    small, large, _ = (row.to_dict() for row in fusemax_rows(path))
    assert small["left_out"] == []
    assert "capacity: L3 has 8,388,608 words" in str(large["left_out"])


@pytest.mark.parametrize("name", ["attn-binding", "attn-arch", "attn-cascade"])
def test_its_mapping_is_what_is_executed(name: str) -> None:
    """Counts, words alive and latency of two heads in blocks of four tiles of queries."""
    kind = KINDS[name]
    sizes = {"B": 1, "H": 2, "P": 16, "M": 2, "E": 3}
    workload = load_workload(catalog.resolve("problems", PROBLEM), sizes=sizes)
    if kind.on_lanes:
        at = ("LM", "SLN", "SLD")
        einsums = [replace(e, unit="vector") if e.name in at else e for e in workload.einsums]
        workload = replace(workload, einsums=tuple(einsums))
    files = platform_files(catalog.resolve("arch", CHIP))
    platform = edit_platform(files, {"variables.pe_dim": 2})
    mapping = block_mapping(workload, platform, kind, 8)
    result = evaluate(workload, platform, mapping, unpriced(platform))
    assert isinstance(result, Result)
    executed = execute(workload, platform, mapping)
    assert compare_run(executed, result) == ()
    assert max(e.relative for e in executed.errors) < 1e-12


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("rows", "BERT,1K,1,1,1", "expected a file whose name has one of attn-binding"),
        ("attn-arch", "BART,1K,1,1,1", "model: expected one of BERT"),
        ("attn-arch", "BERT,1X,1,1,1", "seq_len: expected a whole number > 0"),
        ("attn-arch", "BERT,1000,1,1,1", "a multiple of the array's 256, got 1000"),
        ("attn-arch", "BERT,1K,1,x,1", "latency: expected a number > 0, got 'x'"),
    ],
)
def test_a_row_that_cannot_be_is_named(tmp_path: Path, name: str, row: str, message: str) -> None:
    path = tmp_path / f"{name}.csv"
    path.write_text(f"{HEAD}{row}\n", encoding="utf-8")
    with pytest.raises(SpecError, match=message):
        fusemax_rows(path)
