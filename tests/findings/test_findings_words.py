"""Words of answers and errors that misled somebody who read them for the first time."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import flat_mapper as fm
from flat_mapper.arch.reader import load_platform
from flat_mapper.cli.main import main
from flat_mapper.spec import catalog

NODES = """variables: {version: 0.4, technology: "22nm", global_cycle_seconds: 2e-9}
architecture:
  version: 0.4
  nodes:
  - !Component
    name: DRAM
    class: DRAM
    attributes: {type: "LPDDR4", width: 64, datawidth: 16, shared_bandwidth: 8}
  - !Component
    name: L2
    class: SRAM
    attributes: {width: 256, depth: 4096, datawidth: 16, shared_bandwidth: 256}
  - !Container {name: PE, spatial: {meshX: 16, meshY: 16}}
  - !Component {name: RF, class: regfile, attributes: {width: 16, depth: 32, datawidth: 16}}
  - !Component {name: MAC, class: intmac, attributes: {multiplier_width: 16, adder_width: 32}}
"""


@pytest.fixture
def chip(tmp_path: Path) -> Path:
    """A chip of two paths whose buffer is called L2."""
    path = tmp_path / "chip.yaml"
    path.write_text(NODES)
    (tmp_path / "chip.sfu.yaml").write_text(NODES.replace("RF", "LREG").replace("MAC", "VALU"))
    return path


def test_a_gap_that_was_asked_is_no_failed_proof():
    text = str(fm.compare("bert-base", "edge", ["naive", "flat"], sizes={"B": 1}, gap=0.01))
    assert "not proven" not in text
    assert "naive: gap 0 %, within the 1 % asked" in text


def test_the_shared_level_needs_no_name_of_its_own(chip):
    ours, theirs = load_platform(chip), load_platform("edge")
    assert "GLB" not in [level.name for level in ours.matrix.levels]
    assert fm.search("tiny", ours, "naive").result is not None
    found = fm.search("tiny", theirs, "naive")
    named = chip.with_name("named.yaml")
    text = catalog.resolve("mapspaces", "naive").read_text()
    named.write_text(text.replace("target: shared", "target: GLB"))
    assert found.result.cycles == fm.search("tiny", theirs, named).result.cycles


def test_a_size_of_a_mapspace_has_no_seventy_digits():
    text = str(fm.check(["edge", "tiny", "flat"]))
    assert re.search(r"size +\d+e\d+ combinations", text)


def test_no_fewer_mappings_than_are_priced():
    for arch, space in (("edge", "naive"), ("eyeriss", "default")):
        proof = fm.search("tiny", arch, space).certificate
        assert proof.mapspace_size >= proof.evaluated


def test_faults_of_a_vector_path_are_told_once(chip, capsys):
    path = chip.with_name("chip.sfu.yaml")
    path.write_text(path.read_text().replace("depth: 4096", "depth: many"))
    assert main(["check", str(chip), str(path)]) == 2
    out = capsys.readouterr().out
    assert out.count("L2.attributes.depth") == 1


def test_two_chips_are_no_chip_in_two_files(capsys):
    asked = ["compare", "--arch", "h100", "a100", "--problem", "tiny"]
    assert main(asked) == 2
    error = capsys.readouterr().err
    assert "expected files of one architecture, got 'a second one'" in error
    assert "ask one at a time, or sweep over arch" in error


def test_help_says_which_question_has_an_option(capsys):
    main(["check", "--help"])
    plain, _, apart = capsys.readouterr().out.partition("The verdict on Einsums as one")
    options = plain.partition("options:")[2]
    assert "--seq" not in options
    assert "--word-bits" in options
    assert "--seq" in apart


def test_an_area_is_not_the_dies_and_an_energy_has_no_band():
    found = fm.search("tiny", "h100")
    text, document = str(found), found.to_dict()
    assert "of the storage and arithmetic priced, not of the die" in text
    assert "HBM2() per 64 bits, in place of HBM3" in text
    assert document["caveats"]["energy_pj"] == "no error band: compared with no measured chip"
