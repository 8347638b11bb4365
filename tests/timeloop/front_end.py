"""Timeloop's Python front end, timeloopfe, under whichever of its names is installed.

Only reading and processing is used. Its own calls go through a shell, know no time limit, and read
whatever stats file lies in their output folder.
Source: timeloopfe, common/backend_calls.py, commit 5603893.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import partial
from importlib import import_module
from pathlib import Path

import pytest

NAMES = ("timeloopfe", "pytimeloop.timeloopfe")  # by itself, and inside Timeloop's Python bindings


def front_end() -> Callable[[Iterable[Path]], str]:
    """The front end's way from v0.4 files to the file that timeloop-model reads.

    Skips where it is not installed; fails where FLAT_MAPPER_REQUIRE_TIMELOOPFE demands it.
    """
    for package in NAMES:
        try:
            import_module(f"{package}.v4")
        except ImportError:
            continue
        return partial(_processed, package)
    message = f"{' or '.join(NAMES)}: expected it importable"
    if os.environ.get("FLAT_MAPPER_REQUIRE_TIMELOOPFE"):
        pytest.fail(message)
    pytest.skip(message)


def _processed(package: str, files: Iterable[Path]) -> str:
    v4 = import_module(f"{package}.v4")
    calls = import_module(f"{package}.common.backend_calls")
    specification = v4.Specification.from_yaml_files([str(file) for file in files])
    return str(calls._specification_to_yaml_string(specification, for_model=True))
