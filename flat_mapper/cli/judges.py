"""The verbs that hold the model against others: execute and crosscheck."""

from __future__ import annotations

import argparse
from pathlib import Path

from flat_mapper.api import calls as api
from flat_mapper.api.execution import crosscheck, execute, other_backends
from flat_mapper.base.errors import NothingFeasible, SpecError, expected
from flat_mapper.cli.terminal import answer
from flat_mapper.cost_model.result import Infeasible
from flat_mapper.reports.answers import SearchResult


def crosscheck_command(arguments: argparse.Namespace) -> int:
    """Every backend's answer on one mapping; 1 where one differs by more than it may."""
    other_backends()  # before the work
    found = crosscheck(_mapping(arguments), arguments.arch or None, arguments.ert)
    answer(arguments, found)
    return 0 if found.agrees else 1


def _mapping(arguments: argparse.Namespace) -> str | SearchResult:
    """The recorded mapping, or the best one of a mapspace."""
    if arguments.record:
        return str(arguments.record)
    if not arguments.arch or not arguments.problem:
        condition = "a fused-mapping.yaml, or --arch and --problem"
        raise SpecError(expected("crosscheck", condition, "neither"))
    best = api.search(
        *(arguments.problem, arguments.arch, arguments.mapspace, arguments.ert), seq=arguments.seq
    )
    if isinstance(best, Infeasible):
        raise NothingFeasible(best)
    return best


def execute_command(arguments: argparse.Namespace) -> int:
    """A mapping executed; 1 where it goes wrong or, with --check, where the model differs."""
    done = execute(
        Path(arguments.record), arguments.arch, shrink=arguments.shrink, check=arguments.check
    )
    answer(arguments, done)
    return 0 if done.executed.right and done.agrees else 1
