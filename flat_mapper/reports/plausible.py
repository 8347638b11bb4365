"""The usual figures of chips, and those far from them: a slip of a unit more often than a chip."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from flat_mapper.arch.values import Platform
from flat_mapper.base import units
from flat_mapper.reports.fields import Document

BEYOND = 10  # chosen: times that a figure may be beyond those of the chips here


class Usual(NamedTuple):
    """A quantity of one chip, the least and the most that is known of it, and of which chips."""

    quantity: str
    unit: str
    least: float
    most: float
    source: str


_CLOCK = Usual("clock", "Hz", 200e6, 2.49e9, "Eyeriss (JSSC 2017), NVIDIA L40S data sheet")
_DRAM = Usual("bandwidth", "B/s", 1.6e9, 7.7e12, "Eyeriss; NVIDIA B200 (aiconfigurator 0.12.0)")
_PORT = Usual("bandwidth", "B/cycle", 0, 8192, "last level of AMD's MI300X (CDNA 3, 2023)")
_SIZE = Usual("size on chip", "B", 108 * 2**10, 427 * 2**20, "Eyeriss' buffer; AMD's MI300X")
_UNITS = Usual("units", "", 32, 606_208, "Arm Ethos-U55; NVIDIA B200 (148 x 4096 a clock)")
_AREA = Usual("area on chip", "mm2", 0, 814, "die of NVIDIA's H100 (2022)")
_DRAM_PJ = Usual("energy of a read", "pJ/bit", 3.9, 70, "HBM2 (O'Connor, MICRO 2017); DDR3")
_SRAM_PJ = Usual("energy of a read", "pJ/bit", 1e-3, 11.3, "CACTI: 8 B and 128 MiB at 7 nm")
_UNIT_PJ = Usual("energy of an operation", "pJ", 0.1, 4.6, "8 and 32 bits (Horowitz, ISSCC 2014)")


def unusual(platform: Platform, found: Document) -> list[str]:
    """A line for each figure of a chip's document that is far outside what chips have."""
    lines = [_line(where, value, usual) for where, value, usual in _figures(platform, found)]
    if platform.vector is None and ".sfu." not in platform.matrix.where:
        lines.append(
            "no vector path: no NAME.sfu.yaml beside the file, so a softmax runs nowhere but in "
            "mapspaces whose policy says softmax: free"
        )
    return list(filter(None, lines))


def _line(where: str, value: float | None, usual: Usual) -> str:
    """The line of a figure; empty where it is usual, unknown or nothing."""
    least, most = usual.least / BEYOND, usual.most * BEYOND
    if not value or least <= value <= most:
        return ""
    plain = usual.unit.startswith(("mm", "pJ"))
    said, low, high = (
        f"{n:,.4g} {usual.unit}" if plain else units.si(n, usual.unit) for n in (value, least, most)
    )
    within = f"{low} to {high}" if least else f"at most {high}"
    return f"unusual: {where}{usual.quantity} {said}, usually {within} ({usual.source})"


def _figures(platform: Platform, found: Document) -> Iterator[tuple[str, float | None, Usual]]:
    """Figures with where they are and what is usual."""
    yield "", found["clock_hz"], _CLOCK
    yield "", found["area_mm2"], _AREA
    held = 0.0
    for name, level in found["levels"].items():
        outside, where = name == platform.dram.name, f"{name}: "
        for speed in level["ports_bytes_per_s"].values():
            cycles = 1 if outside else found["clock_hz"]
            yield where, speed / cycles, _DRAM if outside else _PORT
        held += 0 if outside else (level["capacity_bytes"] or 0) * level["instances"]
        pj, bits = level["read_pj"] or 0, level["row_words"] * level["word_bits"]
        yield where, pj / bits, _DRAM_PJ if outside else _SRAM_PJ
    yield "", held, _SIZE
    for name, unit in found["units"].items():
        yield f"{name}: ", unit["instances"], _UNITS
        yield f"{name}: ", unit["compute_pj"], _UNIT_PJ
