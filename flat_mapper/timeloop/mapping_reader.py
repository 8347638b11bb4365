"""A Timeloop mapping (v0.4, or what timeloop-mapper writes) read into an EinsumMapping.

What is left out means what it means to timeloop-model: a missing factor is 1; ranks missing in a
permutation stand outside the others, in the problem's order; a missing `split` puts every spatial
loop on X; a tensor that is neither kept nor bypassed at a level is kept. Under `!Parallel` the
front end's rule holds: a tensor that one branch keeps bypasses the other branches.
Source: Timeloop, src/mapping/parser.cpp; timeloopfe, v4/processors.

One entry of a Timeloop mapping, or one constraint of a node, in all the ways it is written.

{target: GLB, type: temporal, factors: [P=2, M=4], permutation: [M, P]}     # v0.4
{target: GLB, type: temporal, factors: P2 M4, permutation: MP}              # timeloop-mapper
{target: GLB, type: temporal, factors: "P=2,M=32,5", permutation: "M P"}    # 5: a remainder
{target: GLB, type: dataspace, keep: [Q], bypass: ["*"]}
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, product
from math import prod
from typing import Literal

from flat_mapper.arch.constraints import tensors_of
from flat_mapper.arch.cores import NO_MULTICAST
from flat_mapper.arch.nodes import read_order
from flat_mapper.arch.values import Architecture, Fanout, MemoryLevel
from flat_mapper.base.errors import MappingError, SpecError, expected
from flat_mapper.mapping.arch_rules import KEPT_KEYS, kept_tensors
from flat_mapper.mapping.values import EinsumMapping, Loop, Slot, slots_of
from flat_mapper.spec.document import (
    Section,
    Tagged,
    checked,
    children,
    noun_of,
    refuse_unknown,
    section_of,
    take,
    walk,
)
from flat_mapper.timeloop.terms import empty_level
from flat_mapper.workload.einsum import Einsum

EntryKind = Literal["temporal", "spatial", "dataspace"]
KINDS: dict[str, EntryKind] = {
    "temporal": "temporal",
    "spatial": "spatial",
    "dataspace": "dataspace",
    "datatype": "dataspace",
    "bypass": "dataspace",
}
# Of a node's constraints; a mapping has the factors that come of them.
_MAXIMIZED = ("maximize_dims", "maximize_dims_capacity")
_KEYS: dict[EntryKind, tuple[str, ...]] = {
    "temporal": ("factors", "factors_only", "permutation", *_MAXIMIZED),
    "spatial": (
        *("factors", "factors_only", "permutation", "split", "no_link_transfer"),
        *NO_MULTICAST,
        *_MAXIMIZED,
    ),
    "dataspace": KEPT_KEYS,
}
_PLAIN = re.compile(r"\s*[A-Za-z_][A-Za-z0-9_]*\s*=\s*[0-9]+\s*")
_FACTOR = re.compile(
    r"\s*(?:([A-Za-z_][A-Za-z0-9_]*)\s*=\s*|([A-Za-z]+)\s*)([0-9]{1,18})(?:,([0-9]{1,18}))?\s*(?:,|\s|$)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeEntry:
    """Entries about one node: loops innermost first as in the file, and what it keeps."""

    where: str
    node: str
    kind: EntryKind
    factors: Mapping[str, Loop]  # by rank; factor 0 stands for what the other factors leave
    permutation: tuple[str, ...] = ()
    split: int | None = None
    keep: tuple[str, ...] = ()
    bypass: tuple[str, ...] = ()
    apart: bool = False  # instances hand no words on to their neighbours
    alone: tuple[str, ...] = ()  # tensors that each instance reads for itself


def _parsed(section: Section, node: str, kind: EntryKind, einsum: Einsum, where: str) -> NodeEntry:
    """An entry. A key with an empty value says nothing, as in dumped files."""
    said = {key: value for key, value in section.items() if value not in (None, [], "")}
    stated = Section(said, section.source, section.lines)
    refuse_unknown(stated, ("target", "type", *_KEYS[kind]), where)
    factors = _factors(stated.get("factors", []), einsum, f"{where}.factors")
    if "factors_only" in stated:
        only = _factors(stated["factors_only"], einsum, f"{where}.factors_only")
        factors = {**{r: Loop(r, 1) for r in einsum.ranks}, **factors, **only}
    split = take(stated, "split", int, where, None)
    if split is not None and split < 0:
        raise SpecError(expected(f"{where}.split", "a number of ranks, 0 or more", split))
    names = tuple(a.tensor for a in einsum.accesses)
    keep, bypass = kept_tensors(stated, names, names, where)
    listed = {t for key in NO_MULTICAST for t in tensors_of(stated, key, where, names)}
    alone = tuple(t for t in names if t in listed)
    return NodeEntry(
        where=where,
        node=node,
        kind=kind,
        factors=factors,
        permutation=read_order(stated.get("permutation"), einsum.ranks, f"{where}.permutation"),
        split=split,
        keep=keep,
        bypass=bypass,
        apart=_apart(stated, names, alone, where),
        alone=alone,
    )


def _apart(section: Section, names: tuple[str, ...], alone: tuple[str, ...], where: str) -> bool:
    """True if no tensor's words are handed on: all of them are listed, or none.

    Words that each instance reads for itself are not handed on anyhow.
    """
    listed = {*tensors_of(section, "no_link_transfer", where, names)}
    if len(listed) < len(names) and not listed <= {*alone}:
        condition = f"all of the tensors {', '.join(names)}, or none"
        raise SpecError(expected(f"{where}.no_link_transfer", condition, ", ".join(sorted(listed))))
    return len(listed) == len(names)


def _factors(value: object, einsum: Einsum, where: str) -> dict[str, Loop]:
    """Factors by rank, from `[P=2, M=4]`, `P=2 M=4`, `P2 M4`, `P=32,5` or `{P: 2}`."""
    if isinstance(value, Mapping):
        items = [f"{rank}={factor}" for rank, factor in value.items()]
    else:
        items = [value] if isinstance(value, str) else checked(value, list, where)
    factors: dict[str, Loop] = {}
    for item in _rejoined(items):
        for loop in _loops_in(item, where):
            if loop.rank not in einsum.ranks:
                raise SpecError(
                    expected(where, f"ranks among {', '.join(einsum.ranks)}", loop.rank)
                )
            if loop.rank in factors:
                raise SpecError(expected(where, f"one factor of {loop.rank}", "two"))
            factors[loop.rank] = loop
    return factors


def _rejoined(items: Sequence[object]) -> list[object]:
    """Items of a list in which YAML has split `P=32,5` at its comma."""
    found: list[object] = []
    for item in items:
        number = isinstance(item, int) and not isinstance(item, bool)
        if number and found and isinstance(found[-1], str) and _PLAIN.fullmatch(found[-1]):
            found[-1] = f"{found[-1]},{item}"
        else:
            found.append(item)
    return found


def _loops_in(item: object, where: str) -> list[Loop]:
    if not isinstance(item, str):
        change = "quote a remainder: 'P=32,5'" if isinstance(item, int) else ""
        raise SpecError(
            f"{where}: expected factors such as P=4, got {noun_of(item)}"
            + (f"; {change}" if change else "")
        )
    loops, position = [], 0
    text = item.partition("#")[0].strip()
    while position < len(text):
        found = _FACTOR.match(text, position)
        if not found:
            raise SpecError(
                expected(where, "factors such as P=4, each fixed to one number", text[position:])
            )
        factor = int(found[3])
        last = int(found[4] or factor)
        if not 1 <= last <= factor and factor + last > 0:
            raise SpecError(expected(where, "a remainder from 1 to its factor", found[0].strip()))
        loops.append(Loop(found[1] or found[2], factor, 0 if last == factor else last))
        position = found.end()
    return loops


def read_mapping(
    document: object,
    arch: Architecture,
    einsum: Einsum,
    where: str = "mapping",
    sizes: Mapping[str, int] | None = None,
) -> EinsumMapping:
    """The loop nest that a Timeloop mapping describes.

    document: the list of entries, or a mapping with that list under `mapping`.
    where:    the file, for errors.
    sizes:    rank sizes in the problem's order: they resolve a factor 0 (what the rank's other
              factors leave) and order the ranks missing in a permutation.
    Constraints written inside the architecture's nodes count as entries, as in the front end.
    """
    ranks = tuple(r for r in sizes or einsum.ranks if r in einsum.ranks)
    entries, spot = _entries(document, arch, einsum, where)
    merged = _ordered(_resolved(_merged(entries), sizes or {}, einsum.name), entries, ranks)
    loops = {slot: _loops(slot, merged, ranks) for slot in slots_of(arch)}
    return EinsumMapping(
        einsum=einsum.name,
        loops=tuple((slot, at) for slot, at in loops.items() if at),
        keep=_kept(arch, einsum, merged, spot),
    )


def read_chip(
    document: object, arch: Architecture, einsum: Einsum, where: str = "mapping"
) -> tuple[Architecture, bool]:
    """The architecture with the tensors that a mapping has each instance of a fanout read alone.

    Beside it: True if the mapping says `no_link_transfer` at the innermost fanout.
    """
    entries, _ = _entries(document, arch, einsum, where)
    nodes: list[MemoryLevel | Fanout] = []
    for node in arch.nodes:
        own = [e for e in entries if e.kind == "spatial" and e.node == node.name]
        alone = sorted({tensor for entry in own for tensor in entry.alone})
        if isinstance(node, Fanout) and alone:
            said = node.constraints.get("spatial")
            rule = {**(said if isinstance(said, Mapping) else {}), "no_reuse": alone}
            node = replace(node, constraints={**node.constraints, "spatial": rule})
        nodes.append(node)
    last = arch.fanouts[-1].name if arch.fanouts else ""
    return replace(arch, nodes=tuple(nodes)), any(e.apart for e in entries if e.node == last)


def _entries(
    document: object, arch: Architecture, einsum: Einsum, where: str
) -> tuple[list[NodeEntry], str]:
    """The entries of the nodes' constraints and of a mapping, and its place for errors."""
    listed, spot = document, where
    if isinstance(document, Mapping):
        listed, spot = take(document, "mapping", list, where), f"{where}: mapping"
    entries = list(_node_constraints(arch, einsum))
    for i, item in enumerate(checked(listed, list, spot)):
        at = f"{spot}.{i}" if ": " in spot else f"{spot}: {i}"
        entries.append(_entry(item, arch, einsum, at))
    return entries, spot


