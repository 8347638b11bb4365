"""The single file that the raw timeloop-model takes, without Timeloop's Python front end.

It is what the front end makes of v0.4 files: a `subtree`/`local` architecture with instance counts
in the names, and an empty level `inter_NAME_spatial` for each fanout NAME. It can say what the
front end cannot: remainders, `P=32,5`.
Source: timeloopfe, common/version_transpilers/v4_to_v3.py; Timeloop, src/model/topology.cpp.

Energies and areas have Accelergy's form: timeloop-model takes them in its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil, prod

from flat_mapper.arch.values import Architecture, ComputeUnit, Fanout, MemoryLevel
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.energy.tables import Ert
from flat_mapper.mapping.values import EinsumMapping, Slot, sized_workload
from flat_mapper.spec.document import Edit, Quoted, Tagged, edited_nodes, walk
from flat_mapper.timeloop.terms import TIMELOOP_VERSION, empty_level, node_entries, problem_document
from flat_mapper.workload.graph import Workload

_VERSION = Quoted("0.4")
_STORAGE = ("DRAM", "SRAM", "regfile", "smartbuffer", "storage")  # what Timeloop knows a buffer by
_EMPTY = "dummy_storage"
_COMPUTE = ("mac", "intmac", "fpmac", "compute")
# What the front end says of a component that does not say it itself, before it asks Accelergy,
# which prices by it: edge's GLB is read for 71.9 pJ with two banks, and for 72.9 pJ with one.
# Source: timeloopfe 5603893, v4/arch.py, Attributes and StorageAttributes, without what is None.
_FILLED_IN: dict[str, object] = {"has_power_gating": False}
_FILLED_IN_STORAGE: dict[str, object] = {
    **_FILLED_IN,
    "n_banks": 2,
    "cluster_size": 1,
    "reduction_supported": True,
    "multiple_buffering": 1,
    "min_utilization": 0,
    "allow_overbooking": False,
}


def processed_document(
    workload: Workload, arch: Architecture, mapping: EinsumMapping, *, handed_on: bool = False
) -> dict[str, object]:
    """Architecture, problem and mapping of one Einsum in one document for `timeloop-model`.

    handed_on: computes with no storage beside them take words from their neighbours, as Timeloop
               has it; by default they do not, as the native model has it.
    """
    workload = sized_workload(workload, mapping)
    entries = node_entries(workload, arch, mapping, raw=True)
    for entry in entries if handed_on else ():
        entry.pop("no_link_transfer", None)
    problem = problem_document(workload, workload.einsum(mapping.einsum))
    return {**_architecture(arch), **problem, "mapping": entries, **_compound(arch)}


def _architecture(arch: Architecture, *, filled_in: bool = False) -> dict[str, object]:
    """Every component with the number of its instances, and the fanouts as empty levels.

    filled_in: without the empty levels, and with what the front end fills in.
    """
    local: list[dict[str, object]] = []
    mesh_x = mesh_y = 1
    for node in arch.nodes:
        if isinstance(node, MemoryLevel):
            local.append(_component(node, mesh_x, mesh_y, filled_in=filled_in))
        elif node.fanout_x * node.fanout_y > 1:
            empty = {"width": 1, "depth": 1, "datawidth": 1, "meshX": mesh_x, "meshY": mesh_y}
            name = f"{empty_level(node.name)}[1..{mesh_x * mesh_y}]"
            local += [{"name": name, "class": _EMPTY, "attributes": empty}] * (not filled_in)
            mesh_x, mesh_y = mesh_x * node.fanout_x, mesh_y * node.fanout_y
    local.append(_component(arch.compute, mesh_x, mesh_y, filled_in=filled_in))
    attributes: dict[str, object] = {"global_cycle_seconds": arch.cycle_seconds}
    if filled_in:
        # Components inherit them; the first that is of a technology speaks for all.
        own = [n.attributes for n in _components(arch).values() if "technology" in n.attributes]
        technology = {"technology": own[0]["technology"]} if own else {}
        attributes = {**_literals({**technology, **arch.variables}), **attributes}
    tree = {"name": "system", "attributes": attributes, "local": local}
    return {"architecture": {"version": _VERSION, "subtree": [tree]}}


def _compound(arch: Architecture) -> dict[str, object]:
    """The compound components where an architecture has any."""
    classes = arch.document.get("components")
    return {"compound_components": {"version": _VERSION, "classes": classes}} if classes else {}


def accelergy_document(arch: Architecture) -> dict[str, object]:
    """The same without the empty levels, for Accelergy alone, with what the front end fills in.

    Words stay in quotes, or Accelergy takes "22nm" for an expression; it asks every subtree for a
    technology as well.
    """
    return {**_architecture(arch, filled_in=True), **_compound(arch)}


def _component(
    node: MemoryLevel | ComputeUnit, mesh_x: int, mesh_y: int, *, filled_in: bool
) -> dict[str, object]:
    stores = isinstance(node, MemoryLevel)
    known, default = (_STORAGE, "storage") if stores else (_COMPUTE, "compute")
    own = node.component_class
    named = {"class": own} if any(k in own for k in known) else {"class": default, "subclass": own}
    attributes = {**_literals(node.attributes), "meshX": mesh_x, "meshY": mesh_y}
    if filled_in:
        buffer = any(word in named["class"] for word in _STORAGE)
        attributes = {**(_FILLED_IN_STORAGE if buffer else _FILLED_IN), **attributes}
    return {
        "name": f"{node.name}[1..{mesh_x * mesh_y}]",
        **named,
        "attributes": attributes,
        "required_actions": ["read", "write", "update", "leak"] if stores else ["compute"],
    }


def _literals(attributes: Mapping[str, object]) -> dict[str, object]:
    """Attributes that nobody has to work out: words in quotes, whole numbers as integers."""
    literals: dict[str, object] = {}
    for key, value in attributes.items():
        if isinstance(value, str):
            literals[key] = Quoted(value)
        elif isinstance(value, float) and value.is_integer():
            literals[key] = int(value)
        else:
            literals[key] = value
    return literals


def ert_document(arch: Architecture, ert: Ert) -> dict[str, object]:
    """Energies in Accelergy's form, for exactly the actions that a dense mapping performs."""
    tables = []
    for name, node in _components(arch).items():
        if isinstance(node, MemoryLevel):
            values = dict(zip(("read", "write", "update"), ert.actions(node.name), strict=True))
            energies = values | {"leak": 0.0}
        else:
            energies = {"compute": ert.energy(arch.compute.name, "compute")}
        arguments = {"global_cycle_seconds": arch.cycle_seconds, "action_latency_cycles": 1}
        actions = [
            {"name": action, "arguments": arguments, "energy": float(pj)}
            for action, pj in energies.items()
        ]
        tables.append({"name": name, "actions": actions})
    return {"ERT": {"version": Quoted("0.4"), "tables": tables}}


