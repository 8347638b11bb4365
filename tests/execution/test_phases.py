"""The schedule `phases`: its rounds by hand, and the model beside random executions."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from execution.random_fused import random_case

from flat_mapper.arch.values import Platform
from flat_mapper.backends.agreement import Disagreement, compare_run
from flat_mapper.base.errors import MappingError
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Result
from flat_mapper.cost_model.schedule import GroupCycles, PhaseCycles, Timing
from flat_mapper.energy.tables import Ert
from flat_mapper.execution.run import execute
from flat_mapper.mapping.order import check_phases, rounds_behind
from flat_mapper.mapping.values import FusedMapping, GroupMapping, Schedule
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.notation import parse_einsum


def free(platform: Platform) -> Ert:
    """Prices of nothing: latency and counts are what is compared."""
    paths = [platform.matrix, *filter(None, [platform.vector])]
    none = {"read": 0.0, "write": 0.0, "update": 0.0, "compute": 0.0}
    names = {n for a in paths for n in (*(lv.name for lv in a.levels), a.compute.name)}
    return Ert(levels=dict.fromkeys(names, none), source="none")


def in_phases(rng: random.Random, workload: Workload, group: GroupMapping) -> GroupMapping | None:
    """The group in a random cut of its order into phases, from any; None if a circle."""
    names = list(group.names)
    if len(names) == 1:
        return replace(group, schedule="sequential")
    cuts = sorted(rng.sample(range(1, len(names)), rng.randrange(len(names))))
    parts = [tuple(names[a:b]) for a, b in zip([0, *cuts], [*cuts, len(names)], strict=True)]
    if rng.random() < 0.5 and len(parts) > 1:
        parts = [(*parts[-1], *parts[0]), *parts[1:-1]]  # the end of one pass beside the next
    phases = tuple(parts)
    try:
        check_phases(workload, group.names, phases, "case")
    except MappingError:
        return None
    return replace(group, schedule="phases", phases=phases)


# Beside the first: what runs when a loop is done has its turns in rounds that are not full.
@pytest.mark.parametrize("seed", [*range(90), 1018])
def test_model_is_what_is_executed(seed: int) -> None:
    """Counts, words alive and latency, which is above the timeline by no more than the slack."""
    workload, platform, mapping = random_case(seed)
    rng = random.Random(seed)
    groups = [in_phases(rng, workload, g) for g in mapping.groups]
    if any(g is None for g in groups):
        pytest.skip("its Einsums wait in a circle")
    phased = FusedMapping(groups=tuple(g for g in groups if g), policy=mapping.policy)
    assert differences(workload, platform, phased, seed) == []


def differences(
    workload: Workload, platform: Platform, mapping: FusedMapping, seed: int
) -> list[Disagreement]:
    """What the model has otherwise than an execution."""
    result = evaluate(workload, platform, mapping, free(platform))
    if not isinstance(result, Result):
        pytest.skip("does not fit")
    executed = execute(workload, platform, mapping, seed=seed)
    return [*compare_run(executed, result)]


# What each of them once had below the execution, by seed.
BELOW = {
    185: "scores of the next pass that wait for products of this one",
    233: "the same, and what is left to do after the last scores",
    328: "a division that runs once, when the loop is done",
    363: "units that wait for words from DRAM, pass after pass",
    380: "padding of a loop that does not divide, in a place that two tensors share",
    619: "scores that come too late for a unit that takes what is ready",
    887: "passes of two sizes on the way in",
    1349: "what is written at a port of its own while nothing is read",
}


@pytest.mark.parametrize("schedule", ["interleaved", "overlapped"])
@pytest.mark.parametrize("seed", BELOW)
def test_model_is_not_below_what_is_executed(seed: int, schedule: Schedule) -> None:
    workload, platform, mapping = random_case(seed)
    groups = tuple(replace(g, schedule=schedule) for g in mapping.groups)
    same = FusedMapping(groups=groups, policy=mapping.policy)
    assert differences(workload, platform, same, seed) == []


def test_rounds_by_hand() -> None:
    """Two products and an exponential between them: the second product is a round behind.

    All in one phase, Z would read X of two passes ago while Y writes into the place of it.
    """
    lines = ("Y[b,i,j] = A[b,i,k] * B[b,k,j]", "X[b,i,j] = exp(Y[b,i,j])")
    einsums = (*map(parse_einsum, lines), parse_einsum("Z[b,i,l] = X[b,i,j] * C[b,j,l]"))
    sizes = {"B": 4, "I": 2, "J": 2, "K": 2, "L": 2}
    workload = Workload(name="own", rank_sizes=sizes, einsums=einsums)
    names = ("Y", "X", "Z")
    with pytest.raises(MappingError, match="wait in a circle"):  # X is in Y's place: three copies
        rounds_behind(workload, names, (names,))
    assert rounds_behind(workload, names, (("Y", "Z"), ("X",))) == {"Y": 0, "X": 0, "Z": 1}
    assert rounds_behind(workload, names, (("Y",), ("X",), ("Z",))) == {"Y": 0, "X": 0, "Z": 0}
    with pytest.raises(MappingError, match="each of Y, X, Z in one phase, got 'Y then X'"):
        check_phases(workload, names, (("Y",), ("X",)), "case")


def test_phases_add_up() -> None:
    """Cycles of a phase by hand: the busiest unit, what the last round adds, what is rare."""

    def cycles(*units: tuple[float, float], behind: int, times: float = 1.0) -> float:
        timing = Timing(overlapped=True, turns=True, passes=4, behind=behind)
        phase = PhaseCycles(units, times)
        found = timing.latency(GroupCycles(steady=(), exposed=0.0, phases=[phase]))
        return float(found.cycles)

    assert cycles((80.0, 0.0), (40.0, 0.0), behind=0) == 80
    assert cycles((80.0, 0.0), (40.0, 0.0), behind=1) == 90
    # One takes 20 cycles in each of four passes, one 25 in two: 15 more than there is room, twice.
    assert cycles((80.0, 0.0), (40.0, 25.0), behind=0, times=2) == 80 + 2 * (25 - 10)
