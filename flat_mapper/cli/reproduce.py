"""The verb that sets published results beside this model's: reproduce."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.cli.map import progress_bar
from flat_mapper.cli.terminal import say
from flat_mapper.cli.tiles import reproduce_tiles
from flat_mapper.published.accelforge.rows import accelforge_rows, accelforge_text, summary_of
from flat_mapper.published.array import mapping_text
from flat_mapper.published.fusemax.rows import fusemax_rows, fusemax_text
from flat_mapper.published.paper import Grid, paper_tables
from flat_mapper.published.plots import paper_figures
from flat_mapper.published.search import SPACES, Searched, search_rows
from flat_mapper.published.silicon.answer import answer_text, said
from flat_mapper.published.silicon.counters import are_counters, counted, counters_text
from flat_mapper.published.silicon.families import measured
from flat_mapper.published.silicon.records import record_files
from flat_mapper.published.silicon.rows import read_rows
from flat_mapper.published.simulator import (
    BesideSimulator,
    compare_rows,
    find_csv,
    largest_errors,
    simulator_rows,
)
from flat_mapper.published.text import paper_files, paper_text
from flat_mapper.reports import text as report
from flat_mapper.reports.files import result_file
from flat_mapper.reports.folder import RESULT, check_folder, write_folder
from flat_mapper.spec.answers import answer_json
from flat_mapper.spec.document import checked
from flat_mapper.spec.yamlio import scalar

_NAMES = {
    "offchip_bytes": "DRAM bytes",
    "latency_s": "latency",
    "spilled": "spilled fraction (difference)",
    "energy_pj": "energy",
}


def reproduce_command(arguments: argparse.Namespace) -> int:
    """FLAT's simulator row by row, or a search beside it; or the tables of the paper."""
    if arguments.what == "paper":
        return _paper(arguments)
    if arguments.what == "silicon":
        return _silicon(arguments)
    if arguments.what == "fusemax":
        return _fusemax(arguments)
    if arguments.what == "accelforge":
        return _accelforge(arguments)
    if arguments.what == "tiles":
        return reproduce_tiles(arguments)
    rows = simulator_rows(find_csv(arguments.csv))
    if arguments.what == "search":
        searched = search_rows(rows)
        say(_search_document(searched) if arguments.json else search_text(searched))
        return 0
    found = compare_rows(rows)
    say(_document(found) if arguments.json else simulator_text(found))
    return 0


def _silicon(arguments: argparse.Namespace) -> int:
    """Measured times row by row, or their errors by kernel."""
    path = _csv(arguments, "a file of measured times")
    if are_counters(read_rows(path)):
        return _counters(arguments)
    if arguments.output:
        check_folder(Path(arguments.output), force=arguments.force)
    rows, kind = measured(path), "reproduce-silicon"
    document = said(rows, best=arguments.best, moved=arguments.sensitivity)
    if arguments.output:
        files = record_files(rows)
        files[RESULT] = result_file(kind, document, files)
        write_folder(Path(arguments.output), files, force=arguments.force)
    say(answer_json(kind, document) if arguments.json else answer_text(document))
    return 0


def _csv(arguments: argparse.Namespace, condition: str) -> Path:
    """The file of --csv.

    raises: SpecError where it is not given.
    """
    if not arguments.csv:
        raise SpecError(expected("--csv", condition, "none", "give --csv FILE"))
    return Path(arguments.csv)


def _counters(arguments: argparse.Namespace) -> int:
    """Busy cycles of units, row by row."""
    rows = counted(Path(arguments.csv))
    if arguments.json:
        say(answer_json("reproduce-counters", {"rows": [row.to_dict() for row in rows]}))
    else:
        say(counters_text(rows))
    return 0


