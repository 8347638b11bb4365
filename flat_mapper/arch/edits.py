"""Attributes of a v0.4 architecture by their paths, and documents in which they have other values.

`GLB.depth` is the attribute `depth` of the node GLB, `PE.meshX` is in the node's `spatial`, and
`variables.clock_hz` is a variable, which every expression that names it follows. A node that both
files of a chip have is one piece of hardware: its attribute changes in both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType

from flat_mapper.arch.attributes import MODELLED
from flat_mapper.arch.reader import Files, PlatformFiles, platform_files, platform_of
from flat_mapper.arch.values import Platform
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.spec.document import Section, Tagged, did_you_mean

MESHES = ("meshX", "meshY")
VARIABLES = "variables"

Edits = Mapping[str, object]  # the value of each path


def edited(files: PlatformFiles, edits: Edits) -> PlatformFiles:
    """The documents with the attributes set.

    raises: SpecError where a document has no such node, attribute or variable.
    """
    for path, value in edits.items():
        if not has_path(files, path):
            raise SpecError(unknown_path(files, path))
        files = _both(files, partial(set_path, path=path, value=value))
    return files


def edited_platform(files: PlatformFiles, edits: Edits) -> Platform:
    """The chip with the attributes set."""
    return platform_of(edited(files, edits) if edits else files)


def edit_platform(
    source: Files,
    edits: Edits = MappingProxyType({}),
    rules: Mapping[str, Mapping[str, object]] = MappingProxyType({}),
) -> Platform:
    """The chip of that name or in those files, with attributes set and constraints added.

    edits: value of each path: `GLB.depth`, `PE.meshX`, `variables.clock_hz`.
    rules: what a node's constraint says, by `NODE.KIND`: spatial, temporal or dataspace.
    raises: SpecError where a path leads nowhere, and for what `load_platform` refuses.
    """
    files = edited(platform_files(source), edits)
    for path, rule in rules.items():
        node, _, kind = path.partition(".")
        files = constrained(files, node, kind, rule)
    return platform_of(files)


def has_path(files: PlatformFiles, path: str) -> bool:
    """True where an attribute path leads somewhere in either document."""
    return any(_leads(d, path) for d in (files.matrix, files.vector) if d is not None)


def unknown_path(files: PlatformFiles, path: str) -> str:
    """The error line of a path that leads nowhere: what there is, and the nearest of it."""
    node, _, key = path.partition(".")
    documents = [d for d in (files.matrix, files.vector) if d is not None]
    names = list(dict.fromkeys(n for d in documents for n, _ in _nodes(d)))
    known = [*names, VARIABLES]
    where = f"{files.path}: {path}"
    if node not in known:
        hint = did_you_mean(node, known)
        return expected(where, f"a node among {', '.join(known)}", node, hint)
    there = list(dict.fromkeys(k for d in documents for k in _keys(d, node)))
    hint = did_you_mean(key, there) or did_you_mean(key, MODELLED)
    noun = "a variable" if node == VARIABLES else "an attribute"
    listed = ", ".join(there) or "none"
    return expected(where, f"{noun} of {node} among {listed}", key, hint)


def _leads(document: Section, path: str) -> bool:
    """True where a node has the key, or attributes at all to which a modelled one may be added."""
    node, _, key = path.partition(".")
    bodies = [body for name, body in _nodes(document) if name == node]
    grows = any(isinstance(body.get("attributes"), Section) for body in bodies)
    return key in _keys(document, node) or (grows and key in MODELLED)


def _keys(document: Section, node: str) -> tuple[str, ...]:
    """Keys that can be set at a node, as the document has it."""
    if node == VARIABLES:
        variables = _section(document.get(VARIABLES))
        return tuple(name for name in variables if name != "version")
    found: list[str] = []
    for name, body in _nodes(document):
        if name == node:
            attributes = body.get("attributes")
            found += list(attributes) if isinstance(attributes, Section) else []
            found += list(MESHES) if "spatial" in body else []
    return tuple(found)


def _nodes(document: Section) -> Iterator[tuple[str, Section]]:
    """Every named node, with its body."""
    yield from _inside(_section(document.get("architecture")).get("nodes"))


def _inside(nodes: object) -> Iterator[tuple[str, Section]]:
    for node in nodes if isinstance(nodes, list) else ():
        body = node.body if isinstance(node, Tagged) else None
        if isinstance(body, Section):
            if isinstance(body.get("name"), str):
                yield str(body["name"]), body
            yield from _inside(body.get("nodes"))


def set_path(document: Section, path: str, value: object) -> Section:
    """The document with one path set, where it has it; a modelled attribute may be new."""
    if not _leads(document, path):
        return document
    node, _, key = path.partition(".")
    if node == VARIABLES:
        return _with(document, value, VARIABLES, key)
    return _at_node(document, node, value, "spatial" if key in MESHES else "attributes", key)


def constrained(
    files: PlatformFiles, node: str, kind: str, rule: Mapping[str, object]
) -> PlatformFiles:
    """The documents with a constraint of a kind (spatial, temporal, dataspace) at a node."""

    def one(document: Section) -> Section:
        return _at_node(document, node, Section(rule, document.source), "constraints", kind)

    return _both(files, one)


def _both(files: PlatformFiles, change: Callable[[Section], Section]) -> PlatformFiles:
    """The documents of both paths changed."""
    vector = None if files.vector is None else change(files.vector)
    return replace(files, matrix=change(files.matrix), vector=vector)


def _at_node(document: Section, name: str, value: object, *keys: str) -> Section:
    """The document with a value under the keys of a node, in whatever branch it stands."""

    def changed(node: object) -> object:
        if not isinstance(node, Tagged) or not isinstance(node.body, Section):
            return node
        body = node.body
        if body.get("name") == name:
            body = _with(body, value, *keys)
        elif isinstance(inner := body.get("nodes"), list):
            body = _with(body, list(map(changed, inner)), "nodes")
        return replace(node, body=body)

    nodes = _section(document["architecture"])["nodes"]
    listed = list(map(changed, nodes if isinstance(nodes, list) else ()))
    return _with(document, listed, "architecture", "nodes")


def _section(value: object) -> Section:
    return value if isinstance(value, Section) else Section()


def _with(section: Section, value: object, key: str, *inner: str) -> Section:
    """A copy of the section with a value under a key, or under one of what stands there."""
    value = _with(_section(section.get(key)), value, *inner) if inner else value
    return Section({**section, key: value}, section.source, section.lines)
