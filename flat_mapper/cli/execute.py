"""The verbs that check: execute, a mapping run on real numbers; verify, a search's log replayed."""

from __future__ import annotations

import argparse
from pathlib import Path

from flat_mapper.api.execution import execute
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.facade.verbs import verify
from flat_mapper.spec.answers import answer_json
from flat_mapper.spec.document import checked
from flat_mapper.spec.yamlio import scalar

_SAMPLE = "200"  # cuts that are replayed by default


def execute_command(arguments: argparse.Namespace) -> int:
    """A mapping executed; 1 where it goes wrong or, with --check, where the model differs."""
    done = execute(
        Path(arguments.record), arguments.arch, shrink=arguments.shrink, check=arguments.check
    )
    print(answer_json("execute", done.to_dict()) if arguments.json else done)
    return 0 if done.executed.right and done.agrees else 1


def verify_command(arguments: argparse.Namespace) -> int:
    """A log replayed; 1 where a cut was wrong."""
    if arguments.all and arguments.sample is not None:
        raise SpecError(expected("verify", "--sample or --all", "both"))
    given = _SAMPLE if arguments.sample is None else arguments.sample
    sample = None if arguments.all else checked(scalar(given), int, "--sample", above=0)
    seed = checked(scalar(arguments.seed), int, "--seed", above=-1)
    found = verify(arguments.log, sample=sample, seed=seed)
    print(answer_json("verify", found.to_dict()) if arguments.json else found)
    return 1 if found.fault else 0
