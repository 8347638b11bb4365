"""Input of Timeloop's programs, `parsed-processed-input.yaml`, as v0.4 nodes.

    architecture: {version: 0.4, subtree: [{name: x, attributes: {...}, local: [...]}]}
    architecture_constraints: {targets: [{target: inter_PE_spatial, type: spatial, ...}]}

There every component stands in one list with its number of instances in its name, an empty level
`inter_NAME_spatial` in front of copies, and tensors kept are of the type `bypass`.
Source: timeloopfe, common/version_transpilers/v4_to_v3.py, commit 5603893.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from flat_mapper.arch.attributes import NUMBERS
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.spec.document import Section, Tagged, section_of, take, take_list

DUMPED = "dumped_by_timeloop_front_end"
_COPIES = re.compile(r"(?P<name>[^\[\]]+)(?:\[(?P<first>\d+)\.\.(?P<last>\d+)\])?")
_EMPTY = re.compile(r"inter_(?P<name>.+)_spatial")
_DUMMY = "dummy_storage"
# What the front end adds to the attributes of every component; none of it says anything.
# Attributes of a subtree that its components have too; the others were variables, worked out.
_INHERITED = (*NUMBERS, "technology")
_ADDED = ("meshX", "meshY", "power_gated_at", "has_power_gating", "version")


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
            own = Section({k: v for k, v in own.items() if k in _INHERITED})
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
        attributes = section_of(body.get("attributes") or {}, f"{where}.attributes")
        count = int(found["last"] or 0) - int(found["first"] or 0) + 1
        mesh = (
            take(attributes, "meshX", int, where, count, above=0),
            take(attributes, "meshY", int, where, 1, above=0),
        )
        over = (mesh[0] // self.mesh[0], mesh[1] // self.mesh[1])
        if (over[0] * self.mesh[0], over[1] * self.mesh[1]) != mesh:
            condition = f"a multiple of the {self.mesh[0]} x {self.mesh[1]} instances above it"
            raise SpecError(expected(f"{where}: {written}", condition, f"{mesh[0]} x {mesh[1]}"))
        self.mesh = mesh
        spatial = Section({"meshX": over[0], "meshY": over[1]}) if over != (1, 1) else None
        if self.empty and spatial:
            node = Section({"name": self.empty, "spatial": spatial})
            self.nodes.append(Tagged("!Container", node))
            spatial = None
        self.empty = ""
        if body.get("class") == _DUMMY:
            name = _EMPTY.fullmatch(found["name"])
            self.empty = name["name"] if name else found["name"]
            return
        plain = {k: v for k, v in body.items() if k != "required_actions"}
        plain |= {"name": found["name"], "attributes": _plain(attributes)}
        plain |= {"spatial": spatial} if spatial else {}
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