def _entry(item: object, arch: Architecture, einsum: Einsum, where: str) -> NodeEntry:
    section = section_of(item, where)
    word = take(section, "type", str, where)
    if word not in KINDS:
        raise SpecError(expected(f"{where}.type", f"one of {', '.join(KINDS)}", str(word)))
    kind = KINDS[word]
    target = take(section, "target", str, where)
    entry = _parsed(section, target, kind, einsum, where)
    if kind == "spatial":
        return replace(entry, node=_fanout(arch, target, where))
    if target not in (level.name for level in arch.levels):
        _check_empty(arch, entry)
    return entry


def _node_constraints(arch: Architecture, einsum: Einsum) -> list[NodeEntry]:
    entries = []
    for node in arch.nodes:
        for word, body in node.constraints.items():
            where = f"{arch.path or arch.name}: {node.name}.constraints.{word}"
            kind = KINDS.get(word)
            if not body:
                continue
            if kind is None or (kind == "spatial") != isinstance(node, Fanout):
                known = "spatial" if isinstance(node, Fanout) else "temporal, dataspace"
                raise SpecError(expected(where, f"constraints on {known}", word))
            section = section_of(body, where)
            entries.append(_parsed(section, node.name, kind, einsum, where))
    return entries


def _fanout(arch: Architecture, target: str, where: str) -> str:
    """The fanout a spatial entry means: its own name, the front end's, or the level above it."""
    names = [f.name for f in arch.fanouts]
    for name in names:
        if target in (name, empty_level(name)):
            return name
    below: list[str] = []
    level = ""
    for node in arch.nodes:
        level = node.name if isinstance(node, MemoryLevel) else level
        if isinstance(node, Fanout) and level == target:
            below.append(node.name)
    if len(below) == 1:
        return below[0]
    condition = f"one of the fanouts {', '.join(below or names) or '(there are none)'}"
    raise SpecError(expected(f"{where}.target", condition, str(target)))


