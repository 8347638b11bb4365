"""The verbs about files: lower, model, check, list, report; and the chip of any verb."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from flat_mapper.arch.reader import load_platform
from flat_mapper.arch.values import Platform
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.base.units import size
from flat_mapper.cli.terminal import answer
from flat_mapper.spec import catalog
from flat_mapper.spec.yamlio import check_target, scalar


def lower_command(arguments: argparse.Namespace) -> int:
    """A recorded mapping as Timeloop files."""
    from flat_mapper.api.files import lowered
    from flat_mapper.reports.files import KEY
    from flat_mapper.reports.folder import check_folder, write_folder

    check_folder(Path(arguments.output), force=arguments.force)
    asked = arguments.record, arguments.arch, arguments.ert
    files, said = lowered(*asked, tool=arguments.tool)
    names = write_folder(Path(arguments.output), files, force=arguments.force)
    text = "\n".join(f"{arguments.output}/{name}" for name in names)
    answer(arguments, f"{text}\n{said}", {"files": names, KEY: said.to_dict()})
    return 0


def model_command(arguments: argparse.Namespace) -> int:
    """One Einsum from Timeloop's files, as timeloop-model prices it."""
    from flat_mapper.api.one_einsum import model

    answer(arguments, model(arguments.files, arguments.ert, data=template_data(arguments.data)))
    return 0


def check_command(arguments: argparse.Namespace) -> int:
    """Everything that is wrong with files; 2 where there is anything."""
    from flat_mapper.api.checks import check

    checked = check(*arguments.files)
    document = {"files": [file.to_dict() for file in checked]}
    answer(arguments, "\n".join(map(str, checked)), document)
    return 2 if any(file.faults for file in checked) else 0


def list_command(arguments: argparse.Namespace) -> int:
    """The files that ship, with one line each."""
    from flat_mapper.base.table import grid

    kinds: tuple[catalog.CatalogKind, ...] = ("arch", "problems", "mapspaces")
    wanted = tuple(kind for kind in kinds if arguments.kind in ("", kind))
    if not wanted:
        raise SpecError(expected("list", f"one of {', '.join(kinds)}", arguments.kind))
    found = {kind: catalog.shipped(kind) for kind in wanted}
    tables = [
        f"{kind}\n{grid([(f'  {n}', line) for n, line in names])}" for kind, names in found.items()
    ]
    answer(arguments, "\n".join(tables), {kind: dict(names) for kind, names in found.items()})
    return 0


def report_command(arguments: argparse.Namespace) -> int:
    """One page of all configurations in some files."""
    from flat_mapper.page.saved import load_results

    target, found = Path(arguments.output), load_results(*arguments.results)
    check_target(target)
    found.write_report(target, arguments.title)
    weight = target.stat().st_size
    told = {"file": str(target), "configurations": len(found), "bytes": weight}
    answer(arguments, f"{target}: {len(found)} configurations, {size(weight)}", told)
    return 0


def chip_of(arguments: argparse.Namespace) -> Platform:
    """The chip of `--arch`, with `--data` in its templates."""
    return load_platform(arguments.arch, template_data(arguments.data))


def template_data(pairs: Sequence[str]) -> dict[str, object]:
    """The values of `--data NAME=VALUE`, numbers as numbers."""
    found: dict[str, object] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.isidentifier() or name in found:
            raise SpecError(expected("--data", "NAME=VALUE, each name once", pair))
        found[name] = scalar(value)
    return found
