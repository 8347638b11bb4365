"""A mapspace: which mappings are allowed. What is free is searched, what is fixed stays."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from flat_mapper.arch.values import Architecture
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.mapping.order import check_listed, execution_order, overlaps, turns_fault
from flat_mapper.mapping.sharing import crosses_dram
from flat_mapper.mapping.values import Granularity, Phases, Policy, Schedule
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.roles import Roles
from flat_mapper.workload.softmax import made_again, parts_of, passes

LoopKind = Literal["temporal", "spatial"]
ANY_SCHEDULE: tuple[Schedule, ...] = ("interleaved", "overlapped")
# What units do in a fused group of each schedule.
_UNITS = {"sequential": "units in turn", "interleaved": "units in turn"}
_UNITS |= {"overlapped": "units at once", "any": "units at once or in turn"}
Staged = Literal["any", "none", "all"]

# The roles of the ranks that a granularity of FLAT holds at one; "row" leaves the rows free.
GRANULARITIES: Mapping[Granularity, tuple[str, ...]] = {
    "all": (),
    "batch": ("batch",),
    "group": ("batch", "groups"),
    "head": ("batch", "groups", "heads"),
    "row": ("batch", "groups", "heads"),
}


def held_ranks(granularity: Granularity, roles: Roles) -> tuple[str, ...]:
    """The ranks that a granularity holds at one."""
    return roles.ranks_of(GRANULARITIES[granularity])


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
    if_present: bool = False  # names that a workload lacks are no fault

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
    if_present: bool = False

    def __str__(self) -> str:
        """The rule in a line: `RF keep [A], bypass [B]`."""
        some = (("keep", self.keep), ("bypass", self.bypass))
        said = (f"{word} [{', '.join(tensors)}]" for word, tensors in some if tensors)
        return f"{_at(self.level, self.einsum)} {', '.join(said)}"


def _at(node: str, einsum: str) -> str:
    return f"{node} of {einsum}" if einsum else node


@dataclass(frozen=True, slots=True, kw_only=True)
class AnyGroups:
    """Limits of a search over all partitions of a cascade into groups."""

    within: tuple[str, ...] = ()  # only these fuse, Einsums or operators; empty: all
    never: tuple[tuple[str, ...], ...] = ()  # no two of one list in a group
    at_most: int = 0  # Einsums of a group of several units; 0: any number
    products: int = 0  # Einsums of the matrix path in it; 0: any number


@dataclass(frozen=True, slots=True, kw_only=True)
class Fusion:
    """The Einsums that may share loops, and the ways to share them."""

    groups: tuple[tuple[str, ...], ...] = ()  # of Einsums, or of operators
    anything: AnyGroups | None = None  # `groups: any`: the search chooses the partition
    optional: bool = False  # the unfused partition is in the space too
    granularity: Granularity | Literal["any"] = "any"
    staging: Staged | tuple[str, ...] = "any"  # tensors that cross DRAM: kept whole or streamed
    schedule: Schedule | Literal["any"] = "interleaved"  # any: all that a chip can run
    phases: Phases = ()  # of Einsums or operators, where the schedule is `phases`
    tiles: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # allowed tile sizes
    if_present: bool = False  # a group of which a workload has nothing is no fault
    level: str = ""  # the fusion level by name, or any; by default the outermost one on chip
    cores: tuple[str, ...] | Literal["any"] = ()  # ranks whose tiles may be given out to cores
    intermediates: Mapping[str, str] = field(default_factory=dict)  # handed over inside: the level
    orders: tuple[tuple[str, ...], ...] = ()  # execution orders of groups, where they are no choice

    @property
    def on_cores(self) -> bool:
        """True if the level or the cores are chosen."""
        return bool(self.level or self.cores)

    @property
    def fuses(self) -> bool:
        """True if Einsums may share loops at all, by the mapspace's own choice."""
        return bool(self.groups) or self.anything is not None

    @property
    def at_once(self) -> bool:
        """True if units work at once in some schedule that is left."""
        return self.fuses and (self.schedule == "any" or overlaps(self.schedule))


