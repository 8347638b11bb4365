"""Energy and area per component: the tables themselves, and reading them from files.

An energy is per ACTION: for a storage level one access of a whole row (`width` bits), for the
compute unit one operation. Two forms are read: Accelergy's ERT.yaml and ART.yaml, and a short one,

    GLB: {read: 72.9, write: 76.1, update: 76.1}    # pJ; update is as write where left out
    MAC: {compute: 1.144}
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path

from flat_mapper.arch.values import Architecture, Platform
from flat_mapper.arch.words import rates_of
from flat_mapper.base.errors import SpecError
from flat_mapper.base.formats import PLAIN, Widths, value_bits
from flat_mapper.base.units import UM2_PER_MM2
from flat_mapper.spec.document import (
    CYCLES,
    PICOJOULES,
    Range,
    Section,
    checked,
    did_you_mean,
    place,
    section_of,
    take,
    unknown_key,
)
from flat_mapper.spec.templating import load_document
from flat_mapper.workload.einsum import Einsum
from flat_mapper.workload.notation import FUNCTIONS

ACCELERGY = "accelergy"  # in place of a table: to be asked

# What an action is called in an ERT, the first that is there (Timeloop, model/topology.hpp).
_ALIASES: Mapping[str, tuple[str, ...]] = {
    "read": ("random_read", "read"),
    "write": ("random_fill", "random_write", "fill", "write"),
    "update": ("random_update", "random_write", "update", "write"),
    "compute": ("mac_random", "mult_random", "mac", "mult", "compute"),
}
_SHORT = (*_ALIASES, "leak")
# Actions of sparse units, which no dense mapping performs.
_SPARSE = re.compile(r"(gated|skipped|metadata|(de)?compression|random_metadata)_.*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Multiplier:
    """The multiplier inside a unit, whose energy is as the product of its operands' bits."""

    bits: int  # of the operands that it is built for
    pj: float  # of one product of such operands, within the unit's `compute`


