"""A mapspace: which mappings are allowed. What is free is searched, what is fixed stays."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Literal

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.mapping.values import Granularity, Policy, Schedule
from flat_mapper.workload.cascade import softmax_einsums
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.softmax import passes

LoopKind = Literal["temporal", "spatial"]
ANY_SCHEDULE: tuple[Schedule, ...] = ("interleaved", "overlapped")
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
    """Rules about the loops at one node; Timeloop's constraint vocabulary."""

    node: str
    kind: LoopKind
    einsum: str = ""  # empty: every Einsum
    factors: Mapping[str, int] = field(default_factory=dict)  # exactly
    at_most: Mapping[str, int] = field(default_factory=dict)
    innermost: tuple[str, ...] = ()  # the first ranks of the permutation, innermost first
    x: tuple[str, ...] | None = None  # ranks allowed on X; None: any
    y: tuple[str, ...] | None = None

    def __str__(self) -> str:
        """The rule in a line: `GLB temporal I=1, J<=2, permutation [P]`."""
        said = [f"{r}={n}" for r, n in self.factors.items()]
        said += [f"{r}<={n}" for r, n in self.at_most.items()]
        ranks = (("permutation", self.innermost or None), ("x", self.x), ("y", self.y))
        said += [f"{word} [{', '.join(some)}]" for word, some in ranks if some is not None]
        return f"{_at(self.node, self.einsum)} {self.kind} {', '.join(said)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepRule:
    """Tensors that a level must keep, and those it must let by."""

    level: str
    einsum: str = ""
    keep: tuple[str, ...] = ()
    bypass: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The rule in a line: `RF keep [A], bypass [B]`."""
        some = (("keep", self.keep), ("bypass", self.bypass))
        said = (f"{word} [{', '.join(tensors)}]" for word, tensors in some if tensors)
        return f"{_at(self.level, self.einsum)} {', '.join(said)}"


def _at(node: str, einsum: str) -> str:
    return f"{node} of {einsum}" if einsum else node


@dataclass(frozen=True, slots=True, kw_only=True)
class Fusion:
    """The Einsums that may share loops, and the ways to share them."""

    groups: tuple[tuple[str, ...], ...] = ()  # "softmax" stands for the vector Einsums
    optional: bool = False  # the unfused partition is in the space too
    granularity: Granularity | Literal["any"] = "any"
    staging: Staging | tuple[str, ...] = "any"  # tensors that cross DRAM: kept whole or streamed
    schedule: Schedule | Literal["any"] = "interleaved"  # any: interleaved or overlapped
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

    def slot_rules(self, einsum: str, node: str, kind: LoopKind) -> Iterator[SlotRule]:
        """The rules about one node's loops under one Einsum."""
        for rule in self.slots:
            if rule.node == node and rule.kind == kind and rule.einsum in ("", einsum):
                yield rule

    def keep_rules(self, einsum: str, level: str) -> Iterator[KeepRule]:
        """The rules about one level's tensors under one Einsum."""
        for rule in self.keeps:
            if rule.level == level and rule.einsum in ("", einsum):
                yield rule

    def rules_about(self, einsums: Collection[str], nodes: Collection[str]) -> list[str]:
        """The rules about some nodes under some Einsums, a line each."""
        slots = [r for r in self.slots if r.node in nodes and r.einsum in ("", *einsums)]
        keeps = [r for r in self.keeps if r.level in nodes and r.einsum in ("", *einsums)]
        return list(dict.fromkeys(str(rule) for rule in (*slots, *keeps)))


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSpace:
    """Einsums that will run together in one alternative of a mapspace."""

    names: tuple[str, ...]
    fused: bool  # shares loops; else a single Einsum with DRAM loops of its own
    schedule: Schedule
    declared: bool  # fused by the mapspace's own choice, not as one row-wise softmax operator


