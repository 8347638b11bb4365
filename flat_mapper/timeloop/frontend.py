"""Timeloop's Python front end, timeloopfe: v0.4 files into the file that timeloop-model reads.

Only its reading and processing is used. Its own calls go through a shell, know no time limit, and
read whatever stats file lies in their output folder.
Source: timeloopfe, common/backend_calls.py, commit 5603893.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from flat_mapper.base.errors import BackendError

NAMES = ("timeloopfe", "pytimeloop.timeloopfe")  # by itself, and inside Timeloop's Python bindings


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontEnd:
    """timeloopfe's v4 interface under one of its names. It is not made for threads."""

    package: str

    @property
    def name(self) -> str:
        """The module that is used."""
        return f"{self.package}.v4"

    def processed(self, files: Sequence[Path]) -> str:
        """The front end's file, of the v0.4 files of one model run.

        raises: BackendError where it cannot read them.
        """
        v4 = import_module(self.name)
        calls = import_module(f"{self.package}.common.backend_calls")
        try:
            specification = v4.Specification.from_yaml_files([str(file) for file in files])
            return str(calls._specification_to_yaml_string(specification, for_model=True))
        except Exception as error:  # whatever it raises is its answer
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            listed = " ".join(str(file) for file in files)
            raise BackendError(
                f"{self.name}: expected files that it reads, got: {reason}; {listed}"
            ) from error


def front_end() -> FrontEnd | None:
    """timeloopfe under the first of its names that can be imported, or None."""
    for package in NAMES:
        try:
            import_module(f"{package}.v4")
        except Exception:  # a broken installation is as good as none
            continue
        return FrontEnd(package=package)
    return None
