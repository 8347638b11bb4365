"""Attributes of a storage component, by Timeloop's own rules.

Names, aliases and arithmetic follow timeloop's model/buffer.cpp (ParseSpecs, commit 4cf6d4c). An
attribute that would change a result and is not modelled here is refused by name; others, such as
`n_banks` or `type`, are kept for pricing.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from flat_mapper.arch.values import MemoryLevel
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.spec.document import (
    BITS,
    COPIES,
    COUNT,
    INSTANCES,
    PICOJOULES,
    RATE,
    REAL,
    Quoted,
    Range,
    Section,
    checked,
    place,
    refuse_unknown,
    take_section,
)
from flat_mapper.spec.expressions import resolved

PART = "part_of"  # of a memory: the one right outside it, of which it is a part
HOP = "hop_energy_pj"  # of a fanout: from a copy to its neighbour
# The attributes that the model reads, and what each counts.
SIZES = {
    "depth": "rows",
    "width": "bits of a row",
    "datawidth": "bits of a word",
    "entries": "words, in place of depth",
    "sizeKB": "KiB, in place of depth",
    "block_size": "words of a row",
    "cluster_size": "instances side by side in a row",
}
BANDWIDTHS = {f"{port}_bandwidth": RATE.unit for port in ("read", "write", "fill", "shared")}
NUMBERS: Mapping[str, str] = {
    **SIZES,
    **BANDWIDTHS,
    "multiple_buffering": "copies of a tile",
    "global_cycle_seconds": "s",
    HOP: "pJ of one word from a copy of what stands spatially to its neighbour",
}
# Names of what is written with a unit alone (`arch.quantities`), and what they stand for.
WITH_UNITS = {"bandwidth": "shared_bandwidth", "size": "depth"}
MODELLED = (*NUMBERS, "technology", PART)
ALIASES: Mapping[str, tuple[str, ...]] = {
    "datawidth": ("word_bits", "word_width", "datawidth"),
    "width": ("width", "memory_width", "data_storage_width"),
    "block_size": ("block_size", "n_words"),
    "depth": ("depth", "memory_depth", "data_storage_depth"),
}
# Attributes that change Timeloop's answer and are not modelled: the values that change nothing,
# and what to write instead.
_PRICED = f"write {HOP} among the attributes of what stands spatially"
REFUSED: Mapping[str, tuple[tuple[object, ...], str]] = {
    # What timeloop-model prices a level's network by (model/network-legacy.cpp).
    **dict.fromkeys(("energy_per_hop", "router_energy", "energy-per-ingress"), ((0,), _PRICED)),
    **dict.fromkeys(("wire_energy", "tile_width"), ((0,), _PRICED)),
    **dict.fromkeys(("network_fill_latency", "network_drain_latency"), ((0,), "leave it out")),
    "per_dataspace_bandwidth_consumption_scale": (({},), "leave it out"),
    "min_utilization": ((0,), "leave it out"),
    "allow_overbooking": ((False,), "leave it out"),
    "reduction_supported": ((True,), "leave it out"),
    **{
        f"metadata_{name}": ((), "sparse storage is not modelled")
        for name in ("block_size", "datawidth", "word_bits", "storage_width", "storage_depth")
    },
    "concordant_compressed_tile_traversal": ((False,), "sparse storage is not modelled"),
    **{
        f"{name}_supported": ((False,), "sparse storage is not modelled")
        for name in ("tile_partition", "decompression", "compression")
    },
    "bandwidth": ((), "write a unit, as 68 GB/s, or shared_bandwidth in words per cycle"),
    "rw_bandwidth": ((), "write shared_bandwidth"),
    "vector_access_energy": ((), "give energies in an ERT file"),
    "instances": ((), "write spatial: {meshX: ...} beside attributes"),
    "meshX": ((), "write spatial: {meshX: ...} beside attributes"),
    "meshY": ((), "write spatial: {meshY: ...} beside attributes"),
}
# chosen: from below the newest to the 1 um of the 1980s
_TECHNOLOGIES = Range(least=1, most=1000, unit="nm")
_QUANTITY = re.compile(r"[-+]?[0-9.]+\s*(?![eE][-+0-9])[A-Za-z]+(/[A-Za-z]+)?")  # "512 words"


def resolved_attributes(
    section: Section, names: Mapping[str, object], where: str
) -> dict[str, object]:
    """Every attribute with its expression worked out, each seeing those before it."""
    values: dict[str, object] = {}
    for key, written in section.items():
        spot = place(where, section, key)
        if key in NUMBERS and isinstance(written, str) and _QUANTITY.fullmatch(str(written)):
            checked(Quoted(written), float, spot)
        if isinstance(written, Mapping):
            values[key] = dict(written)
        else:
            values[key] = resolved(written, {**names, **values}, spot)
        if key == "technology":
            check_technology(values[key], spot)
    return values


def check_attributes(section: Section, attributes: Mapping[str, object], where: str) -> None:
    """Raise SpecError at an attribute that is not modelled or nearly the name of one that is."""
    for key, value in attributes.items():
        harmless, change = REFUSED.get(key, ((value,), ""))
        if value is not None and value not in harmless:
            spot = place(where, section, key)
            raise SpecError(
                f"{spot}: expected no {key} (it is not modelled), got {value}; {change}"
            )
    for key in section:
        near = _misspelt(key, section)
        if near:
            spot, change = place(where, section, key, shown=False), f"did you mean {near!r}?"
            condition = f"attributes of the model among {', '.join(MODELLED)}"
            raise SpecError(expected(spot, condition, key, change))


def technology_nm(value: object) -> str | None:
    """The number in nm of a technology such as "22nm"; None where it is no such word."""
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(?:nm)?\s*", str(value))
    return found[1] if value is not None and found and float(found[1]) > 0 else None


def check_technology(value: object, where: str) -> None:
    """Raise SpecError for a technology that no chip was made in."""
    size = technology_nm(value)
    if size is not None and not _TECHNOLOGIES.holds(float(size)):
        raise SpecError(expected(where, f"technology {_TECHNOLOGIES}", str(value)))


def _misspelt(key: str, section: Section) -> str:
    """The modelled attribute that a key nearly spells, where that one is absent."""
    aliases = {alias for names in ALIASES.values() for alias in names}
    if key in MODELLED or key in aliases or key in REFUSED or key.endswith(("_a", "_b")):
        return ""
    absent = {name.lower(): name for name in MODELLED if name not in section}
    near = difflib.get_close_matches(key.lower(), absent, n=1, cutoff=0.85)
    return absent[near[0]] if near else ""


def sized_level(level: MemoryLevel, section: Section, where: str, *, off_chip: bool) -> MemoryLevel:
    """The level with the sizes and bandwidths that its resolved attributes give.

    A row is `width / cluster_size` bits. The capacity is `entries`, or depth x words of a row, or
    sizeKB; an off-chip memory without any of them is unbounded.

    section: the attributes as written, for errors.
    """
    reader = _Numbers(level.attributes, section, where)
    word_bits = reader.whole("datawidth", BITS)
    if word_bits is None:
        raise SpecError(
            f"{where}: expected datawidth (bits of a word), got {_listed(section)}; add "
            "datawidth: 16"
        )
    row_words, cluster_size = _row(reader, word_bits)
    capacity = _capacity(reader, word_bits, row_words)
    if capacity is None and not off_chip:
        raise SpecError(
            f"{where}: expected depth, entries or sizeKB, got {_listed(section)}; add depth: the "
            "number of rows"
        )
    return replace(
        level,
        capacity_words=capacity,
        word_bits=word_bits,
        row_words=row_words,
        cluster_size=cluster_size,
        multiple_buffering=reader.number("multiple_buffering", COPIES) or 1.0,
        read_words_per_cycle=reader.number("read_bandwidth", RATE),
        write_words_per_cycle=reader.number("write_bandwidth", RATE),
        fill_words_per_cycle=reader.number("fill_bandwidth", RATE),
        shared_words_per_cycle=reader.number("shared_bandwidth", RATE),
    )


@dataclass(frozen=True, slots=True)
class _Numbers:
    """Reads numbers > 0 under any of their names."""

    attributes: Mapping[str, object]
    section: Section
    where: str

    def place_of(self, key: str) -> str:
        return place(self.where, self.section, self._name(key))

    def number(self, key: str, within: Range = REAL) -> float | None:
        value = self.attributes.get(self._name(key))
        if value is None:
            return None
        return checked(value, float, self.place_of(key), above=0, within=within)

    def whole(self, key: str, within: Range = COUNT) -> int | None:
        value = self.attributes.get(self._name(key))
        return None if value is None else _whole(value, self.place_of(key), within)

    def _name(self, key: str) -> str:
        given = (n for n in ALIASES.get(key, (key,)) if self.attributes.get(n) is not None)
        return next(given, key)


def _whole(value: object, where: str, within: Range) -> int:
    """A whole number > 0; what is worked out may be a float that is one."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return checked(value, int, where, above=0, within=within)


