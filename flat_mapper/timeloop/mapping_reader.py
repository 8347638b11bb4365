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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from math import prod
from typing import Literal

from flat_mapper.arch.constraints import parallel_branches, tensors_of
from flat_mapper.arch.cores import NO_MULTICAST
from flat_mapper.arch.nodes import factor_items, factor_terms, read_order
from flat_mapper.arch.values import Architecture, Fanout, MemoryLevel
from flat_mapper.base.errors import MappingError, SpecError, expected
from flat_mapper.mapping.arch_rules import KEPT_KEYS, kept_tensors
from flat_mapper.mapping.values import EinsumMapping, Loop, Slot, slots_of
from flat_mapper.spec.document import (
    Section,
    Tagged,
    checked,
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
_FIXED = "factors such as P=4, each fixed to one number"


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

    @property
    def key(self) -> tuple[str, EntryKind]:
        """Node and kind."""
        return self.node, self.kind

    def order(self, ranks: tuple[str, ...]) -> tuple[str, ...]:
        """All ranks, innermost first; of a spatial entry those before its split lie along X."""
        return (*self.permutation, *(r for r in ranks if r not in self.permutation))

    def looped(self, ranks: Sequence[str]) -> list[str]:
        """Those of some ranks that have a loop of more than one pass here."""
        return [r for r in ranks if r in self.factors and self.factors[r].factor > 1]


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
    names = einsum.tensors
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
    """Loops by rank, each of one factor, which may have a remainder."""
    factors: dict[str, Loop] = {}
    for item in _rejoined(factor_items(value, where)):
        for rank, sign, factor, given, text in factor_terms(item, where, _FIXED):
            last = factor if given is None else given
            if sign not in ("", "="):
                raise SpecError(expected(where, _FIXED, text))
            if not 1 <= last <= factor and factor + last > 0:
                raise SpecError(expected(where, "a remainder from 1 to its factor", text))
            if rank not in einsum.ranks:
                raise SpecError(expected(where, f"ranks among {', '.join(einsum.ranks)}", rank))
            if rank in factors:
                raise SpecError(expected(where, f"one factor of {rank}", "two"))
            factors[rank] = Loop(rank, factor, 0 if last == factor else last)
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
    resolved = _resolved(_merged(entries), sizes or {}, einsum.name)
    merged = {
        key: _agreed(entry, [e for e in entries if e.key == key], ranks)
        for key, entry in resolved.items()
    }
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
    nodes: dict[str, MemoryLevel | Fanout] = {node.name: node for node in arch.nodes}
    for fanout in arch.fanouts:
        own = (e.alone for e in entries if e.key == (fanout.name, "spatial"))
        if alone := sorted({*chain(*own)}):
            said = fanout.constraints.get("spatial")
            rule = {**(said if isinstance(said, Mapping) else {}), "no_reuse": alone}
            constraints = {**fanout.constraints, "spatial": rule}
            nodes[fanout.name] = replace(fanout, constraints=constraints)
    handed_on = [e for e in entries if e.apart and arch.fanouts and e.node == arch.fanouts[-1].name]
    return replace(arch, nodes=tuple(nodes.values())), bool(handed_on)


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
            where = f"{arch.where}: {node.name}.constraints.{word}"
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
        first = merged.setdefault(entry.key, entry)
        if first is entry:
            continue
        for rank, loop in entry.factors.items():
            other = first.factors.get(rank, loop)
            if other != loop:
                _conflict(first, entry, f"{rank}={other.factor}", f"{rank}={loop.factor}")
        for tensor in (*entry.keep, *first.keep):
            if tensor in (*entry.bypass, *first.bypass):
                _conflict(first, entry, f"{tensor} kept or bypassed", "both")
        merged[entry.key] = replace(
            first,
            factors={**first.factors, **entry.factors},
            keep=(*first.keep, *entry.keep),
            bypass=(*first.bypass, *entry.bypass),
        )
    return merged


def _agreed(entry: NodeEntry, said: Sequence[NodeEntry], ranks: tuple[str, ...]) -> NodeEntry:
    """One entry with the longest order of all that is said about its node, and with its split.

    Orders must agree on the ranks that have a loop there; where the others stand says nothing.
    """
    chosen = max(reversed(said), key=lambda e: len(e.permutation))
    splits = [e.split for e in (chosen, *said) if e.split is not None]
    one = replace(entry, permutation=chosen.permutation, split=next(iter(splits), None))
    long = one.looped(one.permutation)
    for other in said:
        first, second = sorted((other, chosen), key=said.index)
        short = one.looped(other.permutation)
        if long[: len(short)] != short:
            orders = [" ".join(one.looped(e.permutation)) for e in (first, second)]
            _conflict(first, second, f"the order {orders[0]}", orders[1])
        placed = replace(other, permutation=other.permutation or one.permutation)
        sides = [{*one.looped(e.order(ranks)[: e.split])} for e in (placed, one)]
        if other.split is not None and sides[0] != sides[1]:
            _conflict(first, second, f"the split {first.split}", str(second.split))
    return one


def _conflict(first: NodeEntry, second: NodeEntry, said: str, got: str) -> None:
    raise SpecError(f"{second.where}: expected {said} as at {first.where}, got {got}; remove one")


def _resolved(
    merged: dict[tuple[str, EntryKind], NodeEntry], sizes: Mapping[str, int], name: str
) -> dict[tuple[str, EntryKind], NodeEntry]:
    """The entries with every factor 0 replaced by what the rank's other factors leave."""
    resolved = dict(merged)
    for rank in dict.fromkeys(chain(*(e.factors for e in merged.values()))):
        having = [e for e in merged.values() if rank in e.factors]
        known = [e.factors[rank] for e in having if e.factors[rank].factor]
        if len(known) == len(having):
            continue
        if len(known) + 1 < len(having):
            raise MappingError(expected(f"{name}.{rank}", "at most one factor 0", "two"))
        entry = next(e for e in having if e.factors[rank] not in known)
        loop = _left(rank, known, sizes.get(rank), f"{entry.where}: {rank}=0")
        factors = {**resolved[entry.key].factors, rank: loop}
        resolved[entry.key] = replace(entry, factors=factors)
    return resolved


def _left(rank: str, known: Sequence[Loop], size: int | None, where: str) -> Loop:
    """The loop that other ones over its rank leave."""
    covered = prod(loop.factor for loop in known)
    if size is None or any(loop.last for loop in known):
        raise MappingError(expected(where, "a factor", 0, "write the number"))
    if size % covered:
        raise MappingError(expected(where, f"other factors that divide {size}", covered))
    return Loop(rank, size // covered)


def _loops(
    slot: Slot, merged: Mapping[tuple[str, EntryKind], NodeEntry], ranks: tuple[str, ...]
) -> tuple[Loop, ...]:
    """The loops of one slot, outermost first."""
    entry = merged.get((slot.node, "temporal" if slot.axis == "temporal" else "spatial"))
    if entry is None:
        return ()
    order = entry.order(ranks)
    along = order[: entry.split]  # X
    part = {"temporal": order, "x": along, "y": order[len(along) :]}[slot.axis]
    return tuple(entry.factors[rank] for rank in reversed(entry.looped(part)))


def _kept(
    arch: Architecture,
    einsum: Einsum,
    merged: Mapping[tuple[str, EntryKind], NodeEntry],
    where: str,
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """For every level, the tensors that have a tile there, in the Einsum's order."""
    said = [entry for entry in merged.values() if entry.kind == "dataspace"]
    passed = {tensor: _passed(arch, said, tensor, where) for tensor in einsum.tensors}
    return tuple(
        (level.name, tuple(t for t in einsum.tensors if level.name not in passed[t]))
        for level in arch.levels
    )


def _passed(arch: Architecture, said: Sequence[NodeEntry], tensor: str, where: str) -> set[str]:
    """Levels that a tensor bypasses: also those of other branches than the one that keeps it."""
    keep = {entry.node for entry in said if tensor in entry.keep}
    passed = {entry.node for entry in said if tensor in entry.bypass}
    for branches in _branches(arch):
        others = [branch for branch in branches if keep.isdisjoint(branch)]
        if len(others) < len(branches):
            passed.update(*others)
            continue
        able = [branch for branch in branches if not passed.issuperset(branch)]
        if len(able) > 1:
            names = ", ".join(chain(*able))
            raise SpecError(expected(where, f"the one of {names} that keeps {tensor}", "no keep"))
    return passed


def _branches(arch: Architecture) -> Iterator[list[list[str]]]:
    """For every `!Parallel` node, the storage levels of each of its branches."""
    levels = {level.name for level in arch.levels}
    for nodes in parallel_branches(arch):
        named = ([n for n in map(_name, walk(node)) if n in levels] for node in nodes)
        yield list(filter(None, named))


def _name(node: object) -> str:
    body = node.body if isinstance(node, Tagged) else node
    return str(body.get("name", "")) if isinstance(body, Mapping) else ""
