"""The folder of an answer: every file is made in memory, then all of them take their places."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.reports.answers import Comparison, Evaluation, SearchResult
from flat_mapper.reports.plots import figures
from flat_mapper.spec.yamlio import dump_json
from flat_mapper.timeloop.headroom import held_words
from flat_mapper.timeloop.write import lower_fused
from flat_mapper.timeloop.write_mapper import lower_for_mapper

RESULT = "result.json"


def mapping_files(answer: Evaluation | SearchResult) -> dict[str, bytes]:
    """The result, the record, Timeloop's files per Einsum, and the plots."""
    files = record_files(answer)
    name = answer.mapspace if isinstance(answer, SearchResult) else "mapping"
    files |= figures({name: answer.result})
    return files | {RESULT: _json(answer.to_dict(), files)}


def comparison_files(comparison: Comparison) -> dict[str, bytes]:
    """The table as JSON, the plots, and a folder of files per mapspace."""
    files: dict[str, bytes] = {}
    for name, row in comparison.feasible.items():
        inside = record_files(row)
        inside[RESULT] = _json(row.to_dict(), inside)
        files |= {f"{name}/{path}": data for path, data in inside.items()}
    files |= figures({name: row.result for name, row in comparison.feasible.items()})
    return files | {RESULT: _json(comparison.to_dict(), files)}


def record_files(answer: Evaluation | SearchResult) -> dict[str, bytes]:
    """fused-mapping.yaml with the architectures beside it, and Timeloop's files per Einsum."""
    lowered = lower_fused(answer.workload, answer.platform, answer.mapping)
    return {name: file.text.encode() for name, file in lowered.items()}


def mapper_folder(priced: Evaluation) -> dict[str, bytes]:
    """The files of timeloop-mapper that hold each Einsum to the fusion, in the folder `mapper`."""
    held = held_words(priced.workload, priced.platform, priced.mapping)
    lowered = lower_for_mapper(priced.workload, priced.platform, priced.mapping, held)
    return {f"mapper/{name}": file.text.encode() for name, file in lowered.items()}


def _json(document: dict[str, object], files: Mapping[str, bytes]) -> bytes:
    return dump_json(document | {"files": [*files, RESULT]}).encode()


def check_folder(folder: Path) -> None:
    """Raise SpecError where a folder plainly cannot be written: before the work is done."""
    base = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    if not base.is_dir():
        raise SpecError(expected(str(folder), "a folder, or a new name", f"{base} is a file"))
    if not os.access(base, os.W_OK | os.X_OK):
        raise SpecError(f"{folder}: expected a folder that can be written, got: {base} cannot")


def write_folder(folder: Path, files: Mapping[str, bytes]) -> list[str]:
    """Write files under a folder, all or none; what else stands there stays.

    They are written beside the folder first. A new folder then gets its name in one step; in an
    old one the files of the answer before are removed and the new ones moved in, result.json last.
    raises: SpecError where the folder cannot be written.
    """
    check_folder(folder)
    temporary = folder.absolute().with_name(f".{folder.absolute().name}.{os.getpid()}.tmp")
    try:
        try:
            for name, data in files.items():
                path = temporary / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            if folder.exists():
                _replace(folder, temporary, files)
            else:
                temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise SpecError(
            f"{folder}: expected a folder that can be written, got: {reason}"
        ) from error
    return list(files)


def _replace(folder: Path, temporary: Path, files: Mapping[str, bytes]) -> None:
    """Put the new files in the place of those of the answer before."""
    old = _written_before(folder)
    (folder / RESULT).unlink(missing_ok=True)
    for name in old:
        if name not in files:
            (folder / name).unlink(missing_ok=True)
            _remove_empty(folder, (folder / name).parent)
    for name in (*(n for n in files if n != RESULT), *(n for n in files if n == RESULT)):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (temporary / name).replace(target)


def _remove_empty(folder: Path, path: Path) -> None:
    while path != folder and path.is_dir() and not any(path.iterdir()):
        path.rmdir()
        path = path.parent


def _written_before(folder: Path) -> list[str]:
    """Files of the answer before, by result.json; names outside the folder are ignored."""
    try:
        document = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return []
    names = document.get("files") if isinstance(document, dict) else None
    listed = [n for n in names if isinstance(n, str)] if isinstance(names, list) else []
    plain = [n for n in listed if n and not PurePosixPath(n).is_absolute()]
    return [n for n in plain if ".." not in PurePosixPath(n).parts and (folder / n).is_file()]
