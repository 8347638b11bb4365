"""A mapspace file read as a `Mapspace`.

    mapspace:
      description: what it stands for
      source: where that comes from
      fusion:                          # left out: nothing shares loops
        groups: [[QK, softmax, AV]]    # Einsums, and operators of the problem
                                       # or any: the search chooses the partition of the cascade,
                                       # within: [QK, softmax, AV], never: [[FC2, R2]],
                                       # at_most: 6 (Einsums), products: 1 (of the matrix path)
        optional: false                # true: the unfused alternative is in the space as well
        granularity: any               # any, all, batch, group, head or row
        staging: any                   # any, none, all, or a list of tensors
        schedule: interleaved          # sequential, interleaved, overlapped, phases, or any, which
                                       # is the better of interleaved and overlapped
        phases: [[QK], [softmax, AV]]  # of the schedule `phases`: who works at one time
        tiles: {P: [64, 128]}          # the tile sizes that a shared rank may take
        if_present: false              # true: a problem may have nothing of a group or a list
      policy: {buffering: 2, in_place: true, softmax: charged}
      constraints:                     # Timeloop's; without `einsum` they hold for every Einsum
      - {einsum: QK, target: PE, type: spatial, permutation: [E, M], split: 1}
      - {target: RF, type: temporal, factors: [M=1, P<=8], permutation: [P]}
      - {target: RF, type: dataspace, keep: [K], bypass: [Q, QK], if_present: true}

Every Einsum, operator, tensor and rank must be one of the problem's, and every target a node of the
architecture; what may be absent on purpose is marked `if_present: true`.

What a file leaves out is free. A permutation runs innermost first, and ranks that it does not name
stand outside those that it does. Under `spatial` its first `split` ranks may lie along X and the
others along Y; `x: [E], y: [M]` says the same, and an axis that is not given takes any rank. Ranks
that neither axis names stay off the fanout: `Mapspace` has no other way to fix who is spread.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Literal, get_args

from flat_mapper.base.errors import Faults, SpecError, expected
from flat_mapper.mapping.space import GRANULARITIES, AnyGroups, Fusion, Mapspace, Staging
from flat_mapper.mapping.space_constraints import constraints
from flat_mapper.mapping.space_part import FilePart
from flat_mapper.mapping.values import (
    GONE,
    GONE_NOW,
    Accounting,
    Granularity,
    Passing,
    Phases,
    Policy,
    Schedule,
)
from flat_mapper.spec import catalog
from flat_mapper.spec.document import COPIES, Section, checked, place, section_of, take, take_list
from flat_mapper.spec.templating import load_document

MAPSPACE_KEYS = ("description", "source", "fusion", "policy", "constraints")
LIMIT_KEYS = ("within", "never", "at_most", "products")  # beside groups: any
FUSION_KEYS = (
    *("groups", "optional", "granularity", "staging", "schedule", "phases", "tiles", "if_present"),
    *("level", "cores", "intermediates"),
    *LIMIT_KEYS,
)
GRANULARITY_NAMES: tuple[Granularity | str, ...] = ("any", *GRANULARITIES)
STAGINGS: tuple[Staging, ...] = get_args(Staging)
SCHEDULES: tuple[Schedule | Literal["any"], ...] = (*get_args(Schedule), "any")
ACCOUNTINGS: tuple[Accounting, ...] = get_args(Accounting)
PASSINGS: tuple[Passing, ...] = get_args(Passing)


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
    description = faults.attempt(take, outline.body, "description", str, outline.where, "")
    faults.attempt(take, outline.body, "source", str, outline.where, "")
    fusion, policy = _fusion(outline), _policy(outline)
    slots, keeps = constraints(outline)
    return Mapspace(
        name=path.name.partition(".")[0],
        description=str(description or ""),
        fusion=fusion,
        policy=policy,
        slots=slots,
        keeps=keeps,
    )


def _outline(document: object, name: str, faults: Faults) -> FilePart:
    top = section_of(document, name)
    body = section_of(take(top, "mapspace", dict, name), name)
    outline = FilePart(body=top, where=name, faults=faults)
    outline.refuse_unknown(("mapspace",))
    return FilePart(body=body, where=f"{name}: mapspace", faults=faults)


def _fusion(outline: FilePart) -> Fusion:
    part = outline.inner("fusion", FUSION_KEYS)
    if part is None:
        return Fusion()
    granularity = part.choice("granularity", GRANULARITY_NAMES, "any")
    anything = _any_groups(part)
    return Fusion(
        groups=() if anything else _groups(part),
        anything=anything,
        optional=part.flag("optional", False),
        granularity=granularity,  # type: ignore[arg-type]  # one of the names checked above
        staging=_staging(part),
        schedule=part.choice("schedule", SCHEDULES, "interleaved"),
        phases=_phases(part),
        tiles=_tiles(part),
        if_present=part.flag("if_present", False),
        level=part.faults.attempt(take, part.body, "level", str, part.where, "") or "",
        cores=_cores(part),
        intermediates=_intermediates(part),
    )


def _cores(part: FilePart) -> tuple[str, ...] | Literal["any"]:
    """Ranks whose tiles may be given out to cores."""
    if str(part.body.get("cores")) == "any":
        return "any"
    return tuple(rank.upper() for rank in part.words("cores") or ())


def _intermediates(part: FilePart) -> dict[str, str]:
    """The level inside the fusion level at which each of some intermediates is handed over."""
    inner = part.faults.attempt(take, part.body, "intermediates", dict, part.where, {})
    section, spot = section_of(inner or {}, part.where), f"{part.where}.intermediates"
    levels = {name: part.faults.attempt(take, section, name, str, spot) for name in section}
    return {name: level for name, level in levels.items() if level is not None}


def _any_groups(part: FilePart) -> AnyGroups | None:
    """The limits beside `groups: any`; None where groups are listed."""
    if str(part.body.get("groups")) != "any":
        for key in (k for k in LIMIT_KEYS if k in part.body):
            part.fault(key, "groups: any beside it", "groups that are listed", "remove it")
        return None
    never = part.faults.attempt(take_list, part.body, "never", list, part.where, ())
    listed = [tuple(str(n) for n in items) for items in never or ()]
    for items in (i for i in listed if len(i) < 2):
        part.fault("never", "lists of at least two Einsums", list(items))
    numbers = {
        key: part.faults.attempt(take, part.body, key, int, part.where, 0, above=-1)
        for key in ("at_most", "products")
    }
    return AnyGroups(
        within=part.words("within") or (),
        never=tuple(listed),
        at_most=numbers["at_most"] or 0,
        products=numbers["products"] or 0,
    )


def _groups(part: FilePart) -> tuple[tuple[str, ...], ...]:
    """The Einsums that share loops; none of them twice."""
    groups = _lists(part, "groups", "group")
    spot = place(part.where, part.body, "groups")
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
    lists = part.faults.attempt(take_list, part.body, key, list, part.where, ())
    spot = place(part.where, part.body, key)
    found: list[tuple[str, ...]] = []
    for i, items in enumerate(lists or ()):
        names = [
            part.faults.attempt(checked, n, str, f"{spot}.{i}.{j}") for j, n in enumerate(items)
        ]
        found.append(tuple(str(name) for name in names if name is not None))
    for name in (name for name, n in Counter(n for ns in found for n in ns).items() if n > 1):
        part.fault(key, f"each Einsum in one {noun}", name, "remove one")
    return tuple(found)


def _staging(part: FilePart) -> Staging | tuple[str, ...]:
    if isinstance(part.body.get("staging"), list):
        return part.words("staging") or ()
    return part.choice("staging", STAGINGS, "any")


def _tiles(part: FilePart) -> dict[str, tuple[int, ...]]:
    inner = part.faults.attempt(take, part.body, "tiles", dict, part.where, {})
    section = section_of(inner or {}, part.where)
    spot = f"{part.where}.tiles"
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


def _policy(outline: FilePart) -> Policy:
    part = outline.inner("policy", ("buffering", "in_place", "softmax", "passing", *GONE))
    if part is None:
        return Policy()
    for key, off in GONE.items():
        if part.body.get(key, off) != off:
            part.fault(key, f"{off!r}", part.body[key], GONE_NOW)
    default = Policy()
    buffering = part.faults.attempt(
        take, part.body, "buffering", float, part.where, default.buffering, within=COPIES
    )
    if buffering is not None and buffering < 1:
        part.fault("buffering", "copies >= 1 of what crosses DRAM", part.body["buffering"])
    return Policy(
        buffering=default.buffering if buffering is None else float(buffering),
        in_place=part.flag("in_place", default.in_place),
        softmax=part.choice("softmax", ACCOUNTINGS, default.softmax),
        passing=part.choice("passing", PASSINGS, default.passing),
    )
