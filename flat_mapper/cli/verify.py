"""The verb verify: a search's log replayed against the model."""

from __future__ import annotations

import argparse
from pathlib import Path

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.mapper.solve.log import read_log
from flat_mapper.mapper.solve.replay import Replay, replay
from flat_mapper.reports.text import grid
from flat_mapper.spec.document import checked
from flat_mapper.spec.yamlio import dump_json, scalar

SAMPLE = "200"


def verify_command(arguments: argparse.Namespace) -> int:
    """A log replayed; 1 where a cut was wrong."""
    if arguments.all and arguments.sample is not None:
        raise SpecError(expected("verify", "--sample or --all", "both"))
    given = SAMPLE if arguments.sample is None else arguments.sample
    sample = None if arguments.all else checked(scalar(given), int, "--sample", above=0)
    seed = checked(scalar(arguments.seed), int, "--seed", above=-1)
    question, events = read_log(Path(arguments.log))
    found = replay(question, events, sample=sample, seed=seed)
    print(dump_json(_document(found)).rstrip() if arguments.json else _text(found))
    return 1 if found.fault else 0


def _text(found: Replay) -> str:
    """A table of what was replayed, and the first cut that was wrong."""
    rows = [
        (rule, *(f"{n:,}" for n in (r.cut, r.named, r.replayed, r.mappings, r.refused)))
        for rule, r in found.rows.items()
    ]
    head = ("rule", "in the log", "named", "replayed", "mappings", "do not fit")
    table = grid(rows, head=head, right=(1, 2, 3, 4, 5))
    return f"{table}\n{f'WRONG: {found.fault}' if found.fault else 'no cut was wrong'}"


def _document(found: Replay) -> dict[str, object]:
    return {
        "right": not found.fault,
        "fault": found.fault,
        "rules": {
            rule: {
                "cut": row.cut,
                "named": row.named,
                "replayed": row.replayed,
                "mappings": row.mappings,
                "refused": row.refused,
            }
            for rule, row in found.rows.items()
        },
    }
