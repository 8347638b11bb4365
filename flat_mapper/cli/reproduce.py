"""The verb that sets published results beside this model's: reproduce."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.cli.map import progress_bar
from flat_mapper.cli.terminal import say
from flat_mapper.facade.reproduced import Reproduced, reproduce
from flat_mapper.reports.files import result_file
from flat_mapper.reports.folder import RESULT, check_folder, write_folder
from flat_mapper.spec.answers import answer_json
from flat_mapper.spec.document import checked
from flat_mapper.spec.yamlio import scalar

if TYPE_CHECKING:
    from flat_mapper.published.paper import Grid


def reproduce_command(arguments: argparse.Namespace) -> int:
    """FLAT's simulator row by row, or a search beside it; the paper's tables; others' rows."""
    if arguments.what == "paper":
        return _paper(arguments)
    if arguments.output:
        check_folder(Path(arguments.output), force=arguments.force)
    found = reproduce(
        *(arguments.what, arguments.csv),
        best=arguments.best,
        sensitivity=arguments.sensitivity,
    )
    if arguments.output and found.kind == "reproduce-silicon":
        _write_records(arguments, found)
    say(answer_json(found.kind, found.to_dict()) if arguments.json else found)
    return 0


def _write_records(arguments: argparse.Namespace, found: Reproduced) -> None:
    """The mapping of every measured row, to be looked at and priced again."""
    from flat_mapper.published.silicon.records import record_files

    files = record_files(found.rows)
    files[RESULT] = result_file(found.kind, found.to_dict(), files)
    write_folder(Path(arguments.output), files, force=arguments.force)


def _paper(arguments: argparse.Namespace) -> int:
    """Every table and figure of the paper, and files of them where they were asked for."""
    from flat_mapper.published.paper import paper_tables
    from flat_mapper.published.plots import paper_figures
    from flat_mapper.published.text import paper_files, paper_text

    grid = _grid(arguments)
    if arguments.output:
        check_folder(Path(arguments.output), force=arguments.force)
    with progress_bar() as progress:
        tables = paper_tables(grid, progress=progress)
    if arguments.output:
        files = paper_files(tables, grid) | paper_figures(tables)
        names = result_file("files", {}, files)
        write_folder(Path(arguments.output), files | {RESULT: names}, force=arguments.force)
    say(
        answer_json("reproduce-paper", dict(tables))
        if arguments.json
        else paper_text(tables, grid).rstrip()
    )
    return 0


def _grid(arguments: argparse.Namespace) -> Grid:
    """The whole grid, or the models, platforms and lengths that were asked for."""
    from flat_mapper.published.paper import Grid

    whole = Grid()
    for name in arguments.platforms or ():
        if name not in whole.platforms:
            condition = f"platforms among {', '.join(whole.platforms)}"
            raise SpecError(expected("--platforms", condition, name))
    lengths = tuple(checked(scalar(n), int, "--seq", above=0) for n in arguments.lengths or ())
    return replace(
        whole,
        models=tuple(arguments.models or whole.models),
        platforms=tuple(arguments.platforms or whole.platforms),
        swept_model=(arguments.models or [whole.swept_model])[0],
        lengths=lengths or whole.lengths,
        swept_lengths=lengths[:1] or whole.swept_lengths,
        shares=lengths or whole.shares,
        needs=lengths or whole.needs,
        charged=lengths or whole.charged,
        charged_models=tuple(arguments.models or whole.charged_models),
    )
