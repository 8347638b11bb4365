"""Backend `accelforge`: AccelForge's counts and prices of the fused mapping, as a Result.

AccelForge is the one outside tool that takes a fused mapping as one. Its counts are turned back
into Timeloop's reads, fills and updates and added up by our rules; its own total latency and energy
stand in `extra` (JSON: `provenance`), because they answer other questions (GAPS). Tile sizes,
instances, lanes and the verdict on capacity are the mapping's own, by our model: AccelForge's is
about another machine.

How the two define what they count, over all instances of a level:

    input    read = scalar reads, write = scalar fills
    output   write = scalar updates + scalar fills
             read  = scalar reads at its outermost keeper; further in AccelForge also counts the
                     read that drains a tile to its outer keeper, so that there read = write
    compute  one for every point of the iteration space

Known gaps of AccelForge 1.0.467: one buffer per tile (no double buffering), no in-place softmax,
latency added up over Einsums without overlap, drains take read bandwidth, no remainders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from math import prod
from typing import ClassVar, NamedTuple

import numpy as np

from flat_mapper.arch.cores import NO_MULTICAST, reads_apart
from flat_mapper.arch.values import Architecture, Fanout, Platform
from flat_mapper.backends.accelforge_lowering import (
    AXES,
    JOULES,
    Documents,
    NotExpressibleError,
    accelforge_documents,
    component_name,
)
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
from flat_mapper.mapping.values import EinsumMapping, FusedMapping, Slot
from flat_mapper.workload.einsum import TensorAccess
from flat_mapper.workload.graph import Workload

JOINT = "<SEP>"  # what AccelForge puts between the parts of a column's name
NO_JOIN = ("No match found", "No mappings found")  # its words for paths that do not fit together


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
    note: str = ""  # why each Einsum was evaluated on its own, not all as one tree

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
        refuse_widths(workload, self.name)
        _refuse_apart(workload, platform, self.name)
        refuse_inside(workload, platform, mapping, self.name)
        ert = ert.covering(platform)
        refuse_operations(workload, platform, mapping, self.name)
        for name in (n for n in mapping.einsum_mappings if workload.einsum(n).each):
            condition = "Einsums that run over ranks of their own tensors"
            raise BackendError(
                expected(f"{self.name}: {name}", condition, "one per pass of a loop")
            )
        lacking = self.missing()
        if lacking:
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
            "accelforge_tree": answer.note or "one for all Einsums",
        }
        notes = (*result.notes, *GAPS)
        return replace(result, notes=notes, extra={**result.extra, **extra})


def _refuse_apart(workload: Workload, platform: Platform, who: str) -> None:
    """Refuse a chip of which some instances each read for themselves: AccelForge multicasts."""
    for arch in platform.paths:
        for fanout in arch.fanouts:
            if any(reads_apart(fanout, tensor) for tensor in workload.tensor_ranks):
                where = f"{arch.path or arch.name}: {fanout.name}"
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
    tensors: dict[tuple[str, str], TensorStats] = {}
    for access in einsum.accesses:
        rows = {lv.level: t for lv in frame.levels for t in lv.tensors if t.tensor == access.tensor}
        keys: dict[str, list[ActionKey]] = {}
        for level in rows:
            place = einsum.name, component_name(platform, einsum, level), access.tensor
            keys[level] = [ActionKey(*place, action) for action in ("read", "write")]
        words = timeloop_counts(workload, arch, nest, access, answer.counts, keys)
        for level, row in rows.items():
            pj = sum(answer.energy_pj.get(key, 0.0) for key in keys[level])
            where = f"accelforge: {einsum.name}: {level}: {access.tensor}"
            tensors[level, access.tensor] = _row(row, words[level], pj, access, where)
    unit = ActionKey(
        einsum.name, component_name(platform, einsum, arch.compute.name), "", "compute"
    )
    computes = answer.counts.get(unit, 0)
    return replace(
        frame,
        computes=computes,
        compute_energy_pj=computes * operation_energy(arch, ert, einsum),
        network=(),
        levels=tuple(
            _level(arch, lv, tuple(tensors[lv.level, t.tensor] for t in lv.tensors), frame)
            for lv in frame.levels
        ),
    )


def _row(
    row: TensorStats, words: tuple[int, int, int], pj: float, access: TensorAccess, where: str
) -> TensorStats:
    """One tensor at one level, per instance."""
    n = row.utilized_instances
    if any(count % n for count in words):
        raise BackendError(expected(where, f"counts divisible by {n} instances", words))
    reads, fills, updates = (count // n for count in words)
    return replace(
        row,
        scalar_reads=reads,
        scalar_fills=fills,
        scalar_updates=updates,
        temporal_reductions=reads if access.is_output else 0,
        energy_pj=pj,
    )


def _level(
    arch: Architecture, level: LevelStats, tensors: tuple[TensorStats, ...], frame: EinsumStats
) -> LevelStats:
    """A level's cycles from the counts of its tensors."""
    compute = np.array([frame.compute_cycles])
    slowdown = throttling(arch.level(level.level), compute, [t.moved for t in tensors])
    cycles = int(level_cycles(compute, slowdown)[0])
    return replace(level, cycles=cycles, throttling=float(slowdown[0]), tensors=tensors)


