"""The architecture as a lowered file has it: as it was loaded, with nodes edited."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from flat_mapper.arch import Architecture, MemoryLevel
from flat_mapper.document import Tagged
from flat_mapper.errors import SpecError, expected
from flat_mapper.timeloop_terms import VERSION

Edit = Callable[[Mapping[str, object]], dict[str, object]]  # of a node's body

# Every attribute that says how much a level holds (Timeloop, src/model/buffer.cpp, ParseSpecs).
SIZES = ("depth", "memory_depth", "data_storage_depth", "entries", "sizeKB")


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
        document["components"] = {"version": VERSION, "classes": document["components"]}
    else:
        document.pop("components", None)
    return document


def without_constraints(body: Mapping[str, object]) -> dict[str, object]:
    """A node without its constraints."""
    return {key: value for key, value in body.items() if key != "constraints"}


def resized(arch: Architecture, name: str, depth: int) -> Architecture:
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


def _deep(attributes: Mapping[str, object], depth: int) -> dict[str, object]:
    others = {key: value for key, value in attributes.items() if key not in SIZES}
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
