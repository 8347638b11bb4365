"""The nodes of a Timeloop v0.4 hierarchy, read into levels, fanouts and the compute unit.

Branches (!Hierarchical, !Parallel, !Pipelined) are flattened as Timeloop's front end flattens
them: storages follow each other in their written order. Under !Parallel each tensor takes one
branch, so what one branch keeps, its peers bypass (MemoryLevel.keeps_only).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from math import prod
from typing import NamedTuple

from flat_mapper.arch.attributes import (
    HOP,
    PART,
    check_attributes,
    hop_energy,
    mesh,
    resolved_attributes,
    sized_level,
)
from flat_mapper.arch.constraints import (
    CONSTRAINTS,
    ListedConstraints,
    kept_in,
    node_constraints,
)
from flat_mapper.arch.values import ComputeUnit, Fanout, MemoryLevel
from flat_mapper.base.errors import Faults, SpecError, expected
from flat_mapper.spec.document import (
    Section,
    Tagged,
    checked,
    did_you_mean,
    noun_of,
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
CLASS_WORDS: Mapping[str, tuple[str, ...]] = {
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
        self, names: Mapping[str, object], faults: Faults, outside: ListedConstraints | None = None
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
            self.faults.append(expected(where, "a list of nodes", noun_of(nodes)))
            return
        if len(nodes) > MAX_LISTED_NODES:
            self.faults.append(expected(where, f"at most {MAX_LISTED_NODES} nodes", len(nodes)))
            return
        for i, node in enumerate(nodes):
            self.faults.attempt(self._node, node, f"{where}.{i}", None)
        kinds = self.seen.values()
        if "compute" not in kinds and not self.faults:
            last = next(reversed(self.seen), "no node")
            words = ", ".join(CLASS_WORDS["compute"])
            self.faults.append(
                f"{where}: expected a compute component (a class with one of {words} in its name) "
                f"as the last node, got {last!r}"
            )
        if "storage" not in kinds and not self.faults:
            self.faults.append(f"{where}: expected at least one storage component, got none")

    def _node(self, node: object, where: str, branch: _Branch | None) -> None:
        if not isinstance(node, Tagged) or node.tag not in TAGS:
            raise SpecError(
                f"{where}: expected a node with a tag among {', '.join(TAGS)}, got {noun_of(node)}"
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
            level = sized_level(level, given, inside, off_chip="DRAM" in written)
            self.nodes.append(self._part(level, given, inside) if PART in given else level)
        self.names[name] = {"attributes": attributes}

    def _part(self, level: MemoryLevel, given: Section, where: str) -> MemoryLevel:
        """A level that is a part of the one right outside it, and says the same of itself."""
        outer, spot = self.nodes[-1] if self.nodes else None, place(where, given, PART)
        name = take(given, PART, str, where)
        if not isinstance(outer, MemoryLevel) or outer.name != name or outer.part_of:
            raise SpecError(expected(spot, "the memory right outside it", name))
        part = replace(level, attributes=outer.attributes)
        if replace(part, name=name, constraints=outer.constraints) != outer:
            condition = f"the sizes and bandwidths of {name}, of which it is a part"
            raise SpecError(expected(where, condition, "others"))
        return replace(part, capacity_words=None, part_of=name)

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
    for kind, words in CLASS_WORDS.items():
        if any(word in component_class for word in words):
            if kind == "network":
                raise SpecError(
                    f"{where}: expected storage or compute, got the network class "
                    f"{component_class!r}; networks are priced by {HOP} beside a spatial, "
                    "remove it"
                )
            return kind
    storage, compute = ", ".join(CLASS_WORDS["storage"]), ", ".join(CLASS_WORDS["compute"])
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
                f"got {noun_of(body[key])}; remove it"
            )


_TERM = re.compile(
    r"\s*([A-Za-z_][A-Za-z0-9_]*?)\s*(<=|>=|=|)\s*([0-9]{1,18})(?:,([0-9]{1,18}))?\s*(?:,|\s|$)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorLimits:
    """Factors by rank: exact ones (0: the whole rank), and bounds from above."""

    exact: Mapping[str, int] = field(default_factory=dict)
    at_most: Mapping[str, int] = field(default_factory=dict)

    def joined(self, other: FactorLimits) -> FactorLimits:
        """Both together; of a rank that both name, what stands here."""
        own = {*self.exact, *self.at_most}
        return FactorLimits(
            exact={**{r: n for r, n in other.exact.items() if r not in own}, **self.exact},
            at_most={**{r: n for r, n in other.at_most.items() if r not in own}, **self.at_most},
        )

    def over(self, sizes: Mapping[str, int]) -> FactorLimits:
        """Those of some ranks, by their sizes; a factor above the size says nothing."""
        exact = {r: n or sizes[r] for r, n in self.exact.items() if r in sizes}
        return FactorLimits(
            exact={r: n for r, n in exact.items() if n <= sizes[r]},
            at_most={r: n for r, n in self.at_most.items() if r in sizes and n < sizes[r]},
        )


def largest_factors(sizes: Mapping[str, int], capacity: int) -> dict[str, int]:
    """The divisors of ranks, one for each, whose product is the largest within a capacity.

    Of several such products, the one that gives most to the ranks named first.
    """
    found: dict[int, dict[str, int]] = {1: {}}
    for rank, size in sizes.items():
        divisors = [n for n in range(1, min(size, capacity) + 1) if size % n == 0]
        grown = {
            reached * n: {**factors, rank: n}
            for reached, factors in found.items()
            for n in divisors
            if reached * n <= capacity
        }
        found = dict(sorted(grown.items()))
    return found[max(found)]


def largest_on_mesh(
    sizes: Mapping[str, int],
    fixed: Mapping[str, int],
    mesh: tuple[int, int],
    axes: Mapping[str, str],
) -> dict[str, int]:
    """The divisors of ranks with the largest product on a mesh, each rank along one axis.

    fixed: factors that the mesh has besides.
    mesh:  copies along X and Y.
    axes:  `x` or `y` for ranks whose axis is given.
    """
    best: dict[str, int] = dict.fromkeys(sizes, 1)
    ranks = (*fixed, *sizes)
    for placed in product(*(axes.get(rank, "xy") for rank in ranks)):
        at = dict(zip(ranks, placed, strict=True))
        rooms = {
            axis: copies // prod(n for rank, n in fixed.items() if at[rank] == axis)
            for axis, copies in zip("xy", mesh, strict=True)
        }
        if not all(rooms.values()):
            continue
        found: dict[str, int] = {}
        for axis, room in rooms.items():
            found |= largest_factors({r: n for r, n in sizes.items() if at[r] == axis}, room)
        if prod(found.values()) > prod(best.values()):
            best = {rank: found[rank] for rank in sizes}
    return best


class FactorTerm(NamedTuple):
    """One factor as it is written: `P=2`, `P2`, `P<=2`, or `P=32,5` with a remainder."""

    rank: str
    sign: str
    factor: int
    last: int | None  # the remainder
    text: str


def factor_items(value: object, where: str) -> list[object]:
    """Items that may hold factors, of `[P=2, M<=4]`, `P=2 M=4`, `P2 M4` or `{P: 2}`."""
    if isinstance(value, Mapping):
        return [f"{rank}={factor}" for rank, factor in value.items()]
    listed = [value] if isinstance(value, str) else value
    return checked([] if listed is None else listed, list, where)


def factor_terms(item: object, where: str, condition: str) -> Iterator[FactorTerm]:
    """The factors of one item; what is none is not what the condition says."""
    if not isinstance(item, str):
        raise SpecError(f"{where}: expected {condition}, got {noun_of(item)}")
    text, position = item.partition("#")[0].strip(), 0
    while position < len(text):
        found = _TERM.match(text, position)
        if found is None:
            raise SpecError(expected(where, condition, text[position:]))
        position = found.end()
        last = int(found[4]) if found[4] else None
        yield FactorTerm(found[1], found[2], int(found[3]), last, found[0].strip(", "))


def read_factors(
    value: object, known: tuple[str, ...] | None, where: str, least: int = 0
) -> FactorLimits:
    """Factors, and bounds of factors.

    known: the ranks there are, where that is to be checked. least: the smallest factor.
    """
    condition = f"RANK=N or RANK<=N with N >= {least}, as in P=1 or P<=8"
    found: dict[str, dict[str, int]] = {"=": {}, "<=": {}}
    for i, item in enumerate(factor_items(value, where)):
        spot = f"{where}.{i}"
        for rank, sign, factor, last, text in factor_terms(item, spot, condition):
            if sign == ">=" or factor < least or last is not None:
                raise SpecError(expected(spot, condition, text))
            if known is not None:
                _known(rank, known, spot)
            if any(rank in factors for factors in found.values()):
                raise SpecError(expected(spot, "each rank once", rank, "remove one"))
            found[sign or "="][rank] = factor
    return FactorLimits(exact=found["="], at_most=found["<="])


def read_order(value: object, known: tuple[str, ...], where: str) -> tuple[str, ...]:
    """Ranks innermost first, from `[R, S]`, `RS`, `R S` or `R,S`."""
    if isinstance(value, str):
        words = [w for w in re.split(r"[,\s]+", value.partition("#")[0]) if w]
        listed = [c for w in words for c in ([w] if w in known else w)]
    else:
        listed = [
            checked(r, str, where) for r in checked([] if value is None else value, list, where)
        ]
    ranks = tuple(_known(str(rank), known, where) for rank in listed)
    if len(set(ranks)) < len(ranks):
        raise SpecError(expected(where, "each rank once", ", ".join(ranks)))
    return ranks


def _known(rank: str, known: tuple[str, ...], where: str) -> str:
    if rank not in known:
        change = did_you_mean(rank, known) or "rename the ranks of one of the two"
        raise SpecError(expected(where, f"ranks of the problem, {', '.join(known)}", rank, change))
    return rank
