"""Printing: nothing in a text can command the terminal."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from flat_mapper.base.formats import terminal_text


def say(text: object, *, error: bool = False) -> None:
    """Print a text on stdout, or on stderr; control characters in names and logs are shown."""
    print(terminal_text(str(text)), file=sys.stderr if error else sys.stdout)


def answer(
    arguments: argparse.Namespace, found: Any, document: Mapping[str, object] | None = None
) -> None:
    """Print what a command found as its text, or as JSON: `document`, else its `to_dict()`.

    raises: NothingFeasible where that is why there is nothing.
    """
    from flat_mapper.base.errors import NothingFeasible
    from flat_mapper.cost_model.result import Infeasible
    from flat_mapper.spec.answers import answer_json

    if isinstance(found, Infeasible):
        raise NothingFeasible(found)
    if arguments.json:
        kind = getattr(found, "kind", arguments.command)
        say(answer_json(kind, found.to_dict() if document is None else document))
    else:
        say(found)


def columns() -> int:
    """Characters of a line of help, which argparse would ask a slow module for at each option."""
    with suppress(ValueError):
        if (said := int(os.environ.get("COLUMNS", "0"))) > 0:
            return said
    if sys.__stdout__ is not None:
        with suppress(ValueError, OSError):
            return os.get_terminal_size(sys.__stdout__.fileno()).columns or 80
    return 80
