"""A fused mapping as AccelForge's documents: architecture, workload and mapping. Pure.

A dictionary with a "type" stands for the class of that name (a YAML tag in AccelForge's files).
The unit of every action is a word, so that counts compare with Timeloop's scalar accesses.
Source: AccelForge 1.0.467, frontend/ and model/main.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from math import inf
from typing import TYPE_CHECKING

from flat_mapper.arch.values import Architecture, Fanout, MemoryLevel, Platform
from flat_mapper.backends.accelforge_nest import (
    Document,
    NotExpressibleError,
    component_names,
    einsum_nodes,
    rank_variable,
    trunk_length,
)
from flat_mapper.mapping.values import EinsumMapping, FusedMapping, GroupMapping
from flat_mapper.workload.graph import Workload

if TYPE_CHECKING:
    from flat_mapper.energy.tables import Ert

Documents = tuple[Document, Document, Document]  # arch, workload, mapping

UNBOUNDED_BITS = (
    2**80
)  # a power of two, because AccelForge reports occupancy as a share of the size
JOULES = 1e-12  # per pJ


def accelforge_documents(
    workload: Workload, platform: Platform, mapping: FusedMapping, ert: Ert
) -> Documents:
    """The documents of the whole fused mapping, as one tree.

    Raises NotExpressibleError; `einsum_documents` may then still do for each Einsum alone.
    """
    names = [n for group in mapping.groups for n in group.names]
    _check_backing(workload, platform, mapping)
    trees = [_group_nodes(workload, platform, group) for group in mapping.groups]
    root = trees[0] if len(trees) == 1 else [_sequential(trees)]
    return arch_document(platform, ert), workload_document(workload, names), {"nodes": root}


def einsum_documents(
    workload: Workload, platform: Platform, mapping: EinsumMapping, ert: Ert
) -> Documents:
    """The documents of one Einsum on its own."""
    nodes = einsum_nodes(workload, platform, mapping)
    return (
        arch_document(platform, ert),
        workload_document(workload, [mapping.einsum]),
        {"nodes": nodes},
    )


def arch_document(platform: Platform, ert: Ert) -> Document:
    """Both paths as one hierarchy: the common trunk, the vector path as a fork, the matrix path.

    Sizes are unbounded: AccelForge has neither double buffers nor in-place softmax, so that its
    verdict on capacity would be about another machine than ours.
    """
    matrix, vector = platform.matrix, platform.vector
    own = [_component(matrix, n, n.name, ert) for n in matrix.nodes]
    tail = _compute(matrix, matrix.compute.name, ert)
    trunk, fork = 0, []
    if vector is not None:
        trunk, names = trunk_length(platform), component_names(platform)
        side = [_component(vector, n, names[n.name], ert) for n in vector.nodes[trunk:]]
        branch = [*_present(side), _compute(vector, names[vector.compute.name], ert)]
        fork = [{"type": "Fork", "nodes": branch}]
    return {"nodes": [*_present(own[:trunk]), *fork, *_present(own[trunk:]), tail]}


def _present(nodes: Sequence[Document | None]) -> list[Document]:
    return [n for n in nodes if n is not None]


def _component(
    arch: Architecture, node: MemoryLevel | Fanout, name: str, ert: Ert
) -> Document | None:
    if isinstance(node, Fanout):
        sizes = {"y": node.fanout_y, "x": node.fanout_x}
        spatial = [{"name": axis, "fanout": n} for axis, n in sizes.items() if n > 1]
        return {"type": "Container", "name": name, "spatial": spatial} if spatial else None
    read_pj, write_pj, _ = ert.actions(node.name)
    shared = node.shared_words_per_cycle
    ports = {
        "read": (read_pj, shared or node.read_words_per_cycle),
        "write": (write_pj, shared or node.write_words_per_cycle),
    }
    return {
        "type": "Memory",
        "name": name,
        "size": UNBOUNDED_BITS,
        "leak_power": 0,
        "area": 0,
        "values_per_action": {"All": 1},
        "actions": [
            {
                "name": action,
                "energy": row_pj / node.row_words * JOULES,
                "throughput": inf if rate is None else rate / arch.cycle_seconds,
            }
            for action, (row_pj, rate) in ports.items()
        ],
        # One shared port serves reads and writes in turn; two ports work side by side.
        "total_latency": f"{'sum' if shared else 'max'}(a.n_calls / a.throughput for a in actions)",
    }


def _compute(arch: Architecture, name: str, ert: Ert) -> Document:
    energy = ert.energy(arch.compute.name, "compute") * JOULES
    action = {"name": "compute", "energy": energy, "throughput": 1 / arch.cycle_seconds}
    return {"type": "Compute", "name": name, "leak_power": 0, "area": 0, "actions": [action]}


def workload_document(workload: Workload, names: Sequence[str]) -> Document:
    """The mapped Einsums, in execution order."""
    einsums = [workload.einsum(n) for n in names]
    ranks = {r for e in einsums for r in e.ranks}
    accesses = {
        e.name: [
            {
                "name": a.tensor,
                "projection": {r: rank_variable(r) for r in a.ranks},
                "output": a.is_output,
                "bits_per_value": workload.bits(a.tensor, ""),
            }
            for a in e.accesses
        ]
        for e in einsums
    }
    return {
        "rank_sizes": {r: n for r, n in workload.rank_sizes.items() if r in ranks},
        "einsums": [{"name": name, "tensor_accesses": a} for name, a in accesses.items()],
    }


def _check_backing(workload: Workload, platform: Platform, mapping: FusedMapping) -> None:
    """A tensor has one outermost keeper for all Einsums, or AccelForge cannot join them."""
    found: dict[str, str] = {}
    for nest in mapping.einsum_mappings.values():
        einsum = workload.einsum(nest.einsum)
        for access in einsum.accesses:
            chain = [lv.name for lv in platform.path(einsum.unit).levels]
            level = next(lv for lv in chain if access.tensor in nest.kept_at(lv))
            first = found.setdefault(access.tensor, level)
            if first != level:
                raise NotExpressibleError(
                    f"{nest.einsum}: {access.tensor}: expected {first} as outermost keeper, as in "
                    f"the Einsums before it, got {level}; AccelForge takes such Einsums one by one"
                )


def _group_nodes(workload: Workload, platform: Platform, group: GroupMapping) -> list[Document]:
    """A group's shared loops once with a branch per Einsum below, or else a branch with all of it.

    AccelForge evaluates every path from the root on its own, so both trees mean the same to it.
    """
    nests = [einsum_nodes(workload, platform, m) for m in group.einsums]
    if len(nests) == 1:
        return nests[0]
    tensors = [{a.tensor for a in workload.einsum(n).accesses} for n in group.names]
    trunk: list[Document] = []
    rest = nests
    for _ in (loop for loop in group.shared if loop.factor > 1):
        heads = [_head(nest) for nest in rest]
        loops = [nest[len(head)] for nest, head in zip(rest, heads, strict=True)]
        if loops[0]["type"] != "Temporal" or any(loop != loops[0] for loop in loops):
            return [_sequential(nests)]  # a spatial loop outside a shared one
        if _kept_by_some([_held(head) for head in heads], tensors):
            return [_sequential(nests)]
        trunk += [*_merged(heads), loops[0]]
        rest = [nest[len(head) + 1 :] for nest, head in zip(rest, heads, strict=True)]
    return [*trunk, _sequential(rest)]


def _kept_by_some(
    held: Sequence[Mapping[tuple[object, str], None]], tensors: Sequence[Set[str]]
) -> bool:
    """True where a tensor is kept at a level by some of the Einsums that have it only."""
    return any(
        place[1] in own and place not in pairs
        for place in set().union(*held)
        for pairs, own in zip(held, tensors, strict=True)
    )


def _head(nest: list[Document]) -> list[Document]:
    """The Storage nodes before the first other node."""
    return nest[: next(i for i, node in enumerate(nest) if node["type"] != "Storage")]


def _held(head: list[Document]) -> dict[tuple[object, str], None]:
    """(component, tensor) of Storage nodes, in order."""
    pairs: dict[tuple[object, str], None] = {}
    for node in head:
        tensors = node["tensors"]
        assert isinstance(tensors, list)
        pairs |= dict.fromkeys((node["component"], t) for t in tensors)
    return pairs


def _merged(heads: Sequence[list[Document]]) -> list[Document]:
    """Storage nodes of several Einsums at one place: one node per component."""
    tensors: dict[object, list[str]] = {}
    for component, tensor in dict.fromkeys(pair for head in heads for pair in _held(head)):
        tensors.setdefault(component, []).append(tensor)
    return [{"type": "Storage", "tensors": t, "component": c} for c, t in tensors.items()]


def _sequential(branches: Sequence[list[Document]]) -> Document:
    return {"type": "Sequential", "nodes": [{"type": "Nested", "nodes": b} for b in branches]}