def partitions(workload: Workload, mapspace: Mapspace) -> list[tuple[GroupSpace, ...]]:
    """The alternatives: how the Einsums may be grouped, each in execution order.

    A cascade that corrects partial results has two forms of a fused group: with its corrections,
    where a shared loop cuts the rank that they run in each pass of, and without.
    """
    charged = mapspace.policy.softmax == "charged"
    if not charged and workload.softmax == "online-2pass":
        condition = "a softmax that is charged: nothing else reads what its first pass makes"
        raise SpecError(expected(f"{workload.name}: online-2pass", condition, "softmax: free"))
    names = [e.name for e in workload.ordered if charged or e.unit == "matrix"]
    plain = [n for n in names if not workload.einsum(n).each]
    forms = [names, plain] if mapspace.fusion.groups and plain != names else [plain]
    found: list[tuple[GroupSpace, ...]] = []
    schedule = mapspace.fusion.schedule
    schedules = ANY_SCHEDULE if schedule == "any" and mapspace.fusion.groups else (schedule,)
    for members in forms:
        wanted = _wanted(workload, members, mapspace)
        for one in schedules:
            groups = _partition(workload, members, wanted, one)
            if all(_corrects(workload, g) for g in groups):
                found.append(groups)
    if mapspace.fusion.optional and mapspace.fusion.groups:
        found.append(_partition(workload, plain, [], "sequential"))
    return found


def _wanted(workload: Workload, names: list[str], mapspace: Mapspace) -> list[tuple[str, ...]]:
    """The groups that a mapspace fuses, as far as these Einsums are in them.

    One that repeats another's product belongs to its group. A group of more passes over the ranks
    that its cascade corrects runs them one after another.
    """
    vector = _softmax(workload, names)
    wanted: list[tuple[str, ...]] = []
    for group in mapspace.fusion.groups:
        listed = [m for n in group for m in (vector if n == "softmax" else [n])]
        made = [workload.einsum(n).inputs for n in listed if n in names]
        members = tuple(n for n in names if n in listed or workload.einsum(n).inputs in made)
        pass_of = dict.fromkeys(members, 0)
        if any(workload.einsum(n).so_far for n in members):
            pass_of = passes(workload, members)
        for number in sorted(set(pass_of.values())):
            wanted.append(tuple(n for n in members if pass_of[n] == number))
    return wanted


def _softmax(workload: Workload, names: list[str]) -> list[str]:
    """The vector Einsums of the softmax; others, such as a gate's product, run on their own."""
    vector = [n for n in names if workload.einsum(n).unit == "vector"]
    between = softmax_einsums(workload)
    return [n for n in vector if n in between or not between]


def _corrects(workload: Workload, group: GroupSpace) -> bool:
    """True where the loops in whose passes Einsums of a group run can be shared loops of it."""
    each = {r for n in group.names for r in workload.einsum(n).each}
    return not each or (group.fused and each <= set(workload.inner_ranks(group.names)))


def _partition(
    workload: Workload,
    names: list[str],
    wanted: list[tuple[str, ...]],
    schedule: Schedule | Literal["any"],
) -> tuple[GroupSpace, ...]:
    """The groups: those that are wanted, what else of a softmax runs in a row, single Einsums."""
    declared = {n: w for w in wanted for n in w}
    vector = [n for n in _softmax(workload, names) if n not in declared]
    found: dict[tuple[str, ...], GroupSpace] = {}
    for i, name in enumerate(names):
        group = declared.get(name, (name,))
        if name in vector:
            first = next(j for j in range(i, -1, -1) if j == 0 or names[j - 1] not in vector)
            group = tuple(takewhile(lambda n: n in vector, names[first:]))
        own = group in wanted
        found[group] = GroupSpace(
            names=group,
            fused=len(group) > 1,
            schedule=schedule if own and schedule != "any" else "sequential",
            declared=own,
        )
    return tuple(found.values())


def granularity_of(tile: Mapping[str, int], sizes: Mapping[str, int]) -> Granularity:
    """FLAT's name of a tile's shape: what the smallest unit of fused work is."""
    if all(tile.get(r, n) == n for r, n in sizes.items()):
        return "all"
    if tile.get("M", sizes.get("M", 1)) < sizes.get("M", 1):
        return "tile"  # not one of FLAT's: keys are cut too
    if tile.get("P", sizes.get("P", 1)) < sizes.get("P", 1):
        return "row"
    if tile.get("H", sizes.get("H", 1)) < sizes.get("H", 1):
        return "head"
    if tile.get("G", sizes.get("G", 1)) < sizes.get("G", 1):
        return "group" if sizes.get("H", 1) > 1 else "head"
    return "batch"