def _check_empty(arch: Architecture, entry: NodeEntry) -> None:
    """Refuse temporal loops and tensors at a node that stores nothing."""
    target = entry.node
    if not any(target in (f.name, empty_level(f.name)) for f in arch.fanouts):
        levels = ", ".join(level.name for level in arch.levels)
        raise SpecError(expected(f"{entry.where}.target", f"one of the levels {levels}", target))
    loops = [f"{r}={loop.factor}" for r, loop in entry.factors.items() if loop.factor != 1]
    if loops or entry.keep:
        got = ", ".join((*loops, *entry.keep))
        raise SpecError(
            expected(entry.where, f"factors of 1 and nothing kept at {target}, no storage", got)
        )


def _merged(entries: Sequence[NodeEntry]) -> dict[tuple[str, EntryKind], NodeEntry]:
    """All that is said about each node, by node and kind."""
    merged: dict[tuple[str, EntryKind], NodeEntry] = {}
    for entry in entries:
        first = merged.setdefault((entry.node, entry.kind), entry)
        if first is entry:
            continue
        for rank, loop in entry.factors.items():
            other = first.factors.get(rank, loop)
            if other != loop:
                _conflict(first, entry, f"{rank}={other.factor}", f"{rank}={loop.factor}")
        for tensor in (*entry.keep, *first.keep):
            if tensor in (*entry.bypass, *first.bypass):
                _conflict(first, entry, f"{tensor} kept or bypassed", "both")
        merged[entry.node, entry.kind] = replace(
            first,
            factors={**first.factors, **entry.factors},
            keep=(*first.keep, *entry.keep),
            bypass=(*first.bypass, *entry.bypass),
        )
    return merged


