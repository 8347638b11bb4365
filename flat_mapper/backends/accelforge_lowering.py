"""A fused mapping as AccelForge's documents: architecture, workload and mapping. Pure.

A dictionary with a "type" stands for the class of that name (a YAML tag in AccelForge's files).
The unit of every action is a word, so that counts compare with Timeloop's scalar accesses.
Source: AccelForge 1.0.467, frontend/ and model/main.py.

One Einsum's loop nest becomes a root-to-compute path of AccelForge's mapping tree. Timeloop finds
out by itself that a tile stays while loops run that its tensor lacks. AccelForge is told by the
place of the Storage node: it stands outside those loops, and the spatial loops of a fanout stand
directly outside the first Storage below that fanout. Every loop is written by what it leaves of its
rank (`tile_shape`), not by its factor.
Source: AccelForge 1.0.467, model/_looptree/reuse/symbolic/_symbolic.py and
frontend/mapping/mapping.py (_get_single_tensor_mapping).
"""

from __future__ import annotations

import keyword
from collections.abc import Iterator, Mapping, Sequence
from math import inf
from types import MappingProxyType

from flat_mapper.arch.values import Architecture, Fanout, MemoryLevel, Platform
from flat_mapper.base.errors import BackendError
from flat_mapper.energy.tables import Ert
from flat_mapper.mapping.values import Axis, EinsumMapping, Loop, Slot, slots_of
from flat_mapper.workload.einsum import Einsum
from flat_mapper.workload.graph import Workload

Document = dict[str, object]

ISL_WORDS = frozenset({"and", "or", "not", "exists", "mod", "floor", "ceil", "min", "max"})
AXES: tuple[Axis, ...] = ("y", "x")  # outermost first, as in slots_of


class NotExpressibleError(BackendError):
    """A mapping that has no counterpart among AccelForge's mappings."""


def rank_variable(rank: str) -> str:
    """AccelForge's lower-case variable of a rank, kept clear of words that mean something to it."""
    name = rank.lower()
    return f"{name}_" if keyword.iskeyword(name) or name in ISL_WORDS else name


def component_names(platform: Platform) -> dict[str, str]:
    """The vector path's nodes by their name in the joint architecture, where names are unique."""
    if platform.vector is None:
        return {}
    trunk = trunk_length(platform)
    taken = {n.name for n in platform.matrix.nodes} | {platform.matrix.compute.name}
    own = [*(n.name for n in platform.vector.nodes[trunk:]), platform.vector.compute.name]
    names = {n.name: n.name for n in platform.vector.nodes[:trunk]}
    return names | {n: f"{n}_vector" if n in taken else n for n in own}


def component_name(platform: Platform, einsum: Einsum, node: str) -> str:
    """The joint architecture's name of a node on an Einsum's path."""
    return component_names(platform)[node] if einsum.unit == "vector" else node


def trunk_length(platform: Platform) -> int:
    """The number of outermost levels that the two paths have in common."""
    assert platform.vector is not None
    length = 0
    for own, other in zip(platform.matrix.nodes, platform.vector.nodes, strict=False):
        if own.name != other.name or not isinstance(other, MemoryLevel):
            break
        length += 1
    return length


