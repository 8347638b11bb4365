"""A cluster of one device is its chip: drawn questions, asked of both."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import flat_mapper as fm
from flat_mapper.cost_model.result import Infeasible
from flat_mapper.devices.answer import Sharded
from flat_mapper.reports.answers import SearchResult

CHIP = """
variables: {{version: 0.4, technology: "22nm", global_cycle_seconds: 1e-9}}
architecture:
  version: 0.4
  nodes:
  - !Component
    name: DRAM
    class: DRAM
    attributes: {{datawidth: 16, width: 16, shared_bandwidth: 1}}
{cores}  - !Component
    name: GLB
    class: SRAM
    attributes: {{datawidth: 16, width: 16, depth: {depth}}}
  - !Container {{name: {unit}s, spatial: {{meshX: {lanes}}}}}
  - !Component {{name: {unit}, class: intmac, attributes: {{datawidth: 16}}}}
"""
CORES = "  - !Container {name: SM, spatial: {meshX: 2}}\n"
ERT = """
DRAM: {read: 95, write: 139}
GLB: {read: 6, write: 7}
MAC: {compute: 1}
VALU: {compute: 1}
"""
CHAIN = """problem:
  ranks: {P: 4, C: 2, D: 2}
  einsums: ["T[p,c] = X[p,d] * W[d,c]", "R[p,c] = relu(T[p,c])", "Y[p,d] = R[p,c] * V[c,d]"]
"""
ONE = """cluster:
  chip: chip.yaml
  mesh: {x: 1}
  network: {x: {topology: ring, bytes_per_s: 1e10, step_seconds: 1e-8}}
"""


def drawn(rng: random.Random) -> tuple[str, dict[str, str]]:
    """A problem, and what is asked beside it."""
    if rng.random() < 0.15:
        return CHAIN, {}
    positions, width = rng.choice((2, 3, 4)), rng.choice((1, 2))
    softmax, mask = rng.choice(("row", "online", "any")), rng.choice(("none", "causal"))
    text = "problem:\n"
    text += f"  ranks: {{B: 1, H: 2, P: {positions}, M: P, E: {width}, F: E, D: H * E, FF: 4}}\n"
    text += f"  layers: {rng.choice((1, 2))}\n  attention: {{softmax: {softmax}}}\n"
    text += "  layer: {norm: rms, activation: silu}\n" + rng.choice(("", "  feed_forward: gated\n"))
    return text, {"mask": mask, "scope": rng.choice(("attention", "block", "block", "layer"))}


def agree(number: int, folder: Path) -> None:
    """Latency and refusal of the chip, and of a cluster of it."""
    rng = random.Random(number)
    text, asked = drawn(rng)
    cores = rng.choice(("", "", CORES))
    sizes = {"depth": rng.choice((12, 24, 64)), "lanes": rng.choice((1, 2)), "cores": cores}
    for suffix, unit in (("", "MAC"), (".sfu", "VALU")):
        (folder / f"chip{suffix}.yaml").write_text(CHIP.format(unit=unit, **sizes))
    for name, said in (("one", ONE), ("ert", ERT), ("problem", text)):
        (folder / f"{name}.yaml").write_text(said)
    spaces = ("default", "default", "unfused", "any-cores" if cores else "any")
    found = [
        fm.search(
            folder / "problem.yaml",
            folder / arch,
            mapspace,
            folder / "ert.yaml",
            objective="latency",
            **asked,
        )
        for mapspace in (rng.choice(spaces),)
        for arch in ("chip.yaml", "one.yaml")
    ]
    chip, one = found
    if isinstance(chip, Infeasible) or isinstance(one, Infeasible):
        assert str(chip) == str(one)
        return
    assert isinstance(chip, SearchResult)
    assert isinstance(one, Sharded)
    assert one.latency_s == pytest.approx(chip.result.latency_s, rel=1e-12)
    assert one.gap == pytest.approx(chip.certificate.gap, abs=1e-12)


@pytest.mark.parametrize("number", range(4))
def test_a_cluster_of_one_is_its_chip(number: int, tmp_path: Path) -> None:
    agree(number, tmp_path)


@pytest.mark.nightly
@pytest.mark.parametrize("number", range(4, 60))
def test_every_cluster_of_one_is_its_chip(number: int, tmp_path: Path) -> None:
    agree(number, tmp_path)


def test_a_rank_is_not_divided_over_one_device(tmp_path: Path) -> None:
    """A placement on an axis of one device says nothing, and what stays between units has room."""
    for suffix, unit in (("", "MAC"), (".sfu", "VALU")):
        text = CHIP.format(unit=unit, depth=64, lanes=2, cores="")
        (tmp_path / f"chip{suffix}.yaml").write_text(text)
    (tmp_path / "one.yaml").write_text(ONE)
    (tmp_path / "problem.yaml").write_text(CHAIN)
    files = tmp_path / "problem.yaml", tmp_path / "one.yaml"
    found = fm.search(*files, objective="latency", placement={"X": "P@x"})
    assert isinstance(found, Sharded)
    assert found.plan.start == {"X": ("",)}
    assert found.plan.peak == 2 * (4 * 2 + 4 * 2 + 4 * 2)  # bytes of X, Y, and T or R between them
