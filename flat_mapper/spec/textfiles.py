"""Files: read within bounds, written whole or not at all, and never over what was read."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import BinaryIO, Literal

from flat_mapper.base.errors import SpecError, expected

MAX_BYTES = 16 * 2**20  # chosen: the largest file read; a recorded mapspace is far below it
NAMED = 40  # chosen: characters of a name that its temporary neighbour repeats; 255 bytes in all

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
    with replacing(Path(path), makes_folder=True) as file:
        file.write(text.encode())


@contextmanager
def replacing(target: Path, *, makes_folder: bool = False) -> Iterator[BinaryIO]:
    """A new file beside a file; what is written there takes the file's place in the end.

    makes_folder: whether the folder of the target may be made.
    raises: SpecError where that cannot be, or the target is one that is not to be written.
    """
    check_target(target)
    temporary = beside(target)
    try:
        if makes_folder:
            target.parent.mkdir(parents=True, exist_ok=True)
        opened = created(temporary)
        try:
            with opened as file:
                yield file
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except (OSError, UnicodeError) as err:
        raise _unwritable(target, err) from err


def beside(target: Path) -> Path:
    """A name beside a file or folder that nobody can guess, so that nobody stands there first."""
    return target.with_name(f".{target.name[:NAMED]}.{secrets.token_hex(8)}.tmp")


def created(path: Path) -> BinaryIO:
    """A new file to write; no other is opened, whatever stands under its name, nor a link followed.

    raises: OSError, FileExistsError where anything has the name.
    """
    return _opened(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, "wb")


def appended(path: Path) -> BinaryIO:
    """A file to go on with, new where there is none; a link is not followed."""
    return _opened(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, "ab")


def _opened(path: Path, flags: int, mode: Literal["wb", "ab"]) -> BinaryIO:
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags, 0o666), mode)


def check_target(target: Path) -> None:
    """Raise SpecError unless a path is new, or a plain file that is no input of this command."""
    if not target.name or target.name == "..":
        raise SpecError(f"{target}: expected the name of a file to write, got a folder")
    try:
        mode = target.lstat().st_mode
    except FileNotFoundError:
        return
    except (OSError, ValueError) as err:
        raise _unwritable(target, err) from err
    if not stat.S_ISREG(mode):
        got = "a folder" if stat.S_ISDIR(mode) else "a link" if stat.S_ISLNK(mode) else "a device"
        raise SpecError(f"{target}: expected a plain file or a new name, got {got}; choose another")
    for noted in _INPUTS.get() or ():
        if noted.exists() and noted.samefile(target):
            raise SpecError(
                f"{target}: expected another file than an input of this command, got one; choose "
                "another name"
            )


def _unwritable(target: Path, error: Exception) -> SpecError:
    return SpecError(f"{target}: expected a file that can be written, got: {reason(error)}")


def reason(error: Exception) -> str:
    """The reason that a file could not be used, in the system's words."""
    return (error.strerror if isinstance(error, OSError) else "") or str(error)
