"""A mapspace file read as a `Mapspace`.

    mapspace:
      description: what it stands for
      source: where that comes from
      fusion:                          # left out: nothing shares loops
        groups: [[QK, softmax, AV]]    # `softmax`: the vector Einsums between QK and AV
        optional: false                # true: the unfused alternative is in the space as well
        granularity: any               # any, all, batch, head or row
        staging: any                   # any, none, all, or a list of tensors
        schedule: interleaved          # sequential, interleaved or overlapped
        tiles: {P: [64, 128]}          # the tile sizes that a shared rank may take
      policy: {buffering: 2, in_place: true, overflow: reject, softmax: charged}
      constraints:                     # Timeloop's; without `einsum` they hold for every Einsum
      - {einsum: QK, target: PE, type: spatial, permutation: [E, M], split: 1}
      - {target: RF, type: temporal, factors: [M=1, P<=8], permutation: [P]}
      - {target: RF, type: dataspace, keep: [K], bypass: [Q, QK]}

What a file leaves out is free. A permutation runs innermost first, and ranks that it does not name
stand outside those that it does. Under `spatial` its first `split` ranks may lie along X and the
others along Y; `x: [E], y: [M]` says the same, and an axis that is not given takes any rank. Ranks
that neither axis names stay off the fanout: `Mapspace` has no other way to fix who is spread.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from flat_mapper import catalog
from flat_mapper.arch import Platform
from flat_mapper.document import (
    Section,
    checked,
    did_you_mean,
    kind_of,
    place,
    section_of,
    take,
    take_choice,
    take_list,
    unknown_key,
)
from flat_mapper.errors import Faults, SpecError, expected
from flat_mapper.mapping import Accounting, Granularity, Overflow, Policy, Schedule
from flat_mapper.mapspace import GRANULARITIES, Fusion, KeepRule, Mapspace, SlotRule, Staging
from flat_mapper.templating import load_document
from flat_mapper.workload import Workload

KEYS = ("description", "source", "fusion", "policy", "constraints")
FUSION_KEYS = ("groups", "optional", "granularity", "staging", "schedule", "tiles")
POLICY_KEYS = ("buffering", "in_place", "overflow", "softmax")
RULE_KEYS: Mapping[str, tuple[str, ...]] = {
    "spatial": ("einsum", "target", "type", "factors", "permutation", "split", "x", "y"),
    "temporal": ("einsum", "target", "type", "factors", "permutation"),
    "dataspace": ("einsum", "target", "type", "keep", "bypass"),
}
GRANULARITY_NAMES: tuple[Granularity | str, ...] = ("any", *GRANULARITIES)
STAGINGS: tuple[Staging, ...] = get_args(Staging)
SCHEDULES: tuple[Schedule, ...] = get_args(Schedule)
OVERFLOWS: tuple[Overflow, ...] = get_args(Overflow)
ACCOUNTINGS: tuple[Accounting, ...] = get_args(Accounting)

_FACTOR = re.compile(r"\s*([A-Za-z][A-Za-z0-9_]*)\s*(<=|=)\s*([0-9]{1,18})\s*")


def load_mapspace(name_or_path: str | Path) -> Mapspace:
    """The mapspace of a shipped name or of a file.

    raises: SpecError with the first fault; `check_mapspace` has them all.
    """
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


def unmatched_rules(mapspace: Mapspace, workload: Workload, platform: Platform) -> list[str]:
    """Constraints that name nothing this platform or workload has, a line each.

    A rule about an Einsum that the workload leaves out says nothing, so it is not listed: the same
    mapspace serves the attention and the block around it.
    """
    paths = [platform.matrix, *filter(None, [platform.vector])]
    nodes = tuple(dict.fromkeys(n.name for arch in paths for n in arch.nodes))
    levels = tuple(dict.fromkeys(lv.name for arch in paths for lv in arch.levels))
    names = {e.name for e in workload.einsums}
    where = f"{mapspace.name}: constraints"
    found: list[str] = []

    def miss(noun: str, word: str, known: tuple[str, ...]) -> None:
        if word not in known:
            condition = f"{noun} among {', '.join(known)}"
            found.append(expected(where, condition, word, did_you_mean(word, known)))

    for slot in mapspace.slots:
        if not slot.einsum or slot.einsum in names:
            miss("a target", slot.node, nodes)
            ranks = (*slot.factors, *slot.at_most, *slot.innermost, *(slot.x or ()))
            for rank in (*ranks, *(slot.y or ())):
                miss("ranks", rank, tuple(workload.rank_sizes))
    for keep in mapspace.keeps:
        if not keep.einsum or keep.einsum in names:
            miss("a target", keep.level, levels)
            for tensor in (*keep.keep, *keep.bypass):
                miss("tensors", tensor, tuple(workload.tensor_ranks))
    return list(dict.fromkeys(found))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """One mapping of the file, with its place and where its faults go."""

    body: Section
    where: str
    faults: Faults

    def inner(self, key: str, known: tuple[str, ...]) -> _Part | None:
        """The mapping under a key, an empty one where there is none; unknown keys are noted."""
        body = self.faults.attempt(take, self.body, key, dict, self.where, {})
        if body is None:
            return None
        part = _Part(
            body=section_of(body, self.where),
            where=place(self.where, self.body, key),
            faults=self.faults,
        )
        part.refuse_unknown(known)
        return part

    def refuse_unknown(self, known: tuple[str, ...]) -> None:
        """Note every key that is not among the known ones."""
        self.faults.extend(
            unknown_key(key, self.body, known, self.where) for key in self.body if key not in known
        )

    def words(self, key: str) -> tuple[str, ...] | None:
        """The words of a list; None where the key is missing or wrong."""
        if self.body.get(key) is None:
            return None
        found = self.faults.attempt(take_list, self.body, key, str, self.where)
        if found is None:
            return None
        twice = [w for i, w in enumerate(found) if w in found[:i]]
        if twice:
            self.fault(key, "each name once", str(twice[0]), "remove one")
        return tuple(str(word) for word in found)

    def choice[C: str](self, key: str, choices: tuple[C, ...], default: C) -> C:
        """The word of a key; the default where it is missing or wrong."""
        found = self.faults.attempt(_choice, self.body, key, choices, self.where, default)
        return found or default

    def flag(self, key: str, default: bool) -> bool:
        """The truth value of a key."""
        found = self.faults.attempt(take, self.body, key, bool, self.where, default)
        return default if found is None else bool(found)

    def fault(self, key: str, condition: str, got: object, change: str = "") -> None:
        """Note that the value of a key is not what it should be."""
        self.faults.append(expected(place(self.where, self.body, key), condition, got, change))


def _choice[C: str](body: Section, key: str, choices: tuple[C, ...], where: str, default: C) -> C:
    return take_choice(body, key, choices, where, default)


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
    outline.refuse_unknown(KEYS)
    description = faults.attempt(take, outline.body, "description", str, outline.where, "")
    faults.attempt(take, outline.body, "source", str, outline.where, "")
    fusion, policy = _fusion(outline), _policy(outline)
    slots, keeps = _constraints(outline)
    return Mapspace(
        name=path.name.partition(".")[0],
        description=str(description or ""),
        fusion=fusion,
        policy=policy,
        slots=slots,
        keeps=keeps,
    )


def _outline(document: object, name: str, faults: Faults) -> _Part:
    top = section_of(document, name)
    body = section_of(take(top, "mapspace", dict, name), name)
    outline = _Part(body=top, where=name, faults=faults)
    outline.refuse_unknown(("mapspace",))
    return _Part(body=body, where=f"{name}: mapspace", faults=faults)


def _fusion(outline: _Part) -> Fusion:
    part = outline.inner("fusion", FUSION_KEYS)
    if part is None:
        return Fusion()
    granularity = part.choice("granularity", GRANULARITY_NAMES, "any")
    return Fusion(
        groups=_groups(part),
        optional=part.flag("optional", False),
        granularity=granularity,  # type: ignore[arg-type]  # one of the names checked above
        staging=_staging(part),
        schedule=part.choice("schedule", SCHEDULES, "interleaved"),
        tiles=_tiles(part),
    )


def _groups(part: _Part) -> tuple[tuple[str, ...], ...]:
    """The Einsums that share loops; none of them twice."""
    lists = part.faults.attempt(take_list, part.body, "groups", list, part.where, ())
    spot = place(part.where, part.body, "groups")
    groups: list[tuple[str, ...]] = []
    for i, items in enumerate(lists or ()):
        names = [
            part.faults.attempt(checked, n, str, f"{spot}.{i}.{j}") for j, n in enumerate(items)
        ]
        groups.append(tuple(str(name) for name in names if name is not None))
        if len(items) < 2:
            condition = "at least two Einsums that share loops"
            part.faults.append(expected(f"{spot}.{i}", condition, items, "remove the group"))
    members = [name for group in groups for name in group]
    for name in dict.fromkeys(m for i, m in enumerate(members) if m in members[:i]):
        part.fault("groups", "each Einsum in one group", name, "remove one")
    return tuple(groups)


def _staging(part: _Part) -> Staging | tuple[str, ...]:
    if isinstance(part.body.get("staging"), list):
        return part.words("staging") or ()
    return part.choice("staging", STAGINGS, "any")


def _tiles(part: _Part) -> dict[str, tuple[int, ...]]:
    inner = part.faults.attempt(take, part.body, "tiles", dict, part.where, {})
    section = section_of(inner or {}, part.where)
    spot = place(part.where, part.body, "tiles")
    tiles: dict[str, tuple[int, ...]] = {}
    for rank in section:
        sizes = part.faults.attempt(_sizes, section, rank, spot)
        if sizes:
            tiles[rank] = sizes
    return tiles


def _sizes(section: Section, rank: str, where: str) -> tuple[int, ...]:
    spot = place(where, section, rank)
    sizes = take_list(section, rank, int, where)
    if not sizes:
        raise SpecError(expected(spot, "at least one tile size", [], "remove the rank"))
    return tuple(checked(n, int, f"{spot}.{i}", above=0) for i, n in enumerate(sizes))


def _policy(outline: _Part) -> Policy:
    part = outline.inner("policy", POLICY_KEYS)
    if part is None:
        return Policy()
    default = Policy()
    buffering = part.faults.attempt(
        take, part.body, "buffering", float, part.where, default.buffering
    )
    if buffering is not None and buffering < 1:
        part.fault("buffering", "copies >= 1 of what crosses DRAM", part.body["buffering"])
    return Policy(
        buffering=default.buffering if buffering is None else float(buffering),
        in_place=part.flag("in_place", default.in_place),
        overflow=part.choice("overflow", OVERFLOWS, default.overflow),
        softmax=part.choice("softmax", ACCOUNTINGS, default.softmax),
    )


def _constraints(outline: _Part) -> tuple[tuple[SlotRule, ...], tuple[KeepRule, ...]]:
    items = outline.faults.attempt(take, outline.body, "constraints", list, outline.where, [])
    spot = place(outline.where, outline.body, "constraints")
    slots: list[SlotRule] = []
    keeps: list[KeepRule] = []
    for i, item in enumerate(items or ()):
        rule = outline.faults.attempt(_rule, item, f"{spot}.{i}", outline)
        if isinstance(rule, SlotRule):
            slots.append(rule)
        elif rule is not None:
            keeps.append(rule)
    return tuple(slots), tuple(keeps)


def _rule(item: object, where: str, outline: _Part) -> SlotRule | KeepRule:
    body = section_of(item, where)
    kind = take_choice(body, "type", tuple(RULE_KEYS), _at(where, outline, body))
    part = _Part(body=body, where=_at(where, outline, body), faults=outline.faults)
    part.refuse_unknown(RULE_KEYS[kind])
    target = str(take(body, "target", str, part.where))
    einsum = str(take(body, "einsum", str, part.where, ""))
    if kind == "dataspace":
        keep, bypass = part.words("keep") or (), part.words("bypass") or ()
        for tensor in keep:
            if tensor in bypass:
                part.fault("bypass", f"tensors other than those that {target} keeps", tensor)
        return KeepRule(level=target, einsum=einsum, keep=keep, bypass=bypass)
    exact, at_most = _factors(part)
    order = part.words("permutation") or ()
    if kind == "temporal":
        return SlotRule(
            node=target,
            kind="temporal",
            einsum=einsum,
            factors=exact,
            at_most=at_most,
            innermost=order,
        )
    x, y = _axes(part, order)
    return SlotRule(
        node=target, kind="spatial", einsum=einsum, factors=exact, at_most=at_most, x=x, y=y
    )


def _at(where: str, outline: _Part, body: Section) -> str:
    """The place of a list's item, with its own line in place of the list's."""
    line = min(body.lines.values(), default=0)
    source = outline.body.source
    if not line or not source:
        return where
    return re.sub(rf"^{re.escape(source)}(:\d+)?: ", lambda _: f"{source}:{line}: ", where)


def _axes(
    part: _Part, order: tuple[str, ...]
) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    """The ranks that may lie along X and along Y, from `split` or as two lists."""
    x, y = part.words("x"), part.words("y")
    if not order and "split" not in part.body:
        return x, y
    split = part.faults.attempt(take, part.body, "split", int, part.where, above=-1)
    if split is None:
        return None, None
    if x is not None or y is not None:
        got = ", ".join(k for k in ("permutation", "split", "x", "y") if k in part.body)
        part.faults.append(
            expected(part.where, "either permutation and split, or x and y", got, "remove one pair")
        )
    if split > len(order):
        condition = f"at most {len(order)}, the ranks of the permutation"
        part.fault("split", condition, split, "name more ranks")
    return order[:split], order[split:]


def _factors(part: _Part) -> tuple[dict[str, int], dict[str, int]]:
    """Factors that are fixed, and bounds of those that are not, by rank."""
    exact: dict[str, int] = {}
    at_most: dict[str, int] = {}
    items = part.body.get("factors")
    if isinstance(items, str):  # Timeloop's older form: "P=1 M<=8"
        items = items.split()
    elif items is not None and not isinstance(items, list):
        part.faults.attempt(take, part.body, "factors", list, part.where)
        return exact, at_most
    spot = place(part.where, part.body, "factors")
    for i, item in enumerate(items or ()):
        match = _FACTOR.fullmatch(item) if isinstance(item, str) else None
        if match is None or int(match[3]) < 1:
            got = item if isinstance(item, str) else kind_of(item)
            part.faults.append(
                expected(f"{spot}.{i}", "RANK=N or RANK<=N with N >= 1, as in P=1 or P<=8", got)
            )
            continue
        rank, sign, number = match[1], match[2], int(match[3])
        if rank in exact or rank in at_most:
            part.faults.append(expected(f"{spot}.{i}", "each rank once", rank, "remove one"))
        (exact if sign == "=" else at_most)[rank] = number
    return exact, at_most
