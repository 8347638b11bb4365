"""Attributes of a v0.4 architecture by their paths, and documents in which they have other values.

`GLB.depth` is the attribute `depth` of the node GLB, `PE.meshX` is in the node's `spatial`, and
`variables.clock_hz` is a variable, which every expression that names it follows. A node that both
files of a chip have is one piece of hardware: its attribute changes in both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType

from flat_mapper.arch.attributes import MODELLED, WITH_UNITS
from flat_mapper.arch.reader import ChipFiles, PlatformFiles, platform_files, platform_of
from flat_mapper.arch.values import Platform
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.spec.document import Section, Tagged, did_you_mean, edited_nodes, walk

MESHES = ("meshX", "meshY")
VARIABLES = "variables"


def edit_platform(
    source: ChipFiles | PlatformFiles,
    edits: Mapping[str, object] = MappingProxyType({}),
    rules: Mapping[str, Mapping[str, object]] = MappingProxyType({}),
) -> Platform:
    """The chip of that name or in those files, with attributes set and constraints added.

    edits: value of each path: `GLB.depth`, `PE.meshX`, `variables.clock_hz`.
    rules: what a node's constraint says, by `NODE.KIND`: spatial, temporal or dataspace.
    raises: SpecError where a path leads nowhere, and for what `load_platform` refuses.
    """
    files = source if isinstance(source, PlatformFiles) else platform_files(source)
    for path, value in edits.items():
        if not has_path(files, path):
            raise SpecError(unknown_path(files, path))
        files = _both(files, partial(set_path, path=path, value=value))
    for path, rule in rules.items():
        node, _, kind = path.partition(".")
        keys = "constraints", kind
        files = _both(files, partial(_at_node, name=node, value=Section(rule), keys=keys))
    return platform_of(files)


def has_path(files: PlatformFiles, path: str) -> bool:
    """True where an attribute path leads somewhere in either document."""
    return any(_leads(document, path) for document in files.documents)


def unknown_path(files: PlatformFiles, path: str) -> str:
    """The error line of a path that leads nowhere: what there is, and the nearest of it."""
    node, _, key = path.partition(".")
    bodies = [one for document in files.documents for one in _nodes(document)]
    known = [*dict.fromkeys(str(body["name"]) for body in bodies), VARIABLES]
    where = f"{files.path}: {path}"
    if node not in known:
        hint = did_you_mean(node, known)
        return expected(where, f"a node among {', '.join(known)}", node, hint)
    there = list(dict.fromkeys(k for d in files.documents for k in _keys(d, node)))
    hint = did_you_mean(key, there) or did_you_mean(key, MODELLED)
    noun = "a variable" if node == VARIABLES else "an attribute"
    listed = ", ".join(there) or "none"
    return expected(where, f"{noun} of {node} among {listed}", key, hint)


def _leads(document: Section, path: str) -> bool:
    """True where a node has the key, or attributes at all to which a modelled one may be added."""
    node, key = _parts(path)
    own = [body for body in _nodes(document) if body["name"] == node]
    grows = key in MODELLED and any(isinstance(body.get("attributes"), Section) for body in own)
    return grows or key in _keys(document, node)


def _parts(path: str) -> tuple[str, str]:
    """The node and the attribute of a path; `size` and `bandwidth` by what they stand for."""
    node, _, key = path.partition(".")
    return node, key if node == VARIABLES else WITH_UNITS.get(key, key)


def _keys(document: Section, node: str) -> tuple[str, ...]:
    """Keys that can be set at a node, as the document has it."""
    if node == VARIABLES:
        return tuple(name for name in _section(document.get(VARIABLES)) if name != "version")
    found: list[str] = []
    for body in (body for body in _nodes(document) if body["name"] == node):
        found += [*_section(body.get("attributes")), *(MESHES if "spatial" in body else ())]
    return tuple(found)


def _nodes(document: Section) -> list[Section]:
    """Bodies of the named nodes."""
    bodies = (n.body for n in walk(document.get("architecture")) if isinstance(n, Tagged))
    return [b for b in bodies if isinstance(b, Section) and isinstance(b.get("name"), str)]


def set_path(document: Section, path: str, value: object) -> Section:
    """The document with one path set, where it has it; a modelled attribute may be new."""
    if not _leads(document, path):
        return document
    node, key = _parts(path)
    if node == VARIABLES:
        return _with(document, value, VARIABLES, key)
    keys = "spatial" if key in MESHES else "attributes", key
    return _at_node(document, node, value, keys)


def _both(files: PlatformFiles, change: Callable[[Section], Section]) -> PlatformFiles:
    """The documents of both paths changed."""
    return replace(files, matrix=change(files.matrix), vector=files.vector and change(files.vector))


def _at_node(document: Section, name: str, value: object, keys: tuple[str, str]) -> Section:
    """The document with a value under the keys of a node, in whatever branch it stands."""

    def edit(body: Section) -> tuple[Section, ...]:
        return (_with(body, value, *keys) if body.get("name") == name else body,)

    return _with(document, edited_nodes(document["architecture"], edit), "architecture")


def _section(value: object) -> Section:
    return value if isinstance(value, Section) else Section()


def _with(section: Section, value: object, key: str, *inner: str) -> Section:
    """A copy of the section with a value under a key, or under one of what stands there."""
    value = _with(_section(section.get(key)), value, *inner) if inner else value
    return Section({**section, key: value}, section.source, section.lines)
