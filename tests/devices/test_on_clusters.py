"""What is asked of a cluster, and how what is not searched there is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flat_mapper.cli.main import main

CLUSTER = """cluster:
  chip: edge
  dram_bytes: {room}
  mesh: {{x: 2}}
  network: {{x: {{topology: ring, bytes_per_s: 1e9, step_seconds: 1e-6}}}}
"""
PROBLEM = """problem:
  name: tiny
  ranks: {B: 1, H: 2, P: 8, M: P, E: 2, F: E}
  word_bits: 16
  mask: causal
  attention: {softmax: online}
"""

BLOCK = """problem:
  ranks: {B: 2, H: 4, P: 4, M: P, E: 2, F: E, D: H * E, FF: 8}
  attention: {softmax: row}
"""
CORES = """variables: {version: 0.4, global_cycle_seconds: 1e-9}
architecture:
  version: 0.4
  nodes:
  - !Component {name: DRAM, class: DRAM, attributes: {datawidth: 16, width: 16}}
  - !Container {name: SM, spatial: {meshX: 4}}
  - !Component {name: GLB, class: SRAM, attributes: {datawidth: 16, width: 16, depth: 96}}
  - !Component {name: MAC, class: intmac}
"""

SWEEP = """sweep:
  fixed: {arch: c.yaml, problem: p.yaml}
  grid: {arch.GLB.depth: [16384, 32768]}
"""


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("p.yaml").write_text(PROBLEM)
    Path("c.yaml").write_text(CLUSTER.format(room="80e9"))
    Path("small.yaml").write_text(CLUSTER.format(room="100"))
    return "--problem p.yaml --arch"


@pytest.mark.parametrize("softmax", ["online", "any"])
def test_a_part_without_attention_has_no_softmax_to_choose(asked: str, softmax: str, capsys):
    """Products of a block on devices with cores: no part of them is in a form of the softmax."""
    Path("p.yaml").write_text(BLOCK)
    Path("chip.yaml").write_text(CORES)
    Path("chip.sfu.yaml").write_text(CORES.replace("name: MAC", "name: VALU"))
    Path("c.yaml").write_text(CLUSTER.format(room="80e9").replace("chip: edge", "chip: chip.yaml"))
    assert main([*f"map {asked} c.yaml --scope block --softmax {softmax} --json".split()]) == 0
    found = json.loads(capsys.readouterr().out)
    names = [name for step in found["steps"] for name in step["einsums"]]
    assert {"Q", "QK", "AV", "O", "FC2"} <= {*names}


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("map {} c.yaml --placement Q=P@y", "placement: Q: expected whole, or RANK@AXIS"),
        ("map {} c.yaml --placement QQ=P@x", "expected a tensor among"),
        ("map {} edge --placement Q=P@x", "placement: expected a cluster"),
        ("map {} c.yaml --objective energy", "expected a search for latency"),
        ("map {} c.yaml --max-energy 10", "energy of links is unknown"),
        ("map {} c.yaml --objective latency,energy", "energy of links is unknown"),
        ("tiles --for fa3 {} c.yaml", "ask of its chip, at the sizes that `map` gives a device"),
        ("need buffer {} c.yaml --latency 1", "expected one chip, for this question"),
        ("need devices {} c.yaml --utilization 0.5", "expected --latency, seconds > 0"),
        ("need devices {} edge --latency 1", "expected a cluster"),
    ],
)
def test_refusals(asked: str, command: str, says: str, capsys: pytest.CaptureFixture[str]):
    assert main(command.format(asked).split()) == 2
    assert says in capsys.readouterr().err


def test_no_room_is_an_answer(asked: str, capsys: pytest.CaptureFixture[str]):
    assert main(f"map {asked} small.yaml".split()) == 1
    assert "DRAM of a device: needs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("limit", "says"),
    [("--max-latency 1e-9", "--max-latency: needs 9 ns, has 1"), ("--max-buffer 10", "GLB: needs")],
)
def test_limits(asked: str, limit: str, says: str, capsys: pytest.CaptureFixture[str]):
    assert main(f"map {asked} c.yaml {limit}".split()) == 1
    assert says in capsys.readouterr().out


def test_a_text_takes_its_steps(asked: str, capsys: pytest.CaptureFixture[str]):
    times = []
    for lengths in ("--seq 4", "--seq 16 --phase decode"):
        main(f"map {asked} c.yaml {lengths} --json".split())
        times.append(json.loads(capsys.readouterr().out)["latency_s"])
    assert main(f"generate --prefill 4 --decode 4 {asked} c.yaml --json".split()) == 0
    found = json.loads(capsys.readouterr().out)
    assert [found["time_to_first_s"], found["decode_s"]] == pytest.approx([times[0], 4 * times[1]])


def test_a_sweep_and_its_page(asked: str, capsys: pytest.CaptureFixture[str]):
    Path("s.yaml").write_text(SWEEP)
    assert main(["sweep", "s.yaml", "-o", "s.db", "--workers", "0"]) == 0
    assert main(["report", "s.db", "-o", "s.html"]) == 0
    page = Path("s.html").read_text()
    assert page.count("2 devices on the axes x") == 2
    assert "left by QK .. AV_div: H@x" in page


def test_a_cluster_is_checked_like_any_file(asked: str, capsys: pytest.CaptureFixture[str]):
    assert main(["check", "c.yaml"]) == 0
    assert "2 edge: x 2 (ring, 1 GB/s)" in capsys.readouterr().out


def test_a_tensor_may_have_the_name_of_an_operation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A quotient takes longer than a product, and parts that differ are no others renamed."""
    (tmp_path / "p.yaml").write_text("""problem:
  name: two
  ranks: {I: 4096}
  word_bits: 16
  einsums:
  - {einsum: "mul[i] = A[i] * B[i]", unit: vector}
  - {einsum: "div[i] = C[i] / D[i]", unit: vector}
""")
    chip = CLUSTER.format(room="80e9").replace("chip: edge", "chip: h100")
    (tmp_path / "c.yaml").write_text(chip)
    asked = ["map", "--problem", f"{tmp_path}/p.yaml", "--arch", f"{tmp_path}/c.yaml", "--json"]
    assert main(asked) == 0
    product, quotient = json.loads(capsys.readouterr().out)["steps"]
    assert product["seconds"] < quotient["seconds"]
