"""Rounds of cores against timeloop-model: with a multicast and without, every count equal."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cases
import numpy as np
import pytest
from cost_model.test_chip import many, over_rows
from execution.random_cores import for_timeloop, random_cores_case
from oracles.small_cases import prices

from flat_mapper.arch.cores import reads_apart
from flat_mapper.arch.values import Fanout, Platform
from flat_mapper.backends.agreement import Crosscheck, compare_backends
from flat_mapper.mapping.values import FusedMapping
from flat_mapper.timeloop.backend import TimeloopBackend
from flat_mapper.timeloop.rounds import asked_of
from flat_mapper.timeloop.run import command_of
from flat_mapper.workload.graph import Workload

REPLAY = Path(__file__).parents[1] / "replay"
EACH = 25  # mappings with a multicast, and without


def several_cores(seed: int) -> tuple[Workload, Platform, FusedMapping] | None:
    """A random mapping on cores of which several work, without a mask; None: not that one."""
    workload, platform, mapping = random_cores_case(seed)
    workload, platform = replace(workload, mask=None), for_timeloop(platform)
    asked, _ = asked_of(workload, platform, mapping)
    return (workload, platform, mapping) if asked and asked[0].cores > 1 else None


def multicasts(platform: Platform) -> bool:
    fanout = next(n for n in platform.matrix.nodes if isinstance(n, Fanout))
    return not reads_apart(fanout, "K")


def report(
    backend: TimeloopBackend, workload: Workload, platform: Platform, mapping: FusedMapping
) -> Crosscheck:
    ert = prices(np.random.default_rng(1), platform)
    return compare_backends(workload, platform, mapping, ert, [backend])


@pytest.mark.parametrize("name", sorted(cases.ROUNDS))
def test_recorded_rounds_have_the_same_counts(name: str) -> None:
    script = shlex.join([sys.executable, str(REPLAY / "stand_in.py")])
    backend = TimeloopBackend(command=command_of(f"{script} {{}}", timeout_s=3600.0))
    found = several_cores(cases.ROUNDS[name])
    assert found is not None
    assert multicasts(found[1]) == (name in ("multicast", "resident"))
    answer = report(backend, *found)
    assert answer.absent == {}
    assert answer.compared > 55
    assert answer.differences == ()


@pytest.mark.parametrize("name", sorted(cases.ROUNDS))
def test_operations_of_other_cycles_are_no_difference(name: str) -> None:
    """Timeloop counts a cycle an operation; on the chip each takes as many as its file says."""
    script = shlex.join([sys.executable, str(REPLAY / "stand_in.py")])
    backend = TimeloopBackend(command=command_of(f"{script} {{}}", timeout_s=3600.0))
    found = several_cores(cases.ROUNDS[name])
    assert found is not None
    workload, platform, mapping = found
    kinds = {e.operation for e in workload.einsums} | {"add", "max", "mul", "exp"}
    cycles = {f"{kind}_cycles": 0.125 + 7 * (i % 2) for i, kind in enumerate(sorted(kinds))}
    slow = [replace(arch, variables={**arch.variables, **cycles}) for arch in platform.paths]
    chip = replace(platform, matrix=slow[0], vector=slow[1] if slow[1:] else None)
    answer = report(backend, workload, chip, mapping)
    assert answer.absent == {}
    assert answer.differences == ()


def test_tiles_that_differ_have_no_rounds() -> None:
    """Five rows on two cores leave one of them without a tile in the third round."""
    workload, mapping = over_rows(5)
    asked, refused = asked_of(workload, many(2), mapping)
    assert asked == ()
    (reason,) = refused.values()
    assert "whole rounds of 2 cores, got '5 tiles'" in reason


@pytest.mark.needs_timeloop
def test_the_real_timeloop_counts_rounds_as_we_do(
    record_property: Callable[[str, object], None],
) -> None:
    backend = TimeloopBackend(command=command_of())
    if backend.missing():
        if os.environ.get("FLAT_MAPPER_REQUIRE_TIMELOOP"):
            pytest.fail(str(backend.missing()))
        pytest.skip(str(backend.missing()))
    done = {True: 0, False: 0}
    compared = 0
    for seed in range(2000):
        found = several_cores(seed)
        if found is None or done[multicasts(found[1])] >= EACH:
            continue
        answer = report(backend, *found)
        if any("Timeloop writes one factor" in why for why in answer.absent.values()):
            continue  # for a rank and a node
        assert answer.absent == {}
        assert answer.differences == (), f"seed {seed}"
        compared += answer.compared
        done[multicasts(found[1])] += 1
        if min(done.values()) >= EACH:
            break
    assert min(done.values()) == EACH
    record_property("random rounds of cores, with a multicast", done[True])
    record_property("random rounds of cores, without a multicast", done[False])
    record_property("random rounds of cores, counts, equal", compared)
