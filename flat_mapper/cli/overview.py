"""The commands in groups, on one screen."""

from __future__ import annotations

from collections.abc import Mapping

GROUPS = {
    "search": ("map", "compare", "need", "tiles", "generate"),
    "many": ("sweep", "optimize", "export", "report"),
    "price": ("evaluate",),
    "prove": ("execute", "crosscheck", "reproduce"),
    "files": ("check", "why-not", "list", "lower", "fuse-layers", "import-hf"),
}
# Commands that are named beside another one, to which they are alike.
BESIDE = {"import-onnx": "import-hf", "import-torch": "import-hf", "model": "evaluate"}
USAGE = "flat-mapper COMMAND ... | COMMAND --help | --version"
CODES = "exit codes: 0 done, 1 nothing feasible, 2 bad input, 3 backend missing or failed"


def overview_text(says: Mapping[str, str]) -> str:
    """A line for each command, in groups.

    says: what each command does.
    """
    lines = []
    for group, names in GROUPS.items():
        for number, name in enumerate(names):
            alike = [other for other, first in BESIDE.items() if first == name]
            text = f"{says[name]} (also: {', '.join(alike)})" if alike else says[name]
            lines.append(f"{'' if number else group:<8}{name:<13}{text}")
    return "\n".join(lines)