def timeloop_counts(
    workload: Workload,
    arch: Architecture,
    nest: EinsumMapping,
    access: TensorAccess,
    counts: Mapping[ActionKey, int],
    keys: Mapping[str, Sequence[ActionKey]],
) -> dict[str, tuple[int, int, int]]:
    """Reads, fills and updates of one tensor at its levels, all instances, in Timeloop's terms.

    AccelForge's writes of an output are updates and fills together. Going inwards, a level's fills
    are the updates of the level outside it, less the first visit of every word, which has nothing
    to fetch; times the copies of the tensor that spatial loops make between the two.
    keys:   the read and the write of each level that keeps the tensor, outermost first.
    raises: BackendError where AccelForge's reads are not what its writes imply.
    """
    found: dict[str, tuple[int, int, int]] = {}
    outer_updates = outer_copies = 0
    for level, actions in keys.items():
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
    copies = 1
    for node in arch.nodes:
        if node.name == level:
            break
        if isinstance(node, Fanout):
            loops = [loop for axis in AXES for loop in nest.at(Slot(node.name, axis))]
            copies *= prod(loop.factor for loop in loops if loop.rank not in access.ranks)
    return copies


def evaluation(
    workload: Workload, platform: Platform, mapping: FusedMapping, ert: Ert
) -> AccelforgeEvaluation:
    """AccelForge's answer on the mapping as one tree, or Einsum by Einsum where it has no tree.

    Counts are the same either way: AccelForge counts every path from the root on its own.
    Raises NotExpressibleError where an Einsum has no counterpart even alone.
    """
    nests = [*mapping.einsum_mappings.values()]
    try:
        return _answer(accelforge_documents(workload, platform, nests, ert), together=True)
    except NotExpressibleError as error:
        reason = str(error)
    alone = [
        _answer(accelforge_documents(workload, platform, [nest], ert), together=False)
        for nest in nests
    ]
    return AccelforgeEvaluation(
        counts={k: v for part in alone for k, v in part.counts.items()},
        energy_pj={k: v for part in alone for k, v in part.energy_pj.items()},
        latency_s={k: v for part in alone for k, v in part.latency_s.items()},
        note=reason,
    )


def _answer(documents: Documents, *, together: bool) -> AccelforgeEvaluation:
    from accelforge import Spec, set_n_parallel_jobs
    from accelforge.frontend import arch, mapping

    set_n_parallel_jobs(1)  # worker processes would import AccelForge again: 9 s for one answer
    arch_document, workload_document, mapping_document = documents
    try:
        spec = Spec(
            arch=arch.Arch(**_fields(arch, arch_document)),
            workload=workload_document,
            mapping=mapping.Mapping(**_fields(mapping, mapping_document)),
        )
        columns = spec.evaluate_mapping().to_dict()
    except Exception as error:  # its own checks raise many types
        line = " ".join(str(error).split())[:200]
        if together and any(words in line for words in NO_JOIN):
            raise NotExpressibleError(
                f"accelforge: expected Einsums that it can join, got {line}"
            ) from error
        raise BackendError(f"accelforge: expected an answer, got {line}") from error
    return _parsed(columns)


def _fields(module: object, document: Mapping[str, object]) -> dict[str, object]:
    """The values of a document, every typed dictionary in them replaced by its object."""
    return {k: _instance(module, v) for k, v in document.items() if k != "type"}


def _instance(module: object, value: object) -> object:
    if isinstance(value, list):
        return [_instance(module, item) for item in value]
    if not isinstance(value, dict):
        return value
    fields = _fields(module, value)
    made: object = getattr(module, value["type"])(**fields) if "type" in value else fields
    return made


def _parsed(columns: Mapping[str, object]) -> AccelforgeEvaluation:
    counts: dict[ActionKey, int] = {}
    energy: dict[ActionKey, float] = {}
    latency: dict[tuple[str, str], float] = {}
    for column, value in columns.items():
        match column.split(JOINT):
            case [einsum, "action", component, tensor, action]:
                key = ActionKey(einsum, component, "" if tensor == "None" else tensor, action)
                counts[key] = round(_number(value))
            case [einsum, "energy", component, tensor, action]:
                key = ActionKey(einsum, component, "" if tensor == "None" else tensor, action)
                energy[key] = _number(value) / JOULES
            case [einsum, "latency", component]:
                latency[einsum, component] = _number(value)
    return AccelforgeEvaluation(counts=counts, energy_pj=energy, latency_s=latency)


def _number(value: object) -> float:
    return float(str(value)) if not isinstance(value, (int, float)) else float(value)
