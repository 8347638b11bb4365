"""Figures of a chip that no chip has, as `check` names them."""

from __future__ import annotations

from pathlib import Path

import pytest

import flat_mapper as fm
from flat_mapper.spec import catalog

CHIP = """variables: {version: 0.4, technology: "7nm", global_cycle_seconds: 1.25e-9}
architecture:
  version: 0.4
  nodes:
  - !Component
    name: DRAM
    class: DRAM
    attributes: {type: "LPDDR5X", width: 64, datawidth: 8, shared_bandwidth: 85}
  - !Component
    name: L2
    class: SRAM
    attributes: {width: 512, depth: 32768, datawidth: 8, shared_bandwidth: 512}
  - !Container {name: PE, spatial: {meshX: 64, meshY: 64}}
  - !Component {name: MAC, class: intmac, attributes: {multiplier_width: 8, adder_width: 32}}
"""
ENERGIES = "{DRAM: {read: 400, write: 400}, L2: {read: 80, write: 80}, MAC: {compute: 0.1}}"
NO_VECTOR = "no vector path: no NAME.sfu.yaml beside the file"


def said(tmp_path: Path, before: str = "", after: str = "", energies: str = "") -> str:
    path, table = tmp_path / "chip.yaml", tmp_path / "ert.yaml"
    path.write_text(CHIP.replace(before, after))
    table.write_text(energies or ENERGIES)
    return str(fm.check([path, table]))


@pytest.mark.parametrize("name", [name for name, _ in catalog.shipped_names("arch")])
def test_shipped_chips_have_what_chips_have(name):
    assert "unusual" not in str(fm.check(name))


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ("shared_bandwidth: 85", "shared_bandwidth: 68e9",
         "unusual: DRAM: bandwidth 54.4 EB/s, usually 160 MB/s to 77 TB/s"),
        ("shared_bandwidth: 512", "shared_bandwidth: 68e9",
         "unusual: L2: bandwidth 68 GB/cycle, usually at most 81.92 kB/cycle"),
        ("depth: 32768", "size: 190 TiB", "unusual: size on chip 208.9 TB, usually 11.06 kB to"),
        ("1.25e-9", "1.25e-3", "unusual: clock 800 Hz, usually 20 MHz to 24.9 GHz"),
        ("meshX: 64", "meshX: 640000", "unusual: MAC: units 40.96 M, usually 3.2 to 6.062 M"),
    ],
)  # fmt: skip
def test_a_slip_of_units_is_named_with_the_usual_range(tmp_path, before, after, line):
    assert "unusual" not in said(tmp_path)
    text = said(tmp_path, before, after)
    assert "readable, but see below" in text
    assert line in text


def test_energies_are_held_to_what_memories_and_units_take(tmp_path):
    table = "{DRAM: {read: 4e5, write: 400}, L2: {read: 8e6, write: 80}, MAC: {compute: 1e3}}"
    text = said(tmp_path, energies=table)
    assert "unusual: MAC: energy of an operation 1,000 pJ" in text
    assert "unusual: DRAM: energy of a read 6,250 pJ/bit, usually 0.39 pJ/bit to 700 pJ/bit" in text


def test_a_missing_vector_path_is_said(tmp_path):
    assert NO_VECTOR in said(tmp_path)
    (tmp_path / "chip.sfu.yaml").write_text(CHIP.replace("MAC", "VALU"))
    assert NO_VECTOR not in said(tmp_path)
    assert NO_VECTOR not in str(fm.check(tmp_path / "chip.sfu.yaml"))
