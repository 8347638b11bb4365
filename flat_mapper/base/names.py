"""Names from files that become names of files: checked here, and nowhere else."""

from __future__ import annotations

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.base.escape import terminal_text

MAX_NAME = 100  # chosen: characters; file systems end at 255 bytes
_FORBIDDEN = '/\\:*?"<>|'  # in a file's name on some system


def file_name(name: str, where: str) -> str:
    """The name itself, where it names one file in a folder and nothing anywhere else.

    raises: SpecError where it could lead elsewhere, or no file can have it.
    """
    plain = terminal_text(name) == name and not any(c in _FORBIDDEN or c in "\t\n" for c in name)
    if plain and 0 < len(name) <= MAX_NAME and name.strip(" .") == name:
        return name
    condition = (
        f"a name of 1 to {MAX_NAME} characters that can be a file's: without {' '.join(_FORBIDDEN)}"
        " and control characters, and with no dot or blank at either end"
    )
    raise SpecError(expected(where, condition, name))


def relative_name(name: str, where: str) -> str:
    """A path of file names below a folder, such as `QK/problem.yaml`."""
    for part in name.split("/"):
        file_name(part, where)
    return name
