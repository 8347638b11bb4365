"""AccelForge as a second opinion: a fused mapping priced by its model.

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

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from flat_mapper.arch.values import Platform
from flat_mapper.backends.accelforge_lowering import (
    JOULES,
    Documents,
    accelforge_documents,
    einsum_documents,
)
from flat_mapper.backends.accelforge_nest import (
    NotExpressibleError,
    component_name,
    component_names,
)
from flat_mapper.base.errors import BackendError
from flat_mapper.mapping.values import FusedMapping
from flat_mapper.workload.graph import Workload

if TYPE_CHECKING:
    from flat_mapper.cost_model.result import EinsumStats, TensorStats
    from flat_mapper.energy.tables import Ert

__all__ = [
    "AccelforgeEvaluation",
    "ActionKey",
    "NotExpressibleError",
    "accelforge_documents",
    "action_counts",
    "component_names",
    "evaluation",
    "expected_actions",
    "expected_counts",
    "missing_accelforge",
]

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
    together: bool  # evaluated as one tree; otherwise each Einsum on its own
    note: str = ""  # why not together

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


def missing_accelforge() -> str | None:
    """Advice where AccelForge cannot be used; None where it can."""
    from importlib.util import find_spec

    if find_spec("accelforge") is None:
        return "accelforge is not installed: pip install 'flat-mapper[accelforge]'"
    return None


def action_counts(
    workload: Workload, platform: Platform, mapping: FusedMapping, ert: Ert
) -> dict[ActionKey, int]:
    """Words moved and operations done, all instances together, in AccelForge's definitions."""
    return dict(evaluation(workload, platform, mapping, ert).counts)


def evaluation(
    workload: Workload, platform: Platform, mapping: FusedMapping, ert: Ert
) -> AccelforgeEvaluation:
    """AccelForge's answer on the mapping as one tree, or Einsum by Einsum where it has no tree.

    Counts are the same either way: AccelForge counts every path from the root on its own.
    Raises NotExpressibleError where an Einsum has no counterpart even alone.
    """
    try:
        return _answer(accelforge_documents(workload, platform, mapping, ert), together=True)
    except NotExpressibleError as error:
        reason = str(error)
    alone = [
        _answer(einsum_documents(workload, platform, nest, ert), together=False)
        for nest in mapping.einsum_mappings.values()
    ]
    return AccelforgeEvaluation(
        counts={k: v for part in alone for k, v in part.counts.items()},
        energy_pj={k: v for part in alone for k, v in part.energy_pj.items()},
        latency_s={k: v for part in alone for k, v in part.latency_s.items()},
        together=False,
        note=reason,
    )


def expected_counts(
    workload: Workload, platform: Platform, stats: EinsumStats
) -> dict[ActionKey, int]:
    """Timeloop-style counts of one Einsum, said in AccelForge's definitions."""
    einsum = workload.einsum(stats.einsum)
    counts: dict[ActionKey, int] = {}
    seen: set[str] = set()
    for level in stats.levels:  # outermost first
        name = component_name(platform, einsum, level.level)
        for tensor in level.tensors:
            output, outermost = tensor.tensor == einsum.output.tensor, tensor.tensor not in seen
            seen.add(tensor.tensor)
            for action, n in expected_actions(tensor, output=output, outermost=outermost).items():
                counts[ActionKey(einsum.name, name, tensor.tensor, action)] = n
    unit = component_name(platform, einsum, stats.unit)
    return counts | {ActionKey(einsum.name, unit, "", "compute"): stats.computes}


def expected_actions(stats: TensorStats, *, output: bool, outermost: bool) -> dict[str, int]:
    """Reads and writes that AccelForge counts where Timeloop counts `stats`."""
    written = stats.scalar_fills + stats.scalar_updates
    read = written if output and not outermost else stats.scalar_reads
    return {"read": read * stats.utilized_instances, "write": written * stats.utilized_instances}


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
    return _parsed(columns, together=together)


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


def _parsed(columns: Mapping[str, object], *, together: bool) -> AccelforgeEvaluation:
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
    return AccelforgeEvaluation(
        counts=counts, energy_pj=energy, latency_s=latency, together=together
    )


def _number(value: object) -> float:
    return float(str(value)) if not isinstance(value, (int, float)) else float(value)
