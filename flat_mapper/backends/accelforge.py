"""Backend `accelforge`: AccelForge's counts and prices of a mapping's Einsums, as a Result.

Each Einsum is asked by itself, as one root-to-compute path with its shared loops: of a tree of
several AccelForge evaluates every path on its own too. Its counts are turned back into Timeloop's
reads, fills and updates and added up by our rules; its own total latency and energy stand in
`extra` (JSON: `provenance`), because they answer other questions (GAPS). Tile sizes, instances,
lanes and the verdict on capacity are the mapping's own, by our model.

How the two define what they count, over all instances of a level:

    input    read = scalar reads, write = scalar fills
    output   write = scalar updates + scalar fills
             read  = scalar reads at its outermost keeper; further in AccelForge also counts the
                     read that drains a tile to its outer keeper, so that there read = write
    compute  one for every point of the iteration space

Known gaps of AccelForge 1.0.467 beside GAPS: drains take read bandwidth, no remainders.

A dictionary with a "type" stands for the class of that name (a YAML tag in AccelForge's files).
The unit of every action is a word, so that counts compare with Timeloop's scalar accesses. One
Einsum's loop nest becomes a root-to-compute path of AccelForge's mapping tree. Timeloop finds out
by itself that a tile stays while loops run that its tensor lacks. AccelForge is told by the place
of the Storage node: it stands outside those loops, and the spatial loops of a fanout stand directly
outside the first Storage below that fanout. Every loop is written by what it leaves of its rank
(`tile_shape`), not by its factor.
Source: AccelForge 1.0.467, model/main.py, model/_looptree/reuse/symbolic/_symbolic.py, frontend/,
frontend/mapping/mapping.py (_get_single_tensor_mapping).
"""

from __future__ import annotations

import keyword
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import chain
from math import inf, prod
from typing import ClassVar, NamedTuple

import numpy as np

from flat_mapper.arch.cores import NO_MULTICAST, reads_apart
from flat_mapper.arch.values import Architecture, Fanout, MemoryLevel, Platform
from flat_mapper.base.errors import BackendError, SpecError, expected
from flat_mapper.cost_model.backend import refuse_operations
from flat_mapper.cost_model.chip.evaluation import combine
from flat_mapper.cost_model.einsum import einsum_costs
from flat_mapper.cost_model.ports import level_cycles, throttling
from flat_mapper.cost_model.result import EinsumStats, Infeasible, LevelStats, Result, TensorStats
from flat_mapper.cost_model.widths import refuse_widths
from flat_mapper.energy.tables import Ert, operation_energy
from flat_mapper.mapping.check import check_fused, refuse_inside
from flat_mapper.mapping.sharing import shared_level
from flat_mapper.mapping.values import Axis, EinsumMapping, FusedMapping, Loop, Slot, slots_of
from flat_mapper.workload.einsum import Einsum, TensorAccess
from flat_mapper.workload.graph import Workload

JOINT = "<SEP>"  # what AccelForge puts between the parts of a column's name
ISL_WORDS = frozenset({"and", "or", "not", "exists", "mod", "floor", "ceil", "min", "max"})
AXES: tuple[Axis, ...] = ("y", "x")  # outermost first, as in slots_of
UNBOUNDED_BITS = 2**80  # a power of two: AccelForge reports occupancy as a share of the size
JOULES = 1e-12  # per pJ

_Document = dict[str, object]
Documents = tuple[_Document, _Document, _Document]  # arch, workload, mapping


class NotExpressibleError(BackendError):
    """A mapping that has no counterpart among AccelForge's mappings."""


class ActionKey(NamedTuple):
    """An action, its place, and its tensor (empty for computes)."""

    einsum: str
    component: str
    tensor: str
    action: str  # read, write or compute


@dataclass(frozen=True, slots=True, kw_only=True)
class AccelforgeEvaluation:
    """AccelForge's answer, in its own definitions."""

    counts: Mapping[ActionKey, int]  # words or operations, all instances together
    energy_pj: Mapping[ActionKey, float]
    latency_s: Mapping[tuple[str, str], float]  # (einsum, component); single precision inside

    @property
    def total_latency_s(self) -> float:
        """AccelForge's rule: each Einsum as slow as its slowest component, one after another."""
        slowest: dict[str, float] = {}
        for (einsum, _), seconds in self.latency_s.items():
            slowest[einsum] = max(slowest.get(einsum, 0.0), seconds)
        return sum(slowest.values())

    @property
    def total_energy_pj(self) -> float:
        """Every access and every compute."""
        return sum(self.energy_pj.values())


