"""Verbs of many searches: need, for the least value of a chip's, generate, and tiles."""

from __future__ import annotations

import argparse
from pathlib import Path

from flat_mapper.api import calls as api
from flat_mapper.base.errors import NothingFeasible
from flat_mapper.cli.files import chip_of
from flat_mapper.cli.map import progress_bar, size_arguments, spend_of, workload_of
from flat_mapper.cli.terminal import answer
from flat_mapper.explore.generation import Scenario, generate
from flat_mapper.explore.need_search import Unreached, need
from flat_mapper.kernels.best import Ranked, kernel_named, ranked
from flat_mapper.reports.answers import Evaluation
from flat_mapper.reports.files import record_files
from flat_mapper.reports.folder import check_folder, write_folder


def need_command(arguments: argparse.Namespace) -> int:
    """The smallest value that reaches the target."""
    workload = workload_of(arguments)
    with progress_bar() as progress:
        found = need(
            workload,
            chip_of(arguments),
            arguments.mapspace,
            arguments.ert,
            quantity=arguments.what,
            utilization=arguments.utilization,
            latency_s=arguments.latency,
            busy=arguments.busy,
            step=arguments.step,
            progress=progress,
            **spend_of(arguments),
        )
    if isinstance(found, Unreached):
        raise NothingFeasible(found)
    answer(arguments, found)
    return 0


def generate_command(arguments: argparse.Namespace) -> int:
    """The cost of every step, summed."""
    parts = {name: getattr(arguments, name) for name in ("prefill", "decode", "new", "page")}
    scope, objective = api.scope_of(arguments.scope), api.objective_of(arguments.objective)
    with progress_bar() as progress:
        found = generate(
            arguments.problem,
            chip_of(arguments),
            arguments.mapspace,
            arguments.ert,
            scenario=Scenario(**parts),
            scope=scope,
            sizes=size_arguments(arguments),
            bits=dict(arguments.bits),
            softmax=arguments.softmax,
            mask=arguments.mask,
            layers=arguments.layers,
            schedule=arguments.schedule,
            objective=objective,
            progress=progress,
            **spend_of(arguments),
        )
    answer(arguments, found)
    return 0


def tiles_command(arguments: argparse.Namespace) -> int:
    """The best tiles of a kernel; with --snippet what a user pastes of the best one."""
    kernel, count = kernel_named(arguments.kernel), arguments.count
    if arguments.output:
        check_folder(Path(arguments.output), force=arguments.force)
    arguments.softmax = arguments.softmax or "online"
    with progress_bar() as progress:
        found = ranked(kernel, chip_of(arguments), workload_of(arguments), progress=progress)
    if arguments.output:
        write_folder(Path(arguments.output), _records(found, count), force=arguments.force)
    snippet = kernel.snippet(found.best.tile.words)
    answer(arguments, snippet if arguments.snippet else found.text(count), found.to_dict(count))
    return 0


def _records(found: Ranked, count: int) -> dict[str, bytes]:
    """The records of the best tiles, a folder each."""
    files: dict[str, bytes] = {}
    for number, one in enumerate(found.tiles[:count], 1):
        answer = Evaluation(workload=one.workload, platform=found.platform, result=one.result)
        files |= {f"{number}/{name}": data for name, data in record_files(answer).items()}
    return files
