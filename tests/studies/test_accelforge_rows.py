"""AccelForge's own optima beside the search's: facts of its regression reference.

Source: Accelergy-Project/accelforge at 1c1929c2, tests/regression_reference.json.
"""

from __future__ import annotations

import json
from pathlib import Path

import answer_schema
import pytest

from studies.accelforge.__main__ import main
from studies.accelforge.workloads import read_workload

WORKLOADS = Path(__file__).parents[1] / "data" / "accelforge"  # written for these tests
HEAD = "arch,workload,parameters,fusion,kind,objective,energy,latency,energy_by_component,seconds"
EDP = "energy-delay product"
CHAINS = (
    f"simple,three_matmuls_annotated,,fused,matmul chain,{EDP},207224832.0,6291456.0,",
    'snowcat,matmuls,"KN=64,M=64,N_EINSUMS=2",unfused,matmul chain,energy,196608.0,0.0,',
    "snowcat,mobilenet_28,,unfused,convolution,energy,10767360.0,0.0,",
    f"simba,three_matmuls_annotated,,unfused,matmul chain,{EDP},1.1748031752823125e-05,"
    "0.00035156248486600816,",
    "tpu_v4i,three_matmuls_annotated,,fused,matmul chain,"
    f"{EDP},1.0558373985026378e-05,1.467361556706237e-07,",
)
IDLE = (
    "tpu_v4i,three_matmuls_annotated,,unfused,matmul chain,"
    f"{EDP},1.313262806502638e-05,2.4015633925955626e-07,"
)
PAIRS = tuple(
    f'eyeriss,matmuls,"KN=64,M=64,N_EINSUMS=2",{words}'
    for words in (
        f"fused,matmul chain,{EDP},3.0079024720858715e-06,4.095999975106679e-05,,9.0",
        f"unfused,matmul chain,{EDP},3.490412302954188e-06,5.859374869032763e-05,,3.4",
    )
)
BLOCK = (
    'snowcat,gpt3_6.7B,"BATCH_SIZE=1,DECODE=False,N_NEW_TOKENS=256",unfused,attention block,energy,'
    "3724541952.0,0.0,MainMemory=3.724542e+09"
)
EXPERTS = (
    'snowcat,qwen3_30B_A3B,"BATCH_SIZE=1,DECODE=False,N_NEW_TOKENS=256",unfused,attention block,'
    "energy,10561257472.0,0.0,",
    'snowcat,llama4_scout,"ATTENTION_TYPE=grouped_query,BATCH_SIZE=1,DECODE=False,N_NEW_TOKENS=256"'
    ",unfused,attention block,energy,36175872000.0,0.0,",
)
GONE = "tpu_v4i,mobilenet_28,,unfused,convolution,energy,1.0,1.0,"


