"""A mapspace file read as a `Mapspace`; docs/howto/mapspace.md has its keys.

Every Einsum, operator, tensor and rank must be one of the problem's, and every target a node of the
architecture; what may be absent on purpose is marked `if_present: true`.

What a file leaves out is free. A permutation runs innermost first, and ranks that it does not name
stand outside those that it does. Under `spatial` its first `split` ranks may lie along X and the
others along Y; `x: [E], y: [M]` says the same, and an axis that is not given takes any rank. Ranks
that neither axis names stay off the fanout: `Mapspace` has no other way to fix who is spread.
`phases: [[QK], [softmax, AV]]` lists who works at one time, in the schedule of that name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from math import inf
from pathlib import Path
from typing import Any, Literal, get_args

from flat_mapper.arch.nodes import read_factors
from flat_mapper.arch.values import Platform
from flat_mapper.base.errors import Faults, SpecError, expected
from flat_mapper.mapping.space import (
    GRANULARITIES,
    SHARED,
    AnyGroups,
    Fusion,
    KeepRule,
    Mapspace,
    SlotRule,
    Staged,
)
from flat_mapper.mapping.values import (
    GONE,
    GONE_NOW,
    Accounting,
    Passing,
    Phases,
    Policy,
    Schedule,
)
from flat_mapper.spec import catalog
from flat_mapper.spec.document import (
    COPIES,
    REAL,
    Range,
    Section,
    checked,
    section_of,
    take,
    take_choice,
    take_list,
    take_section,
    take_words,
    unknown_keys,
    unknown_word,
)
from flat_mapper.spec.templating import load_document
from flat_mapper.workload.einsum import Einsum
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.softmax import ROW, alternatives


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePart:
    """One mapping of the file, and where its faults go."""

    body: Section
    faults: Faults

    def inner(self, key: str, known: tuple[str, ...] | None = None) -> FilePart:
        """The mapping under a key, an empty one where there is none; unknown keys are noted."""
        found = self.faults.attempt(take_section, self.body, key)
        part = FilePart(body=Section() if found is None else found, faults=self.faults)
        if known is not None:
            part.refuse_unknown(known)
        return part

    def refuse_unknown(self, known: tuple[str, ...]) -> None:
        """Note every key that is not among the known ones."""
        self.faults.extend(unknown_keys(self.body, known))

    def value[T](
        self, key: str, kind: type[T], default: T, *, above: float = -inf, within: Range = REAL
    ) -> T:
        """The value of a key; the default where it is missing or wrong."""
        found = self.faults.attempt(
            take, self.body, key, kind, default=default, above=above, within=within
        )
        return default if found is None else found

    def words(self, key: str) -> tuple[str, ...] | None:
        """The words of a list; None where the key is missing or wrong."""
        if self.body.get(key) is None:
            return None
        found = self.faults.attempt(take_words, self.body, key)
        for word in [word for word, count in Counter(found).items() if count > 1][:1]:
            self.fault(key, "each name once", word, "remove one")
        return found

    def choice[C: str](self, key: str, choices: tuple[C, ...], default: C) -> C:
        """The word of a key; the default where it is missing or wrong."""
        return self.faults.attempt(take_choice, self.body, key, choices, "", default) or default

    def fault(self, key: str, condition: str, got: object, change: str = "") -> None:
        """Note that the value of a key is not what it should be."""
        self.faults.append(str(self.body.wrong(key, condition, got, change)))


_COMMON = ("einsum", "target", "type", "if_present")
RULE_KEYS: Mapping[str, tuple[str, ...]] = {
    "spatial": (*_COMMON, "factors", "permutation", "split", "x", "y"),
    "temporal": (*_COMMON, "factors", "permutation"),
    "dataspace": (*_COMMON, "keep", "bypass"),
}


def constraints(outline: FilePart) -> tuple[tuple[SlotRule, ...], tuple[KeepRule, ...]]:
    """Constraints on loops, and on tensors, in the order of the file."""
    spot = f"{outline.body.where}.constraints"
    rules = [
        outline.faults.attempt(_rule, item, f"{spot}.{i}", outline.faults)
        for i, item in enumerate(outline.value("constraints", list, []))
    ]
    slots = tuple(rule for rule in rules if isinstance(rule, SlotRule))
    return slots, tuple(rule for rule in rules if isinstance(rule, KeepRule))


def _rule(item: object, where: str, faults: Faults) -> SlotRule | KeepRule:
    body = section_of(item, where)
    kind = take_choice(body, "type", tuple(RULE_KEYS))
    part = FilePart(body=body, faults=faults)
    part.refuse_unknown(RULE_KEYS[kind])
    target = str(take(body, "target", str))
    einsum = str(take(body, "einsum", str, default=""))
    present = part.value("if_present", bool, False)
    if kind == "dataspace":
        keep, bypass = part.words("keep") or (), part.words("bypass") or ()
        for tensor in keep:
            if tensor in bypass:
                part.fault("bypass", f"tensors other than those that {target} keeps", tensor)
        return KeepRule(level=target, einsum=einsum, keep=keep, bypass=bypass, if_present=present)
    spot = body.place("factors")
    factors = part.faults.attempt(read_factors, body.get("factors"), None, spot, 1)
    order = part.words("permutation") or ()
    x, y = (None, None) if kind == "temporal" else _axes(part, order)
    return SlotRule(
        node=target,
        kind="temporal" if kind == "temporal" else "spatial",
        einsum=einsum,
        factors=factors.exact if factors else {},
        at_most=factors.at_most if factors else {},
        innermost=order if kind == "temporal" else (),
        x=x,
        y=y,
        if_present=present,
    )


def _axes(
    part: FilePart, order: tuple[str, ...]
) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    """The ranks that may lie along X and along Y, from `split` or as two lists."""
    x, y = part.words("x"), part.words("y")
    if not order and "split" not in part.body:
        return x, y
    split = part.faults.attempt(take, part.body, "split", int, above=-1)
    if split is None:
        return None, None
    if x is not None or y is not None:
        got = ", ".join(k for k in ("permutation", "split", "x", "y") if k in part.body)
        condition = "either permutation and split, or x and y"
        part.faults.append(expected(part.body.where, condition, got, "remove one pair"))
    if split > len(order):
        condition = f"at most {len(order)}, the ranks of the permutation"
        part.fault("split", condition, split, "name more ranks")
    return order[:split], order[split:]


MAPSPACE_KEYS = ("description", "source", "fusion", "policy", "constraints", "placement")
LIMIT_KEYS = ("within", "never", "at_most", "products")  # beside groups: any
POLICY_KEYS = ("buffering", "in_place", "softmax", "passing")
SCHEDULES: tuple[Schedule | Literal["any"], ...] = (*get_args(Schedule), "any")


def load_mapspace(name_or_path: Mapspace | str | Path) -> Mapspace:
    """The mapspace of a shipped name or of a file; a mapspace is itself.

    raises: SpecError with the first fault; `check_mapspace` has them all.
    """
    if isinstance(name_or_path, Mapspace):
        return name_or_path
    faults = Faults()
    mapspace = _mapspace(name_or_path, faults)
    if faults or mapspace is None:
        raise SpecError(faults[0])
    return mapspace


def check_mapspace(path: str | Path) -> list[str]:
    """Everything wrong with a mapspace file, a line each; empty for a sound one."""
    faults = Faults()
    _mapspace(path, faults)
    return faults


def _mapspace(source: str | Path, faults: Faults) -> Mapspace | None:
    """The mapspace of a file, with everything that is wrong noted."""
    path = faults.attempt(catalog.resolve, "mapspaces", source)
    document = faults.attempt(load_document, path) if path else None
    if document is None:
        return None
    name = str(path)
    outline = faults.attempt(_outline, document, name, faults)
    if path is None or outline is None:
        return None
    outline.refuse_unknown(MAPSPACE_KEYS)
    description = outline.value("description", str, "")
    outline.value("source", str, "")
    fusion, policy = _fusion(outline), _policy(outline)
    slots, keeps = constraints(outline)
    placed = outline.inner("placement")
    return Mapspace(
        name=path.name.partition(".")[0],
        description=str(description),
        fusion=fusion,
        policy=policy,
        slots=slots,
        keeps=keeps,
        placement={tensor: str(placed.value(tensor, str, "")) for tensor in placed.body},
    )


def _outline(document: object, name: str, faults: Faults) -> FilePart:
    top = section_of(document, name)
    body = take_section(top, "mapspace", required=True)
    faults.extend(unknown_keys(top, ("mapspace",)))
    return FilePart(body=body, faults=faults)


def _cores(part: FilePart) -> tuple[str, ...] | Literal["any"]:
    """Ranks whose tiles may be given out to cores."""
    if str(part.body.get("cores")) == "any":
        return "any"
    return tuple(rank.upper() for rank in part.words("cores") or ())


def _intermediates(part: FilePart) -> dict[str, str]:
    """The level inside the fusion level at which each of some intermediates is handed over."""
    inner = part.inner("intermediates")
    levels = {name: inner.value(name, str, "") for name in inner.body}
    return {name: level for name, level in levels.items() if level}


def _any_groups(part: FilePart) -> AnyGroups | None:
    """The limits beside `groups: any`; None where groups are listed."""
    if str(part.body.get("groups")) != "any":
        for key in (k for k in LIMIT_KEYS if k in part.body):
            part.fault(key, "groups: any beside it", "groups that are listed", "remove it")
        return None
    never = part.faults.attempt(take_list, part.body, "never", list, default=())
    listed = [tuple(str(n) for n in items) for items in never or ()]
    for items in (i for i in listed if len(i) < 2):
        part.fault("never", "lists of at least two Einsums", list(items))
    return AnyGroups(
        within=part.words("within") or (),
        never=tuple(listed),
        at_most=part.value("at_most", int, 0, above=-1),
        products=part.value("products", int, 0, above=-1),
    )


def _groups(part: FilePart) -> tuple[tuple[str, ...], ...]:
    """The Einsums that share loops; none of them twice; of groups: any, none that are listed."""
    if str(part.body.get("groups")) == "any":
        return ()
    groups = _lists(part, "groups", "group")
    spot = part.body.place("groups")
    for i, group in enumerate(groups):
        if len(group) < 2:
            condition = "at least two Einsums that share loops"
            part.faults.append(expected(f"{spot}.{i}", condition, [*group], "remove the group"))
    return groups


def _phases(part: FilePart) -> Phases:
    """The phases of the schedule of that name; no Einsum in two."""
    phases = _lists(part, "phases", "phase")
    asked = part.body.get("schedule") == "phases"
    if asked != bool(phases):
        condition = "phases and `schedule: phases` together"
        part.fault("phases", condition, [list(p) for p in phases], "add the other or remove this")
    return phases


def _lists(part: FilePart, key: str, noun: str) -> tuple[tuple[str, ...], ...]:
    """Lists of Einsums or operators; none of them twice."""
    lists = part.faults.attempt(take_list, part.body, key, list, default=())
    spot = part.body.place(key)
    found: list[tuple[str, ...]] = []
    for i, items in enumerate(lists or ()):
        names = [
            part.faults.attempt(checked, n, str, f"{spot}.{i}.{j}") for j, n in enumerate(items)
        ]
        found.append(tuple(str(name) for name in names if name is not None))
    for name in (name for name, n in Counter(n for ns in found for n in ns).items() if n > 1):
        part.fault(key, f"each Einsum in one {noun}", name, "remove one")
    return tuple(found)


def _staging(part: FilePart) -> Staged | tuple[str, ...]:
    if isinstance(part.body.get("staging"), list):
        return part.words("staging") or ()
    words: tuple[Staged, ...] = get_args(Staged)
    return part.choice("staging", words, "any")


def _tiles(part: FilePart) -> dict[str, tuple[int, ...]]:
    inner = part.inner("tiles")
    tiles = {rank: part.faults.attempt(_sizes, inner, rank) for rank in inner.body}
    return {rank: sizes for rank, sizes in tiles.items() if sizes}


def _sizes(tiles: FilePart, rank: str) -> tuple[int, ...]:
    sizes = take_list(tiles.body, rank, int)
    if not sizes:
        raise tiles.body.wrong(rank, "at least one tile size", [], "remove the rank")
    spot = tiles.body.place(rank)
    return tuple(checked(n, int, f"{spot}.{i}", above=0) for i, n in enumerate(sizes))


_FUSION: Mapping[str, Callable[[FilePart], Any]] = {
    "groups": _groups,
    "optional": lambda part: part.value("optional", bool, False),
    "granularity": lambda part: part.choice("granularity", ("any", *GRANULARITIES), "any"),
    "staging": _staging,
    "schedule": lambda part: part.choice("schedule", SCHEDULES, "interleaved"),
    "phases": _phases,
    "tiles": _tiles,
    "if_present": lambda part: part.value("if_present", bool, False),
    "level": lambda part: part.value("level", str, ""),
    "cores": _cores,
    "intermediates": _intermediates,
}
FUSION_KEYS = (*_FUSION, *LIMIT_KEYS)


def _fusion(outline: FilePart) -> Fusion:
    part = outline.inner("fusion", FUSION_KEYS)
    said = {key: read(part) for key, read in _FUSION.items()}
    return Fusion(anything=_any_groups(part), **said)


def _policy(outline: FilePart) -> Policy:
    part, default = outline.inner("policy", (*POLICY_KEYS, *GONE)), Policy()
    for key, off in GONE.items():
        if part.body.get(key, off) != off:
            part.fault(key, f"{off!r}", part.body[key], GONE_NOW)
    buffering = part.value("buffering", float, default.buffering, within=COPIES)
    if buffering < 1:
        part.fault("buffering", "copies >= 1 of what crosses DRAM", part.body["buffering"])
    return Policy(
        buffering=buffering,
        in_place=part.value("in_place", bool, default.in_place),
        softmax=part.choice("softmax", get_args(Accounting), default.softmax),
        passing=part.choice("passing", get_args(Passing), default.passing),
    )


def unmatched_rules(mapspace: Mapspace, workload: Workload, platform: Platform) -> list[str]:
    """Names in a mapspace that neither this platform nor this workload has, a line each.

    A rule about an Einsum that the scope left out says nothing. Nor does what is marked
    `if_present` and names nothing here; a group of which only a part is here is refused all the
    same, and so is a target that no chip has.
    """
    einsums = list(_einsums(workload))
    # A rule for the row softmax says nothing of a tensor that another form lacks.
    others = ROW * (workload.softmax not in ("row", "none"))
    levels = [*(lv.name for arch in platform.paths for lv in arch.levels), SHARED]
    known: dict[str, Iterable[str]] = {
        "Einsums": [e.name for e in einsums],
        "ranks": workload.rank_sizes,
        "tensors": [*(a.tensor for e in einsums for a in e.accesses), *others],
        "targets": [*(n.name for arch in platform.paths for n in arch.nodes), SHARED],
        "levels": levels,
    }
    names = {noun: tuple(dict.fromkeys(own)) for noun, own in known.items()}
    found = list(_fusion_misses(mapspace.name, mapspace.fusion, workload, names))
    found += _role_misses(mapspace, workload, names)
    for rule in (r for r in mapspace.rules if r.einsum not in workload.left_out):
        found += _rule_misses(f"{mapspace.name}: constraints", rule, names)
    return list(dict.fromkeys(found))


def absent_parts(mapspace: Mapspace, workload: Workload) -> list[str]:
    """A line for what a mapspace says of names that a workload lacks: it is not searched so."""
    einsums = {e.name for e in _einsums(workload)} | set(workload.left_out)
    known = {*workload.operators, *einsums}
    groups = [", ".join(g) for g in mapspace.fusion.groups if not known & set(g)]
    lines = [f"the problem has nothing of the group {group}: not fused" for group in groups]
    lost = [rule.einsum for rule in mapspace.rules if rule.einsum and rule.einsum not in einsums]
    if lost:
        names = ", ".join(dict.fromkeys(lost))
        lines.append(f"the problem has no {names}: {len(lost)} constraints hold nothing")
    return [f"{mapspace.name}: {line}" for line in lines]


def _einsums(workload: Workload) -> Iterator[Einsum]:
    """The Einsums of a workload, in all forms that it may take."""
    for form in alternatives(workload):
        yield from form.einsums


def _fusion_misses(name: str, fusion: Fusion, workload: Workload, names: _Names) -> Iterator[str]:
    """Names in a mapspace's words on shared loops that are nowhere."""
    where, known = f"{name}: fusion", (*workload.operators, *names["Einsums"])
    groups, limits = fusion.groups, fusion.anything or AnyGroups()
    if fusion.if_present:
        groups = tuple(g for g in groups if not {*names["Einsums"]}.isdisjoint(g))
        limits = AnyGroups()
    lists = {"groups": groups, "within": (limits.within,), "never": limits.never}
    for key, some in {**lists, "phases": fusion.phases}.items():
        words, left_out = chain(*some), workload.left_out
        for line in _misses(f"{where}.{key}", "Einsums or operators", words, known, left_out):
            advised = "; " in line or workload.operators or key != "groups"
            yield line if advised else f"{line}; {_NO_OPERATORS}"
    if not fusion.if_present:
        yield from _misses(f"{where}.tiles", "ranks", fusion.tiles, names["ranks"])
        staged = fusion.staging if isinstance(fusion.staging, tuple) else ()
        at, left_out = f"{where}.staging", workload.left_out
        yield from _misses(at, "tensors", staged, names["tensors"], left_out)


