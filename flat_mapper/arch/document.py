"""The documents of an architecture: several files read as one, and the sections that are taken.

One file may hold everything that Timeloop reads; what belongs to a problem, a mapping or a mapper
is left to others, and a top-level key that nobody reads is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from flat_mapper.arch.attributes import resolved_attributes
from flat_mapper.arch.processed import DUMPED, hierarchy
from flat_mapper.base.errors import SpecError
from flat_mapper.spec.document import (
    Section,
    kind_of,
    place,
    refuse_unknown,
    section_of,
    take,
    unknown_key,
)

_OURS = (
    "architecture",
    "variables",
    "components",
    "constraints",
    "globals",
    "sparse_optimizations",
)
_OTHERS = ("problem", "mapping", "mapper", "mapspace", "ERT", "ART", DUMPED)
# Timeloop's front end takes any top-level key that contains one of these for that one.
_PARTS = ("components", "constraints", "mapping", "globals")


def check_head(head: Section, where: str) -> None:
    """Raise SpecError unless the architecture is in version 0.4's form."""
    version = str(head.get("version", "0.4"))
    if version != "0.4" or "subtree" in head:
        got = "the older subtree/local form" if "subtree" in head else f"version {version}"
        raise SpecError(
            f"{place(where, head, 'version', shown=False)}: expected version: 0.4 with nodes, got "
            f"{got}; convert the file to version 0.4"
        )
    refuse_unknown(head, ("version", "nodes"), where)
    take(head, "nodes", list, where)


def merged(documents: Sequence[Section], path: str) -> Section:
    """The documents joined, under the keys that are read here."""
    whole = Section()
    for written in documents:
        source = written.source or path
        document = hierarchy(written, source)
        for key, value in document.items():
            ours = _canonical(key, document, source)
            if ours == "problem":
                whole[ours] = value  # expressions may name its sizes
            elif value is not None and ours in _OURS:
                spot = place(source, document, key)
                whole[ours] = _joined(ours, whole.get(ours), value, spot)
    if "architecture" not in whole:
        keys = ", ".join(key for document in documents for key in document) or "none"
        raise SpecError(f"{path}: expected the key 'architecture', got the keys {keys}")
    return whole


def _canonical(key: str, document: Section, source: str) -> str:
    """The section that Timeloop's front end takes a top-level key for."""
    if key in (*_OURS, *_OTHERS):
        return key
    for part in _PARTS:
        if part in key:
            return part
    raise SpecError(unknown_key(key, document, (*_OURS, *_OTHERS), source))


def _joined(key: str, before: object, value: object, where: str) -> object:
    """One section of the files together."""
    if key in ("globals", "sparse_optimizations"):
        node = section_of(value, where)
        for inner in ("expression_custom_functions", "accelergy_plug_ins", "targets"):
            if node.get(inner):
                raise SpecError(
                    f"{where}.{inner}: expected none (they are not run or modelled), got "
                    f"{kind_of(node[inner])}; remove it"
                )
        return node
    if key in ("components", "constraints"):
        return [*_as_list(before), *_entries(key, value, where)]
    node = section_of(value, where)
    if before is None:
        return node
    if key == "architecture":
        raise SpecError(f"{where}: expected one architecture, got a second one; remove a file")
    earlier = section_of(before, where)
    for name in node:
        if name in earlier and earlier[name] != node[name]:
            raise SpecError(
                f"{place(where, node, name)}: expected {earlier[name]} as in an earlier "
                f"file, got {node[name]}; remove one"
            )
    return Section({**earlier, **node}, node.source, node.lines)


def _entries(key: str, value: object, where: str) -> list[object]:
    """The items of `components: {classes: [...]}` or `constraints: {targets: [...]}`."""
    if isinstance(value, list):
        return value
    inner = "classes" if key == "components" else "targets"
    node = section_of(value, where)
    refuse_unknown(node, ("version", inner), where)
    return _as_list(node.get(inner))


def _as_list(value: object) -> list[object]:
    """A list, with the lists inside it opened (include_all gives one per file)."""
    items: list[object] = []
    for item in value if isinstance(value, list) else ([] if value is None else [value]):
        items.extend(item if isinstance(item, list) else [item])
    return items


def variables_of(node: object, path: str) -> dict[str, object]:
    """The variables with their expressions worked out, each seeing those before it."""
    section = section_of({} if node is None else node, f"{path}: variables")
    where = f"{section.source or path}: variables"
    values = resolved_attributes(section, {}, where)
    version = values.pop("version", 0.4)
    if str(version) != "0.4":
        raise SpecError(f"{place(where, section, 'version')}: expected 0.4, got {version}")
    return values
