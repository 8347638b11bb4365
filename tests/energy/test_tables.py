"""Energy and area tables: reading, looking up, what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from flat_mapper.arch.values import Architecture, ComputeUnit, MemoryLevel, Platform
from flat_mapper.base.errors import SpecError
from flat_mapper.energy.tables import Art, Ert, ert_of, load_art, load_ert
from flat_mapper.spec.yamlio import load_text


def architecture(*names: str, compute: str = "MAC") -> Architecture:
    levels = tuple(
        MemoryLevel(
            name=name,
            component_class="DRAM" if name == "DRAM" else "SRAM",
            capacity_words=None,
            word_bits=16,
            row_words=1,
            instances=1 if name == "DRAM" else 4,
        )
        for name in names
    )
    unit = ComputeUnit(name=compute, component_class="intmac", instances=16)
    return Architecture(name="a", nodes=levels, compute=unit, cycle_seconds=1e-9)


def test_short_form() -> None:
    text = "GLB: {read: 72.9, write: 76}\nMAC: {compute: 1.144}\nRF: {read: 1, update: 3, write: 2}"
    ert = ert_of(load_text(text, "ert.yaml"), "ert.yaml")
    assert ert.actions("GLB") == (72.9, 76.0, 76.0)
    assert ert.actions("RF") == (1.0, 2.0, 3.0)
    assert ert.energy("MAC", "compute") == 1.144
    assert ert.source == "ert.yaml"
    assert ert.provenance == {"GLB": "ert.yaml", "MAC": "ert.yaml", "RF": "ert.yaml"}


# In the format of Accelergy 0.4's ERT.yaml, with energies of a run made for this project.
LONG = """\
ERT:
  version: '0.4'
  tables:
  - name: system_top_level.GLB[1..1]
    actions:
    - {name: read, arguments: {global_cycle_seconds: 1e-09}, energy: 346.247}
    - {name: update, arguments: {}, energy: 396.144}
    - {name: leak, energy: 0.0161364}
    - {name: write, arguments: {x: 0}, energy: 300.0}
    - {name: write, arguments: {x: 1}, energy: 396.144}
  - name: system_top_level.PE[1..4].RF[1..1024]
    actions:
    - {name: random_read, energy: 0.06794}
    - {name: random_fill, energy: 0.07}
    - {name: random_update, energy: 0.08}
  - name: system_top_level.MAC[1..1024]
    actions: [{name: mac_random, energy: 3.275}]
"""


def test_accelergys_form(tmp_path: Path) -> None:
    path = tmp_path / "ERT.yaml"
    path.write_text(LONG)
    ert = load_ert(path)
    assert ert.actions("GLB") == (346.247, 396.144, 396.144)
    assert ert.actions("RF") == (0.06794, 0.07, 0.08)
    assert ert.energy("MAC", "compute") == 3.275
    assert list(ert.levels) == ["GLB", "RF", "MAC"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "GLB: {raed: 1}",
            r"e\.yaml:1: GLB: expected keys among read, write, update.*got 'raed'",
        ),
        ("GLB: {read: -1}", r"e\.yaml:1: GLB\.read: expected number from 0 to 1e\+15 pJ, got -1"),
        ("GLB: {read: 12 pJ}", r"e\.yaml:1: GLB\.read: expected number, got '12 pJ'; write 12"),
        ("GLB: {read: .nan}", r"e\.yaml:1: GLB\.read: expected number from 0 .* pJ, got nan"),
        ("GLB: 3", r"e\.yaml:1: GLB: expected energies such as {read: 1\.2, write: 1\.3}, got 3"),
        ("GLB: !X {read: 1}", r"e\.yaml:1: GLB: expected energies such as"),
        ("- 1", r"e\.yaml: expected a mapping of keys to values, got a list"),
        ("{}", r"e\.yaml: expected energies of at least one component, got none"),
        ("ERT: {tables: {}}", r"e\.yaml:1: ERT\.tables: expected a list, got a mapping"),
        ("ERT: {tables: [{name: a.B}]}", r"e\.yaml: ERT\.tables\.0: expected the key 'actions'"),
        (
            "ERT: {tables: [{name: a.B, actions: [{name: read, energy: x}]}]}",
            r"ERT\.tables\.0\.actions\.0\.energy: expected number, got 'x'",
        ),
        (
            "ERT: {tables: [{name: a.B, actions: []}, {name: c.B, actions: []}]}",
            r"ERT\.tables\.1: expected each component once, got 'B' again",
        ),
    ],
)
def test_bad_tables(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        ert_of(load_text(text, "e.yaml"), "e.yaml")


def test_what_is_missing_is_named() -> None:
    ert = Ert(levels={"GLB": {"read": 1.0, "write": 1.0}, "DRAM": {"read": 1.0}}, source="e.yaml")
    message = (
        r"e\.yaml: expected energies of 'GBL', got only those of GLB, DRAM; did you mean 'GLB'"
    )
    with pytest.raises(SpecError, match=message):
        ert.energy("GBL", "read")
    with pytest.raises(
        SpecError, match=r"DRAM: expected an energy of 'write' in pJ, got only read"
    ):
        ert.covering(architecture("DRAM", "GLB"))
    with pytest.raises(SpecError, match=r"expected energies of 'MAC', got only .*; add MAC"):
        ert.covering(architecture("GLB"))
    vector = architecture("GLB", "LREG", compute="VALU")
    full = Ert(
        levels={
            "GLB": {"read": 1.0, "write": 1.0},
            "LREG": {"read": 1.0, "write": 1.0},
            "MAC": {"mac": 1.0},
        },
        source="f.yaml",
    )
    assert full.covering(Platform(name="p", matrix=architecture("GLB"))) is full
    with pytest.raises(SpecError, match=r"expected energies of 'VALU'"):
        full.covering(Platform(name="p", matrix=architecture("GLB"), vector=vector))
    both = full.with_others(Ert(levels={"VALU": {"compute": 2.0}, "GLB": {}}, source="default"))
    platform = Platform(name="p", matrix=architecture("GLB"), vector=vector)
    assert both.covering(platform).source == "f.yaml; VALU: default"
    assert both.energy("GLB", "read") == 1.0
    assert full.with_others(full) is full


def test_area(tmp_path: Path) -> None:
    path = tmp_path / "ART.yaml"
    path.write_text(
        "ART:\n  tables:\n  - {name: 's.DRAM[1..1]', area: 5}\n"
        "  - {name: 's.GLB[1..1]', area: 2508380.0}\n  - {name: 's.MAC[1..16]', area: 1726.5}\n"
    )
    art = load_art(path)
    platform = Platform(
        name="p",
        matrix=architecture("DRAM", "GLB", "RF"),
        vector=architecture("DRAM", "GLB", compute="VALU"),
    )
    assert art.component_mm2(platform) == pytest.approx({"GLB": 10.03352, "MAC": 0.027624})
    assert art.total_mm2(platform) == pytest.approx(10.061144)
    assert Art(areas_um2={}, source="none").total_mm2(platform) == 0
    path.write_text("ERT: {tables: []}")
    with pytest.raises(SpecError, match=r"ART\.yaml: expected the key 'ART', got the keys ERT"):
        load_art(path)
