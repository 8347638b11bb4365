"""Number formats by name: the bits of a value, and of the scale that a block of values shares.

A tensor's width is a number of bits, or the name of a format. What a value takes where it is stored
or moved is its own bits and its part of the block's scale: 8.5 bits in `bfp8_b`. A block that is
not full takes as much as its values do. What a unit does with a format, an architecture says.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

Width = int | str  # bits of a value, or the name of a format
TensorWidth = Width | Mapping[str, Width]  # the same everywhere, or by level
OFF_CHIP = "DRAM"  # the name of the outermost level, where no architecture is known
DEFAULT = "default"  # in place of a level: all that are not named
SUMS = "+"  # in place of a tensor: what is added up, as long as it is; as a width: that of it


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberFormat:
    """A number format: `bits` of a value, and `scale_bits` for every `block` of values."""

    bits: int
    block: int = 1
    scale_bits: int = 0

    @property
    def stored_bits(self) -> float:
        """Bits that a value takes, its part of the block's scale included."""
        bits = self.bits + self.scale_bits / self.block
        return int(bits) if bits.is_integer() else bits


def _mx(bits: int) -> NumberFormat:
    return NumberFormat(bits=bits, block=32, scale_bits=8)


# fp8: Micikevicius et al., "FP8 formats for deep learning", 2022. mx*: OCP Microscaling Formats
# (MX) Specification v1.0, 2023: 32 values and a scale of 8 bits. nvfp4: 16 values and an fp8 scale,
# NVIDIA, "Introducing NVFP4", 2025; the scale of the whole tensor is left out. bfp*_b: a tile of
# 32x32 values has 64 shared exponents of 8 bits, 1088 and 576 bytes in all (Tenstorrent polaris,
# ttsim/perf/roofline_sdpa.py at 0334f829). tf32 is stored as fp32 (NVIDIA A100 whitepaper, 2020).
NUMBER_FORMATS: Mapping[str, NumberFormat] = MappingProxyType(
    {
        "fp32": NumberFormat(bits=32),
        "tf32": NumberFormat(bits=32),
        "bf16": NumberFormat(bits=16),
        "fp16": NumberFormat(bits=16),
        "fp8_e4m3": NumberFormat(bits=8),
        "fp8_e5m2": NumberFormat(bits=8),
        "int8": NumberFormat(bits=8),
        "int4": NumberFormat(bits=4),
        "mxfp8": _mx(8),
        "mxint8": _mx(8),
        "mxfp6": _mx(6),
        "mxfp4": _mx(4),
        "nvfp4": NumberFormat(bits=4, block=16, scale_bits=8),
        "bfp8_b": NumberFormat(bits=8, block=16, scale_bits=8),
        "bfp4_b": NumberFormat(bits=4, block=16, scale_bits=8),
    }
)


def stored_bits(width: Width) -> float:
    """Bits that a value of a width takes where it is stored or moved."""
    return NUMBER_FORMATS[width].stored_bits if isinstance(width, str) else width


def value_bits(width: Width) -> int:
    """Bits of the value itself."""
    return NUMBER_FORMATS[width].bits if isinstance(width, str) else width


def words(width: TensorWidth) -> str:
    """A width as it is printed: `8`, `bfp8_b (8.5)`, `32 at GLB, 16 at DRAM`."""
    if isinstance(width, Mapping):
        return ", ".join(f"{words(own)} at {level}" for level, own in width.items())
    if width == SUMS:
        return "as wide as a sum"
    return f"{width} ({stored_bits(width):g})" if isinstance(width, str) else str(width)


def near(name: str) -> str:
    """Known formats, the nearest one first."""
    close = difflib.get_close_matches(name, NUMBER_FORMATS, n=1)
    return ", ".join(dict.fromkeys((*close, *NUMBER_FORMATS)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Widths:
    """Widths of the tensors that have one of their own.

    shares: words that a value takes, where it is not one.
    widths: what a compute unit sees of them.
    levels: shares of those whose widths differ from level to level, by the levels that are named.
    sums: tensors that are added up, where it is said how wide a sum is (`SUMS`).
    """

    shares: Mapping[str, float] = field(default_factory=dict)
    widths: Mapping[str, Width] = field(default_factory=dict)
    levels: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    sums: frozenset[str] = frozenset()

    def share(self, tensor: str, level: str) -> float:
        """Words of one value at a level."""
        if tensor in self.levels and level in self.levels[tensor]:
            return self.levels[tensor][level]
        return self.shares.get(tensor, 1)

    def so_far(self, tensor: str, level: str) -> float:
        """Words of one value at a level as long as it is added up: no fewer than when it is done.

        A tensor that has no words at a level has none there at any time.
        """
        done = self.share(tensor, level)
        return max(done, self.share(SUMS, level)) if tensor in self.sums and done else done

    def at(self, level: str) -> Mapping[str, float]:
        """Shares at one level, where they are not one."""
        if not self.levels:
            return self.shares
        every = dict.fromkeys((*self.shares, *self.levels))
        return {t: n for t in every if (n := self.share(t, level)) != 1}

    @property
    def tensors(self) -> tuple[str, ...]:
        """Tensors whose value is not a word at some level."""
        some = (t for t, own in self.levels.items() if any(n != 1 for n in own.values()))
        return tuple(dict.fromkeys((*self.shares, *some)))

    def format(self, tensor: str) -> str:
        """The name of its number format; empty where it has only bits."""
        width = self.widths.get(tensor, 0)
        return width if isinstance(width, str) else ""


PLAIN = Widths()


# What a terminal obeys instead of showing: the control characters (ESC and CSI begin commands),
# what turns the direction of writing round, and halves of characters that no encoding can write.
_OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
# First characters that a spreadsheet calculates, the full-width ones too; white space goes before.
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def terminal_text(text: str) -> str:
    r"""A text as a terminal may have it: `\u001b` for ESC, as in JSON; lines and tabs stay."""
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def csv_cell(value: object) -> object:
    """A cell that no spreadsheet takes for a formula: such a word gets an apostrophe before it."""
    if not isinstance(value, str):
        return value
    starts = value[:1].isspace() or value.lstrip("\ufeff\u200b").startswith(_FORMULA)
    return terminal_text(f"'{value}" if starts else value)


def html_text(text: str) -> str:
    """A text as HTML shows it, in an element or in an attribute."""
    import html

    return html.escape(text)
