"""A mapspace: which mappings are allowed. What is free is searched, what is fixed stays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from flat_mapper.attention import softmax_einsums
from flat_mapper.mapping import Granularity, Policy, Schedule
from flat_mapper.workload import Workload

Kind = Literal["temporal", "spatial"]
Staging = Literal["any", "none", "all"]

# The ranks that a granularity of FLAT holds at one; "row" leaves the rows free.
GRANULARITIES: Mapping[Granularity, tuple[str, ...]] = {
    "all": (),
    "batch": ("B",),
    "group": ("B", "G"),
    "head": ("B", "G", "H"),
    "row": ("B", "G", "H"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotRule:
    """What is fixed about the loops at one node; Timeloop's constraint vocabulary."""

    node: str
    kind: Kind
    einsum: str = ""  # empty: every Einsum
    factors: Mapping[str, int] = field(default_factory=dict)  # exactly
    at_most: Mapping[str, int] = field(default_factory=dict)
    innermost: tuple[str, ...] = ()  # the first ranks of the permutation, innermost first
    x: tuple[str, ...] | None = None  # ranks allowed on X; None: any
    y: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepRule:
    """Tensors that a level must keep, and those it must let by."""

    level: str
    einsum: str = ""
    keep: tuple[str, ...] = ()
    bypass: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fusion:
    """Which Einsums may share loops, and how."""

    groups: tuple[tuple[str, ...], ...] = ()  # "softmax" stands for the vector Einsums
    optional: bool = False  # the unfused partition is in the space too
    granularity: Granularity | Literal["any"] = "any"
    staging: Staging | tuple[str, ...] = "any"  # tensors that cross DRAM: kept whole or streamed
    schedule: Schedule = "interleaved"
    tiles: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # allowed tile sizes


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapspace:
    """Declared choices. `policy` holds for every mapping in it."""

    name: str
    description: str = ""
    fusion: Fusion = Fusion()
    policy: Policy = Policy()
    slots: tuple[SlotRule, ...] = ()
    keeps: tuple[KeepRule, ...] = ()

    def slot_rules(self, einsum: str, node: str, kind: Kind) -> Iterator[SlotRule]:
        """The rules about one node's loops under one Einsum."""
        for rule in self.slots:
            if rule.node == node and rule.kind == kind and rule.einsum in ("", einsum):
                yield rule

    def keep_rules(self, einsum: str, level: str) -> Iterator[KeepRule]:
        """The rules about one level's tensors under one Einsum."""
        for rule in self.keeps:
            if rule.level == level and rule.einsum in ("", einsum):
                yield rule


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSpace:
    """Einsums that will run together in one alternative of a mapspace."""

    names: tuple[str, ...]
    fused: bool  # shares loops; else a single Einsum with DRAM loops of its own
    schedule: Schedule
    declared: bool  # fused by the mapspace's own choice, not as one row-wise softmax operator


def partitions(workload: Workload, mapspace: Mapspace) -> list[tuple[GroupSpace, ...]]:
    """The alternatives: how the Einsums may be grouped, each in execution order."""
    charged = mapspace.policy.softmax == "charged"
    names = [e.name for e in workload.ordered if charged or e.unit == "matrix"]
    vector = [n for n in names if workload.einsum(n).unit == "vector"]
    between = softmax_einsums(workload)  # the others, such as a gate's product, run on their own
    vector = [n for n in vector if n in between or not between]
    wanted = []
    for group in mapspace.fusion.groups:
        members = [m for n in group for m in (vector if n == "softmax" else [n])]
        wanted.append(tuple(n for n in names if n in members))
    fused = _partition(names, vector, [w for w in wanted if w], mapspace)
    if not mapspace.fusion.optional or not mapspace.fusion.groups:
        return [fused]
    unfused = _partition(names, vector, [], mapspace)
    return [fused, unfused]


def _partition(
    names: list[str], vector: list[str], wanted: list[tuple[str, ...]], mapspace: Mapspace
) -> tuple[GroupSpace, ...]:
    declared = {n: w for w in wanted for n in w}
    rest = tuple(n for n in vector if n not in declared)
    found: dict[tuple[str, ...], GroupSpace] = {}
    for name in names:
        group = declared.get(name, rest if name in rest else (name,))
        own = group in wanted
        found[group] = GroupSpace(
            names=group,
            fused=len(group) > 1,
            schedule=mapspace.fusion.schedule if own else "sequential",
            declared=own,
        )
    return tuple(found.values())


def granularity_of(tile: Mapping[str, int], sizes: Mapping[str, int]) -> Granularity:
    """FLAT's name of a tile's shape: what the smallest unit of fused work is."""
    if all(tile.get(r, n) == n for r, n in sizes.items()):
        return "all"
    if tile.get("P", sizes.get("P", 1)) < sizes.get("P", 1):
        return "row"
    if tile.get("H", sizes.get("H", 1)) < sizes.get("H", 1):
        return "head"
    if tile.get("G", sizes.get("G", 1)) < sizes.get("G", 1):
        return "group" if sizes.get("H", 1) > 1 else "head"
    return "batch"