def _row(reader: _Numbers, word_bits: int) -> tuple[int, int]:
    """Words of one row of one instance, and the instances that share a physical row."""
    width = reader.whole("width")
    block, cluster = reader.whole("block_size"), reader.whole("cluster_size")
    given = {"datawidth": word_bits, "block_size": block, "cluster_size": cluster}
    factors = {name: value for name, value in given.items() if value}
    unit, both = math.prod(factors.values()), len(factors) == len(given)
    if width is None:
        return block or 1, cluster or 1
    sizes = (unit,) if both else range(unit, width + 1, unit)
    if width not in sizes:
        said = " x ".join(f"{name} {value}" for name, value in factors.items())
        relation = "equal to" if both else "that is a multiple of"
        raise SpecError(
            f"{reader.place_of('width')}: expected a width in bits {relation} {said} = {unit}, "
            f"got {width}"
        )
    words = block or width // unit
    return words, cluster or width // (word_bits * words)


def _capacity(reader: _Numbers, word_bits: int, row_words: int) -> int | None:
    entries, depth = reader.whole("entries"), reader.whole("depth")
    kib = reader.number("sizeKB", COUNT)
    sizes = {"entries": entries, "depth": depth, "sizeKB": kib}
    given = [name for name, value in sizes.items() if value]
    if len(given) > 1:
        raise SpecError(
            f"{reader.place_of(given[1])}: expected one of entries, depth and sizeKB, got "
            f"{' and '.join(given)}; remove one"
        )
    if kib:
        return math.floor(kib * 1024 * 8 / word_bits)
    return entries or (depth * row_words if depth else None)


def _listed(section: Section) -> str:
    return f"the attributes {', '.join(section)}" if section else "no attributes"


def hop_energy(
    section: Section, attributes: dict[str, object], where: str, *, spatial: bool
) -> float | None:
    """pJ of a hop, taken out of the attributes of a fanout: nothing inside inherits it."""
    value, spot = attributes.pop(HOP, None), place(where, section, HOP)
    if value is None:
        return None
    if not spatial:
        raise SpecError(f"{spot}: expected spatial: {{meshX: ...}} beside it, got none; add it")
    return checked(value, float, spot, within=PICOJOULES)


def mesh(body: Section, names: Mapping[str, object], where: str) -> tuple[int, int] | None:
    """Copies along X and Y that `spatial: {meshX, meshY}` asks for; None where it is not there."""
    if body.get("spatial") is None:
        return None
    section, inside = take_section(body, "spatial", where), f"{where}.spatial"
    refuse_unknown(section, ("meshX", "meshY"), inside)

    def copies(axis: str) -> int:
        spot = place(inside, section, axis)
        return _whole(resolved(section.get(axis, 1), names, spot), spot, INSTANCES)

    return copies("meshX"), copies("meshY")
