"""The native model held against an execution: what differs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from math import ceil, isclose

from flat_mapper.base.tolerance import EQUAL, whole_cycles
from flat_mapper.cost_model.result import EinsumStats, GroupStats, Result
from flat_mapper.execution.result import Executed, ExecutedGroup

UPPER = "a remainder: Timeloop counts idle units and some shorter last passes as full"


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One quantity that the model has otherwise than the execution."""

    where: str  # Einsum, or the group's Einsums
    level: str
    tensor: str
    quantity: str
    executed: float
    model: float | None  # None: the model has no such quantity
    reason: str = ""  # why the model may be above the execution here

    def to_dict(self) -> dict[str, object]:
        """The fields by name."""
        return asdict(self)


def compare(executed: Executed, result: Result) -> tuple[Disagreement, ...]:
    """Differences between an execution and the model's result for the same mapping.

    Numbers have to be right; every count equal; no level over its capacity; each group's latency
    the executed timeline's, rounded up to whole cycles, or above it by no more than the schedule's
    slack (`cost_model.schedule.Latency`). Where a loop has a remainder the model is
    Timeloop's, which may be above the execution, and the difference says so.
    """
    nests = result.mapping.einsum_mappings
    ragged = {name for name, m in nests.items() if any(p.last for _, at in m.loops for p in at)}
    cut = [g.names for g in result.groups if g.cores is not None and not g.cores.divides]
    ragged |= {name for names in cut for name in names}
    found = [*_numbers(executed)]
    for einsum in result.einsums:
        found += _with_reason(_counts(executed, einsum), einsum.einsum in ragged)
    for group, stats in zip(executed.groups, result.groups, strict=True):
        found += _with_reason(_group(group, stats), not ragged.isdisjoint(group.names))
    return tuple(found)


def _with_reason(found: Iterator[Disagreement], ragged: bool) -> Iterator[Disagreement]:
    for d in found:
        above = ragged and d.model is not None and d.model >= d.executed
        yield replace(d, reason=UPPER) if above else d


def _numbers(executed: Executed) -> Iterator[Disagreement]:
    for error in executed.errors:
        if not error.right:
            yield Disagreement("output", "", error.tensor, "relative error", error.relative, 0.0)


def _counts(executed: Executed, stats: EinsumStats) -> Iterator[Disagreement]:
    modelled = {(lv.level, t.tensor): t for lv in stats.levels for t in lv.tensors}
    moved = {(m.level, m.tensor): m for m in executed.counts if m.einsum == stats.einsum}
    for level, tensor in dict.fromkeys((*modelled, *moved)):
        t, m = modelled.get((level, tensor)), moved.get((level, tensor))
        pairs = (
            ("reads", m.reads if m else 0, t.scalar_reads if t else 0),
            ("fills", m.fills if m else 0, t.scalar_fills if t else 0),
            ("updates", m.updates if m else 0, t.scalar_updates if t else 0),
        )
        instances = t.utilized_instances if t else m.instances if m else 1
        for quantity, got, said in pairs:
            if got != said * instances:
                yield Disagreement(stats.einsum, level, tensor, quantity, got / instances, said)
    cycles = executed.compute_cycles[stats.einsum]
    if not isclose(cycles, stats.compute_cycles, rel_tol=EQUAL):
        yield Disagreement(stats.einsum, "", "", "compute cycles", cycles, stats.compute_cycles)


def _group(group: ExecutedGroup, stats: GroupStats) -> Iterator[Disagreement]:
    where = " + ".join(group.names)
    for alive in group.alive:
        said = stats.buffer.live_words if alive.level == stats.buffer.level else None
        if alive.over or (said is not None and alive.words > said):
            yield Disagreement(
                where,
                alive.level,
                "",
                "words alive" + (f" (has {alive.capacity})" if alive.over else ""),
                alive.words,
                said,
            )
    least = whole_cycles(group.cycles * (1 - EQUAL))
    if not least <= stats.cycles <= ceil(group.cycles + stats.slack_cycles):
        yield Disagreement(where, "", "", "cycles", group.cycles, stats.cycles)
