"""The verbs that make a problem of others' files: import-hf, -onnx, -torch, and fuse-layers."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.cli.terminal import say
from flat_mapper.importers.graphs.imported import Imported
from flat_mapper.importers.graphs.onnx_file import import_onnx
from flat_mapper.importers.graphs.torch_graph import import_torch
from flat_mapper.importers.hf import load_config, problem_text
from flat_mapper.importers.layer_fusion import fuse_layers
from flat_mapper.spec.answers import answer_json
from flat_mapper.spec.yamlio import write_text

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")


def import_hf_command(arguments: argparse.Namespace) -> int:
    """Write the problem where it was asked for, or print it."""
    path, target = Path(arguments.config), _target(arguments)
    name = _name(target, path.parent.name or path.stem)
    model = load_config(path, arguments.part)
    sizes = {"batch": arguments.batch, "length": arguments.seq or 0}
    text = problem_text(model, name, path.name, **sizes, layers=arguments.layers)
    dropped = "".join(f"dropped: {line}\n" for line in model.dropped)
    return _written(arguments, "import-hf", model.to_dict(), text, dropped)


def import_onnx_command(arguments: argparse.Namespace) -> int:
    """The problem of an ONNX file, and what is cut out of it."""
    path = Path(arguments.file)
    name = _name(_target(arguments), path.stem)
    found = import_onnx(path, sizes=dict(arguments.dim or ()), name=name)
    return _graph_written(arguments, found, path.name)


def import_torch_command(arguments: argparse.Namespace) -> int:
    """The problem of a program that torch exported, and what is cut out of it."""
    path = Path(arguments.file)
    found = import_torch(path, name=_name(_target(arguments), path.stem))
    return _graph_written(arguments, found, path.name)


def _graph_written(arguments: argparse.Namespace, found: Imported, origin: str) -> int:
    text = found.problem_text(origin)
    return _written(
        arguments, "import-graph", found.to_dict(), text, f"{found}\n", " --mapspace any"
    )


def fuse_layers_command(arguments: argparse.Namespace) -> int:
    """Say what became of each file; write the problem where it was asked for."""
    found, target = fuse_layers(arguments.folder), _target(arguments)
    text = found.problem_text(target.name.partition(".")[0]) if target else str(found)
    return _written(arguments, "fuse-layers", found.to_dict(), text, f"{found}\n\n")


def _written(
    arguments: argparse.Namespace,
    kind: str,
    document: Mapping[str, object],
    text: str,
    said: str,
    options: str = "",
) -> int:
    """Write the problem, and say what is not in it and how it is mapped; or print it."""
    target = _target(arguments)
    if target:
        write_text(target, text)
        text = f"{said}{target}: written; flat-mapper map --problem {target} --arch ...{options}"
    written = {**document, "written": str(target or "")}
    say(answer_json(kind, written) if arguments.json else text.rstrip())
    return 0


def _target(arguments: argparse.Namespace) -> Path | None:
    return Path(arguments.output) if arguments.output else None


def _name(target: Path | None, otherwise: str) -> str:
    """The problem's name: that of the file it is written to, where it is one."""
    yaml = target is not None and target.suffix in (".yaml", ".yml")  # other dots are the name's
    name = (target.stem if yaml else target.name) if target else otherwise
    if _NAME.fullmatch(name):
        return name
    if target:
        condition = "a file name of letters, digits, dots, - and _ before .yaml"
        raise SpecError(expected("-o", condition, target.name))
    return "model"