class _Nest:
    """Places of Storage nodes and spatial loops of one Einsum among its temporal loops.

    A place is the number of temporal loops outside it. Raises NotExpressibleError where one lacks.
    """

    def __init__(self, workload: Workload, platform: Platform, mapping: EinsumMapping) -> None:
        self.workload, self.platform, self.mapping = workload, platform, mapping
        self.einsum = workload.einsum(mapping.einsum)
        self.arch = platform.path(self.einsum.unit)
        self.loops: list[Loop] = []  # temporal, outermost first
        self.base: dict[str, int] = {}  # node -> place, before anything is lifted
        for slot in slots_of(self.arch):
            self.base.setdefault(slot.node, len(self.loops))
            if slot.axis == "temporal":
                self.loops += self._at(slot)
        self.place = self._storage_places()

    def _at(self, slot: Slot) -> list[Loop]:
        loops = [loop for loop in self.mapping.at(slot) if loop.factor > 1]
        for loop in loops:
            if loop.final != loop.factor:
                raise NotExpressibleError(
                    f"{self.einsum.name}: {slot.node}.{loop.rank}: expected factors that divide "
                    f"the rank, got {loop.factor},{loop.final}; AccelForge averages over remainders"
                )
        return loops

    def _storage_places(self) -> dict[tuple[str, str], int]:
        """(level, tensor) -> place, lifted over the loops directly outside that lack the tensor.

        Nobody fills the outermost keeper, so it stays; it only may not stand inside an inner
        keeper of its tensor.
        """
        places: dict[tuple[str, str], int] = {}
        for access in self.einsum.accesses:
            kept = self.mapping.keepers(access.tensor, self.arch)
            inner = len(self.loops)
            for level in reversed(kept):
                place = self.base[level]
                while level != kept[0] and place and self.loops[place - 1].rank not in access.ranks:
                    place -= 1
                inner = places[level, access.tensor] = min(place, inner)
        return places

    def _fanout_place(self, index: int) -> int:
        """Directly outside the first Storage below a fanout."""
        fanout = self.arch.nodes[index].name
        below = {n.name for n in self.arch.nodes[index:] if isinstance(n, MemoryLevel)}
        lifted = [place for (level, _), place in self.place.items() if level in below]
        place = min([self.base[fanout], *lifted])
        self._check_crossing(fanout, place, below)
        return place

    def _check_crossing(self, fanout: str, place: int, below: set[str]) -> None:
        """No tile outside the fanout may stand inside a loop that its own spatial loop passes."""
        spatial = {loop.rank for axis in AXES for loop in self._at(Slot(fanout, axis))}
        for access in self.einsum.accesses:
            for passed in range(place, self.base[fanout]):
                rank = self.loops[passed].rank
                outside = [
                    level
                    for (level, tensor), at in self.place.items()
                    if tensor == access.tensor and level not in below and at > passed
                ]
                if outside and rank in spatial and rank in access.ranks:
                    raise NotExpressibleError(
                        f"{self.einsum.name}: expected no rank both temporal outside {outside[0]} "
                        f"and spatial at {fanout} while a tile below {fanout} stays, got {rank}; "
                        "AccelForge would have to reorder its loops"
                    )

    def nodes(self) -> list[Document]:
        """Storage, Temporal and Spatial nodes in order, then the Compute."""
        before: list[list[Document]] = [[] for _ in range(len(self.loops) + 1)]
        for index, node in enumerate(self.arch.nodes):
            if isinstance(node, Fanout):
                before[self._fanout_place(index)] += self._spatial(node)
                continue
            held: dict[int, list[str]] = {}
            for (level, tensor), place in self.place.items():
                if level == node.name:
                    held.setdefault(place, []).append(tensor)
            name = component_name(self.platform, self.einsum, node.name)
            for place, tensors in held.items():
                before[place].append({"type": "Storage", "tensors": tensors, "component": name})
        left = dict(self.workload.rank_sizes)
        ordered: list[Document] = []
        for place, nodes in enumerate(before):
            ordered += nodes
            if place < len(self.loops):
                loop = self.loops[place]
                ordered.append({"type": "Temporal", **_factor(loop)})
        compute = component_name(self.platform, self.einsum, self.arch.compute.name)
        last: Document = {"type": "Compute", "einsum": self.einsum.name, "component": compute}
        return [*(_tiled(node, left) for node in ordered), last]

    def _spatial(self, fanout: Fanout) -> list[Document]:
        name = component_name(self.platform, self.einsum, fanout.name)
        return [
            {"type": "Spatial", **_factor(loop), "name": axis, "component": name}
            for axis in AXES
            for loop in self._at(Slot(fanout.name, axis))
        ]


def _factor(loop: Loop) -> Document:
    return {"rank_variable": loop.rank, "tile_shape": loop.factor}