def _fusemax(arguments: argparse.Namespace) -> int:
    """FuseMax's own results beside the model's, row by row."""
    path = _csv(arguments, "a file of the FuseMax artifact's results")
    rows = fusemax_rows(path)
    if arguments.json:
        say(answer_json("reproduce-fusemax", {"rows": [row.to_dict() for row in rows]}))
    else:
        say(fusemax_text(rows))
    return 0


def _accelforge(arguments: argparse.Namespace) -> int:
    """AccelForge's own optima beside the search's, row by row."""
    path = _csv(arguments, "a file of AccelForge's optima")
    rows = accelforge_rows(path)
    if arguments.json:
        document = {"rows": [row.to_dict() for row in rows], "summary": summary_of(rows)}
        say(answer_json("reproduce-accelforge", document))
    else:
        say(accelforge_text(rows))
    return 0


def _paper(arguments: argparse.Namespace) -> int:
    """Every table and figure of the paper, and files of them where they were asked for."""
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


def simulator_text(comparisons: tuple[BesideSimulator, ...]) -> str:
    """The table: ours, theirs and the error of each quantity; the largest errors below it."""
    head = (
        f"{'row':<18} {'DRAM bytes':>12} {'theirs':>12} {'error':>9}  {'latency s':>11} "
        f"{'theirs':>11} {'error':>9}  {'spilled':>8} {'theirs':>8}  "
        f"{'energy pJ':>11} {'theirs':>11} {'error':>9}"
    )
    lines = [head, *(_line(comparison) for comparison in comparisons), ""]
    lines.append(f"largest errors over {len(comparisons)} rows")
    for name, (error, row) in largest_errors(comparisons).items():
        lines.append(f"  {_NAMES[name]:<30} {100 * error:.4f}%  ({row})")
    return "\n".join(lines)


def _line(comparison: BesideSimulator) -> str:
    row, result, errors = comparison.row, comparison.result, comparison.errors
    return (
        f"{row.key:<18} {result.offchip_bytes:12.5e} {row.offchip_bytes:12.5e} "
        f"{100 * errors['offchip_bytes']:+8.4f}%  {result.latency_s:11.5e} {row.latency_s:11.5e} "
        f"{100 * errors['latency_s']:+8.4f}%  {comparison.spilled:8.5f} {row.spilled:8.5f}  "
        f"{result.energy_pj:11.5e} {row.energy_pj:11.5e} {100 * errors['energy_pj']:+8.4f}%"
    )


def _document(comparisons: tuple[BesideSimulator, ...]) -> str:
    worst = {
        name: {"error": error, "row": row}
        for name, (error, row) in largest_errors(comparisons).items()
    }
    rows = [comparison.to_dict() for comparison in comparisons]
    return answer_json("reproduce-simulator", {"rows": rows, "largest_errors": worst})


def search_text(rows: list[Searched]) -> str:
    """Of every row and space: how much faster, how many bytes fewer, and why."""
    lines = []
    for row in rows:
        for i, space in enumerate(SPACES):
            lines.append(
                (
                    "" if i else row.row.key,
                    "" if i else mapping_text(row.theirs.mapping),
                    space,
                    f"{100 * row.gain(space):+.4f}%",
                    f"{100 * row.bytes_saved(space):+.2f}%",
                    row.why(space),
                )
            )
    head = ("row", "the simulator's mapping", "space", "faster", "fewer bytes", "ours")
    table = report.grid(lines, head=head, right=(3, 4))
    ends = [
        f"{space}: ours is never slower by more than {max(0.0, -_least(rows, space)):.4%}; faster "
        f"by more than 0.01% in {sum(r.gain(space) > 1e-4 for r in rows)} of {len(rows)} rows, "
        f"by {max(r.gain(space) for r in rows):.2%} at most"
        for space in SPACES
    ]
    return "\n".join((table, "", *ends))


def _least(rows: list[Searched], space: str) -> float:
    return min(row.gain(space) for row in rows)


def _search_document(rows: list[Searched]) -> str:
    return answer_json("reproduce-search", {"rows": [row.to_dict() for row in rows]})
