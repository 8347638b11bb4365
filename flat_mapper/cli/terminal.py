"""Printing: nothing in a text can command the terminal."""

from __future__ import annotations

import sys

from flat_mapper.base.escape import terminal_text


def say(text: object, *, error: bool = False) -> None:
    """Print a text on stdout, or on stderr; control characters in names and logs are shown."""
    print(terminal_text(str(text)), file=sys.stderr if error else sys.stdout)