DEFINITION = (
    "AccelForge also prices the reads that drain an output tile, prices an update as a write and "
    "does not round up to whole rows"
)
GAPS = (
    f"{DEFINITION}: its energy is not Timeloop's",
    "AccelForge knows no double buffering and no in-place softmax: capacity is judged by our model",
    "AccelForge adds up the latencies of the Einsums, without overlap and cold start: cycles here "
    "follow our schedule from its counts, its own total is provenance.accelforge_latency_s",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccelforgeBackend:
    """AccelForge's model as an evaluator of fused mappings."""

    name: ClassVar = "accelforge"

    def missing(self) -> str | None:
        """The missing package and how to get it, in one line; None where it can run."""
        if find_spec("accelforge") is None:
            return "accelforge is not installed: pip install 'flat-mapper[accelforge]'"
        return None

    def evaluate(
        self, workload: Workload, platform: Platform, mapping: FusedMapping, ert: Ert
    ) -> Result | Infeasible:
        """AccelForge's counts and energy, under our schedule.

        raises: MappingError where the mapping contradicts the workload or the platform,
                NotExpressibleError where AccelForge has no such mapping,
                BackendError where it is missing or fails.
        """
        check_fused(workload, platform, mapping)
        workload, left_out = refuse_widths(workload, self.name)
        _refuse_apart(workload, platform, self.name)
        refuse_inside(workload, platform, mapping, self.name)
        ert = ert.covering(platform)
        refuse_operations(workload, platform, mapping, self.name)
        for name in (n for n in mapping.einsum_mappings if workload.einsum(n).each):
            condition = "Einsums that run over ranks of their own tensors"
            raise BackendError(
                expected(f"{self.name}: {name}", condition, "one per pass of a loop")
            )
        if lacking := self.missing():
            raise BackendError(lacking)
        frames: dict[str, EinsumStats] = {}
        for name, nest in mapping.einsum_mappings.items():
            costs = einsum_costs(workload, platform.path(workload.einsum(name).unit), [nest], ert)
            refused = costs.infeasible(0, apart={shared_level(platform).name})
            if refused is not None:
                return refused
            frames[name] = costs.stats(0)
        answer = evaluation(workload, platform, mapping, ert)
        stats = {
            name: _told(workload, platform, nest, answer, frames[name], ert)
            for name, nest in mapping.einsum_mappings.items()
        }
        result = combine(workload, platform, mapping, ert, stats, backend=self.name)
        if isinstance(result, Infeasible):
            return result
        extra = {
            "accelforge_latency_s": answer.total_latency_s * workload.repeat,
            "accelforge_energy_pj": answer.total_energy_pj * workload.repeat,
        }
        notes = (*result.notes, *left_out, *GAPS)
        return replace(result, notes=notes, extra={**result.extra, **extra})


def _refuse_apart(workload: Workload, platform: Platform, who: str) -> None:
    """Refuse a chip of which some instances each read for themselves: AccelForge multicasts."""
    for arch in platform.paths:
        for fanout in arch.fanouts:
            if any(reads_apart(fanout, tensor) for tensor in workload.tensor_ranks):
                where = f"{arch.where}: {fanout.name}"
                condition = f"a fanout that multicasts, where {who} counts"
                change = "use the native or the timeloop backend"
                raise SpecError(expected(where, condition, " or ".join(NO_MULTICAST), change))


def _told(
    workload: Workload,
    platform: Platform,
    nest: EinsumMapping,
    answer: AccelforgeEvaluation,
    frame: EinsumStats,
    ert: Ert,
) -> EinsumStats:
    """An Einsum's statistics with AccelForge's counts and energies in place of ours.

    AccelForge has one price for all that a unit does; an operation has the multiple of it.
    """
    einsum = workload.einsum(nest.einsum)
    arch = platform.path(einsum.unit)
    key = ActionKey(einsum.name, arch.compute.name, "", "compute")
    computes = answer.counts.get(key, 0)
    words = {
        (level, access.tensor): found
        for access in einsum.accesses
        for level, found in timeloop_counts(workload, arch, nest, access, answer.counts).items()
    }
    busy, levels = np.array([frame.compute_cycles]), list[LevelStats]()
    for stats in frame.levels:
        own = tuple(
            _row(einsum, stats.level, t, words[stats.level, t.tensor], answer)
            for t in stats.tensors
        )
        slowdown = throttling(arch.level(stats.level), busy, [t.moved for t in own])
        cycles = int(level_cycles(busy, slowdown)[0])
        levels.append(replace(stats, cycles=cycles, throttling=float(slowdown[0]), tensors=own))
    return replace(
        frame,
        computes=computes,
        compute_energy_pj=computes * operation_energy(arch, ert, einsum),
        network=(),
        levels=tuple(levels),
    )


def _row(
    einsum: Einsum,
    level: str,
    row: TensorStats,
    words: tuple[int, int, int],
    answer: AccelforgeEvaluation,
) -> TensorStats:
    """One tensor at one level, per instance."""
    n = row.utilized_instances
    if any(count % n for count in words):
        where = f"accelforge: {einsum.name}: {level}: {row.tensor}"
        raise BackendError(expected(where, f"counts divisible by {n} instances", words))
    reads, fills, updates = (count // n for count in words)
    accesses = _accesses(einsum.name, level, row.tensor)
    return replace(
        row,
        scalar_reads=reads,
        scalar_fills=fills,
        scalar_updates=updates,
        temporal_reductions=reads if row.tensor == einsum.output.tensor else 0,
        energy_pj=sum(answer.energy_pj.get(access, 0.0) for access in accesses),
    )


def _accesses(einsum: str, level: str, tensor: str) -> tuple[ActionKey, ActionKey]:
    read, write = (ActionKey(einsum, level, tensor, action) for action in ("read", "write"))
    return read, write


def timeloop_counts(
    workload: Workload,
    arch: Architecture,
    nest: EinsumMapping,
    access: TensorAccess,
    counts: Mapping[ActionKey, int],
) -> dict[str, tuple[int, int, int]]:
    """Reads, fills and updates of one tensor at its levels, all instances, in Timeloop's terms.

    AccelForge's writes of an output are updates and fills together. Going inwards, a level's fills
    are the updates of the level outside it, less the first visit of every word, which has nothing
    to fetch; times the copies of the tensor that spatial loops make between the two.
    raises: BackendError where AccelForge's reads are not what its writes imply.
    """
    found: dict[str, tuple[int, int, int]] = {}
    outer_updates = outer_copies = 0
    for level in nest.keepers(access.tensor, arch):
        actions = _accesses(nest.einsum, level, access.tensor)
        read, write = (counts.get(action, 0) for action in actions)
        if not access.is_output:
            found[level] = (read, write, 0)
            continue
        copies = _copies(arch, nest, access, level)
        held = workload.tensor_words(access.tensor) * copies
        fills = outer_updates * copies // outer_copies - held if found else 0
        updates = write - fills
        implied = write if found else updates - held
        if read != implied:
            where = f"accelforge: {nest.einsum}: {level}: {access.tensor}: reads"
            raise BackendError(expected(where, f"{implied} by its writes", read))
        found[level] = (updates - held, fills, updates)
        outer_updates, outer_copies = updates, copies
    return found


def _copies(arch: Architecture, nest: EinsumMapping, access: TensorAccess, level: str) -> int:
    """Instances of a level that hold the same word: spatial loops that the tensor lacks."""
    outside = {node.name for node in arch.outside(level)}
    return prod(
        loop.factor
        for slot, loop in nest.placed
        if slot.node in outside and slot.axis != "temporal" and loop.rank not in access.ranks
    )


def evaluation(
    workload: Workload, platform: Platform, mapping: FusedMapping, ert: Ert
) -> AccelforgeEvaluation:
    """AccelForge's answer on every Einsum. Raises NotExpressibleError where one has none."""
    columns: dict[str, object] = {}  # of which each names its Einsum
    for nest in mapping.einsum_mappings.values():
        columns |= _answer(accelforge_documents(workload, platform, nest, ert))
    return _parsed(columns)


def _answer(documents: Documents) -> Mapping[str, object]:
    from accelforge import Spec, set_n_parallel_jobs
    from accelforge.frontend import arch, mapping

    set_n_parallel_jobs(1)  # worker processes would import AccelForge again: 9 s for one answer
    arch_document, workload_document, mapping_document = documents
    try:
        spec = Spec(
            arch=_instance(arch, arch_document),
            workload=workload_document,
            mapping=_instance(mapping, mapping_document),
        )
        columns: Mapping[str, object] = spec.evaluate_mapping().to_dict()
    except Exception as error:  # its own checks raise many types
        line = " ".join(str(error).split())[:200]
        raise BackendError(f"accelforge: expected an answer, got {line}") from error
    return columns


def _instance(module: object, value: object) -> object:
    """A document's value, every typed dictionary in it replaced by its object."""
    if isinstance(value, list):
        return [_instance(module, item) for item in value]
    if not isinstance(value, dict):
        return value
    fields = {k: _instance(module, v) for k, v in value.items() if k != "type"}
    made: object = getattr(module, value["type"])(**fields) if "type" in value else fields
    return made


def _parsed(columns: Mapping[str, object]) -> AccelforgeEvaluation:
    counts: dict[ActionKey, int] = {}
    energy: dict[ActionKey, float] = {}
    latency: dict[tuple[str, str], float] = {}
    for column, value in columns.items():
        match column.split(JOINT):
            case [einsum, "action" | "energy" as what, component, tensor, action]:
                key = ActionKey(einsum, component, "" if tensor == "None" else tensor, action)
                if what == "action":
                    counts[key] = round(float(str(value)))  # of any library
                else:
                    energy[key] = float(str(value)) / JOULES
            case [einsum, "latency", component]:
                latency[einsum, component] = float(str(value))
    return AccelforgeEvaluation(counts=counts, energy_pj=energy, latency_s=latency)


def rank_variable(rank: str) -> str:
    """AccelForge's lower-case variable of a rank, kept clear of words that mean something to it."""
    name = rank.lower()
    return f"{name}_" if keyword.iskeyword(name) or name in ISL_WORDS else name


class _Nest:
    """Places of Storage nodes and spatial loops of one Einsum among its temporal loops.

    A place is the number of temporal loops outside it. Raises NotExpressibleError where one lacks.
    """

    def __init__(self, workload: Workload, platform: Platform, mapping: EinsumMapping) -> None:
        self.workload, self.mapping = workload, mapping
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

    def nodes(self) -> list[_Document]:
        """Storage, Temporal and Spatial nodes in order, then the Compute."""
        # Each node with its loop, which is told by what it leaves of its rank.
        before = [list[tuple[_Document, Loop | None]]() for _ in range(len(self.loops) + 1)]
        for index, node in enumerate(self.arch.nodes):
            if isinstance(node, Fanout):
                before[self._fanout_place(index)] += self._spatial(node)
                continue
            held: dict[int, list[str]] = {}
            for (level, tensor), place in self.place.items():
                if level == node.name:
                    held.setdefault(place, []).append(tensor)
            for place, tensors in held.items():
                storage: _Document = {"type": "Storage", "component": node.name, "tensors": tensors}
                before[place].append((storage, None))
        for place, loop in enumerate(self.loops):
            before[place].append(({"type": "Temporal"}, loop))
        left = dict(self.workload.rank_sizes)
        for document, looped in chain.from_iterable(before):
            if looped is not None:
                left[looped.rank] //= looped.factor
                document["rank_variable"] = rank_variable(looped.rank)
                document["tile_shape"] = left[looped.rank]
        ordered = [document for document, _ in chain.from_iterable(before)]
        compute = self.arch.compute.name
        return [*ordered, {"type": "Compute", "einsum": self.einsum.name, "component": compute}]

    def _spatial(self, fanout: Fanout) -> list[tuple[_Document, Loop]]:
        return [
            ({"type": "Spatial", "name": axis, "component": fanout.name}, loop)
            for axis in AXES
            for loop in self._at(Slot(fanout.name, axis))
        ]


def accelforge_documents(
    workload: Workload, platform: Platform, nest: EinsumMapping, ert: Ert
) -> Documents:
    """The documents of one Einsum's nest. Raises NotExpressibleError where it has none.

    Sizes are unbounded: AccelForge has neither double buffers nor in-place softmax, so that its
    verdict on capacity would be about another machine than ours.
    """
    einsum = workload.einsum(nest.einsum)
    arch = platform.path(einsum.unit)
    path = [*_components(arch, ert), _compute(arch, ert)]
    nodes = _Nest(workload, platform, nest).nodes()
    tree: _Document = {"type": "Mapping", "nodes": nodes}
    return {"type": "Arch", "nodes": path}, _workload_document(workload, einsum), tree


def _components(arch: Architecture, ert: Ert) -> Iterator[_Document]:
    """Levels, and fanouts of more than one instance."""
    for node in arch.nodes:
        if isinstance(node, Fanout):
            sizes = {"y": node.fanout_y, "x": node.fanout_x}
            if spatial := [{"name": axis, "fanout": n} for axis, n in sizes.items() if n > 1]:
                yield {"type": "Container", "name": node.name, "spatial": spatial}
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
            "name": node.name,
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


def _compute(arch: Architecture, ert: Ert) -> _Document:
    name = arch.compute.name
    energy = ert.energy(name, "compute") * JOULES
    action = {"name": "compute", "energy": energy, "throughput": 1 / arch.cycle_seconds}
    return {"type": "Compute", "name": name, "leak_power": 0, "area": 0, "actions": [action]}


def _workload_document(workload: Workload, einsum: Einsum) -> _Document:
    accesses = [
        {
            "name": a.tensor,
            "projection": {r: rank_variable(r) for r in a.ranks},
            "output": a.is_output,
            "bits_per_value": workload.bits(a.tensor, ""),
        }
        for a in einsum.accesses
    ]
    return {
        "rank_sizes": {r: n for r, n in workload.rank_sizes.items() if r in einsum.ranks},
        "einsums": [{"name": einsum.name, "tensor_accesses": accesses}],
    }