def _ordered(
    merged: Mapping[tuple[str, EntryKind], NodeEntry],
    entries: Sequence[NodeEntry],
    ranks: tuple[str, ...],
) -> dict[tuple[str, EntryKind], NodeEntry]:
    """The entries with the one order and split of all that is said about their node.

    Orders must agree on the ranks that have a loop there; where the others stand says nothing.
    """
    found = {}
    for key, entry in merged.items():
        said = [e for e in entries if (e.node, e.kind) == key]
        chosen = max(reversed(said), key=lambda e: len(e.permutation))
        splits = [e.split for e in (chosen, *said) if e.split is not None]
        one = replace(entry, permutation=chosen.permutation, split=splits[0] if splits else None)
        real = [r for r in ranks if r in entry.factors and entry.factors[r].factor > 1]
        long = [r for r in one.permutation if r in real]
        for other in said:
            first, second = sorted((other, chosen), key=entries.index)
            short = [r for r in other.permutation if r in real]
            if long[: len(short)] != short:
                orders = [" ".join(r for r in e.permutation if r in real) for e in (first, second)]
                _conflict(first, second, f"the order {orders[0]}", orders[1])
            placed = other if other.permutation else replace(other, permutation=one.permutation)
            sides = [{*_order(e, ranks)[: e.split]}.intersection(real) for e in (placed, one)]
            if other.split is not None and sides[0] != sides[1]:
                _conflict(first, second, f"the split {first.split}", str(second.split))
        found[key] = one
    return found


def _order(entry: NodeEntry, ranks: tuple[str, ...]) -> tuple[str, ...]:
    """All ranks, innermost first; of a spatial entry those before its split lie along X."""
    return (*entry.permutation, *(r for r in ranks if r not in entry.permutation))


