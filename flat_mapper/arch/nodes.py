"""The nodes of a Timeloop v0.4 hierarchy, read into levels, fanouts and the compute unit.

Branches (!Hierarchical, !Parallel, !Pipelined) are flattened as Timeloop's front end flattens
them: storages follow each other in their written order. Under !Parallel each tensor takes one
branch, so what one branch keeps, its peers bypass (MemoryLevel.keeps_only).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flat_mapper.arch.attributes import (
    HOP,
    check_attributes,
    hop_energy,
    mesh,
    resolved_attributes,
    sized_level,
)
from flat_mapper.arch.constraints import (
    CONSTRAINTS,
    Outside,
    kept_in,
    node_constraints,
)
from flat_mapper.arch.values import ComputeUnit, Fanout, MemoryLevel
from flat_mapper.base.errors import Faults, SpecError, expected
from flat_mapper.spec.document import (
    Section,
    Tagged,
    checked,
    kind_of,
    place,
    refuse_unknown,
    section_of,
    take,
    take_section,
)
from flat_mapper.spec.expressions import resolved

MAX_LISTED_NODES = 1000  # chosen: in one list; a chip has a dozen
TAGS = ("!Component", "!Container", "!Hierarchical", "!Parallel", "!Pipelined", "!Nothing")
_BRANCHES = ("!Hierarchical", "!Parallel", "!Pipelined")
# A class belongs to the first kind of which one word is part of its name (timeloopfe, v4/arch.py).
_KINDS: Mapping[str, tuple[str, ...]] = {
    "storage": ("DRAM", "SRAM", "regfile", "smartbuffer", "storage"),
    "compute": ("mac", "intmac", "fpmac", "compute"),
    "network": ("XY_NoC", "Legacy", "ReductionTree", "SimpleMulticast"),
    "nothing": ("nothing",),
}
_LEAF = ("name", "attributes", "spatial", "constraints", "sparse_optimizations")
_CONTAINER_KEYS = (*_LEAF, "networks")
_COMPONENT_KEYS = (
    *(*_LEAF, "class", "subclass", "enabled"),
    *("required_actions", "area_scale", "energy_scale"),
)


@dataclass(frozen=True, slots=True)
class _Branch:
    """One branch of a !Parallel node."""

    keeps: tuple[str, ...] | None  # None: no branch says what it keeps


class NodeReader:
    """Walks the nodes once, outermost first, and gathers what they say.

    names:   what expressions may refer to: variables, then container attributes, then components.
    faults:  where everything that cannot be read is noted.
    outside: constraints from beside the nodes, by target and kind.
    """

    def __init__(
        self, names: Mapping[str, object], faults: Faults, outside: Outside | None = None
    ) -> None:
        self.names = dict(names)
        self.faults = faults
        self.outside = outside or {}
        shared = ("technology", "global_cycle_seconds")
        self.inherited = {key: names[key] for key in shared if key in names}
        self.nodes: list[MemoryLevel | Fanout] = []
        self.compute: ComputeUnit | None = None
        self.seen: dict[str, str] = {}  # name: kind
        self.copies = 1

    def read(self, nodes: object, where: str) -> None:
        """Read a list of nodes; faults are noted, not raised."""
        if not isinstance(nodes, list | tuple):
            self.faults.append(expected(where, "a list of nodes", kind_of(nodes)))
            return
        if len(nodes) > MAX_LISTED_NODES:
            self.faults.append(expected(where, f"at most {MAX_LISTED_NODES} nodes", len(nodes)))
            return
        for i, node in enumerate(nodes):
            self.faults.attempt(self._node, node, f"{where}.{i}", None)
        kinds = self.seen.values()
        if "compute" not in kinds and not self.faults:
            last = next(reversed(self.seen), "no node")
            words = ", ".join(_KINDS["compute"])
            self.faults.append(
                f"{where}: expected a compute component (a class with one of {words} in its name) "
                f"as the last node, got {last!r}"
            )
        if "storage" not in kinds and not self.faults:
            self.faults.append(f"{where}: expected at least one storage component, got none")

    def _node(self, node: object, where: str, branch: _Branch | None) -> None:
        if not isinstance(node, Tagged) or node.tag not in TAGS:
            raise SpecError(
                f"{where}: expected a node with a tag among {', '.join(TAGS)}, got {kind_of(node)}"
            )
        if node.tag in _BRANCHES:
            self._branch(node, where, branch)
        elif node.tag == "!Container":
            if branch is not None:
                source, colon, inside = where.partition(": ")
                spot = f"{source}:{node.line}{colon}{inside}" if node.line else where
                raise SpecError(
                    f"{spot}: expected no !Container inside !Parallel, got one; place it before "
                    "the !Parallel"
                )
            self._container(section_of(node.body, where), where)
        elif node.tag == "!Component":
            self._component(section_of(node.body, where), where, branch)

    def _branch(self, node: Tagged, where: str, branch: _Branch | None) -> None:
        body = section_of(node.body, where)
        refuse_unknown(body, ("nodes",), where)
        inner = take(body, "nodes", list, where)
        if node.tag != "!Parallel":
            for i, child in enumerate(inner):
                spot = f"{where}.nodes.{i}"
                self.faults.attempt(self._node, child, spot, branch)
            return
        branches = [kept_in(child, where, self.outside) for child in inner]
        for tensor in dict.fromkeys(tensor for kept in branches for tensor in kept):
            owners = [str(i) for i, kept in enumerate(branches) if tensor in kept]
            if len(owners) > 1:
                raise SpecError(
                    f"{where}: expected each tensor in one branch of !Parallel, got {tensor} kept "
                    f"in branches {' and '.join(owners)}"
                )
        for i, (child, kept) in enumerate(zip(inner, branches, strict=True)):
            peer = _Branch(kept if any(branches) else None)
            self.faults.attempt(self._node, child, f"{where}.nodes.{i}", peer)

    def _container(self, body: Section, where: str) -> None:
        where = self._named(body, where, "container")
        refuse_unknown(body, _CONTAINER_KEYS, where)
        _refuse_filled(body, ("networks", "sparse_optimizations"), where)
        written, inside = take_section(body, "attributes", where), f"{where}.attributes"
        attributes = resolved_attributes(written, self.names, inside)
        check_attributes(written, attributes, inside)
        copies = mesh(body, {**self.names, **attributes}, where)
        hop = hop_energy(written, attributes, inside, spatial=copies is not None)
        self.names.update(attributes)
        self.inherited.update(attributes)
        constraints = self._constraints(body, where, ("spatial",))
        if copies is not None:
            self._fan_out(body, copies, constraints, hop)
        elif constraints:
            raise SpecError(
                f"{where}: expected spatial: {{meshX: ...}} beside its spatial constraints, got "
                "none; add it, or remove the constraints"
            )

    def _component(self, body: Section, where: str, branch: _Branch | None) -> None:
        written = take(body, "class", str, where)
        kind = _kind(written, place(where, body, "class"))
        spot = place(where, body, "enabled")
        enabled = checked(resolved(body.get("enabled", True), self.names, spot), bool, spot)
        if not enabled or kind == "nothing":
            return
        where = self._named(body, where, kind)
        refuse_unknown(body, _COMPONENT_KEYS, where)
        _refuse_filled(body, ("sparse_optimizations",), where)
        given, inside = take_section(body, "attributes", where), f"{where}.attributes"
        own = resolved_attributes(given, self.names, inside)
        scales = {
            key: resolved(body[key], {**self.names, **own}, place(where, body, key))
            for key in ("area_scale", "energy_scale")
            if body.get(key) is not None
        }
        attributes = {**self.inherited, **own, **scales}
        constraints = self._constraints(body, where, tuple(CONSTRAINTS))
        copies = mesh(body, {**self.names, **attributes}, where)
        hop = hop_energy(given, attributes, inside, spatial=copies is not None)
        if copies not in (None, (1, 1)):
            if branch is not None:
                raise SpecError(
                    f"{place(where, body, 'spatial')}: expected no fanout inside "
                    "!Parallel, got one; put a !Container before the !Parallel"
                )
            spread = {"spatial": constraints.pop("spatial")} if "spatial" in constraints else {}
            self._fan_out(body, copies, spread, hop)
        name = str(body["name"])
        component_class = take(body, "subclass", str, where, None) or written
        if kind == "compute":
            self.compute = ComputeUnit(
                name=name,
                component_class=component_class,
                instances=self.copies,
                attributes=attributes,
            )
        else:
            check_attributes(given, attributes, inside)
            level = MemoryLevel(
                name=name,
                component_class=component_class,
                capacity_words=None,
                word_bits=0,
                row_words=0,
                instances=self.copies,
                attributes=attributes,
                constraints=constraints,
                keeps_only=branch.keeps if branch else None,
            )
            self.nodes.append(sized_level(level, given, inside, off_chip="DRAM" in written))
        self.names[name] = {"attributes": attributes}

    def _named(self, body: Section, where: str, kind: str) -> str:
        """The place of a node by its name, which is noted as seen."""
        name = take(body, "name", str, where)
        spot = f"{body.source or where.partition(': ')[0]}: {name}"
        if "[" in name:
            raise SpecError(
                f"{place(where, body, 'name')}: expected a name without a range, got "
                f"{name!r}; write spatial: {{meshX: ...}} instead"
            )
        if name in self.seen:
            raise SpecError(
                f"{place(where, body, 'name')}: expected each name once, got {name!r} again"
            )
        before = next((n for n, k in self.seen.items() if k == "compute"), None)
        self.seen[name] = kind
        if before is not None:
            raise SpecError(
                f"{place(spot, body, 'name', shown=False)}: expected the compute "
                f"component {before!r} to be the only one and the last node, got "
                f"{name!r} after it"
            )
        return spot

    def _constraints(self, body: Section, where: str, kinds: tuple[str, ...]) -> dict[str, object]:
        outside = self.outside.get(str(body["name"]), {})
        return node_constraints(body, outside, where, kinds, self.names)

    def _fan_out(
        self,
        body: Section,
        copies: tuple[int, int],
        constraints: Mapping[str, object],
        hop: float | None,
    ) -> None:
        x, y = copies
        self.copies *= x * y
        fanout = Fanout(
            name=str(body["name"]), fanout_x=x, fanout_y=y, constraints=constraints, hop_pj=hop
        )
        self.nodes.append(fanout)


def _kind(component_class: str, where: str) -> str:
    for kind, words in _KINDS.items():
        if any(word in component_class for word in words):
            if kind == "network":
                raise SpecError(
                    f"{where}: expected storage or compute, got the network class "
                    f"{component_class!r}; networks are priced by {HOP} beside a spatial, "
                    "remove it"
                )
            return kind
    storage, compute = ", ".join(_KINDS["storage"]), ", ".join(_KINDS["compute"])
    raise SpecError(
        f"{where}: expected a class with one of {storage} (storage) or {compute} (compute) in its "
        f"name, got {component_class!r}; write class: storage, and yours as subclass"
    )


def _refuse_filled(body: Section, keys: Iterable[str], where: str) -> None:
    for key in keys:
        priced = key == "networks"
        why = f"they are priced by {HOP} beside a spatial" if priced else "they are not modelled"
        if body.get(key):
            raise SpecError(
                f"{place(where, body, key)}: expected no {key} ({why}), "
                f"got {kind_of(body[key])}; remove it"
            )
