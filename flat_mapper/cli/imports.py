"""The verbs that make a problem of others' files: import-hf, -onnx, -torch, and fuse-layers."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.cli.terminal import say
from flat_mapper.importers.graphs.imported import Imported
from flat_mapper.importers.graphs.onnx_file import import_onnx
from flat_mapper.importers.graphs.torch_graph import import_torch
from flat_mapper.importers.hf import load_config, problem_text
from flat_mapper.importers.layer_fusion import fuse_layers
from flat_mapper.spec.answers import answer_json
from flat_mapper.spec.document import checked
from flat_mapper.spec.textfiles import write_text
from flat_mapper.spec.yamlio import scalar

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")


def import_hf_command(arguments: argparse.Namespace) -> int:
    """Write the problem where it was asked for, or print it."""
    path = Path(arguments.config)
    batch = checked(scalar(arguments.batch), int, "--batch", above=0)
    length = 0 if arguments.seq is None else checked(scalar(arguments.seq), int, "--seq", above=0)
    target = Path(arguments.output) if arguments.output else None
    name = _name(target, path.parent.name or path.stem)
    model = load_config(path, arguments.part)
    text = problem_text(
        *(model, name, path.name), batch=batch, length=length, layers=arguments.layers
    )
    if target:
        write_text(target, text)
    if arguments.json:
        say(answer_json("import-hf", {**model.to_dict(), "written": str(target or "")}))
    elif target:
        for line in model.dropped:
            say(f"dropped: {line}")
        say(f"{target}: written; flat-mapper map --problem {target} --arch ...")
    else:
        say(text.rstrip())
    return 0


def import_onnx_command(arguments: argparse.Namespace) -> int:
    """The problem of an ONNX file, and what is cut out of it."""
    target = Path(arguments.output) if arguments.output else None
    sizes = {}
    for words in arguments.dim or ():
        name, equals, size = words.rpartition("=")
        if not equals or not name:
            raise SpecError(expected("--dim", "NAME=SIZE, such as batch=1", words))
        sizes[name] = checked(scalar(size), int, f"--dim {name}", above=0)
    path = Path(arguments.file)
    found = import_onnx(path, sizes=sizes, name=_name(target, path.stem))
    return _written(found, path.name, target, json=arguments.json)


def import_torch_command(arguments: argparse.Namespace) -> int:
    """The problem of a program that torch exported, and what is cut out of it."""
    target = Path(arguments.output) if arguments.output else None
    path = Path(arguments.file)
    found = import_torch(path, name=_name(target, path.stem))
    return _written(found, path.name, target, json=arguments.json)


def _written(found: Imported, origin: str, target: Path | None, *, json: bool) -> int:
    """Write the problem, or print it; on the way say what is not in it."""
    text = found.problem_text(origin)
    if target:
        write_text(target, text)
    if json:
        say(answer_json("import-graph", {**found.to_dict(), "written": str(target or "")}))
    elif target:
        say(found)
        say(f"{target}: written; flat-mapper map --problem {target} --arch ... --mapspace any")
    else:
        say(text.rstrip())
    return 0


def _name(target: Path | None, otherwise: str) -> str:
    """The problem's name: that of the file it is written to, where it is one."""
    name = _stem(target) if target else otherwise
    if _NAME.fullmatch(name):
        return name
    if target:
        condition = "a file name of letters, digits, dots, - and _ before .yaml"
        raise SpecError(expected("-o", condition, target.name))
    return "model"


def _stem(path: Path) -> str:
    """A file's name without the suffix of YAML; other dots are part of it."""
    return path.stem if path.suffix in (".yaml", ".yml") else path.name


def fuse_layers_command(arguments: argparse.Namespace) -> int:
    """Say what became of each file; write the problem where it was asked for."""
    found = fuse_layers(arguments.folder)
    target = Path(arguments.output) if arguments.output else None
    if target:
        write_text(target, found.problem_text(target.name.partition(".")[0]))
    if arguments.json:
        say(answer_json("fuse-layers", {**found.to_dict(), "written": str(target or "")}))
        return 0
    say(found)
    if target:
        say(f"\n{target}: written; flat-mapper map --problem {target} --arch ...")
    return 0