def _conflict(first: NodeEntry, second: NodeEntry, said: str, got: str) -> None:
    raise SpecError(f"{second.where}: expected {said} as at {first.where}, got {got}; remove one")


def _resolved(
    merged: dict[tuple[str, EntryKind], NodeEntry], sizes: Mapping[str, int], name: str
) -> dict[tuple[str, EntryKind], NodeEntry]:
    """The entries with every factor 0 replaced by what the rank's other factors leave."""
    open_at: dict[str, tuple[str, EntryKind]] = {}
    for key, entry in merged.items():
        for rank, loop in entry.factors.items():
            if loop.factor == 0:
                if rank in open_at:
                    raise MappingError(expected(f"{name}.{rank}", "at most one factor 0", "two"))
                open_at[rank] = key
    resolved = dict(merged)
    for rank, key in open_at.items():
        others = [e.factors[rank] for e in merged.values() if rank in e.factors]
        known = [loop for loop in others if loop.factor]
        covered, size = prod(loop.factor for loop in known), sizes.get(rank)
        where = f"{merged[key].where}: {rank}=0"
        if size is None or any(loop.last for loop in known):
            raise MappingError(expected(where, "a factor", 0, "write the number"))
        if size % covered:
            raise MappingError(expected(where, f"other factors that divide {size}", covered))
        factors = {**resolved[key].factors, rank: Loop(rank, size // covered)}
        resolved[key] = replace(resolved[key], factors=factors)
    return resolved


def _loops(
    slot: Slot, merged: Mapping[tuple[str, EntryKind], NodeEntry], ranks: tuple[str, ...]
) -> tuple[Loop, ...]:
    """The loops of one slot, outermost first."""
    entry = merged.get((slot.node, "temporal" if slot.axis == "temporal" else "spatial"))
    if entry is None:
        return ()
    order = _order(entry, ranks)
    along = order[: entry.split]  # X
    part = {"temporal": order, "x": along, "y": order[len(along) :]}[slot.axis]
    found = (entry.factors.get(rank) for rank in reversed(part))
    return tuple(loop for loop in found if loop and loop.factor > 1)


def _kept(
    arch: Architecture,
    einsum: Einsum,
    merged: Mapping[tuple[str, EntryKind], NodeEntry],
    where: str,
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """For every level, the tensors that have a tile there, in the Einsum's order."""
    said = {name: entry for (name, kind), entry in merged.items() if kind == "dataspace"}
    bypass = {level.name: set[str]() for level in arch.levels}
    bypass |= {name: set(entry.bypass) for name, entry in said.items()}
    tensors = [a.tensor for a in einsum.accesses]
    for branches, tensor in product(_parallel_branches(arch), tensors):
        keep = {name for name, entry in said.items() if tensor in entry.keep}
        keepers = [branch for branch in branches if keep.intersection(branch)]
        able = [b for b in branches if any(tensor not in bypass[level] for level in b)]
        if len(able) > 1 and not keepers:
            names = ", ".join(chain(*able))
            raise SpecError(expected(where, f"the one of {names} that keeps {tensor}", "no keep"))
        for level in chain(*(b for b in branches if keepers and b not in keepers)):
            bypass[level].add(tensor)
    return tuple(
        (level.name, tuple(t for t in tensors if t not in bypass[level.name]))
        for level in arch.levels
    )


def _parallel_branches(arch: Architecture) -> list[list[tuple[str, ...]]]:
    """For every `!Parallel` node, the storage levels of each of its branches."""
    levels = {level.name for level in arch.levels}
    found = []
    for node in walk(arch.document.get("architecture", arch.document)):
        if isinstance(node, Tagged) and node.tag == "!Parallel":
            names = (map(_name, walk(child)) for child in children(node))
            branches = (tuple(n for n in branch if n in levels) for branch in names)
            found.append([branch for branch in branches if branch])
    return found


def _name(node: object) -> str:
    body = node.body if isinstance(node, Tagged) else node
    return str(body.get("name", "")) if isinstance(body, Mapping) else ""