def _role_misses(mapspace: Mapspace, workload: Workload, names: _Names) -> Iterator[str]:
    """A granularity of which the workload does not say what it holds."""
    fusion, roles = mapspace.fusion, workload.roles
    fused = any(set(group) & set(names["Einsums"]) for group in fusion.groups)
    if not fused or fusion.granularity == "any" or fusion.granularity == "all":
        return
    if not roles.declared or (fusion.granularity == "row" and not roles.queries):
        needed = [*GRANULARITIES[fusion.granularity], *["queries"] * (fusion.granularity == "row")]
        condition = f"roles in the problem that say which ranks are {', '.join(needed)}"
        where = f"{mapspace.name}: fusion.granularity {fusion.granularity}"
        change = "add roles: {queries: RANK, ...} to the problem"
        yield expected(where, condition, ", ".join(roles.declared) or "none", change)


def _rule_misses(where: str, rule: SlotRule | KeepRule, names: _Names) -> Iterator[str]:
    """Names in a constraint that nothing has."""
    if rule.einsum and rule.einsum not in names["Einsums"]:
        if not rule.if_present:
            yield from _misses(where, "an Einsum", [rule.einsum], names["Einsums"])
        return
    if isinstance(rule, SlotRule):
        yield from _misses(where, "a target", [rule.node], names["targets"])
        level = rule.node in names["levels"]
        if rule.node in names["targets"] and (rule.kind == "temporal") != level:
            condition = "temporal constraints on levels, spatial ones on fanouts"
            got = f"{rule.kind} on {rule.node}"
            yield expected(where, condition, got, "change type or target")
        axes = (*(rule.x or ()), *(rule.y or ()))
        named = [*rule.factors, *rule.at_most, *rule.innermost, *axes]
        if not rule.if_present:
            yield from _misses(where, "ranks", named, names["ranks"])
        return
    yield from _misses(where, "a target", [rule.level], names["levels"])
    if not rule.if_present:
        yield from _misses(where, "tensors", [*rule.keep, *rule.bypass], names["tensors"])


_Names = Mapping[str, tuple[str, ...]]  # those that a mapspace may use, by what they are of
_NO_OPERATORS = "add operators: {softmax: [EINSUM, ...]} to the problem, if that is what is meant"


def _misses(
    where: str,
    noun: str,
    words: Iterable[str],
    known: tuple[str, ...],
    left_out: tuple[str, ...] = (),
) -> Iterator[str]:
    """A line for each word that is not known; what is left out says nothing."""
    for word in (word for word in words if word not in (*known, *left_out)):
        yield unknown_word(where, f"{noun} among", word, known)