def _tiled(node: Document, left: dict[str, int]) -> Document:
    """A loop by what it leaves of its rank, in place of its factor; `left` is updated."""
    rank, factor = node.get("rank_variable"), node.get("tile_shape")
    if not isinstance(rank, str) or not isinstance(factor, int):
        return node
    left[rank] //= factor
    return {**node, "rank_variable": rank_variable(rank), "tile_shape": left[rank]}


Documents = tuple[Document, Document, Document]  # arch, workload, mapping

# A power of two, because AccelForge reports occupancy as a share of the size.
UNBOUNDED_BITS = 2**80
JOULES = 1e-12  # per pJ


def accelforge_documents(
    workload: Workload, platform: Platform, nests: Sequence[EinsumMapping], ert: Ert
) -> Documents:
    """The documents of some Einsums' nests, as one tree with a branch for each Einsum.

    A branch has the shared loops too: AccelForge evaluates every path from the root on its own.
    Raises NotExpressibleError; those of each Einsum alone may then still do.
    """
    _check_backing(workload, platform, nests)
    branches = [_Nest(workload, platform, nest).nodes() for nest in nests]
    root = branches[0]
    if len(branches) > 1:
        nested = [{"type": "Nested", "nodes": nodes} for nodes in branches]
        root = [{"type": "Sequential", "nodes": nested}]
    names = [nest.einsum for nest in nests]
    return arch_document(platform, ert), workload_document(workload, names), {"nodes": root}


def arch_document(platform: Platform, ert: Ert) -> Document:
    """Both paths as one hierarchy: the common trunk, the vector path as a fork, the matrix path.

    Sizes are unbounded: AccelForge has neither double buffers nor in-place softmax, so that its
    verdict on capacity would be about another machine than ours.
    """
    matrix, vector = platform.matrix, platform.vector
    trunk, fork = 0, list[Document]()
    if vector is not None:
        trunk, names = trunk_length(platform), component_names(platform)
        side = _components(vector, vector.nodes[trunk:], ert, names)
        branch = [*side, _compute(vector, names[vector.compute.name], ert)]
        fork = [{"type": "Fork", "nodes": branch}]
    top = _components(matrix, matrix.nodes[:trunk], ert)
    own = _components(matrix, matrix.nodes[trunk:], ert)
    return {"nodes": [*top, *fork, *own, _compute(matrix, matrix.compute.name, ert)]}


def _components(
    arch: Architecture,
    nodes: Sequence[MemoryLevel | Fanout],
    ert: Ert,
    names: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Document]:
    """Levels and fanouts of more than one instance. names: of those that have another one here."""
    for node in nodes:
        name = names.get(node.name, node.name)
        if isinstance(node, Fanout):
            sizes = {"y": node.fanout_y, "x": node.fanout_x}
            if spatial := [{"name": axis, "fanout": n} for axis, n in sizes.items() if n > 1]:
                yield {"type": "Container", "name": name, "spatial": spatial}
            continue
        read_pj, write_pj, _ = ert.actions(node.name)
        shared = node.shared_words_per_cycle
        ports = {
            "read": (read_pj, shared or node.read_words_per_cycle),
            "write": (write_pj, shared or node.write_words_per_cycle),
        }
        each = "(a.n_calls / a.throughput for a in actions)"
        yield {
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
            "total_latency": ("sum" if shared else "max") + each,
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


def _check_backing(workload: Workload, platform: Platform, nests: Sequence[EinsumMapping]) -> None:
    """A tensor has one outermost keeper for all Einsums, or AccelForge cannot join them."""
    found: dict[str, str] = {}
    for nest in nests:
        einsum = workload.einsum(nest.einsum)
        for access in einsum.accesses:
            level = nest.keepers(access.tensor, platform.path(einsum.unit))[0]
            first = found.setdefault(access.tensor, level)
            if first != level:
                raise NotExpressibleError(
                    f"{nest.einsum}: {access.tensor}: expected {first} as outermost keeper, as in "
                    f"the Einsums before it, got {level}; AccelForge takes such Einsums one by one"
                )
