"""The verb execute: a mapping run on real numbers."""

from __future__ import annotations

import argparse
from pathlib import Path

from flat_mapper.api.execution import execute
from flat_mapper.spec.answers import answer_json


def execute_command(arguments: argparse.Namespace) -> int:
    """A mapping executed; 1 where it goes wrong or, with --check, where the model differs."""
    done = execute(
        Path(arguments.record), arguments.arch, shrink=arguments.shrink, check=arguments.check
    )
    print(answer_json("execute", done.to_dict()) if arguments.json else done)
    return 0 if done.executed.right and done.agrees else 1