SHARED = "shared"  # in a rule: the level that fused Einsums share, whatever a chip calls it


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapspace:
    """Declared choices. `policy` holds for every mapping in it."""

    name: str
    description: str = ""
    derived: bool = False  # from a chip and a problem; then answers print its description
    fusion: Fusion = Fusion()
    policy: Policy = Policy()
    slots: tuple[SlotRule, ...] = ()
    keeps: tuple[KeepRule, ...] = ()
    placement: Mapping[str, str] = field(default_factory=dict)  # of tensors on a cluster, in words

    def on(self, arch: Architecture) -> Mapspace:
        """The mapspace with the schedules that a chip can run.

        raises: SpecError where it has none of these.
        """
        if not self.fusion.at_once or not (fault := turns_fault(arch, self.fusion.schedule)):
            return self
        if self.fusion.schedule != "any":
            raise SpecError(f"{self.name}: {fault}")
        return replace(self, fusion=replace(self.fusion, schedule="interleaved"))

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines of what was derived, for who named nothing."""
        units = f", {_UNITS[self.fusion.schedule]}" if self.fusion.fuses else ""
        return (f"mapspace {self.name}: {self.description}{units}",) if self.derived else ()

    @property
    def rules(self) -> tuple[SlotRule | KeepRule, ...]:
        """All of them: those on loops, then those on tensors."""
        return (*self.slots, *self.keeps)

    def sharing(self, level: str) -> Mapspace:
        """The mapspace with rules about the shared level about the one of that name."""
        slots = (replace(r, node=level) if r.node == SHARED else r for r in self.slots)
        keeps = (replace(r, level=level) if r.level == SHARED else r for r in self.keeps)
        return replace(self, slots=tuple(slots), keeps=tuple(keeps))

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
    declared: bool  # fused by the mapspace's own choice, not as one row-wise operator
    phases: Phases = ()


def partitions(workload: Workload, mapspace: Mapspace) -> list[tuple[GroupSpace, ...]]:
    """The alternatives: how the Einsums may be grouped, each in one execution order.

    A cascade that corrects partial results has two forms of a fused group: with its corrections,
    where a shared loop cuts the rank that they run in each pass of, and without.
    """
    charged = mapspace.policy.softmax == "charged"
    if not charged and workload.softmax == "online-2pass":
        condition = "a softmax that is charged: nothing else reads what its first pass makes"
        raise SpecError(expected(f"{workload.name}: online-2pass", condition, "softmax: free"))
    order = execution_order(workload)
    names = [n for n in order if charged or workload.einsum(n).unit == "matrix"]
    *corrected, plain = forms_of(workload, names)
    if not mapspace.fusion.groups:
        return list(_fused(workload, mapspace, plain))
    found = [groups for form in (*corrected, plain) for groups in _fused(workload, mapspace, form)]
    # Keys in parts are a shared loop: nothing shares one here.
    if mapspace.fusion.optional and parts_of(workload) == 1:
        found.append(_partition(workload, plain, [], "sequential"))
    return found


def forms_of(workload: Workload, names: list[str]) -> list[list[str]]:
    """Some Einsums with those that correct partial results, where there are some, and without."""
    plain = [n for n in names if not workload.einsum(n).each]
    return [names, plain] if plain != names else [plain]


def _fused(
    workload: Workload, mapspace: Mapspace, form: list[str]
) -> Iterator[tuple[GroupSpace, ...]]:
    """The partitions of a form under each schedule."""
    wanted, schedule = _wanted(workload, form, mapspace), mapspace.fusion.schedule
    for one in ANY_SCHEDULE if schedule == "any" and mapspace.fusion.groups else (schedule,):
        groups = _partition(workload, form, wanted, one)
        if all(corrects(workload, g) for g in groups):
            yield tuple(_with_phases(workload, mapspace, g) for g in groups)


def _with_phases(workload: Workload, mapspace: Mapspace, group: GroupSpace) -> GroupSpace:
    """A group with the phases of its Einsums, where they are its schedule.

    raises: MappingError where phases leave an Einsum out.
    """
    if group.schedule != "phases":
        return group
    listed = ([m for n in part for m in members_of(workload, n)] for part in mapspace.fusion.phases)
    own = (tuple(n for n in part if n in group.names) for part in listed)
    phases = tuple(part for part in own if part)
    check_listed(group.names, phases, f"{mapspace.name}: fusion")
    return replace(group, phases=phases)


def _wanted(workload: Workload, names: list[str], mapspace: Mapspace) -> list[tuple[str, ...]]:
    """The groups that a mapspace fuses, as far as these Einsums are in them.

    A product that the form of the softmax makes again belongs to the group of the first. A group of
    more passes over the ranks that its cascade corrects runs them one after another.
    """
    wanted: list[tuple[str, ...]] = []
    again = made_again(workload)
    for group in mapspace.fusion.groups:
        listed = [m for n in group for m in members_of(workload, n)]
        members = tuple(n for n in names if n in listed or again.get(n) in listed)
        pass_of = dict.fromkeys(members, 0)
        if any(workload.einsum(n).so_far for n in members):
            pass_of = passes(workload, members)
        for number in sorted(set(pass_of.values())):
            wanted.append(tuple(n for n in members if pass_of[n] == number))
    return wanted


def handed_over(workload: Workload, mapspace: Mapspace, group: GroupSpace) -> tuple[str, ...]:
    """The intermediates of a group that it hands over inside the fusion level."""
    return tuple(
        tensor
        for tensor in mapspace.fusion.intermediates
        if workload.producers.get(tensor) in group.names
        and not crosses_dram(workload, group.names, tensor)
    )


def members_of(workload: Workload, name: str) -> tuple[str, ...]:
    """The Einsums that a word of a mapspace's groups means: those of an operator, or the one.

    The scores of latent attention are a sum of two products, which are the scores as well.
    """
    if name == "QK" and workload.latent != "none":
        return ("QKE", "QKR", "QK")
    return workload.operators.get(name, (name,))


def corrects(workload: Workload, group: GroupSpace) -> bool:
    """True where the loops in whose passes Einsums of a group run can be shared loops of it."""
    each = {r for n in group.names for r in workload.einsum(n).each}
    return not each or (group.fused and each <= set(workload.inner_ranks(group.names)))


def _partition(
    workload: Workload,
    names: list[str],
    wanted: list[tuple[str, ...]],
    schedule: Schedule | Literal["any"],
) -> tuple[GroupSpace, ...]:
    """The groups: those that are wanted, operators as far as they are in none, single Einsums."""
    declared = {n: w for w in wanted for n in w}
    units = dict(declared)
    for members in workload.operators.values():
        left = [n for n in names if n in {*members} - declared.keys()]
        for piece in pieces(workload, left, names):
            units |= dict.fromkeys(piece, piece)
    groups = list(dict.fromkeys(units.get(n, (n,)) for n in names))
    return tuple(
        GroupSpace(
            names=group,
            fused=len(group) > 1,
            schedule=schedule if group in wanted and schedule != "any" else "sequential",
            declared=group in wanted,
        )
        for group in _in_order(workload, groups)
    )


def pieces(workload: Workload, members: list[str], names: list[str]) -> list[tuple[str, ...]]:
    """An operator as units that can each run at a stretch; one, unless it corrects itself.

    What has to wait for an Einsum outside that waits for a member is a unit of its own, as the
    quotients behind AV are. So is every pass of a cascade that corrects partial results.
    """
    number = dict.fromkeys(members, 0)
    if any(workload.einsum(n).so_far for n in members):
        number = passes(workload, tuple(names))
    pieces: list[list[str]] = []
    for name in members:
        outside = ({*workload.ancestors[name]} & {*names}) - {*members}
        waits = set[str]().union(*map(workload.ancestors.__getitem__, outside))
        last = pieces[-1] if pieces else []
        if last and number[last[0]] == number[name] and not waits & set(last):
            last.append(name)
        else:
            pieces.append([name])
    return [tuple(piece) for piece in pieces]


def _in_order(workload: Workload, groups: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Groups so that each comes after those it waits for; ties by the order of the cascade.

    raises: SpecError where two wait for each other.
    """
    waits = {g: {n for name in g for n in workload.ancestors[name]} - set(g) for g in groups}
    done: list[tuple[str, ...]] = []
    left = list(groups)
    while left:
        pending = {n for group in left for n in group}
        ready = next((g for g in left if waits[g].isdisjoint(pending)), None)
        if ready is None:
            raise SpecError(_circle(workload, left, pending))
        done.append(ready)
        left.remove(ready)
    return done


