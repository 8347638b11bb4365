"""Text files: read within bounds, written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from flat_mapper.base.errors import SpecError, expected

MAX_BYTES = 16 * 2**20  # chosen: the largest file read; a recorded mapspace is far below it


def read_text(path: Path) -> str:
    """The text of a UTF-8 file of bounded size."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as err:
        reason = err.strerror or str(err)
        raise SpecError(f"{path}: expected a readable file, got: {reason}") from err
    if len(data) > MAX_BYTES:
        raise SpecError(expected(str(path), f"at most {MAX_BYTES} bytes", f"more than {MAX_BYTES}"))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        raise SpecError(
            expected(str(path), "text in UTF-8", f"byte 0x{data[err.start]:02x} at {err.start}")
        ) from err


def write_text(path: str | Path, text: str) -> None:
    """Write a whole file or nothing: a temporary file beside it takes its place."""
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_text(text, encoding="utf-8", newline="\n")
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as err:
        reason = err.strerror or str(err)
        raise SpecError(f"{target}: expected a file that can be written, got: {reason}") from err
