"""Chips that stand in several files, in a folder, in a template, or as the front end dumps them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from flat_mapper.arch.reader import load_architecture, load_platform
from flat_mapper.base.errors import SpecError
from flat_mapper.cli.main import main

NODES = """architecture:
  version: 0.4
  nodes:
  - !Component {name: DRAM, class: DRAM, attributes: {type: "LPDDR4", width: 64, datawidth: BITS}}
  - !Component
    name: GLB
    class: SRAM
    attributes: {depth: 1024, width: 64, datawidth: BITS}
    constraints: {dataspace: {keep: [Outputs], bypass: [Weights]}}
  - !Container
    name: column
    spatial: {meshX: 4}
    constraints: {spatial: {factors: [N=1], permutation: [N, M], split: 2}}
  - !Container {name: PE, spatial: {meshY: 2}}
  - !Component {name: RF, class: regfile, attributes: {depth: 8, width: BITS, datawidth: BITS}}
  - !Component {name: mac, class: intmac, attributes: {multiplier_width: BITS}}
"""
VARIABLES = 'variables: {version: 0.4, technology: "45nm", global_cycle_seconds: 1e-9, BITS: 8}\n'
DUMPED = """dumped_by_timeloop_front_end: true
architecture:
  version: '0.4'
  subtree:
  - name: top_level
    attributes: {version: '0.4', technology: "45nm", global_cycle_seconds: 1e-9}
    local:
    - name: DRAM[1..1]
      class: DRAM
      attributes: {type: "LPDDR4", width: 64, datawidth: 8, meshX: 1, meshY: 1, ADDED}
      required_actions: [read, write, update, leak]
    - name: GLB[1..1]
      class: SRAM
      attributes: {depth: 1024, width: 64, datawidth: 8, meshX: 1, meshY: 1, ADDED}
    - name: inter_column_spatial[1..1]
      class: dummy_storage
      attributes: {width: 1, depth: 1, datawidth: 1, technology: -1, meshX: 1, meshY: 1}
    - name: inter_PE_spatial[1..4]
      class: dummy_storage
      attributes: {width: 1, depth: 1, datawidth: 1, technology: -1, meshX: 4, meshY: 1}
    - name: RF[1..8]
      class: regfile
      attributes: {depth: 8, width: 8, datawidth: 8, meshX: 4, meshY: 2, ADDED}
    - name: mac[1..8]
      class: intmac
      attributes: {multiplier_width: 8, meshX: 4, meshY: 2, has_power_gating: false}
architecture_constraints:
  targets:
  - {type: bypass, target: GLB, keep: [Outputs], bypass: [Weights]}
  - {type: spatial, target: inter_column_spatial, factors: [N=1], permutation: [N, M], split: 2}
  - {type: temporal, target: inter_column_spatial, factors: "N=1,M=1", permutation: NM}
  - {type: bypass, target: inter_PE_spatial, bypass: [Weights, Outputs]}
globals: {version: '0.4', environment_variables: {}, expression_custom_functions: []}
mapspace: {version: '0.4', template: uber}
""".replace("ADDED", "has_power_gating: false, power_gated_at: null, reduction_supported: true")


def test_the_front_ends_dump_is_the_same_chip() -> None:
    written, dumped = load_architecture(NODES + VARIABLES), load_architecture(DUMPED)
    assert dumped.fanouts[1] == written.fanouts[1]
    assert [(f.name, f.fanout_x, f.fanout_y) for f in dumped.fanouts] == [
        ("column", 4, 1),
        ("PE", 1, 2),
    ]
    for ours, theirs in zip(written.levels, dumped.levels, strict=True):
        assert replace(ours, attributes={}, constraints={}) == replace(
            theirs, attributes={}, constraints={}
        )
    said = dumped.fanouts[0].constraints["spatial"]
    assert isinstance(said, dict)
    assert {k: said[k] for k in ("factors", "permutation", "split")} == {
        **{"factors": ["N=1"], "permutation": ["N", "M"], "split": 2}
    }
    assert dumped.level("GLB").constraints["dataspace"]["keep"] == ["Outputs"]  # type: ignore[index]
    assert dumped.compute.instances == 8
    assert dumped.cycle_seconds == written.cycle_seconds


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("RF[1..8]", "RF[8", "local.4.name: expected a name such as PE[1..16], got 'RF[8'"),
        ("meshX: 4, meshY: 2, has", "meshX: 6, meshY: 2, has", "expected a multiple of the 4 x 1"),
    ],
)
def test_a_dump_that_is_none(old: str, new: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_architecture(DUMPED.replace(old, new))
    assert message in str(caught.value)


def test_files_and_folders_are_joined(tmp_path: Path) -> None:
    folder = tmp_path / "chip"
    folder.mkdir()
    (folder / "arch.yaml").write_text(NODES, encoding="utf-8")
    (folder / "variables.yaml").write_text(VARIABLES, encoding="utf-8")
    whole = tmp_path / "whole.yaml"
    whole.write_text(NODES + VARIABLES, encoding="utf-8")
    one = load_platform(whole).matrix
    for source in (folder, [folder / "variables.yaml", folder / "arch.yaml"], [folder, folder]):
        joined = load_platform(source).matrix
        assert joined.name == "chip"
        assert (joined.levels, joined.fanouts, joined.compute) == (
            *(one.levels, one.fanouts, one.compute),
        )
    with pytest.raises(SpecError, match=r"expected files of one architecture, got .a second one"):
        load_platform([folder, whole])
    (tmp_path / "empty").mkdir()
    with pytest.raises(SpecError, match=r"empty: expected files named \*.yaml, .*, got 'none'"):
        load_platform(tmp_path / "empty")


def test_the_command_joins_files_and_fills_templates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    top = tmp_path / "top.yaml.jinja2"
    nodes = NODES.replace(
        "    constraints: {dataspace: {keep: [Outputs], bypass: [Weights]}}\n", ""
    )
    nodes = nodes.replace(
        "    constraints: {spatial: {factors: [N=1], permutation: [N, M], split: 2}}\n", ""
    )
    top.write_text(nodes.replace("meshX: 4", "meshX: {{columns}}"), encoding="utf-8")
    (tmp_path / "variables.yaml").write_text(VARIABLES.replace("8}", "16}"), encoding="utf-8")
    arch = ["--arch", str(top), str(tmp_path / "variables.yaml"), "--data", "columns=2"]
    rest = ["--problem", "tiny", "--mapspace", "naive", "--json"]
    assert main(["need", "bandwidth", *arch, *rest, "--utilization", "0.5"]) == 2
    assert "softmax" in capsys.readouterr().err  # the chip was read; it has no vector path
    read = load_platform([top, tmp_path / "variables.yaml"], {"columns": 2})
    assert read.matrix.fanouts[0].fanout_x == 2
    assert main(["map", *arch[:3], "--data", "columns", *rest]) == 2
    assert "--data: expected NAME=VALUE, each name once, got 'columns'" in capsys.readouterr().err


def test_expressions_may_name_the_sizes_of_a_problem_beside_the_chip() -> None:
    """Origin: the 2024 tutorial's arch.yaml, `split: len(spec.problem.instance)`."""
    text = NODES.replace("split: 2", "split: len(spec.problem.instance)") + VARIABLES
    arch = load_architecture(text + "problem: {instance: {N: 1, M: 2, C: 3}}\n")
    assert arch.fanouts[0].constraints["spatial"]["split"] == 3  # type: ignore[index]
    with pytest.raises(SpecError, match=r"expected a name among .*, got 'spec'"):
        load_architecture(text)