def art_document(arch: Architecture) -> dict[str, object]:
    """Areas of nothing: Timeloop wants the table, and no count or energy depends on it."""
    tables = [{"name": name, "area": 0.0} for name in _components(arch)]
    return {"ART": {"version": Quoted("0.4"), "tables": tables}}


def _components(arch: Architecture) -> dict[str, MemoryLevel | ComputeUnit]:
    """Levels and compute unit by the full name that Timeloop looks them up with."""
    nodes: tuple[MemoryLevel | ComputeUnit, ...] = (*arch.levels, arch.compute)
    return {f"system.{n.name}[1..{n.instances}]": n for n in nodes}


Bodies = tuple[Mapping[str, object], ...]

# Every attribute that says how much a level holds (Timeloop, src/model/buffer.cpp, ParseSpecs).
DEPTH_KEYS = ("depth", "memory_depth", "data_storage_depth", "entries", "sizeKB")


def architecture_document(arch: Architecture, edit: Edit) -> dict[str, object]:
    """The architecture as it was loaded, every named node edited."""
    if "architecture" not in arch.document:
        condition = "an architecture loaded from v0.4 YAML, to write it again"
        raise SpecError(expected(arch.path or arch.name, condition, "one without a document"))
    document = dict(arch.document)
    document["architecture"] = edited_nodes(document["architecture"], edit)
    if document.get("components"):
        document["components"] = {"version": TIMELOOP_VERSION, "classes": document["components"]}
    else:
        document.pop("components", None)
    return document


def without_constraints(body: Mapping[str, object]) -> Bodies:
    """A node without its constraints.

    Timeloop's front end joins those with the mapping's entries, and refuses a pair that says
    different things.
    """
    return ({key: value for key, value in body.items() if key != "constraints"},)


def as_loaded(body: Mapping[str, object]) -> Bodies:
    """A node as it is."""
    return (body,)


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
    that would have fewer instances so keep nothing (`timeloop.rounds`).
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
    containers with nothing of their own can be divided; `node_entries` refuses the others.
    """
    tagged = (n for n in walk(arch.document.get("architecture")) if isinstance(n, Tagged))
    bodies = (node.body for node in tagged if node.tag == "!Container")
    containers = {body.get("name") for body in bodies if isinstance(body, Mapping)}
    twice = [
        node
        for node in arch.fanouts
        if {p.rank for p in mapping.at(Slot(node.name, "y"))}
        & {p.rank for p in mapping.at(Slot(node.name, "x"))}
        and not node.constraints
        and node.name in containers
    ]
    for node in twice:
        arch = _divided(arch, node)
    names = tuple(node.name for node in twice)
    loops = tuple(
        (Slot(f"{slot.node}_{slot.axis}", slot.axis) if slot.node in names else slot, at)
        for slot, at in mapping.loops
    )
    return arch, replace(mapping, loops=loops), names


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


def _with_nodes(
    arch: Architecture, nodes: Sequence[MemoryLevel | Fanout], edit: Edit
) -> Architecture:
    """The architecture with other nodes, and its document edited accordingly."""
    document = dict(arch.document)
    if "architecture" in document:
        document["architecture"] = edited_nodes(document["architecture"], edit)
    return replace(arch, nodes=tuple(nodes), document=document)
