"""Quantities with units in an architecture's file, as Timeloop reads them.

`bandwidth: 68 GB/s` becomes words per cycle and `size: 2 MiB` rows: expressions over the clock and
the widths that the file has, so that they follow what is edited later, and are lowered as such.
"""

from __future__ import annotations

from collections.abc import Mapping

from flat_mapper.arch.attributes import ALIASES, BANDWIDTHS, NUMBERS, SIZES, WITH_UNITS
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.base.units import quantity
from flat_mapper.spec.document import Section, Tagged, edited_nodes, place, walk

CYCLE_SECONDS = 1e-9  # s; where global_cycle_seconds is not given (Timeloop's tutorials use it)
_CYCLE = "global_cycle_seconds"


def plain_numbers(document: Section) -> Section:
    """The document of an architecture in which no number has a unit.

    raises: SpecError for a unit that is not of what its attribute counts.
    """
    head, variables = document.get("architecture"), document.get("variables")
    if not isinstance(head, Mapping):
        return document
    found, bodies = {}, [node.body for node in walk(head) if isinstance(node, Tagged)]
    said = [variables, *(b.get("attributes") for b in bodies if isinstance(b, Mapping))]
    clock = any(isinstance(one, Mapping) and _CYCLE in one for one in said)
    cycle = _CYCLE if clock else str(CYCLE_SECONDS)

    def edit(body: Section) -> tuple[Section, ...]:
        own = body.get("attributes")
        if not isinstance(own, Section):
            return (body,)
        where = f"{body.source}: {body['name']}.attributes"
        plain = _plain(own, cycle, where)
        return (Section({**body, "attributes": plain}, body.source, body.lines),)

    found["architecture"] = edited_nodes(head, edit)
    if isinstance(variables, Section):
        found["variables"] = _plain(variables, cycle, f"{variables.source}: variables")
    return Section({**document, **found}, document.source, document.lines)


def _plain(section: Section, cycle: str, where: str) -> Section:
    """Attributes or variables without units; what refers to others stands behind them."""
    plain, later = dict[str, object](), dict[str, object]()
    for key, value in section.items():
        found = quantity(value) if type(value) is str else None
        if found is None or not (found[1] or key in NUMBERS):
            plain[key] = value
            continue
        own = WITH_UNITS.get(key, key)
        written = _without_unit(section, own, found, cycle)
        if written is None or (own != key and own in section):
            there = f"{own} or {key}, not both" if written else NUMBERS[own] + _unit(own)
            raise SpecError(expected(place(where, section, key), there, str(value)))
        (later if isinstance(written, str) else plain)[own] = written
    both = {**plain, **later}
    return Section(both, section.source, section.lines | {k: 0 for k in both if k not in section})


def _without_unit(
    section: Section, key: str, found: tuple[float, str], cycle: str
) -> float | str | None:
    """A quantity in what its attribute counts; None where its unit is of something else."""
    number, unit = found
    word, row, block = (_name(section, name) for name in ("datawidth", "width", "block_size"))
    bits = f"{number} * 8"
    if row and "cluster_size" in section:
        row = f"({row} // cluster_size)"
    by_bytes: Mapping[str, float | str] = {
        "depth": f"{bits} // {row or f'({word} * {block or 1})'}",
        "entries": f"{bits} // {word}",
        "sizeKB": number / 1024,
        "width": int(number * 8),
        "datawidth": int(number * 8),
    }
    meant = next((name for name, known in ALIASES.items() if key in known), key)
    if unit == "B/s" and key in BANDWIDTHS:
        return f"{bits} / {word} * {cycle}"
    if unit == "B":
        return by_bytes.get(meant, None if key in NUMBERS else number)
    fits = not unit or key not in NUMBERS or (unit == "s" and key == _CYCLE)
    return number if fits else None


def _unit(key: str) -> str:
    """The unit that an attribute may have instead, in words."""
    return ", or B/s" if key in BANDWIDTHS else ", or B" if key in SIZES else ""


def _name(section: Section, name: str) -> str:
    """The name under which an attribute stands; its own, of a word, where it stands outside."""
    there = (key for key in ALIASES[name] if section.get(key) is not None)
    return next(there, name if name == "datawidth" else "")
