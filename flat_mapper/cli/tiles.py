"""Tile sizes in a kernel's own words: the verb tiles, and shipped sizes beside ours."""

from __future__ import annotations

import argparse
from pathlib import Path

from flat_mapper.cli.files import chip_of
from flat_mapper.cli.map import workload_of
from flat_mapper.cli.terminal import say
from flat_mapper.kernels.best import Ranked, kernel_named, ranked
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
        say(snippet if arguments.snippet else found.text(count))
    return 0


def _records(found: Ranked, count: int) -> dict[str, bytes]:
    """The records of the best tiles, a folder each."""
    files: dict[str, bytes] = {}
    for number, one in enumerate(found.tiles[:count], 1):
        answer = Evaluation(workload=one.workload, platform=found.platform, result=one.result)
        files |= {f"{number}/{name}": data for name, data in record_files(answer).items()}
    return files
