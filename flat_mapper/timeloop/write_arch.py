"""The architecture as a lowered file has it: as it was loaded, with nodes edited."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import ceil, prod

from flat_mapper.arch.values import Architecture, Fanout, MemoryLevel
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.mapping.values import EinsumMapping, Slot
from flat_mapper.spec.document import Tagged
from flat_mapper.timeloop.terms import TIMELOOP_VERSION

Bodies = tuple[dict[str, object], ...]
Edit = Callable[[Mapping[str, object]], Bodies]  # of a named node's body: what takes its place

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
    document["architecture"] = _edited(document["architecture"], edit or _without_constraints)[0]
    if document.get("components"):
        document["components"] = {"version": TIMELOOP_VERSION, "classes": document["components"]}
    else:
        document.pop("components", None)
    return document


def without_constraints(body: Mapping[str, object]) -> dict[str, object]:
    """A node without its constraints."""
    return {key: value for key, value in body.items() if key != "constraints"}


def as_loaded(body: Mapping[str, object]) -> Bodies:
    """A node as it is."""
    return (dict(body),)


def _without_constraints(body: Mapping[str, object]) -> Bodies:
    return (without_constraints(body),)


def with_depth(arch: Architecture, name: str, depth: int) -> Architecture:
    """The architecture, and its document, with another depth (rows) of one level.

    Counts and cycles do not depend on a depth, only whether tiles fit; energies do where
    Accelergy is asked.
    """

    def deep(attributes: Mapping[str, object]) -> dict[str, object]:
        others = {key: value for key, value in attributes.items() if key not in DEPTH_KEYS}
        return {**others, "depth": depth}

    def edit(body: Mapping[str, object]) -> Bodies:
        attributes = body.get("attributes")
        if body["name"] != name or not isinstance(attributes, Mapping):
            return as_loaded(body)
        return ({**body, "attributes": deep(attributes)},)

    level = arch.level(name)
    there = replace(
        level, attributes=deep(level.attributes), capacity_words=depth * level.row_words
    )
    return _with_nodes(arch, [there if node is level else node for node in arch.nodes], edit)


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

    def edit(body: Mapping[str, object]) -> Bodies:
        if body["name"] not in names:
            return as_loaded(body)
        return ({**body, "spatial": {"meshX": cores if body["name"] == last.name else 1}},)

    nodes: list[MemoryLevel | Fanout] = []
    for node in arch.nodes[:at]:
        if isinstance(node, MemoryLevel):
            nodes.append(replace(node, instances=1))
        elif node is last:
            nodes.append(replace(node, fanout_x=cores, fanout_y=1, constraints=rules))
    return _with_nodes(arch, [*nodes, *arch.nodes[at:]], edit)


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
    containers = _containers(arch.document.get("architecture"))
    twice = [
        node
        for node in arch.fanouts
        if {p.rank for p in mapping.at(Slot(node.name, "y"))}
        & {p.rank for p in mapping.at(Slot(node.name, "x"))}
        and not node.constraints
        and node.name in containers
    ]
    for node in twice:
        arch, mapping = _divided(arch, node), _renamed(mapping, node.name)
    return arch, mapping, tuple(node.name for node in twice)


def _containers(tree: object) -> set[object]:
    tagged = (n for n in walk(tree) if isinstance(n, Tagged) and n.tag == "!Container")
    return {node.body.get("name") for node in tagged if isinstance(node.body, Mapping)}


def _divided(arch: Architecture, fanout: Fanout) -> Architecture:
    """The architecture with one fanout as two."""
    name = fanout.name
    halves = (
        Fanout(name=f"{name}_y", fanout_y=fanout.fanout_y),
        Fanout(name=f"{name}_x", fanout_x=fanout.fanout_x),
    )

    def edit(body: Mapping[str, object]) -> Bodies:
        if body["name"] != name:
            return as_loaded(body)
        mesh = body.get("spatial")
        spatial = mesh if isinstance(mesh, Mapping) else {}
        outer = {**body, "name": f"{name}_y", "spatial": {"meshY": spatial.get("meshY", 1)}}
        return outer, {"name": f"{name}_x", "spatial": {"meshX": spatial.get("meshX", 1)}}

    nodes = [new for node in arch.nodes for new in (halves if node is fanout else (node,))]
    return _with_nodes(arch, nodes, edit)


def _renamed(mapping: EinsumMapping, name: str) -> EinsumMapping:
    """The mapping with the loops of a fanout at the two that take its place."""
    loops = tuple(
        (Slot(f"{name}_{slot.axis}", slot.axis) if slot.node == name else slot, at)
        for slot, at in mapping.loops
    )
    return replace(mapping, loops=loops)


def _with_nodes(
    arch: Architecture, nodes: Sequence[MemoryLevel | Fanout], edit: Edit
) -> Architecture:
    """The architecture with other nodes, and its document edited accordingly."""
    document = dict(arch.document)
    if "architecture" in document:
        document["architecture"] = _edited(document["architecture"], edit)[0]
    return replace(arch, nodes=tuple(nodes), document=document)


def walk(node: object) -> Iterator[object]:
    """A node of an architecture's document, and all inside it."""
    yield node
    for child in children(node):
        yield from walk(child)


def children(node: object) -> list[object]:
    """The nodes directly inside a node of a document."""
    body = node.body if isinstance(node, Tagged) else node
    nodes = body.get("nodes") if isinstance(body, Mapping) else None
    return list(nodes) if isinstance(nodes, list) else []


def _edited(node: object, edit: Edit) -> list[object]:
    """The nodes that take the place of one in a document."""
    if isinstance(node, Tagged):
        return [Tagged(node.tag, body) for body in _edited(node.body, edit)]
    if not isinstance(node, Mapping):
        return [node]
    first, *more = edit(node) if "name" in node else as_loaded(node)
    if isinstance(first.get("nodes"), list):
        first["nodes"] = [new for child in children(node) for new in _edited(child, edit)]
    return [first, *more]
