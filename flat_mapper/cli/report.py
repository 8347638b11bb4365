"""The verb that makes a page of saved answers: report."""

from __future__ import annotations

import argparse
from pathlib import Path

from flat_mapper.base.units import size
from flat_mapper.cli.terminal import say
from flat_mapper.page.assembly import page
from flat_mapper.page.designs import read_designs
from flat_mapper.page.sources import read_entries
from flat_mapper.spec.textfiles import check_target, write_text
from flat_mapper.spec.yamlio import dump_json


def report_command(arguments: argparse.Namespace) -> int:
    """One page of all configurations in some files."""
    entries = read_entries(arguments.results)
    check_target(Path(arguments.output))
    text = page(entries, arguments.title, read_designs(arguments.results))
    write_text(Path(arguments.output), text)
    told = {"file": str(arguments.output), "configurations": len(entries), "bytes": len(text)}
    line = f"{arguments.output}: {len(entries)} configurations, {size(len(text.encode()))}"
    say(dump_json(told).rstrip() if arguments.json else line)
    return 0
