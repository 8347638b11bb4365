"""Arguments of a search: what it may spend."""

from __future__ import annotations

import argparse

from flat_mapper.base.budget import Budget
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.spec.document import checked
from flat_mapper.spec.yamlio import scalar


def search_arguments(verb: argparse.ArgumentParser) -> None:
    """Arguments that end a search early, or log it."""
    verb.add_argument(
        "--time-limit",
        metavar="S",
        help="seconds of the search; then the best so far, its proven bound and gap",
    )
    verb.add_argument(
        "--gap",
        metavar="G",
        help="stop where the best is proven to be as near, such as 1%% or 0.01",
    )
    verb.add_argument(
        "--memory-limit", metavar="MB", help="peak memory of the process, at which the search stops"
    )
    text = "write what the search cuts as JSON lines, gzipped if it ends in .gz; see verify"
    verb.add_argument("--log", metavar="FILE", help=text)


def budget_of(arguments: argparse.Namespace) -> Budget:
    """The budget that the command line gives a search."""
    found = Budget()
    if arguments.time_limit is not None:
        found.seconds = checked(scalar(arguments.time_limit), float, "--time-limit", above=0)
    if arguments.memory_limit is not None:
        found.megabytes = checked(scalar(arguments.memory_limit), float, "--memory-limit", above=0)
    if arguments.gap is not None:
        found.gap = _share(arguments.gap)
    return found


def _share(text: str) -> float:
    """A share from words such as 1% or 0.01."""
    number, percent = text.strip().removesuffix("%"), text.strip().endswith("%")
    value = checked(scalar(number), float, "--gap", above=0) / (100 if percent else 1)
    if value > 1:
        raise SpecError(expected("--gap", "a share up to 100%, such as 1% or 0.01", text))
    return value