def _circle(workload: Workload, groups: list[tuple[str, ...]], pending: set[str]) -> str:
    """The error line of groups that wait for each other."""
    gaps = [
        (group, name, between)
        for group in groups
        for name in group
        for between in workload.ancestors[name]
        if between not in group
    ]
    around = (g for g in gaps if set(workload.ancestors[g[2]]) & set(g[0]))
    group, name, between = next(around, None) or next(g for g in gaps if g[2] in pending)
    condition = f"{between} in it, because {name} waits for it"
    return expected(f"{workload.name}: group {', '.join(group)}", condition, ", ".join(group))


def granularity_of(tile: Mapping[str, int], sizes: Mapping[str, int], roles: Roles) -> Granularity:
    """FLAT's name of a tile's shape: what the smallest unit of fused work is.

    sizes: of the ranks that shared loops may cut. A rank without a role has no name in FLAT.
    """
    cut = [rank for rank, size in sizes.items() if tile.get(rank, size) < size]
    named = {rank: role for role, rank in roles.declared.items()}
    found = {named.get(rank, "keys") for rank in cut}
    if not cut:
        return "all"
    if "keys" in found:
        return "tile"  # not one of FLAT's: keys, or ranks that it has no word for, are cut too
    if "queries" in found:
        return "row"
    if "heads" in found:
        return "head"
    if "groups" in found:
        return "group" if sizes.get(roles.heads, 1) > 1 else "head"
    return "batch"
