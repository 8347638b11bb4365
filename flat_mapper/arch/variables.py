"""Meaning of every variable of an architecture: a misspelt one changes nothing.

A variable is known where the package reads it, and used where an expression names it. One that is
neither may belong to another file of the specification, as Timeloop's do; but not if it is nearly
the name of one that is known, or reads like the cycles or the energy of an operation.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence

from flat_mapper.base.formats import FORMATS
from flat_mapper.spec.document import Section, Tagged, place, section_of
from flat_mapper.workload.notation import BINARY, REDUCTIONS, UNARY

_SUFFIXES = ("_cycles", "_energy")
_OPERATIONS = tuple(dict.fromkeys((*BINARY, *REDUCTIONS, *UNARY)))
# Of a core, with what each counts; see `arch.cores`.
CORE: Mapping[str, str] = {
    "core_tile_cycles": "cycles of each tile that a core is given",
    "core_step_cycles": "cycles of each pass of the shared loops in time",
    "launch_seconds": "s of each group",
    "core_stream_value_cycles": "cycles of each value that a core moves from or to outside",
}
# Ports of one core's boundary: of what comes in, of what goes out, and of both together.
CORE_PORTS: Mapping[str, str] = {
    "core_read_bytes_per_cycle": "bytes per cycle that one core takes in from all outside it",
    "core_write_bytes_per_cycle": "bytes per cycle that one core gives out to all outside it",
    "core_stream_bytes_per_cycle": "bytes per cycle of one core, from and to all outside it",
}
# Of every architecture.
WHOLE_CHIP: Mapping[str, str] = {
    "version": "0.4",
    "technology": 'node of the prices, in quotes: "22nm"',
    "global_cycle_seconds": "s of a cycle",
    "power_limit_w": "W that all components may draw on average",
}
# Of a kernel, behind its name; the first two fixed costs stand in the place of a core's.
FITTED = ("_factor", "_tile_cycles", "_launch_seconds")
HELD_ASIDE = ("_median_error", "_p90_error")
FITTED_ON = "fitted_on"  # the chip whose rows all of them are of, where it is another one
KNOWN = (
    *(*WHOLE_CHIP, *CORE, *CORE_PORTS, FITTED_ON),
    *(f"{operation}{suffix}" for operation in _OPERATIONS for suffix in _SUFFIXES),
    *(f"{form}_{o}{suffix}" for form in FORMATS for o in _OPERATIONS for suffix in _SUFFIXES),
)
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NEAR = 0.8  # chosen: of difflib's ratio; exp_cycle and exp_cycles have 0.95


def variable_faults(documents: Sequence[Section], path: str) -> list[str]:
    """A line for each variable that nothing reads and that is nearly one that is read."""
    faults: list[str] = []
    used = {word for document in documents for word in _words(document)}
    for document in documents:
        where = f"{document.source or path}: variables"
        section = section_of(document.get("variables") or {}, where)
        for name in section:
            if name in KNOWN or name in used or name.endswith((*FITTED, *HELD_ASIDE)):
                continue
            near = difflib.get_close_matches(name, (*KNOWN, *used), n=1, cutoff=_NEAR)
            if near or name.endswith(_SUFFIXES):
                listed = ", ".join(f"{o}_cycles" for o in ("max", "exp", "add", "div"))
                line = (
                    f"{place(where, section, name, shown=False)}: expected a variable that an "
                    f"expression names or the model knows (technology, global_cycle_seconds, "
                    f"{listed}, ...), got {name!r}"
                )
                faults.append(line + (f"; did you mean {near[0]!r}?" if near else "; remove it"))
    return faults


def _words(node: object) -> Iterator[str]:
    """Every name in the values of a document."""
    if isinstance(node, Tagged):
        yield from _words(node.body)
    elif isinstance(node, Mapping):
        for value in node.values():
            yield from _words(value)
    elif isinstance(node, list | tuple):
        for item in node:
            yield from _words(item)
    elif isinstance(node, str):
        yield from _WORD.findall(node)