def answer(tmp_path: Path, capsys: pytest.CaptureFixture[str], *rows: str) -> dict:
    path = tmp_path / "optima.csv"
    path.write_text("\n".join((HEAD, *rows)) + "\n", encoding="utf-8")
    assert main(["--csv", str(path), "--workloads", str(WORKLOADS), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert answer_schema.faults(document) == []
    return document


@pytest.mark.nightly
def test_chains_are_equal_under_its_rules(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    rows = answer(tmp_path, capsys, *CHAINS)["rows"]
    assert [row["verdict"] for row in rows] == ["equal"] * len(CHAINS)
    for row in rows:
        assert row["our_energy"] == pytest.approx(float(row["energy"]), rel=1e-5)
        assert row["our_latency"] == pytest.approx(float(row["latency"]), rel=1e-5)
        assert sum(row["our_energy_by_component"].values()) == pytest.approx(row["our_energy"])


@pytest.mark.nightly
def test_a_weight_that_stays_is_better(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """AccelForge's mapper keeps no weight over a loop that brings inputs; its model would."""
    fused, unfused = answer(tmp_path, capsys, *PAIRS)["rows"]
    assert fused["verdict"] == unfused["verdict"] == "better"
    assert unfused["our_energy"] == pytest.approx(3.2089275154e-6)  # by AccelForge's model
    assert unfused["our_latency"] == pytest.approx(float(unfused["latency"]), rel=1e-5)
    assert unfused["reason"] == "latency +0.0000%, energy -8.0645%"
    assert unfused["their_seconds"] == 3.4
    assert unfused["our_seconds"] > 0


def test_arrays_that_read_for_themselves_may_idle(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two arrays take as long as DRAM's words, and read three weights twice, not four times.

    AccelForge's mapper has to use all four.
    """
    (row,) = answer(tmp_path, capsys, IDLE)["rows"]
    spared = 3 * 2 * 128 * 128 * 8 * 1.88e-12  # J: 8 bits a word
    assert row["our_energy"] == pytest.approx(float(row["energy"]) - spared, rel=1e-5)
    assert row["our_latency"] == pytest.approx(float(row["latency"]), rel=1e-5)


def test_a_layer_is_its_compulsory_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Every tensor of GPT-3 6.7B once for each Einsum that reads or writes it, 16 bits a value."""
    (row,) = answer(tmp_path, capsys, BLOCK)["rows"]
    m, d, scores = 256, 4096, 32 * 256 * 256
    projections = 3 * (m * d + d * d + m * d) + 2 * m * d + d * d
    attention = (2 * m * d + scores) + 2 * scores + (scores + 2 * m * d)
    feed_forward = 2 * (m * d + 4 * d * d + 4 * m * d)
    assert row["our_energy"] == 16 * (projections + attention + feed_forward)
    assert row["verdict"] == "equal"


@pytest.mark.nightly
def test_experts_are_equal(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    rows = answer(tmp_path, capsys, *EXPERTS)["rows"]
    assert [row["our_energy"] for row in rows] == [float(row["energy"]) for row in rows]


def test_what_is_not_modelled_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    found = answer(tmp_path, capsys, GONE, GONE.replace("tpu_v4i", "nvdla"), CHAINS[0])
    assert [row["verdict"] for row in found["rows"]] == ["not modelled"] * 2 + ["equal"]
    assert "mobilenet_28" in found["rows"][0]["reason"]
    assert "nvdla" in found["rows"][1]["reason"]
    assert found["summary"]["verdicts"] == {"not modelled": 2, "equal": 1}


STATES = """
workload:
  rank_sizes:
    B: 2
    D: 4 * 8
    N: {{ N | default(3) }}
    R: 5
  bits_per_value: {TD: 16, Other: 8}
  einsums:
  - "X[b, d] = X_in[b, d]"
  - "TTD[b, r] = WTTD[d, r] * X[b, d]"
  - "TD[b, d] = WTD[d, r] * TTD[b, r]"
  - "H[b, d, n] = TD[b, d] * A[d, n]"
  - "S[b, D: e] = H[b, d, n] * WS[d, e]"
  - "L[b, d] = S[b, d] + S[b, d]"
"""


def test_a_workload_is_read_whatever_its_name(tmp_path: Path):
    """State spaces, in a file that no name is known of; each word by hand."""
    (tmp_path / "of_my_own.yaml").write_text(STATES)
    found = read_workload(tmp_path / "of_my_own.yaml", {"N": "7"})
    assert found.rank_sizes == {"B": 2, "D": 32, "N": 7, "R": 5, "E": 32}
    assert [e.name for e in found.einsums] == ["X", "TTD", "TD", "H", "S", "L"]
    assert found.views == {"S_b_d": "S"}
    assert (found.bits("TD"), found.bits("S")) == (16, 8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("workload: {einsums: [1]}", "an Einsum such as Y[m] = X[m]"),
        ("workload: {einsums: ['Y[m] = exp(X[m])']}", "an Einsum such as Y[m] = X[m]"),
        (
            "workload: {rank_sizes: {M: 2}, bits_per_value: {weight: 4}, einsums: ['Y[m] = X[m]']}",
            "bits of tensors by name, All or Other are read, not of weight",
        ),
        ("workload: [1]", "is not of the form that is read"),
        ("workload: {einsums: [], iteration_space_shape: {m: 3 < m}}", "a range such as"),
        ("workload: {rank_sizes: {}, einsums: ['Y[m] = X[m]']}", "ranks"),
        ("{{ include('nothing.yaml') }}", "is not of the form that is read"),
    ],
)
def test_a_workload_that_cannot_be_is_no_row(tmp_path: Path, capsys, text: str, message: str):
    (tmp_path / "odd.yaml").write_text(text)
    path = tmp_path / "optima.csv"
    path.write_text(f"{HEAD}\n{GONE.replace('mobilenet_28', 'odd')}\n")
    assert main(["--csv", str(path), "--workloads", str(tmp_path)]) == 0
    assert message in capsys.readouterr().out


def test_a_bad_row_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "optima.csv"
    path.write_text(f"{HEAD}\n{CHAINS[0].replace('207224832.0', 'much')}\n", encoding="utf-8")
    assert main(["--csv", str(path)]) == 2
    assert "row 2: energy: expected a number >= 0, got 'much'" in capsys.readouterr().err
