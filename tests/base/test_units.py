"""Conversions and how numbers are printed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flat_mapper.base import units


def test_conversions() -> None:
    assert units.bytes_of(262144, 16) == 512 * 1024
    assert units.words_of(512 * 1024, 16) == 262144
    assert units.joules_of(2e12) == 2


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1.6106, "s", "1.611 s"),
        (0.0488, "J", "48.8 mJ"),
        (403e9, "", "403 G"),
        (999.96, "s", "1 ks"),
        (1e-9, "s", "1 ns"),
        (-2500.0, "J", "-2.5 kJ"),
        (0.0, "s", "0 s"),
        (float("inf"), "s", "inf s"),
        (1e30, "", "1e+12 E"),
    ],
)
def test_si(value: float, unit: str, text: str) -> None:
    assert units.si(value, unit) == text


@given(st.floats(1e-18, 1e18))
def test_si_reads_back(value: float) -> None:
    number, _, prefix = units.si(value).partition(" ")
    power = "afpnum kMGTPE".index(prefix or " ")
    assert float(number) * 1000.0 ** (power - 6) == pytest.approx(value, rel=1e-3)
    assert 1 <= float(number) < 1000


def test_sizes_counts_and_shares() -> None:
    assert units.size(512 * 1024) == "512 KiB"
    assert units.size(12) == "12 B"
    assert units.size(32 * 1024**2) == "32 MiB"
    assert units.count(201326592) == "201,326,592"
    assert units.percent(0.9699) == "97.0%"
