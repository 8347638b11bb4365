"""Printing: nothing in a text can command the terminal."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from flat_mapper.base.escape import terminal_text


def say(text: object, *, error: bool = False) -> None:
    """Print a text on stdout, or on stderr; control characters in names and logs are shown."""
    print(terminal_text(str(text)), file=sys.stderr if error else sys.stdout)


def columns() -> int:
    """Characters of a line of help, which argparse would ask a slow module for at each option."""
    with suppress(ValueError):
        if (said := int(os.environ.get("COLUMNS", "0"))) > 0:
            return said
    if sys.__stdout__ is not None:
        with suppress(ValueError, OSError):
            return os.get_terminal_size(sys.__stdout__.fileno()).columns or 80
    return 80
