"""Rounds of cores, by timeloop-model and by the native model: every count side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import ceil

from flat_mapper.arch.values import Platform
from flat_mapper.backends.agreement import Crosscheck, Difference
from flat_mapper.cost_model.backend import Backend
from flat_mapper.cost_model.chip.evaluation import evaluate, stats_alone
from flat_mapper.cost_model.chip.tile import tile_cost
from flat_mapper.cost_model.result import EinsumStats, Infeasible, TensorStats
from flat_mapper.energy.tables import Ert
from flat_mapper.mapping.cores.tiles import core_question, full_tile
from flat_mapper.mapping.cores.view import CoreQuestion
from flat_mapper.mapping.values import FusedMapping, GroupMapping
from flat_mapper.timeloop.backend import TimeloopBackend
from flat_mapper.timeloop.rounds import Asked, asked_of, timeloop_stats
from flat_mapper.workload.graph import Workload

COUNTED = ("scalar_reads", "scalar_fills", "scalar_updates", "temporal_reductions")


def crosscheck_rounds(
    workload: Workload,
    platform: Platform,
    mapping: FusedMapping,
    ert: Ert,
    backends: Sequence[Backend],
) -> Crosscheck:
    """The counts of all groups on cores, compared with those of Timeloop's rounds.

    A tile that returns to the fusion level with every turn is compared as if it stayed there:
    Timeloop knows no other Einsums, and `execute` is the referee of that. So is one that is
    `resident`, or that another Einsum of the group reads too, as if it were fetched.
    raises: MappingError and BackendError as `Backend.evaluate`.
    """
    native = evaluate(workload, platform, mapping, ert)
    absent: dict[str, str] = {}
    found: list[Difference] = []
    notes: tuple[str, ...] = ()
    compared = 0
    for backend in backends:
        if not isinstance(backend, TimeloopBackend) or isinstance(native, Infeasible):
            absent[backend.name] = "it has no spatial loops outside the shared level"
        elif missing := backend.missing():
            absent[backend.name] = missing
        else:
            chip = {one.einsum: one for one in native.einsums}
            asked, refused = asked_of(workload, platform, mapping)
            by_einsum = {one.nest.einsum: one for one in asked}
            answered = False
            for group in mapping.groups:
                own = [by_einsum[name] for name in group.names if name in by_einsum]
                turns = _of_turns(workload, platform, mapping, group, ert) if own else set()
                for one in own:
                    answer = backend.einsum(one.workload, one.arch, one.nest, ert)
                    if isinstance(answer, Infeasible):
                        refused[one.nest.einsum] = f"timeloop-model refuses a round: {answer}"
                        continue
                    answered = True
                    said = timeloop_stats(one, ert, workload)
                    stats = chip[one.nest.einsum]
                    for pair in _of_einsum(
                        backend.name,
                        one,
                        said,
                        stats,
                        answer,
                        turns,
                        _of_others(workload, group, one),
                    ):
                        compared += 1
                        found += [pair] if pair.native != pair.other else []
            if refused and not answered:
                absent[backend.name] = "; ".join(refused.values())
            notes += tuple(refused.values()) if answered else ()
    answers = {} if absent.keys() >= {b.name for b in backends} else {"timeloop": native}
    if answers and not isinstance(native, Infeasible):
        answers = {"timeloop": replace(native, notes=(*native.notes, *notes))}
    return Crosscheck(
        native=native, answers=answers, absent=absent, compared=compared, differences=tuple(found)
    )


def _of_turns(
    workload: Workload,
    platform: Platform,
    mapping: FusedMapping,
    group: GroupMapping,
    ert: Ert,
) -> set[tuple[str, str, str]]:
    """Einsum, level and tensor of each tile that returns with every turn, on one core."""
    core = CoreQuestion(workload=workload, platform=platform, group=group)
    if group.on_cores:
        core = core_question(workload, platform, group, full_tile(group))
    alone = stats_alone(core.workload, core.platform, FusedMapping(groups=(core.group,)), ert)
    tile = tile_cost(core, mapping.policy, ert)
    found: set[tuple[str, str, str]] = set()
    for stats in () if isinstance(tile, Infeasible) else tile.stats:
        for level in stats.levels:
            for t in level.tensors:
                other = _stats(alone[stats.einsum], level.level, t.tensor)
                if any(getattr(t, name) != getattr(other, name) for name in COUNTED):
                    found.add((stats.einsum, level.level, t.tensor))
    return found


def _of_others(workload: Workload, group: GroupMapping, one: Asked) -> set[str]:
    """What other Einsums of the group access too, or what is there from before."""
    others = [workload.einsum(name) for name in group.names if name != one.nest.einsum]
    return {a.tensor for e in others for a in e.accesses} | set(group.resident)


def _of_einsum(
    backend: str,
    one: Asked,
    expected: EinsumStats,
    chip: EinsumStats,
    answer: EinsumStats,
    turns: set[tuple[str, str, str]],
    others: set[str],
) -> Iterator[Difference]:
    """Every count of an Einsum.

    It is the chip's own where it is so often the round's by the model's rules too; where tiles
    return with every turn, or a level between keeps what later rounds need or has it already, it
    is what the model says of the Einsum in the round by itself.

    others: tensors that a level between has not for this Einsum alone.
    """

    def pair(level: str, tensor: str, quantity: str, native: float, other: float) -> Difference:
        return Difference(
            backend=backend,
            einsum=expected.einsum,
            level=level,
            tensor=tensor,
            quantity=quantity,
            native=native,
            other=other,
            allowed=0.0,
        )

    rounds, name = one.rounds, expected.einsum
    yield pair("", "", "computes", chip.computes, rounds * answer.computes)
    # Timeloop counts a cycle an operation.
    cycles = ceil(rounds * answer.compute_cycles * chip.cycles_per_compute - 1e-9)
    yield pair("", "", "compute_cycles", ceil(chip.compute_cycles - 1e-9), cycles)
    names = [level.name for level in one.arch.levels]
    outside = names[: names.index(one.level)]
    kept = {t for level in outside[1:] for t in one.nest.kept_at(level)}
    already = kept if rounds > 1 else kept.intersection(others)
    for level in expected.levels:
        place = outside[0] if level.level in outside else level.level  # as one core has it
        for t in level.tensors:
            theirs, own = _stats(answer, level.level, t.tensor), chip.level(level.level)
            found = next((o for o in own.tensors if o.tensor == t.tensor), None) if own else None
            between = t.tensor in already and level.level in outside
            apart = (name, place, t.tensor) in turns
            for quantity in COUNTED:
                count = rounds * getattr(t, quantity)
                if found is not None and not (between or apart):
                    count = getattr(found, quantity)
                yield pair(
                    level.level, t.tensor, quantity, count, rounds * getattr(theirs, quantity)
                )
            instances = found.utilized_instances if found else t.utilized_instances
            used = instances, theirs.utilized_instances
            yield pair(level.level, t.tensor, "utilized_instances", *used)


def _stats(stats: EinsumStats, level: str, tensor: str) -> TensorStats:
    found = stats.level(level)
    assert found is not None
    return next(t for t in found.tensors if t.tensor == tensor)
