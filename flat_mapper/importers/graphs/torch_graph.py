"""A graph of torch.export read as a cascade: `flat-mapper import-torch`.

The file is read without torch, and nothing in it is run: see `torch_archive`. Constants, such as
masks and angles, are worked out with numpy; weights are not looked at.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

from flat_mapper.base.errors import BackendError, SpecError, expected
from flat_mapper.importers.graphs.imported import Imported
from flat_mapper.importers.graphs.torch_archive import read_archive
from flat_mapper.spec.yamlio import note_input


def import_torch(program: Any, *, name: str = "model") -> Imported:
    """The cascade of an exported program.

    program: the path of a file that torch.export.save wrote, which is read without torch, or what
             torch.export.export gave.
    raises:  SpecError; BackendError where a program is given and torch is missing.
    """
    if isinstance(program, str | Path):
        path, where = Path(program), str(program)
        if not path.is_file():
            raise SpecError(expected(where, "a file of torch.export.save", "no such file"))
        note_input(path)
        return read_archive(path, where).imported(name)
    return read_archive(_saved(program), name).imported(name)


def _saved(program: Any) -> BytesIO:
    """A program as the file that it would be."""
    try:
        import torch
    except ImportError as error:
        change = "install it: pip install torch"
        raise BackendError(f"torch: expected the library, got {error}; {change}") from error
    file = BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    return file
