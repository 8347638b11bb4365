"""Energies and areas in Accelergy's form, which timeloop-model takes in Accelergy's place."""

from __future__ import annotations

from flat_mapper.arch.values import Architecture, ComputeUnit, MemoryLevel
from flat_mapper.energy.tables import Ert
from flat_mapper.spec.document import Quoted


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
