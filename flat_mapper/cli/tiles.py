"""Tile sizes in a kernel's own words: the verb tiles, and shipped sizes beside ours."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from flat_mapper.base import units
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.cli.files import chip_of
from flat_mapper.cli.map import workload_of
from flat_mapper.cli.terminal import say
from flat_mapper.kernels.best import Ranked, kernel_named, ranked
from flat_mapper.kernels.rows import TileRow, summary, tile_rows
from flat_mapper.reports import text as report
from flat_mapper.reports.answers import Evaluation
from flat_mapper.reports.files import record_files
from flat_mapper.reports.folder import check_folder, write_folder
from flat_mapper.spec.answers import answer_json
from flat_mapper.spec.document import checked
from flat_mapper.spec.yamlio import scalar


def tiles_command(arguments: argparse.Namespace) -> int:
    """The best tiles of a kernel; with --snippet what a user pastes of the best one."""
    count = checked(scalar(arguments.count), int, "--count", above=0)
    kernel = kernel_named(arguments.kernel)
    if arguments.output:
        check_folder(Path(arguments.output), force=arguments.force)
    arguments.softmax = arguments.softmax or "online"
    found = ranked(kernel, chip_of(arguments), workload_of(arguments))
    if arguments.output:
        write_folder(Path(arguments.output), _records(found, count), force=arguments.force)
    if arguments.json:
        say(answer_json("tiles", found.to_dict(count)))
    else:
        snippet = kernel.snippet(found.best.tile.words)
        say(snippet if arguments.snippet else tiles_text(found, count))
    return 0


def _records(found: Ranked, count: int) -> dict[str, bytes]:
    """The records of the best tiles, a folder each."""
    files: dict[str, bytes] = {}
    for number, one in enumerate(found.tiles[:count], 1):
        answer = Evaluation(workload=one.workload, platform=found.platform, result=one.result)
        files |= {f"{number}/{name}": data for name, data in record_files(answer).items()}
    return files


def tiles_text(found: Ranked, count: int) -> str:
    """The best tiles as a table, with what their times and their fit rest on."""
    best, kernel = found.best, found.kernel
    rows = [
        (
            *(str(value) for value in one.tile.words.values()),
            units.si(one.seconds, "s"),
            f"{one.seconds / best.seconds:.3f}",
            one.bottleneck,
            f"{one.fit.needs:,.0f} of {one.fit.has:,.0f} {one.fit.what}",
        )
        for one in found.tiles[:count]
    ]
    words = tuple(best.tile.words)
    table = report.grid(
        rows,
        head=(*words, "time", "x best", "bottleneck", "needs most"),
        right=range(len(words) + 2),
    )
    costs = (
        f"times have what was measured of {found.fitted}"
        if found.fitted
        else "times have no cost of a tile or a launch: none was measured of this kernel here"
    )
    certainty = "estimated, the compiler decides" if kernel.estimated else "the kernel's own"
    return "\n".join(
        (
            f"{kernel.name} on {found.platform.name}: {found.workload.name}, {_sizes(found)}",
            "",
            table,
            "",
            f"{found.asked} tiles asked, {found.unfit} do not fit; {costs}",
            f"fit, {certainty}: {kernel.rule}",
            *map(str, found.bands),
            *found.notes,
        )
    )


def _sizes(found: Ranked) -> str:
    sizes = " ".join(f"{rank}={size}" for rank, size in found.workload.rank_sizes.items())
    return f"{sizes}, {found.workload.mask or 'no mask'}"


def reproduce_tiles(arguments: argparse.Namespace) -> int:
    """Shipped tile sizes row by row, or by kernel and chip."""
    if not arguments.csv:
        condition = "a file of shipped tile sizes"
        raise SpecError(expected("--csv", condition, "none", "give --csv FILE"))
    rows = list(tile_rows(Path(arguments.csv)))
    found = summary(rows)
    if arguments.json:
        document = {"rows": [row.to_dict() for row in rows], "summary": found}
        say(answer_json("reproduce-tiles", document))
        return 0
    say(shipped_text(rows, found))
    return 0


def shipped_text(rows: Sequence[TileRow], found: Sequence[dict[str, object]]) -> str:
    """A line for each kernel and chip, and why rows were left out."""
    head = (
        "kernel",
        "chip",
        "rows",
        "left out",
        "feasible",
        "median",
        "worst",
        "within 5 %",
        "term",
    )
    lines = [
        (
            *(str(s["kernel"]), str(s["arch"] or "-"), str(s["rows"]), str(s["left_out"])),
            str(s["feasible"]),
            _ratio(s["median_shipped_over_best"]),
            _ratio(s["worst_shipped_over_best"]),
            str(s["within_5_percent"]),
            _most(s["terms_beyond"]),
        )
        for s in found
    ]
    reasons = dict.fromkeys(row.left_out for row in rows if row.left_out)
    return "\n".join(
        (
            report.grid(lines, head=head, right=range(2, 8)),
            "",
            "median, worst: time of the shipped tile over that of the best one; term: what most",
            "rows beyond 5 % have more of",
            *(f"left out: {reason}" for reason in reasons),
        )
    )


def _ratio(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else "-"


def _most(terms: object) -> str:
    """The commonest term, and of how many rows."""
    if not isinstance(terms, dict) or not terms:
        return "-"
    name = max(terms, key=lambda n: terms[n])
    return f"{name} ({terms[name]})"
