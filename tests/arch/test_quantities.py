"""Quantities with units in a chip's file and on the command's line."""

from __future__ import annotations

from pathlib import Path

import pytest

import flat_mapper as fm
from flat_mapper.arch.edits import edit_platform
from flat_mapper.arch.reader import load_platform
from flat_mapper.base.units import quantity

NODES = """architecture:
  version: 0.4
  nodes:
  - !Component {name: DRAM, class: DRAM, attributes: {%s}}
  - !Component {name: GLB, class: SRAM, attributes: {%s}}
  - !Component {name: MAC, class: intmac}
"""
PLAIN = "width: 64, datawidth: 8, shared_bandwidth: 85"
CLOCK = "variables: {clock_hz: 800 MHz, global_cycle_seconds: 1 / clock_hz}\n"


def chip(tmp_path: Path, dram: str = PLAIN, glb: str = "", head: str = CLOCK) -> Path:
    path = tmp_path / "chip.yaml"
    path.write_text(head + NODES % (dram, glb or "width: 512, depth: 32k, datawidth: 8"))
    return path


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("4k", (4096, "")),
        ("128K", (131072, "")),
        ("1.5Ki", (1536, "")),
        ("68 GB/s", (68e9, "B/s")),
        ("2MiB", (2**21, "B")),
        ("512 KB", (512000, "B")),
        ("16 Gbit/s", (2e9, "B/s")),
        ("1.25 ns", (1.25e-9, "s")),
        ("940 MHz", (940e6, "Hz")),
        *((text, None) for text in ("12", "1e9", "22nm", "12 pJ", "5m", "4 iB", "k", "0x10")),
    ],
)
def test_a_quantity_is_its_number_and_its_unit(text, meaning):
    assert quantity(text) == meaning


@pytest.mark.parametrize(
    ("dram", "glb"),
    [
        ("bandwidth: 68 GB/s, width: 64, datawidth: 8", "size: 2 MiB, width: 64 B, datawidth: 8"),
        ("width: 64 bit, word_bits: 8, shared_bandwidth: 544 Gbit/s",
         "width: 512, datawidth: 1 B, sizeKB: 2MiB"),
        (PLAIN, "width: 512, datawidth: 8, entries: 2MiB"),
        (PLAIN, "width: 1024, cluster_size: 2, datawidth: 8, memory_depth: 2 MiB"),
        (PLAIN, "block_size: 64, size: 2MiB, datawidth: 8"),
    ],
)  # fmt: skip
def test_units_say_what_words_and_rows_say(tmp_path, dram, glb):
    plain = load_platform(chip(tmp_path)).matrix
    found = load_platform(chip(tmp_path, dram, glb)).matrix
    assert found.level("DRAM").rates == pytest.approx((None, None, None, 85))
    for one, other in zip(plain.levels, found.levels, strict=True):
        assert (one.capacity_words, one.row_words) == (other.capacity_words, other.row_words)


def test_a_bandwidth_in_bytes_follows_the_clock(tmp_path):
    path = chip(tmp_path, "width: 64, datawidth: 8, bandwidth: 68 GB/s")
    slow = edit_platform(path, {"variables.clock_hz": "400 MHz", "GLB.size": "1 MiB"}).matrix
    assert slow.level("DRAM").shared_words_per_cycle == pytest.approx(170)
    assert slow.level("GLB").capacity_words == 2**20


def test_a_clock_that_nobody_says_is_a_gigahertz(tmp_path):
    path = chip(tmp_path, "width: 64, datawidth: 8, bandwidth: 68 GB/s", head="")
    assert load_platform(path).matrix.level("DRAM").shared_words_per_cycle == pytest.approx(68)


def test_what_is_lowered_has_no_unit(tmp_path):
    dram = "width: 64, datawidth: 8, bandwidth: 68 GB/s"
    path = chip(tmp_path, dram, "size: 2 MiB, datawidth: 8")
    written = str(load_platform(path).matrix.document)
    assert "MHz" not in written
    assert "GB/s" not in written
    assert "MiB" not in written


def test_a_question_sets_sizes_of_its_chip_beside_those_of_ranks():
    sizes = {"P": "1k", "M": "1k", "GLB.size": "2 MiB", "DRAM.bandwidth": "100 GB/s"}
    found = fm.search("bert-base", "edge", "flat", sizes=sizes | {"B": 1})
    assert found.workload.rank_sizes["P"] == 1024
    assert found.platform.matrix.level("GLB").capacity_words == 2**20
    rate = found.platform.dram.shared_words_per_cycle
    assert rate == pytest.approx(100e9 / 2 / 940e6)
    assert "edge with GLB.size = 2 MiB" in str(found)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("GLUB.size", "expected a node among system, DRAM, GLB"),
        ("GLB.size", "GLB.attributes.depth: expected rows, or B, got '2 GHz'"),
    ],
)
def test_what_cannot_be_set_is_said(name, message):
    with pytest.raises(fm.SpecError, match=message):
        fm.search("tiny", "edge", sizes={name: "2 GHz"})


def test_a_chip_that_is_a_value_has_no_file_to_set():
    with pytest.raises(fm.SpecError, match=r"arch: expected an architecture by name or file"):
        fm.search("tiny", load_platform("edge"), sizes={"GLB.size": "1 MiB"})


def test_seq_takes_thousands_of_1024():
    assert fm.load_problem("bert-base", seq="4k").rank_sizes["P"] == 4096
