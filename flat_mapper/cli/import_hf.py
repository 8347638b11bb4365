"""The verb import-hf: a model's config.json as a problem."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.cli.terminal import say
from flat_mapper.importers.hf import load_config, problem_text
from flat_mapper.spec.document import checked
from flat_mapper.spec.textfiles import write_text
from flat_mapper.spec.yamlio import dump_json, scalar

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")


def import_hf_command(arguments: argparse.Namespace) -> int:
    """Write the problem where it was asked for, or print it."""
    path = Path(arguments.config)
    batch = checked(scalar(arguments.batch), int, "--batch", above=0)
    length = 0 if arguments.seq is None else checked(scalar(arguments.seq), int, "--seq", above=0)
    target = Path(arguments.output) if arguments.output else None
    name = _stem(target) if target else path.parent.name or path.stem
    if not _NAME.fullmatch(name):
        if target:
            condition = "a file name of letters, digits, dots, - and _ before .yaml"
            raise SpecError(expected("-o", condition, target.name))
        name = "model"
    model = load_config(path, arguments.part)
    text = problem_text(
        *(model, name, path.name), batch=batch, length=length, layers=arguments.layers
    )
    if target:
        write_text(target, text)
    if arguments.json:
        say(dump_json({**model.to_dict(), "written": str(target or "")}).rstrip())
    elif target:
        say(f"{target}: written; flat-mapper map --problem {target} --arch ...")
    else:
        say(text.rstrip())
    return 0


def _stem(path: Path) -> str:
    """A file's name without the suffix of YAML; other dots are part of it."""
    return path.stem if path.suffix in (".yaml", ".yml") else path.name
