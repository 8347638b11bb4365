"""The documents of an architecture: several files read as one, and the sections that are taken.

One file may hold everything that Timeloop reads; what belongs to a problem, a mapping or a mapper
is left to others, and a top-level key that nobody reads is refused.

Input of Timeloop's programs, `parsed-processed-input.yaml`, as v0.4 nodes.

    architecture: {version: 0.4, subtree: [{name: x, attributes: {...}, local: [...]}]}
    architecture_constraints: {targets: [{target: inter_PE_spatial, type: spatial, ...}]}

There every component stands in one list with its number of instances in its name, an empty level
`inter_NAME_spatial` in front of copies, and tensors kept are of the type `bypass`.
Source: timeloopfe, common/version_transpilers/v4_to_v3.py, commit 5603893.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flat_mapper.arch.attributes import MODELLED, resolved_attributes
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.spec.document import (
    Section,
    Tagged,
    kind_of,
    place,
    refuse_unknown,
    section_of,
    take,
    take_list,
    take_section,
    unknown_key,
)

DUMPED = "dumped_by_timeloop_front_end"
_COPIES = re.compile(r"(?P<name>[^\[\]]+)(?:\[(?P<first>\d+)\.\.(?P<last>\d+)\])?")
_EMPTY = re.compile(r"inter_(?P<name>.+)_spatial")
_DUMMY = "dummy_storage"
# What the front end adds to the attributes of every component; none of it says anything.
_ADDED = ("meshX", "meshY", "power_gated_at", "has_power_gating", "version")
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


def hierarchy(document: Section, where: str) -> Section:
    """The document with its architecture and constraints in version 0.4's form.

    One whose architecture has no `subtree` is returned as it is.
    raises: SpecError where copies of a component are no multiple of those above it.
    """
    node = document.get("architecture")
    if not isinstance(node, Mapping) or "subtree" not in node:
        return document
    head = section_of(node, f"{where}: architecture")
    walk = _Walk()
    walk.read(head, f"{where}: architecture")
    kept = {
        key: value
        for key, value in document.items()
        if key not in ("architecture", "architecture_constraints", DUMPED)
    }
    listed = document.get("architecture_constraints") or {}
    spot = f"{where}: architecture_constraints"
    targets = take_list(listed, "targets", dict, spot, ())
    constraints = [one for one in map(_constraint, targets) if one]
    if constraints:
        kept["constraints"] = constraints
    kept["architecture"] = Section({"version": "0.4", "nodes": walk.nodes}, head.source)
    return Section(kept, document.source, document.lines)


@dataclass(slots=True)
class _Walk:
    """Nodes so far, outermost first."""

    nodes: list[object] = field(default_factory=list)
    mesh: tuple[int, int] = (1, 1)  # copies of the last component
    empty: str = ""  # the name of an empty level that waits for its copies

    def read(self, tree: Section, where: str) -> None:
        """Read the components of a subtree, and its subtrees in turn."""
        if tree.get("attributes"):
            own = _plain(section_of(tree["attributes"], where))
            # The others were variables, worked out.
            own = Section({k: v for k, v in own.items() if k in MODELLED})
            name = str(tree.get("name", "system"))
            self.nodes.append(Tagged("!Container", Section({"name": name, "attributes": own})))
        for i, item in enumerate(take_list(tree, "local", dict, where, ())):
            self._component(section_of(item, f"{where}.local.{i}"), f"{where}.local.{i}")
        for i, item in enumerate(take_list(tree, "subtree", dict, where, ())):
            self.read(section_of(item, f"{where}.subtree.{i}"), f"{where}.subtree.{i}")

    def _component(self, body: Section, where: str) -> None:
        written = take(body, "name", str, where)
        found = _COPIES.fullmatch(written)
        if not found:
            raise SpecError(expected(f"{where}.name", "a name such as PE[1..16]", written))
        attributes = take_section(body, "attributes", where)
        count = int(found["last"] or 0) - int(found["first"] or 0) + 1
        x, y = (
            take(attributes, axis, int, where, copies, above=0)
            for axis, copies in (("meshX", count), ("meshY", 1))
        )
        if x % self.mesh[0] or y % self.mesh[1]:
            condition = f"a multiple of the {self.mesh[0]} x {self.mesh[1]} instances above it"
            raise SpecError(expected(f"{where}: {written}", condition, f"{x} x {y}"))
        over = Section({"meshX": x // self.mesh[0], "meshY": y // self.mesh[1]})
        spatial = {"spatial": over} if (x, y) != self.mesh else {}
        self.mesh = x, y
        if self.empty and spatial:
            node = Section({"name": self.empty, **spatial})
            self.nodes.append(Tagged("!Container", node))
            spatial = {}
        self.empty = ""
        if body.get("class") == _DUMMY:
            name = _EMPTY.fullmatch(found["name"])
            self.empty = name["name"] if name else found["name"]
            return
        plain = {k: v for k, v in body.items() if k != "required_actions"}
        plain |= {"name": found["name"], "attributes": _plain(attributes), **spatial}
        self.nodes.append(Tagged("!Component", Section(plain, body.source, body.lines)))


def _plain(attributes: Section) -> Section:
    """Attributes without those that the front end adds."""
    own = {k: v for k, v in attributes.items() if k not in _ADDED}
    return Section(own, attributes.source, attributes.lines)


def _constraint(node: object) -> Section | None:
    """One constraint on the node that it means; None for those of empty levels alone."""
    said = section_of(node, "architecture_constraints")
    empty = _EMPTY.fullmatch(str(said.get("target", "")))
    kind = {"bypass": "dataspace", "datatype": "dataspace"}.get(str(said.get("type")))
    changed = {"type": kind} if kind else {}
    if empty:
        if said.get("type") != "spatial":
            return None
        changed["target"] = empty["name"]
    return Section({**said, **changed}, said.source, said.lines)
