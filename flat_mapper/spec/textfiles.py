"""Files: read within bounds, written whole or not at all, and never over what was read."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from flat_mapper.base.errors import SpecError, expected

MAX_BYTES = 16 * 2**20  # chosen: the largest file read; a recorded mapspace is far below it

_INPUTS: ContextVar[dict[Path, None] | None] = ContextVar("inputs", default=None)


@contextmanager
def inputs_kept() -> Iterator[None]:
    """Inside it no file is written over one that was read inside it: a command's inputs stay."""
    token = _INPUTS.set({})
    try:
        yield
    finally:
        _INPUTS.reset(token)


def note_input(path: Path) -> None:
    """Say that a file is an input; `read_text` says so by itself."""
    inputs = _INPUTS.get()
    if inputs is not None:
        inputs[path.absolute()] = None


def read_text(path: Path, *, is_input: bool = True) -> str:
    """The text of a UTF-8 file of bounded size.

    is_input: whether it is to stay as it is for as long as the command runs.
    """
    try:
        if not (stat.S_ISREG(path.stat().st_mode) or path.is_dir()):  # a pipe is waited for
            raise SpecError(f"{path}: expected a readable file, got a device or a pipe")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as err:
        raise SpecError(f"{path}: expected a readable file, got: {reason(err)}") from err
    if len(data) > MAX_BYTES:
        raise SpecError(expected(str(path), f"at most {MAX_BYTES} bytes", f"more than {MAX_BYTES}"))
    if is_input:
        note_input(path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        raise SpecError(
            expected(str(path), "text in UTF-8", f"byte 0x{data[err.start]:02x} at {err.start}")
        ) from err


def write_text(path: str | Path, text: str) -> None:
    """Write a whole file or nothing: a temporary file beside it takes its place."""
    with replacing(Path(path)) as temporary:
        temporary.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8", newline="\n")


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A new name beside a file; what is written there takes the file's place in the end.

    raises: SpecError where that cannot be, or the target is one that is not to be written.
    """
    check_target(target)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        temporary.unlink(missing_ok=True)
        try:
            yield temporary
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, UnicodeError) as err:
        raise SpecError(
            f"{target}: expected a file that can be written, got: {reason(err)}"
        ) from err


def check_target(target: Path) -> None:
    """Raise SpecError unless a path is new, or a plain file that is no input of this command."""
    if not target.name or target.name == "..":
        raise SpecError(f"{target}: expected the name of a file to write, got a folder")
    try:
        mode = target.lstat().st_mode
    except FileNotFoundError:
        return
    except (OSError, ValueError) as err:
        raise SpecError(
            f"{target}: expected a file that can be written, got: {reason(err)}"
        ) from err
    if not stat.S_ISREG(mode):
        got = "a folder" if stat.S_ISDIR(mode) else "a link" if stat.S_ISLNK(mode) else "a device"
        raise SpecError(f"{target}: expected a plain file or a new name, got {got}; choose another")
    for noted in _INPUTS.get() or ():
        if noted.exists() and noted.samefile(target):
            raise SpecError(
                f"{target}: expected another file than an input of this command, got one; choose "
                "another name"
            )


def reason(error: Exception) -> str:
    """The reason that a file could not be used, in the system's words."""
    return (error.strerror if isinstance(error, OSError) else "") or str(error)
