"""The single file that the raw timeloop-model takes, without Timeloop's Python front end.

It is what the front end makes of v0.4 files: a `subtree`/`local` architecture with instance counts
in the names, and an empty level `inter_NAME_spatial` for each fanout NAME. It can say what the
front end cannot: remainders, `P=32,5`.
Source: timeloopfe, common/version_transpilers/v4_to_v3.py; Timeloop, src/model/topology.cpp.

Energies and areas have Accelergy's form: timeloop-model takes them in its place.
"""

from __future__ import annotations

from collections.abc import Mapping

from flat_mapper.arch.values import Architecture, ComputeUnit, MemoryLevel
from flat_mapper.energy.tables import Ert
from flat_mapper.mapping.values import EinsumMapping, sized_workload
from flat_mapper.spec.document import Quoted
from flat_mapper.timeloop.terms import empty_level, node_entries, problem_document
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
    document = processed_architecture(arch)
    tree = document.pop("architecture")
    problem = problem_document(workload, workload.einsum(mapping.einsum))
    return {"architecture": tree, **problem, "mapping": entries, **document}


def processed_architecture(arch: Architecture) -> dict[str, object]:
    """The architecture in the raw reader's form, and the compound components where it has any."""
    document: dict[str, object] = {
        "architecture": {"version": _VERSION, "subtree": [_subtree(arch)]}
    }
    components = arch.document.get("components")
    if components:
        document["compound_components"] = {"version": _VERSION, "classes": components}
    return document


def accelergy_document(arch: Architecture) -> dict[str, object]:
    """The same without the empty levels, for Accelergy alone, with what the front end fills in.

    Words stay in quotes, or Accelergy takes "22nm" for an expression; it asks every subtree for a
    technology as well.
    """
    document = processed_architecture(arch)
    tree = _subtree(arch)
    listed, attributes = tree["local"], tree["attributes"]
    assert isinstance(listed, list)
    assert isinstance(attributes, dict)
    local = [node for node in listed if node["class"] != _EMPTY]
    found = [
        node["attributes"]["technology"] for node in local if "technology" in node["attributes"]
    ]
    technology = {"technology": found[0]} if found else {}
    named = {**technology, **_literals(arch.variables), **attributes}  # components inherit them
    whole = {**tree, "attributes": named, "local": [_filled_in(node) for node in local]}
    return {**document, "architecture": {"version": _VERSION, "subtree": [whole]}}


def _filled_in(node: Mapping[str, object]) -> dict[str, object]:
    """A component as the front end gives it to Accelergy."""
    own = node["attributes"]
    assert isinstance(own, Mapping)
    stores = any(word in str(node["class"]) for word in _STORAGE)
    return {**node, "attributes": {**(_FILLED_IN_STORAGE if stores else _FILLED_IN), **own}}


def _subtree(arch: Architecture) -> dict[str, object]:
    local: list[dict[str, object]] = []
    mesh_x = mesh_y = 1
    for node in arch.nodes:
        if isinstance(node, MemoryLevel):
            local.append(_component(node, mesh_x, mesh_y))
        elif node.fanout_x * node.fanout_y > 1:
            empty = {"width": 1, "depth": 1, "datawidth": 1, "meshX": mesh_x, "meshY": mesh_y}
            name = f"{empty_level(node.name)}[1..{mesh_x * mesh_y}]"
            local.append({"name": name, "class": _EMPTY, "attributes": empty})
            mesh_x, mesh_y = mesh_x * node.fanout_x, mesh_y * node.fanout_y
    local.append(_component(arch.compute, mesh_x, mesh_y))
    attributes = {"global_cycle_seconds": arch.cycle_seconds}
    return {"name": "system", "attributes": attributes, "local": local}


def _component(node: MemoryLevel | ComputeUnit, mesh_x: int, mesh_y: int) -> dict[str, object]:
    stores = isinstance(node, MemoryLevel)
    known, default = (_STORAGE, "storage") if stores else (_COMPUTE, "compute")
    own = node.component_class
    named = {"class": own} if any(k in own for k in known) else {"class": default, "subclass": own}
    return {
        "name": f"{node.name}[1..{mesh_x * mesh_y}]",
        **named,
        "attributes": {**_literals(node.attributes), "meshX": mesh_x, "meshY": mesh_y},
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