@dataclass(frozen=True, slots=True, kw_only=True)
class Ert:
    """Energy of every action of every component, in pJ."""

    levels: Mapping[str, Mapping[str, float]]  # component: action: pJ
    source: str  # the file, or the estimator and its version
    provenance: Mapping[str, str] = field(default_factory=dict)  # component: what priced it
    placeholders: tuple[str, ...] = ()  # components whose energies are placeholders
    multipliers: Mapping[str, Multiplier] = field(default_factory=dict)  # of units, where known
    unknown: Mapping[str, str] = field(default_factory=dict)  # components counted as zero: why

    def energy(self, name: str, action: str) -> float:
        """pJ of one action (read, write, update or compute) of one component."""
        actions = self._of(name)
        for alias in _ALIASES.get(action, (action,)):
            if alias in actions:
                return actions[alias]
        raise SpecError(
            f"{self.source}: {name}: expected an energy of {action!r} in pJ, got only "
            f"{', '.join(actions) or 'none'}; add {action}"
        )

    def actions(self, name: str) -> tuple[float, float, float]:
        """pJ of one read, one write and one update of a storage level."""
        return self.energy(name, "read"), self.energy(name, "write"), self.energy(name, "update")

    def leak(self, name: str) -> float:
        """pJ that one instance of a component leaks in a cycle; 0 where the table has none."""
        return self._of(name).get("leak", 0.0)

    def leak_per_cycle(self, platform: Platform | Architecture) -> dict[str, float]:
        """pJ in a cycle of all instances of each component that leaks, by its name.

        A component of several paths is the same hardware, and leaks once.
        """
        found: dict[str, float] = {}
        for arch in platform.paths:
            rows = {level.memory: level.clusters for level in arch.levels}
            for name, count in (rows | {arch.compute.name: arch.compute.instances}).items():
                pj = count * self.leak(name) if name in self.levels else 0.0
                found |= {name: pj} if pj else {}
        return found

    def covering(self, platform: Platform | Architecture) -> Ert:
        """This table, where it prices every component of the platform.

        raises: SpecError naming the first component or action that it lacks.
        """
        for arch in platform.paths:
            for level in arch.levels:
                self.actions(level.name)
            self.energy(arch.compute.name, "compute")
        return self

    def with_others(self, other: Ert) -> Ert:
        """This table, completed by another for the components that it lacks."""
        missing = {k: v for k, v in other.levels.items() if k not in self.levels}
        if not missing:
            return self
        origin = {k: other.provenance.get(k, other.source) for k in missing}
        return replace(
            self,
            levels={**self.levels, **missing},
            source=f"{self.source}; {', '.join(missing)}: {other.source}",
            provenance={**self.provenance, **origin},
            placeholders=(*self.placeholders, *(n for n in other.placeholders if n in missing)),
        )

    def _of(self, name: str) -> Mapping[str, float]:
        if name in self.levels:
            return self.levels[name]
        known = ", ".join(self.levels)
        hint = did_you_mean(name, self.levels) or f"add {name}"
        raise SpecError(
            f"{self.source}: expected energies of {name!r}, got only those of {known}; {hint}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Art:
    """Area of one instance of every component, in um2."""

    areas_um2: Mapping[str, float]
    source: str
    provenance: Mapping[str, str] = field(default_factory=dict)

    def component_mm2(self, platform: Platform | Architecture) -> dict[str, float]:
        """mm2 of all instances of each component; a component of both paths is counted once.

        Off-chip memory is left out, and so is a component that the table lacks.
        """
        parts = {level.name for arch in platform.paths for level in arch.levels if level.part_of}
        components = [node for arch in platform.paths for node in arch.components]
        nodes = [node for node in components if node.name not in parts]
        return {
            node.name: self.areas_um2[node.name] * node.instances / UM2_PER_MM2
            for node in nodes
            if "DRAM" not in node.component_class and node.name in self.areas_um2
        }

    def total_mm2(self, platform: Platform | Architecture) -> float:
        """mm2 of the chip: the sum of its components."""
        return sum(self.component_mm2(platform).values())


UNPRICED = "none"  # the source of a table that knows no energy
FREE_ACTIONS = dict.fromkeys(("read", "write", "update", "compute"), 0.0)  # of what costs none


def unpriced(platform: Platform) -> Ert:
    """A table in which nothing costs energy: counts and cycles do not need one."""
    nodes = [node for arch in platform.paths for node in arch.components]
    return Ert(levels={node.name: FREE_ACTIONS for node in nodes}, source=UNPRICED)


def load_ert(path: str | Path) -> Ert:
    """The energy table in a file, in Accelergy's form or in the short one."""
    return ert_of(load_document(path), str(path))


def load_art(path: str | Path) -> Art:
    """The area table in a file of Accelergy's: `ART: {tables: [{name, area}]}`."""
    document = section_of(load_document(path), str(path))
    areas: dict[str, float] = {}
    for where, name, table in _tables(document, "ART", str(path)):
        areas[name] = _amount(table, "area", where)
    return Art(areas_um2=areas, source=str(path), provenance=dict.fromkeys(areas, str(path)))


def ert_of(document: object, source: str) -> Ert:
    """The energy table that a document says; `source` is what errors call it."""
    section = section_of(document, source)
    if "ERT" in section:
        levels = _long_form(section, source)
    else:
        levels = {name: _short_form(section, name, source) for name in section}
    if not levels:
        raise SpecError(f"{source}: expected energies of at least one component, got none")
    return Ert(levels=levels, source=source, provenance=dict.fromkeys(levels, source))


def _long_form(document: Section, source: str) -> dict[str, dict[str, float]]:
    levels: dict[str, dict[str, float]] = {}
    for where, name, table in _tables(document, "ERT", source):
        energies: dict[str, float] = {}
        for i, node in enumerate(take(table, "actions", list, where)):
            spot = f"{where}.actions.{i}"
            action = take(node, "name", str, spot)
            # The dearest of an action's argument values, as Timeloop takes it.
            energies[action] = max(_amount(node, "energy", spot), energies.get(action, 0.0))
        levels[name] = energies
    return levels


def _tables(document: Section, kind: str, source: str) -> Iterable[tuple[str, str, Section]]:
    """The place, the short name and the node of every table of an ERT or ART."""
    if kind not in document:
        keys = ", ".join(document) or "none"
        raise SpecError(f"{source}: expected the key {kind!r}, got the keys {keys}")
    outer, seen = f"{source}: {kind}", set()
    for i, node in enumerate(take(document[kind], "tables", list, outer)):
        where = f"{outer}.tables.{i}"
        name = short_name(take(node, "name", str, where))
        if name in seen:
            raise SpecError(f"{where}: expected each component once, got {name!r} again")
        seen.add(name)
        yield where, name, section_of(node, where)


def short_name(name: str) -> str:
    """A component's own name: `system_top_level.PE[0].GLB[1..16]` -> `GLB`."""
    return re.sub(r"\[[^\]]*\]", "", name).rpartition(".")[2]


def _short_form(document: Section, name: str, source: str) -> dict[str, float]:
    where = place(f"{source}", document, name)
    if not isinstance(document[name], Mapping):
        raise SpecError(
            f"{where}: expected energies such as {{read: 1.2, write: 1.3}}, got {document[name]!r}"
        )
    actions = section_of(document[name], where)
    inside = f"{source}: {name}"
    energies = {}
    for action in actions:
        known = (*_SHORT, *FUNCTIONS, *(alias for names in _ALIASES.values() for alias in names))
        if action not in known and not _SPARSE.fullmatch(action):
            raise SpecError(unknown_key(action, actions, _SHORT, inside))
        energies[action] = _amount(actions, action, inside)
    return energies


def _amount(node: object, key: str, where: str) -> float:
    """A number >= 0."""
    return take(node, key, float, where, within=PICOJOULES)


MULTIPLE = Range(least=0, most=1e9, unit="times the unit's compute")

# pJ of one operation on 16-bit floating point at 45 nm and 0.9 V. Source: M. Horowitz, "Computing's
# energy problem", ISSCC 2014. Only their ratio is used, so the node of a chip does not matter.
ADD_PJ, MUL_PJ = 0.4, 1.1

# Additions and multiplications of each operation. Chosen, where the reader may choose otherwise:
# a maximum is a subtraction; exp is the difference before it, the reduction of its range by one
# multiply-accumulate, and a polynomial of degree 5 (an error of 3e-6 on +-ln(2)/2, below that of 16
# bits); a reciprocal is two Newton steps of two multiply-accumulates from a table's first guess, a
# reciprocal root two of three products and one sum; log is as exp without a difference.
OPERATIONS: Mapping[str, tuple[int, int]] = {
    "copy": (0, 0),
    "neg": (0, 0),
    "abs": (0, 0),
    "max": (1, 0),
    "relu": (1, 0),
    "add": (1, 0),
    "mul": (0, 1),
    "square": (0, 1),
    "rotary": (1, 2),  # a word of the product of two complex numbers
    "exp": (7, 6),
    "log": (6, 6),
    "reciprocal": (4, 4),
    "div": (4, 5),  # and a product
    "rsqrt": (2, 6),
    "sqrt": (2, 7),  # and a product
    "sigmoid": (11, 10),  # exp, add, reciprocal
    "tanh": (12, 10),  # of twice the argument's sigmoid
    "silu": (11, 11),  # a sigmoid and a product
    "gelu": (14, 15),  # by tanh: x (1 + tanh(c x (1 + d x x))) / 2
}

_KINDS: Mapping[str, str] = {"min": "max", "sum": "add", "sub": "add"}


def energy_kind(operation: str) -> str:
    """The name of an operation in variables and energy tables."""
    return _KINDS.get(operation, operation)


def operation_cycles(arch: Architecture, einsum: Einsum, widths: Widths = PLAIN) -> float:
    """Cycles of one lane for one operation of an Einsum; below 1 where a lane does several.

    Of operands in several formats the one that takes longest decides.
    """
    keys = _keys(arch, einsum, widths, f"{energy_kind(einsum.operation)}_cycles")
    given = ((arch.variables.get(k, 1), f"{arch.place_of(k)}: cycles of a lane") for k in keys)
    cycles = max(checked(n, float, where, above=0, within=CYCLES) for n, where in given)
    return int(cycles) if cycles.is_integer() else cycles


def _keys(arch: Architecture, einsum: Einsum, widths: Widths, name: str) -> tuple[str, ...]:
    """The variables that say something of an operation, one for each format of its operands.

    That of the format (`fp8_e4m3_mul_cycles`) where the architecture has it, else that of all.
    """
    found = dict[str, None]()
    for tensor in (a.tensor for a in einsum.inputs):
        form = widths.format(tensor) or next(iter(rates_of(arch, widths, tensor, name)), "")
        own = f"{form}_{name}"
        found[own if form and own in arch.variables else name] = None
    return tuple(found)


def in_macs(kind: str) -> float:
    """The energy of an operation over that of a multiply-accumulate; unless listed, the same."""
    adds, muls = OPERATIONS.get(kind, (1, 1))
    return (adds * ADD_PJ + muls * MUL_PJ) / (ADD_PJ + MUL_PJ)


def operation_energy(arch: Architecture, ert: Ert, einsum: Einsum, widths: Widths = PLAIN) -> float:
    """pJ of one operation: the table's own price, or a multiple of the unit's `compute`.

    widths: of values. Unless a variable prices their format, the product of a multiply-accumulate
            costs as much as its operands have bits: see `Ert.multipliers`.
    """
    name, kind = arch.compute.name, energy_kind(einsum.operation)
    compute, reduces = ert.energy(name, "compute"), kind == "mul" and bool(einsum.reduced_ranks)
    if not einsum.states_operation:
        return compute
    if kind in ert.levels[name]:
        return ert.levels[name][kind]
    keys, other = _keys(arch, einsum, widths, f"{kind}_energy"), 1 if reduces else in_macs(kind)
    factor = max(
        checked(arch.variables.get(key, other), float, arch.place_of(key), within=MULTIPLE)
        for key in keys
    )
    if reduces and keys == (f"{kind}_energy",):
        compute -= _spared_pj(arch, ert, einsum, widths)
    return compute * factor


def _spared_pj(arch: Architecture, ert: Ert, einsum: Einsum, widths: Widths) -> float:
    """pJ that operands of fewer bits than a unit's multiplier is built for leave out.

    What is above their bits stays zero.
    """
    multiplier, word = ert.multipliers.get(arch.compute.name), arch.levels[0].word_bits
    if multiplier is None or len(einsum.inputs) != 2:
        return 0.0
    own = {t: value_bits(widths.widths[t]) for t in widths.shares}
    bits = (own.get(a.tensor, word) for a in einsum.inputs)
    return multiplier.pj * (1 - prod(min(1.0, n / multiplier.bits) for n in bits))


def priced_for(arch: Architecture, ert: Ert, einsum: Einsum, widths: Widths = PLAIN) -> Ert:
    """The table for one Einsum alone: `compute` is what its operation costs."""
    name = arch.compute.name
    kept = {action: pj for action, pj in ert.levels[name].items() if action == "leak"}
    own = {**kept, "compute": operation_energy(arch, ert, einsum, widths)}
    return replace(ert, levels={**ert.levels, name: own})
