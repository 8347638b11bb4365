"""The constants and the only conversions of the package, and how numbers are printed.

Inside the model: words, cycles, pJ. Conversions stand at the edges: files, results, reports.
"""

from __future__ import annotations

import math

PJ_PER_J = 1e12
UM2_PER_MM2 = 1e6

_PREFIXES = ("", "k", "M", "G", "T", "P", "E")
_SMALL_PREFIXES = ("", "m", "u", "n", "p", "f", "a")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def bytes_of(words: float, word_bits: float) -> float:
    """Bytes that a number of words takes."""
    return words * word_bits / 8


def words_of(count_bytes: float, word_bits: int) -> float:
    """Words that fit a number of bytes; not rounded."""
    return count_bytes * 8 / word_bits


def joules_of(energy_pj: float) -> float:
    """Joules of picojoules."""
    return energy_pj / PJ_PER_J


def finite(value: float) -> float | None:
    """A number as JSON has it: none for an endless one."""
    return value if math.isfinite(value) else None


def si(value: float, unit: str = "", digits: int = 4) -> str:
    """A quantity with a decimal prefix: `1.61 s`, `48.8 mJ`, `403 G`."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g} {unit}".rstrip()
    rounded = float(f"{value:.{digits}g}")
    power = math.floor(math.log10(abs(rounded)) / 3 + 1e-12)
    power = max(1 - len(_SMALL_PREFIXES), min(power, len(_PREFIXES) - 1))
    prefix = _PREFIXES[power] if power >= 0 else _SMALL_PREFIXES[-power]
    return f"{rounded / 1000.0**power:.{digits}g} {prefix}{unit}".rstrip()


def of_objective(objective: str, value: float) -> str:
    """A value of an objective (s, pJ or J s) with its unit."""
    if objective == "latency":
        return si(value, "s")
    return si(joules_of(value), "J") if objective == "energy" else si(value, "J*s")


def size(count_bytes: float, digits: int = 4) -> str:
    """A number of bytes with a binary prefix: `512 KiB`."""
    power, value = 0, float(count_bytes)
    while abs(value) >= 1024 and power < len(_BINARY) - 1:
        power, value = power + 1, value / 1024
    return f"{value:.{digits}g} {_BINARY[power]}"


def count(value: int) -> str:
    """An exact count with its thousands apart: `201,326,592`."""
    return f"{value:,}"


def percent(share: float, digits: int = 1) -> str:
    """A share of one: `97.0%`."""
    return f"{100 * share:.{digits}f}%"
