"""The folder of an answer, all of it or nothing: made beside its place, then moved in.

A folder of ours says so in a file: `result.json`, or `.flat-mapper.json` where an answer has none,
lists what was written. Only what is listed there is ever replaced or removed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from os.path import lexists  # true of a link that leads nowhere, too
from pathlib import Path

from flat_mapper.base.errors import SpecError, expected, relative_name
from flat_mapper.spec.yamlio import beside, check_target, created, dump_json, reason

RESULT = "result.json"
LISTING = ".flat-mapper.json"


def check_folder(folder: Path, *, force: bool = False, inside: Iterable[str] = ()) -> None:
    """Raise SpecError where a folder plainly cannot be written: before the work is done.

    force:  whether a folder that this package did not write may be written into.
    inside: names of the folders that will be made in it.
    """
    for name in inside:
        _check_spot(folder / name)
    try:
        base = next(p for p in (folder.absolute(), *folder.absolute().parents) if lexists(p))
        if folder.is_symlink():
            raise SpecError(expected(str(folder), "a folder, or a new name", "a link"))
        if not base.is_dir():
            raise SpecError(expected(str(folder), "a folder, or a new name", f"{base} is a file"))
        if not os.access(base, os.W_OK | os.X_OK):
            raise SpecError(f"{folder}: expected a folder that can be written, got: {base} cannot")
        if force or base != folder.absolute() or _listed(folder) is not None:
            return
        foreign = next(folder.iterdir(), None)
    except (OSError, ValueError) as error:
        raise _refused(folder, error) from error
    if foreign is not None:
        condition = "a new or an empty folder, or one that flat-mapper wrote"
        change = "choose another, or add --force"
        raise SpecError(expected(str(folder), condition, f"one with {foreign.name}", change))


def write_folder(folder: Path, files: Mapping[str, bytes], *, force: bool = False) -> list[str]:
    """Write files under a folder, all or none; what else stands there stays.

    They are written beside the folder first. A new folder then gets its name in one step; in an
    old one the files of the answer before are moved out and the new ones in, and moved back where
    any of that fails.
    raises: SpecError where the folder cannot be written.
    """
    check_folder(folder, force=force)
    from shutil import rmtree

    names = list(files)
    if RESULT not in files:
        files = {**files, LISTING: dump_json({"files": [*files, LISTING]}).encode()}
    _check_names(folder, files)
    place = folder.absolute()
    new, old = beside(place), beside(place)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            new.mkdir()
            for name, data in files.items():
                path = new / name
                path.parent.mkdir(parents=True, exist_ok=True)
                with created(path) as file:
                    file.write(data)
            if place.exists():
                old.mkdir()
                _replace(place, files, new, old)
            else:
                new.rename(place)
        finally:
            for path in (new, old):
                rmtree(path, ignore_errors=True)
    except (OSError, UnicodeError) as error:
        raise _refused(folder, error) from error
    return names


def _check_names(folder: Path, files: Mapping[str, bytes]) -> None:
    """Raise SpecError where a name leads out of the folder or through a link, or two clash."""
    for name in files:
        where = f"{folder}: file {name!r}"
        parts = relative_name(name.removeprefix("."), where).split("/")
        for depth in range(1, len(parts)):
            above = "/".join(parts[:depth])
            if above in files:
                raise SpecError(
                    f"{where}: expected names that do not clash, got the file {above!r}"
                )
            _check_spot(folder / above)
        check_target(folder / name)


def _check_spot(spot: Path) -> None:
    if spot.is_symlink() or (lexists(spot) and not spot.is_dir()):
        got = "a link" if spot.is_symlink() else "a file"
        raise SpecError(f"{spot}: expected a folder, or nothing, got {got}; remove it")


def _replace(folder: Path, files: Mapping[str, bytes], new: Path, old: Path) -> None:
    """Put the new files in the place of those of the answer before, or leave all as it was."""
    before = [n for n in dict.fromkeys((*(_listed(folder) or ()), *files)) if lexists(folder / n)]
    moved: list[tuple[Path, Path]] = []
    try:
        for source, target in (
            *((folder / name, old / name) for name in before),
            *((new / name, folder / name) for name in files),
        ):
            target.parent.mkdir(parents=True, exist_ok=True)
            source.rename(target)
            moved.append((source, target))
    except BaseException:
        for source, target in reversed(moved):
            target.rename(source)
        raise
    finally:
        for name in (*before, *files):
            _remove_empty(folder, (folder / name).parent)


def _remove_empty(folder: Path, path: Path) -> None:
    while path != folder and path.is_dir() and not any(path.iterdir()):
        path.rmdir()
        path = path.parent


def _listed(folder: Path) -> list[str] | None:
    """The files that a folder of ours says it consists of; None where it is not ours."""
    for name in (RESULT, LISTING):
        try:
            document = json.loads((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue
        names = document.get("files") if isinstance(document, dict) else None
        if isinstance(names, list):
            return [n for n in names if isinstance(n, str) and _is_own(folder, n)]
    return None


def _is_own(folder: Path, name: str) -> bool:
    """True where a listed name is a plain file in the folder, and is reached through no link."""
    try:
        parts = relative_name(name.removeprefix("."), "listing").split("/")
    except SpecError:
        return False
    above = ["/".join(parts[:depth]) for depth in range(1, len(parts))]
    linked = any((folder / spot).is_symlink() for spot in (*above, name))
    return not linked and (folder / name).is_file()


def _refused(folder: Path, error: Exception) -> SpecError:
    return SpecError(f"{folder}: expected a folder that can be written, got: {reason(error)}")
