"""fused-mapping.yaml: the complete record of a fused mapping, written and read.

    fused_mapping:
      version: 2
      workload: {...}                      # written out: ranks and every Einsum
      arch: [edge.yaml, edge.sfu.yaml]     # relative to the record; the matrix path first; or a
                                           # shipped name
      policy: {buffering: 2.0, in_place: true, softmax: charged}
      groups:
      - einsums: [QK, ..., AV]             # execution order
        level: GLB                         # the fusion level; left out where it is the outermost
        cores: {DRAM: [B=4]}               # tiles given out to cores, by where the loops stand
        resident: [K]                      # what a level between holds from before
        windows: {V: 12}                   # passes for which it holds what cores share; else whole
        shared: [H=12, P=8]                # loops run outermost first everywhere in this file
        staged: [Q, K, V]
        schedule: interleaved
        phases: []                         # lists of Einsums, with the schedule of that name
        order: largest                     # or loop, or lists: how tiles are given out
        kernel: fa3_prefill                # whose fitted costs the chip's file has
        granularity: row
        nests:
          QK:
            loops: {DRAM: [H=12, P=8], GLB: [M=16, P=2], PE.y: [P=32], PE.x: [M=32], RF: [E=64]}
            keep: {DRAM: [Q, K], GLB: [Q, K, QK], RF: [QK]}
            stay: [K]                        # may stay below GLB over the shared loops; often none

A loop is `rank=factor`, `rank=factor,last` where the last pass of the loops above is shorter, or
`rank:extent`: it cuts what it is given into pieces of that extent, the last one as what is left.
What `record_document` says, `read_record` gives back equal. It reads only; whether the mapping is
legal is `mapping.check`'s to say.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import get_args

from flat_mapper.arch.reader import load_architecture, platform_files, platform_of
from flat_mapper.arch.values import Architecture, Platform
from flat_mapper.base.errors import MappingError, SpecError, expected
from flat_mapper.mapping.values import (
    GONE,
    GONE_NOW,
    Accounting,
    EinsumMapping,
    FusedMapping,
    Granularity,
    GroupMapping,
    Loop,
    Passing,
    Policy,
    Prefetch,
    Schedule,
    TileOrder,
    loop_list,
    nest_document,
    slot_name,
    slots_of,
)
from flat_mapper.spec import catalog
from flat_mapper.spec.catalog import widths_of
from flat_mapper.spec.document import (
    BITS,
    COPIES,
    COUNT,
    Section,
    checked,
    refuse_unknown,
    section_of,
    take,
    take_choice,
    take_list,
    take_section,
    take_sections,
    take_words,
)
from flat_mapper.spec.yamlio import load_yaml
from flat_mapper.workload.einsum import Einsum
from flat_mapper.workload.graph import LatentForm, Softmax, Workload
from flat_mapper.workload.mask import mask_document, read_layers, read_mask
from flat_mapper.workload.notation import einsum_item, read_einsum
from flat_mapper.workload.roles import (
    declared_document,
    read_operators,
    read_roles,
    read_words,
)

RECORD = "fused-mapping.yaml"
RECORD_VERSION = 2  # 1 did not say what stays in private levels over the shared loops

RECORD_COMMENT = (
    "A fused mapping of flat-mapper; `flat-mapper evaluate` prices it again.",
    "Loops run outermost first. P=32,5 is 32 passes, and 5 in the last pass of the loops above;",
    "P:60 cuts what it is given into pieces of 60, and the last one is what is left.",
)
_RULES = ("passing", "prefetch")  # of other tools; records have those that are switched on
_LOOP = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:=([0-9]{1,18})(?:,([0-9]{1,18}))?|:([0-9]{1,18}))")


def record_document(
    workload: Workload, fused: FusedMapping, arch: tuple[str, ...]
) -> dict[str, object]:
    """The record as a document.

    arch: files of the architectures relative to the record, the matrix path first; or a name.
    """
    policy, plain = fused.policy, Policy()
    rules = {name: getattr(policy, name) for name in _RULES}
    return {
        "fused_mapping": {
            "version": RECORD_VERSION,
            "workload": workload_document(workload),
            "arch": list(arch),
            "policy": {
                "buffering": policy.buffering,
                "in_place": policy.in_place,
                "softmax": policy.softmax,
                **{name: said for name, said in rules.items() if said != getattr(plain, name)},
            },
            "groups": [_group_document(group) for group in fused.groups],
        }
    }


def workload_document(workload: Workload) -> dict[str, object]:
    """A workload as records have it."""
    others = [kind.to_dict() for kind in workload.other_layers]
    return {
        "name": workload.name,
        "source": workload.source,
        "ranks": dict(workload.rank_sizes),
        "word_bits": workload.word_bits,
        **({} if workload.states_bits else {"states_bits": False}),
        "tensor_bits": dict(workload.tensor_bits),
        "softmax": workload.softmax,
        **({} if workload.latent == "none" else {"latent": workload.latent}),
        "repeat": workload.repeat,
        **({"mask": mask_document(workload.mask)} if workload.mask else {}),
        **({"unseen": workload.unseen} if workload.unseen else {}),
        **declared_document(workload.roles, workload.operators),
        **({"views": dict(workload.views)} if workload.views else {}),
        **({"left_out": list(workload.left_out)} if workload.left_out else {}),
        **({"dropped": list(workload.dropped)} if workload.dropped else {}),
        **({"other_layers": others} if others else {}),
        "einsums": [einsum_item(einsum) for einsum in workload.einsums],
    }


def _group_document(group: GroupMapping) -> dict[str, object]:
    return {
        "einsums": list(group.names),
        **({"level": group.level} if group.level else {}),
        **({"cores": {lv: loop_list(at) for lv, at in group.cores}} if group.cores else {}),
        **({"resident": list(group.resident)} if group.resident else {}),
        **({"windows": dict(group.windows)} if group.windows else {}),
        "shared": loop_list(group.shared),
        "staged": list(group.staged),
        "schedule": group.schedule,
        **({"phases": [list(p) for p in group.phases]} if group.phases else {}),
        **({"order": group.order} if group.order != "largest" else {}),
        **({"kernel": group.kernel} if group.kernel else {}),
        "granularity": group.granularity,
        "nests": {mapping.einsum: nest_document(mapping) for mapping in group.einsums},
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class MappingRecord:
    """The contents of a record."""

    workload: Workload
    platform: Platform
    mapping: FusedMapping
    arch: tuple[str, ...] = ()  # file names relative to the record, or one shipped name


def read_record(path: Path, platform: Platform | None = None) -> MappingRecord:
    """A record from its file.

    platform: the architecture it is for; by default the files that the record names.
    raises:   SpecError for what cannot be read.
    """
    try:
        return _record(path, platform)
    except (SpecError, MappingError) as error:
        if str(error).startswith(str(path)):
            raise
        raise type(error)(f"{path}: {error}") from error


def _record(path: Path, platform: Platform | None) -> MappingRecord:
    document = section_of(load_yaml(path), str(path))
    refuse_unknown(document, ("fused_mapping",))
    record = take_section(document, "fused_mapping", required=True)
    refuse_unknown(record, ("version", "workload", "arch", "policy", "groups"))
    version = take(record, "version", int)
    if version != RECORD_VERSION:
        change = "map again: the rules between fused Einsums have changed" if version == 1 else ""
        raise record.wrong("version", f"version {RECORD_VERSION}", version, change)
    arch = take_words(record, "arch", default=None)
    workload = read_workload(take_section(record, "workload", required=True))
    platform = platform or _platform(path, arch, f"{record.where}.arch")
    mapping = FusedMapping(
        groups=tuple(_group(one, workload, platform) for one in take_sections(record, "groups")),
        policy=_policy(take_section(record, "policy", required=True)),
    )
    groups = tuple(_counted(group, workload) for group in mapping.groups)
    mapping = replace(mapping, groups=groups)
    return MappingRecord(workload=workload, platform=platform, mapping=mapping, arch=arch)


def _counted(group: GroupMapping, workload: Workload) -> GroupMapping:
    """A group with the passes that the extents of its loops take.

    raises: MappingError where of the loops over one rank some have extents and others factors.
    """
    sizes = dict(workload.rank_sizes)
    cores = tuple((at, _passes(loops, sizes, "cores")) for at, loops in group.cores)
    tiles = sizes | {p.rank: p.extent for _, loops in cores for p in loops if p.extent}
    nests = []
    for nest in group.einsums:
        left, loops = dict(tiles), []
        for slot, own in nest.loops:
            loops.append((slot, _passes(own, left, f"{nest.einsum}: {slot_name(slot)}")))
        nests.append(replace(nest, loops=tuple(loops)))
    shared = _passes(group.shared, dict(tiles), "shared")
    return replace(group, cores=cores, shared=shared, einsums=tuple(nests))


def _passes(loops: tuple[Loop, ...], sizes: dict[str, int], where: str) -> tuple[Loop, ...]:
    """Loops with the passes that their extents take.

    sizes: of what they are given, and afterwards of their pieces.
    """
    found = []
    for loop in loops:
        if loop.extent:
            loop = replace(loop, factor=-(-sizes[loop.rank] // loop.extent))
            sizes[loop.rank] = loop.extent
        found.append(loop)
    return tuple(found)


def _platform(path: Path, names: tuple[str, ...], where: str) -> Platform:
    if not 1 <= len(names) <= 2:
        raise SpecError(expected(where, "one or two architecture files", len(names)))
    folder = path.parent.resolve()
    for name in names:  # a record may come from anybody: it opens nothing that is not beside it
        if "\0" in name or not (folder / name).resolve().is_relative_to(folder):
            change = "copy it there, or give another architecture with --arch"
            raise SpecError(expected(where, "files in the folder of the record", name, change))
    if len(names) == 1 and not Path(names[0]).suffix and not (folder / names[0]).exists():
        return platform_of(platform_files(catalog.resolve("arch", names[0])))
    paths = [load_architecture(path.parent / name) for name in names]
    return Platform(name=paths[0].name, matrix=paths[0], vector=paths[1] if names[1:] else None)


def read_workload(node: Section) -> Workload:
    """A workload as records have it."""
    known = (
        *("name", "source", "ranks", "word_bits", "tensor_bits", "softmax", "repeat"),
        *("states_bits", "latent", "mask", "unseen", "roles", "operators", "views"),
        *("left_out", "dropped", "other_layers", "einsums"),
    )
    refuse_unknown(node, known)
    ranks = take_section(node, "ranks", required=True)
    return Workload(
        name=str(take(node, "name", str)),
        source=str(take(node, "source", str, default="")),
        rank_sizes={r: take(ranks, r, int, above=0) for r in ranks},
        word_bits=take(node, "word_bits", int, above=0, within=BITS),
        states_bits=take(node, "states_bits", bool, default=True),
        tensor_bits=widths_of(take_section(node, "tensor_bits", required=True)),
        softmax=take_choice(node, "softmax", get_args(Softmax)),
        latent=take_choice(node, "latent", get_args(LatentForm), default="none"),
        repeat=take(node, "repeat", int, above=0),
        mask=read_mask(node),
        unseen=take(node, "unseen", int, default=0, within=COUNT),
        roles=read_roles(node),
        operators=read_operators(node),
        views=read_words(node, "views"),
        left_out=take_words(node, "left_out"),
        dropped=take_words(node, "dropped"),
        other_layers=read_layers(node, "other_layers") if "other_layers" in node else (),
        einsums=tuple(read_einsum(one, one.where) for one in take_sections(node, "einsums")),
    )


def _policy(node: Section) -> Policy:
    refuse_unknown(node, ("buffering", "in_place", "softmax", *_RULES, *GONE))
    for key, off in GONE.items():
        if (got := node.get(key, off)) != off:
            raise node.wrong(key, f"{off!r}", got, GONE_NOW)
    return Policy(
        buffering=take(node, "buffering", float, above=0, within=COPIES),
        in_place=take(node, "in_place", bool),
        softmax=take_choice(node, "softmax", get_args(Accounting)),
        passing=take_choice(node, "passing", get_args(Passing), default="held"),
        prefetch=take_choice(node, "prefetch", get_args(Prefetch), default="held"),
    )


def _group(node: Section, workload: Workload, platform: Platform) -> GroupMapping:
    refuse_unknown(node, (*(own.name for own in fields(GroupMapping)), "nests"))
    names, nests = take_list(node, "einsums", str), take_section(node, "nests", required=True)
    refuse_unknown(nests, names)
    einsums = [workload.einsum(name) for name in names]
    staged = take_words(node, "staged", default=None)
    tensors = dict.fromkeys(a.tensor for einsum in einsums for a in einsum.accesses)
    for tensor in (t for t in staged if t not in tensors):
        raise node.wrong("staged", f"tensors of the group ({', '.join(tensors)})", tensor)
    cores, windows = take_section(node, "cores"), take_section(node, "windows")
    refuse_unknown(windows, tensors)
    return GroupMapping(
        einsums=tuple(_nest(nests, e, platform.path(e.unit)) for e in einsums),
        level=take(node, "level", str, default=""),
        cores=tuple((name, _loops(cores, name)) for name in cores),
        resident=take_words(node, "resident"),
        windows=tuple((t, take(windows, t, int, within=COUNT)) for t in windows),
        shared=_loops(node, "shared"),
        staged=staged,
        schedule=take_choice(node, "schedule", get_args(Schedule)),
        phases=tuple(
            tuple(str(checked(n, str, f"{node.where}.phases.{i}")) for n in part)
            for i, part in enumerate(take_list(node, "phases", list, default=()))
        ),
        order=take_choice(node, "order", get_args(TileOrder), default="largest"),
        kernel=take(node, "kernel", str, default=""),
        granularity=take_choice(node, "granularity", get_args(Granularity)),
    )


def _nest(nests: Section, einsum: Einsum, arch: Architecture) -> EinsumMapping:
    node = take_section(nests, einsum.name, required=True)
    refuse_unknown(node, ("loops", "keep", "stay"))
    loops, keep = (take_section(node, key, required=True) for key in ("loops", "keep"))
    slots = {slot_name(slot): slot for slot in slots_of(arch)}
    refuse_unknown(loops, slots)
    refuse_unknown(keep, [level.name for level in arch.levels])
    return EinsumMapping(
        einsum=einsum.name,
        loops=tuple((slots[name], _loops(loops, name)) for name in loops),
        keep=tuple((name, take_words(keep, name, default=None)) for name in keep),
        stay=take_words(node, "stay"),
    )


def _loops(node: Section, key: str) -> tuple[Loop, ...]:
    loops = []
    for item in take_words(node, key, default=None):
        found = _LOOP.fullmatch(item)
        if not found:
            raise node.wrong(key, "loops such as P=8, 'P=32,5' or 'P:60'", item)
        rank, factor, last, extent = found.groups(default="0")
        loops.append(Loop(rank, int(factor), int(last), int(extent)))
    return tuple(loops)
