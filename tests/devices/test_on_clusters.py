"""What is asked of a cluster, and how what is not searched there is refused."""

from __future__ import annotations

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


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("p.yaml").write_text(PROBLEM)
    Path("c.yaml").write_text(CLUSTER.format(room="80e9"))
    Path("small.yaml").write_text(CLUSTER.format(room="100"))
    return "--problem p.yaml --arch"


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("map {} c.yaml --placement Q=P@y", "placement: Q: expected whole, or RANK@AXIS"),
        ("map {} c.yaml --placement QQ=P@x", "expected a tensor among"),
        ("map {} edge --placement Q=P@x", "placement: expected a cluster"),
        ("map {} c.yaml --objective energy", "expected a search for latency"),
        ("map {} c.yaml --max-buffer 10", "expected a search for latency"),
        ("map {} c.yaml --objective latency,energy", "expected one chip, for this question"),
        ("need buffer {} c.yaml --latency 1", "expected one chip, for this question"),
        ("need devices {} c.yaml --utilization 0.5", "expected --latency, seconds > 0"),
        ("need devices {} edge --latency 1", "expected a cluster"),
        ("generate --prefill 4 --decode 4 {} c.yaml", "expected one chip, for this question"),
    ],
)
def test_refusals(asked: str, command: str, says: str, capsys: pytest.CaptureFixture[str]):
    assert main(command.format(asked).split()) == 2
    assert says in capsys.readouterr().err


def test_no_room_is_an_answer(asked: str, capsys: pytest.CaptureFixture[str]):
    assert main(f"map {asked} small.yaml".split()) == 1
    assert "DRAM of a device: needs" in capsys.readouterr().out


def test_a_cluster_is_checked_like_any_file(asked: str, capsys: pytest.CaptureFixture[str]):
    assert main(["check", "c.yaml"]) == 0
    assert "2 edge: x 2 (ring, 1 GB/s)" in capsys.readouterr().out
