"""The architecture as a lowered file has it: as it was loaded, with nodes edited."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import ceil, prod

from flat_mapper.arch.values import Architecture, Fanout, MemoryLevel
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.mapping.values import EinsumMapping, Slot
from flat_mapper.spec.document import Tagged
from flat_mapper.timeloop.terms import TIMELOOP_VERSION

Edit = Callable[[Mapping[str, object]], dict[str, object]]  # of a node's body

# Every attribute that says how much a level holds (Timeloop, src/model/buffer.cpp, ParseSpecs).
DEPTH_KEYS = ("depth", "memory_depth", "data_storage_depth", "entries", "sizeKB")


def architecture_document(arch: Architecture, edit: Edit | None = None) -> dict[str, object]:
    """The architecture as it was loaded, every named node edited.

    edit: by default the nodes lose their constraints: Timeloop's front end joins those with the
          mapping's entries, and refuses a pair that says different things.
    """
    if "architecture" not in arch.document:
        condition = "an architecture loaded from v0.4 YAML, to write it again"
        raise SpecError(expected(arch.path or arch.name, condition, "one without a document"))
    document = dict(arch.document)
    document["architecture"] = _edited(document["architecture"], edit or without_constraints)
    if document.get("components"):
        document["components"] = {"version": TIMELOOP_VERSION, "classes": document["components"]}
    else:
        document.pop("components", None)
    return document


def without_constraints(body: Mapping[str, object]) -> dict[str, object]:
    """A node without its constraints."""
    return {key: value for key, value in body.items() if key != "constraints"}


def with_depth(arch: Architecture, name: str, depth: int) -> Architecture:
    """The architecture, and its document, with another depth (rows) of one level.

    Counts and cycles do not depend on a depth, only whether tiles fit; energies do where
    Accelergy is asked.
    """

    def edit(body: Mapping[str, object]) -> dict[str, object]:
        attributes = body.get("attributes")
        if body["name"] != name or not isinstance(attributes, Mapping):
            return dict(body)
        return {**body, "attributes": _deep(attributes, depth)}

    nodes = tuple(
        replace(
            node,
            attributes=_deep(node.attributes, depth),
            capacity_words=depth * node.row_words,
        )
        if isinstance(node, MemoryLevel) and node.name == name
        else node
        for node in arch.nodes
    )
    document = dict(arch.document)
    if "architecture" in document:
        document["architecture"] = _edited(document["architecture"], edit)
    return replace(arch, nodes=nodes, document=document)


def in_one_row(arch: Architecture, level: str) -> Architecture:
    """The architecture, and its document, with all instances of a level side by side.

    Of several fanouts outside it, or of one with two axes, the innermost has all copies on x: a
    round of tiles is of any number, which need not be a product that fits two axes. Levels between
    that would have fewer instances so keep nothing (`round_of`).
    """
    at = arch.nodes.index(arch.level(level))
    fanouts = [node for node in arch.nodes[:at] if isinstance(node, Fanout)]
    if len(fanouts) == 0 or (len(fanouts) == 1 and fanouts[0].fanout_y == 1):
        return arch
    last, cores = fanouts[-1], prod(node.copies for node in fanouts)
    rules = next((node.constraints for node in fanouts if node.constraints), last.constraints)
    names = {node.name for node in fanouts}

    def edit(body: Mapping[str, object]) -> dict[str, object]:
        if body["name"] not in names:
            return dict(body)
        return {**body, "spatial": {"meshX": cores if body["name"] == last.name else 1}}

    nodes: list[MemoryLevel | Fanout] = []
    for node in arch.nodes[:at]:
        if isinstance(node, MemoryLevel):
            nodes.append(replace(node, instances=1))
        elif node is last:
            nodes.append(replace(node, fanout_x=cores, fanout_y=1, constraints=rules))
    document = dict(arch.document)
    if "architecture" in document:
        document["architecture"] = _edited(document["architecture"], edit)
    return replace(arch, nodes=(*nodes, *arch.nodes[at:]), document=document)


def holding(arch: Architecture, words: int) -> tuple[Architecture, bool]:
    """The architecture with a depth at its outermost level, and whether that is news.

    Timeloop's Python bindings want a depth of every memory. It is one that holds so many words.
    """
    dram = arch.levels[0]
    if dram.capacity_words is not None or any(key in dram.attributes for key in DEPTH_KEYS):
        return arch, False
    return with_depth(arch, dram.name, ceil(words * dram.multiple_buffering / dram.row_words)), True


def unfolded(
    arch: Architecture, mapping: EinsumMapping
) -> tuple[Architecture, EinsumMapping, tuple[str, ...]]:
    """The two with every fanout that has one rank on both axes written as two, and its name.

    Timeloop writes one factor per rank and node. A container NAME becomes NAME_y around NAME_x, one
    axis each, which counts the same: seen on random mappings with the two ways of writing it. Only
    containers with nothing of their own can be divided; `directives` refuses the others.
    """
    twice = [
        node
        for node in arch.fanouts
        if {p.rank for p in mapping.at(Slot(node.name, "y"))}
        & {p.rank for p in mapping.at(Slot(node.name, "x"))}
        and not node.constraints
        and _is_container(arch.document.get("architecture"), node.name)
    ]
    for node in twice:
        arch, mapping = _divided(arch, node), _renamed(mapping, node.name)
    return arch, mapping, tuple(node.name for node in twice)


def _divided(arch: Architecture, fanout: Fanout) -> Architecture:
    """The architecture with one fanout as two."""
    nodes: list[MemoryLevel | Fanout] = []
    for node in arch.nodes:
        if node is fanout:
            nodes += [
                Fanout(name=f"{node.name}_y", fanout_y=node.fanout_y),
                Fanout(name=f"{node.name}_x", fanout_x=node.fanout_x),
            ]
        else:
            nodes.append(node)

    def split(node: object) -> object:
        if isinstance(node, list):
            return [part for child in node for part in _halves(child, fanout.name, split)]
        if isinstance(node, Tagged):
            return Tagged(node.tag, split(node.body))
        if isinstance(node, Mapping):
            return {k: split(v) if k == "nodes" else v for k, v in node.items()}
        return node

    tree = split(arch.document["architecture"])
    return replace(arch, nodes=tuple(nodes), document={**arch.document, "architecture": tree})


def _halves(node: object, name: str, split: Callable[[object], object]) -> list[object]:
    """A node as it is, or the container of that name as two."""
    if not isinstance(node, Tagged) or not isinstance(node.body, Mapping):
        return [node]
    if node.tag != "!Container" or node.body.get("name") != name:
        return [split(node)]
    mesh = node.body.get("spatial")
    spatial = mesh if isinstance(mesh, Mapping) else {}
    outer = {**node.body, "name": f"{name}_y", "spatial": {"meshY": spatial.get("meshY", 1)}}
    inner = {"name": f"{name}_x", "spatial": {"meshX": spatial.get("meshX", 1)}}
    return [Tagged(node.tag, outer), Tagged(node.tag, inner)]


def _is_container(node: object, name: str) -> bool:
    """True where a container of that name stands in a document."""
    if isinstance(node, Tagged):
        body = node.body
        own = node.tag == "!Container" and isinstance(body, Mapping) and body.get("name") == name
        return own or _is_container(body, name)
    if isinstance(node, Mapping):
        return _is_container(node.get("nodes"), name)
    return isinstance(node, list) and any(_is_container(child, name) for child in node)


def _renamed(mapping: EinsumMapping, name: str) -> EinsumMapping:
    """The mapping with the loops of a fanout at the two that take its place."""
    loops = tuple(
        (Slot(f"{name}_{slot.axis}", slot.axis) if slot.node == name else slot, at)
        for slot, at in mapping.loops
    )
    return replace(mapping, loops=loops)


def _deep(attributes: Mapping[str, object], depth: int) -> dict[str, object]:
    others = {key: value for key, value in attributes.items() if key not in DEPTH_KEYS}
    return {**others, "depth": depth}


def _edited(node: object, edit: Edit) -> object:
    if isinstance(node, Tagged):
        return Tagged(node.tag, _edited(node.body, edit))
    if not isinstance(node, Mapping):
        return node
    body = edit(node) if "name" in node else dict(node)
    if isinstance(body.get("nodes"), list):
        body["nodes"] = [_edited(child, edit) for child in node["nodes"]]
    return body
