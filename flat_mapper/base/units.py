"""The constants and the only conversions of the package, and how numbers are printed.

Inside the model: words, cycles, pJ. Conversions stand at the edges: files, results, reports.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from fractions import Fraction

PJ_PER_J = 1e12
UM2_PER_MM2 = 1e6

_PREFIXES = ("", "k", "M", "G", "T", "P", "E")
_SMALL_PREFIXES = ("", "m", "u", "n", "p", "f", "a")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_NUMBER = r"([-+]?(?:[0-9]{1,40}\.?[0-9]{0,40}|\.[0-9]{1,40})(?:[eE][-+]?[0-9]{1,2})?)"
_WITH_UNIT = re.compile(rf"\s*{_NUMBER}\s*(?:([kKMGTPE]?)(i?)(B/s|bit/s|B|bit|Hz|)|([munpf]?)s)\s*")


def quantity(text: str) -> tuple[int | float, str] | None:
    """The number and the unit (B, B/s, Hz, s) of `68 GB/s`, `2 MiB` or `1.25 ns`; None of others.

    Before a unit k, M, ... are powers of 1000, and Ki, Mi, ... of 1024. Of a bare number all are
    of 1024, and the unit is empty: `4k` positions are 4096, as a context of 128k is 131072.
    """
    found = _WITH_UNIT.fullmatch(text)
    if not found or (not any(found.groups()[1:]) and not text.rstrip().endswith("s")):
        return None
    number, large, binary, unit, small = found.groups()
    if unit is None:
        value, unit = Fraction(number) / 1000 ** _SMALL_PREFIXES.index(small), "s"
    elif binary and not large:
        return None
    else:
        base = 1024 if binary or not unit else 1000
        value = Fraction(number) * base ** _PREFIXES.index(large.replace("K", "k"))
    if unit.startswith("bit"):
        value, unit = value / 8, unit.replace("bit", "B")
    return (int(value) if value.denominator == 1 else float(value)), unit


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


def many(value: int) -> str:
    """A count, of which nobody wants all digits from a million on: `8e31`."""
    return count(value) if value < 10**6 else f"{Decimal(value):.0e}".replace("+", "")


def percent(share: float, digits: int = 1) -> str:
    """A share of one: `97.0%`."""
    return f"{100 * share:.{digits}f}%"
